// One session or exec in a host: its queue of operations, its running call, its credit. And the
// table that finds it by the loader's handle and by the engine's.
// Data and lookups only; runtime_impl.h says what happens to them.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "channel/bodies.h"
#include "channel/credit.h"
#include "host/input.h"
#include "host/link.h"
#include "host/outcome.h"

namespace loader::host {

// An engine's handle: slot of this table (20 bits), call number (16), generation of the slot (28).
// The loader's own number never reaches the engine, so that a call of a session can have a handle
// of its own and a late finish is refused.
namespace engine_handle {
constexpr uint32_t kSlotBits = 20;
constexpr uint32_t kCallBits = 16;
constexpr uint64_t kCallMask = ((uint64_t{1} << kCallBits) - 1) << kSlotBits;
constexpr uint32_t slot(loader_handle_t handle) {
  return static_cast<uint32_t>(handle & ((1u << kSlotBits) - 1));
}
constexpr uint16_t call(loader_handle_t handle) {
  return static_cast<uint16_t>(handle >> kSlotBits);
}
constexpr loader_handle_t base(loader_handle_t handle) {
  return handle & ~kCallMask;
}
constexpr loader_handle_t with_call(loader_handle_t handle, uint16_t number) {
  return base(handle) | uint64_t{number} << kSlotBits;
}
}  // namespace engine_handle

struct PendingOperation {
  channel::Operation operation{};
  InputBlock::Pointer block;  // create, write, exec
  int32_t reason = 0;         // destroy
};

// Where the call of a session stands.
enum class CallState {
  kNone,     // none: the next operation may start
  kRunning,  // inside the engine
  kPending,  // returned PENDING: finish() follows
  kParked    // returned kParked: resume() follows
};

struct HostSession {
  HostSession(std::shared_ptr<Link> owner, uint64_t loader_handle, bool exec)
      : link(std::move(owner)), wire(loader_handle), is_exec(exec) {}

  const std::shared_ptr<Link> link;
  const uint64_t wire;  // the loader's handle
  const bool is_exec;
  loader_handle_t handle = 0;  // the engine's; set by the table
  int64_t deadline_ns = channel::kNoDeadline;
  const std::shared_ptr<std::atomic<int64_t>> pinned = std::make_shared<std::atomic<int64_t>>(0);
  // When the running call last showed life: began, emitted, or was blocked for credit.
  std::atomic<int64_t> alive_ns{0};
  std::atomic<bool> is_cancelled{false};

  // Emits of one session, one after the other; taken before `mutex`.
  std::mutex emit_mutex;
  uint64_t result_seq = 0;

  std::mutex mutex;  // everything below
  std::condition_variable changed;
  channel::SendCredit credit;
  uint64_t wanted_bytes = 0;  // of the result that was last refused for want of credit
  uint64_t last_bytes = 0;    // of the last result
  std::deque<PendingOperation> queue;
  std::vector<std::function<void()>> waiters;  // on_credit
  std::vector<uint32_t> resources;             // that it uses
  void* object = nullptr;                      // the engine's, from create
  CallState call = CallState::kNone;
  channel::Operation operation{};  // of the call
  uint16_t call_number = 0;
  bool is_finished_early = false;  // finish() came before PENDING was returned
  loader_status_t early_status = LOADER_OK;
  std::string early_message;
  std::optional<Outcome> failure;  // fail() came inside create: told once create has succeeded
  bool is_scheduled = false;       // a job for it is queued or runs
  bool is_created = false;         // create succeeded and destroy has not begun
  bool is_closed = false;          // nothing may be emitted any more
  bool is_waiting = false;         // its call is blocked for credit
  bool is_cancel_busy = false;     // the engine's cancel is queued or runs: destroy waits
  bool is_hung_reported = false;
  bool is_destroy_queued = false;
};

using SessionPointer = std::shared_ptr<HostSession>;

class SessionTable {
 public:
  // False: that handle is in use, or the table is full.
  bool add(const SessionPointer& session);
  void remove(const HostSession& session);
  SessionPointer find_wire(uint64_t wire) const;
  // By a handle of the engine, with or without a call number.
  SessionPointer find(loader_handle_t handle) const;
  std::vector<SessionPointer> all() const;
  bool empty() const;

 private:
  struct Slot {
    uint32_t generation = 0;
    SessionPointer session;
  };
  mutable std::mutex mutex_;
  std::unordered_map<uint64_t, SessionPointer> by_wire_;
  std::vector<Slot> slots_;
  std::deque<uint32_t> free_;  // oldest first: a handle comes back as late as possible
};

}  // namespace loader::host
