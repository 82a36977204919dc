// What a shard knows of one session, and of one engine. Data; the rules are in the table and in
// shard_*.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "session/credit.h"
#include "session/deadlines.h"
#include "session/message_queue.h"
#include "session/shard.h"

namespace loader::session {

struct EngineState {
  EngineId id = 0;
  std::shared_ptr<SlotPool> pool;
  EngineOptions options;
  EngineCounters counters;
  bool is_removed = false;
};

struct SessionState {
  SessionId id = 0;
  EngineState* engine = nullptr;
  Front* front = nullptr;  // nullptr: detached, or final was said
  HostPort* port = nullptr;
  const OpenRequest* request = nullptr;  // only while open() runs
  Slot slot;
  Ticket ticket;
  int32_t priority = 0;

  Variant variant = Variant::kSession;
  State state = State::kQueued;
  bool is_free = true;
  bool is_detached = false;
  bool is_abandoned = false;   // detached for too long: nobody will hear the final
  bool is_opened_due = false;  // created while detached: the next front is told
  bool is_opened_said = false;
  bool is_final_due = false;  // kept until a front attaches
  bool is_final_said = false;
  bool is_end_noted = false;  // input_end came before created
  bool is_end_due = false;    // end goes out after the queued frames
  bool is_end_running = false;
  bool is_create_running = false;
  bool is_exec_running = false;
  bool is_destroy_running = false;
  bool is_hung = false;
  bool is_pumping = false;   // a frame is being sent: the queue's first message is in use
  bool is_flushing = false;  // a kept result is being given to the front: likewise
  bool is_drop_due = false;  // forget the input when pumping is over
  bool is_reclaim_listed = false;

  uint32_t reason = 0;
  ErrorCode error = ErrorCode::kNone;
  int32_t engine_code = 0;
  std::string error_text;
  std::string engine_text;

  int64_t opened_ns = 0;
  int64_t deadline_ns = kNever;
  int64_t admission_ns = kNever;  // when waiting for a slot ends
  int64_t active_ns = 0;          // last frame or result
  int64_t detached_ns = 0;
  int64_t clock_ns = 0;  // when the hung clock started: call begun, last emission, or credit given
  int64_t call_ns = 0;   // when the oldest running call began
  uint64_t processed = 0;
  size_t heap_index = Deadlines<SessionState>::kNotIn;

  InputCredit input_credit;
  ResultCredit result_credit;
  MessageQueue input;
  MessageQueue results;
  std::vector<uint8_t> open_body;  // kept while the session waits for a slot
  SessionStatistics statistics;

  bool is_live() const { return state != State::kClosing && state != State::kClosed; }
  bool is_served() const { return state == State::kOpen || state == State::kInputEnded; }
  bool has_running_call() const {
    return input_credit.outstanding() > 0 || is_end_running || is_exec_running;
  }
};

}  // namespace loader::session
