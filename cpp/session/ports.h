// The two seams of the session core: HostPort towards one engine instance, Front towards one
// client; and ShardEvents towards whoever supervises. Pure interfaces: no transport is known here.
//
// Re-entrance. Each of these functions may call back into the Shard that calls it, from the same
// thread: an inline engine completes inside send_write, a front cancels inside on_result.
#pragma once

#include <cstdint>
#include <string_view>

#include "loader/errors.h"
#include "session/message.h"

namespace loader::session {

// Names a session or exec in its shard and, with the same number, at its host: generation (32
// bits), shard (8), index (24). Never 0, never reused.
using SessionId = uint64_t;
using Handle = SessionId;

using EngineId = uint32_t;    // one engine name and version; chosen by the caller, never reused
using InstanceId = uint32_t;  // unique in the process, never reused

inline constexpr int64_t kNever = INT64_MAX;  // "no deadline" in absolute nanoseconds

constexpr uint32_t shard_of(SessionId id) {
  return static_cast<uint32_t>(id >> 24) & 0xffu;
}

enum class Kind : uint8_t { kSession, kExec };

// Which work of a session a completion answers.
enum class Op : uint8_t { kCreate, kWrite, kEnd, kExec, kDestroy };

struct SessionStatistics {
  uint64_t frames_in = 0;
  uint64_t bytes_in = 0;
  uint64_t frames_out = 0;
  uint64_t bytes_out = 0;
  int64_t queue_ns = 0;         // open to slot
  int64_t first_result_ns = 0;  // open to first result; 0: none came
  int64_t duration_ns = 0;      // open to final
};

// Views are valid until the call that passes it returns.
struct SessionError {
  ErrorCode code = ErrorCode::kNone;
  std::string_view message;  // what happened; empty: the text of the error table says it all
  int32_t engine_code = 0;
  std::string_view engine_message;
};

struct FinalView {
  uint32_t reason = 0;  // LOADER_REASON_*
  SessionError error;   // code kNone: it ended well
  SessionStatistics statistics;
};

// The client's side of one session. The shard calls it on its own thread; it lives until on_final
// or until detach() returned, whichever is first.
class Front {
 public:
  virtual ~Front() = default;
  // The engine's create succeeded; before any result. Not called for execs.
  virtual void on_opened(SessionId id) = 0;
  // One result, in order. The front returns its window with Shard::result_consumed(id,
  // size_bytes()) once the transport has taken it, perhaps at once.
  virtual void on_result(SessionId id, const MessageView& result) = 0;
  // The engine is done with input frames that came with `window_bytes`: that much of the
  // transport's window may be opened again. Nothing comes after on_final.
  virtual void on_input_credit(SessionId id, uint64_t window_bytes) = 0;
  // The engine has processed the first `frame_count` frames of this session (for acks).
  virtual void on_processed(SessionId id, uint64_t frame_count) {
    static_cast<void>(id);
    static_cast<void>(frame_count);
  }
  // Exactly once, the last call. The front may delete itself in it. The id is void afterwards.
  virtual void on_final(SessionId id, const FinalView& final) = 0;
};

// What create and exec carry to the host. `body` is opaque (the encoded open record).
struct OpenView {
  std::span<const uint8_t> body;
  int64_t deadline_ns = kNever;  // absolute, the clock of Shard::set_now
  uint64_t credit_bytes = 0;     // the window granted for results
  uint32_t credit_records = 0;
};

// One engine instance as one shard sees it. None of the calls may block; what does not fit the
// socket is the port's to keep (bounded by the credit windows of the sessions).
class HostPort {
 public:
  virtual ~HostPort() = default;
  virtual void send_create(Handle handle, const OpenView& open) = 0;
  virtual void send_exec(Handle handle, const OpenView& open, const MessageView& request) = 0;
  virtual void send_write(Handle handle, const MessageView& frame) = 0;
  virtual void send_end(Handle handle) = 0;
  virtual void send_cancel(Handle handle, uint32_t reason) = 0;
  virtual void send_destroy(Handle handle, uint32_t reason) = 0;
  // Credit for results of this session.
  virtual void grant(Handle handle, uint32_t records, uint64_t bytes) = 0;
};

// What a shard tells its supervisor.
class ShardEvents {
 public:
  virtual ~ShardEvents() = default;
  // A call into the instance hung: it takes no new work from now on.
  virtual void on_instance_hung(InstanceId instance, SessionId session) = 0;
  // The grace of the instance's other sessions is over: kill its host now (reason call_hung), then
  // report on_host_died to each shard.
  virtual void on_kill_instance(InstanceId instance) = 0;
  // Drain was asked for and no session is left in this shard.
  virtual void on_drained() = 0;
};

}  // namespace loader::session
