// One session or exec of an engine that runs inline: its calls, its credit, and what it has emitted
// but may not be passed on yet. Data only; inline_link.cpp says what happens to it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "channel/credit.h"
#include "host/input.h"
#include "host/outcome.h"
#include "loader/wrapper.h"
#include "session/ports.h"

namespace loader::server {

// Work for the engine, waiting for the call before it, or for credit.
struct InlineOperation {
  session::Op op = session::Op::kWrite;
  host::InputBlock::Pointer block;  // write and exec: the frame
  std::string open;                 // create and exec: parameters and metadata (open_blob.h)
};

// What leaves the engine in order: a result, the end of a call, or the failure of the session.
struct InlineOutgoing {
  enum class Kind { kResult, kCompletion, kFailure };

  Kind kind = Kind::kResult;
  // a result
  std::vector<uint8_t> body = {};
  std::vector<session::PayloadView> payloads = {};  // one reference each is ours
  uint64_t charge = 0;
  bool is_overdrawn = false;  // emitted beyond the credit: goes when there is some
  // a completion or a failure
  session::Op op = session::Op::kWrite;
  host::Outcome outcome = {};
};

struct InlineSession {
  enum class Call {
    kNone,      // the next operation may start
    kRunning,   // inside the engine
    kPending,   // returned PENDING: finish() follows
    kAnswering  // its end waits behind results
  };

  InlineSession(session::Handle number, bool exec) : wire(number), is_exec(exec) {}

  const session::Handle wire;  // the core's
  const bool is_exec;

  // ---- the shard's thread only
  void* object = nullptr;  // the engine's, from create
  std::list<InlineOperation> queue;
  int32_t reason = 0;               // of cancel and destroy
  std::vector<uint32_t> resources;  // that it uses
  bool is_created = false;
  bool is_cancel_due = false;
  bool is_destroy_due = false;
  bool is_working = false;  // its next step is being looked for

  // ---- the link's mutex
  loader_handle_t handle = 0;       // the engine's, for the session
  loader_handle_t call_handle = 0;  // for its running call; of an exec the same
  int64_t deadline_ns = session::kNever;
  uint64_t seq = 0;
  channel::SendCredit credit;
  std::list<InlineOutgoing> outgoing;
  uint64_t overdrawn_bytes = 0;
  uint32_t overdrawn_records = 0;
  uint32_t window_records = 0;
  Call call = Call::kNone;
  session::Op op = session::Op::kCreate;  // of the call
  bool is_finished_early = false;         // finish() came before PENDING was returned
  host::Outcome early;
  std::optional<host::Outcome> failure;  // fail() came inside create: told once it has succeeded
  bool is_posted = false;
  bool is_closed = false;  // nothing may be emitted any more
  bool is_cancelled = false;
  uint32_t waiting = 0;  // threads that wait for credit
  std::condition_variable changed;
};

using InlineSessionPointer = std::shared_ptr<InlineSession>;

}  // namespace loader::server
