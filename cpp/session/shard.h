// The sessions of one shard: runs the table, keeps queues, credit and deadlines, talks to fronts
// and hosts through ports.h. Does no I/O, starts no thread, reads no clock: the time is passed in.
//
// Threads: one shard belongs to one thread. Only SlotPool is shared.
// Time: set_now() once a round, advance() when next_deadline_ns() has come (or once a round).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "session/counters.h"
#include "session/ports.h"
#include "session/slots.h"
#include "session/table.h"

namespace loader::session {

// Limits of an engine. Live: a change holds for what starts after it. 0 in a timeout: none.
struct EngineOptions {
  int64_t admission_wait_ns = 1'000'000'000;  // 0: a slot now or a refusal
  int64_t call_timeout_ns = 30'000'000'000;
  int64_t create_timeout_ns = 30'000'000'000;
  int64_t destroy_timeout_ns = 30'000'000'000;
  int64_t hang_grace_ns = 5'000'000'000;
  int64_t idle_timeout_ns = 0;
  int64_t detached_timeout_ns = 30'000'000'000;  // detached for longer: client_gone
  uint64_t window_bytes = 64 * 1024;             // credit of each direction of a session
  uint32_t window_records = 256;
  uint32_t queue_records = 8192;  // input waiting in the core
  uint64_t queue_bytes =
      64 * 1024;  // input waiting in the core; one larger frame may overdraw once
};

struct OpenRequest {
  Kind kind = Kind::kSession;
  EngineId engine = 0;
  int32_t priority = 0;
  int64_t deadline_ns = kNever;    // absolute
  int64_t admission_wait_ns = -1;  // -1: the engine's
  std::span<const uint8_t> body;   // for the host, opaque; copied only if the session has to wait
  MessageView request;             // execs: the one frame
  Front* front = nullptr;          // REQUIRED
};

// Why a session is closed from outside; what the final says.
struct Cause {
  uint32_t reason = 0;                 // 0: that of the table
  ErrorCode error = ErrorCode::kNone;  // kNone: that of the table
  std::string_view message{};
  int32_t engine_code = 0;
  std::string_view engine_message{};
};

enum class FrameStatus : uint8_t {
  kAccepted,
  kIgnored,     // the session is ending: drop the frame, the final is on its way or was said
  kWouldBlock,  // nothing changed; try again after on_input_credit
  kRefused,     // nothing changed; see FrameResult::error. A front usually cancels with reason
                // protocol
};

struct FrameResult {
  FrameStatus status = FrameStatus::kAccepted;
  ErrorCode error = ErrorCode::kNone;
};

struct Completion {
  Handle handle = 0;
  Op op = Op::kWrite;
  int32_t status = 0;  // loader_status_t: 0, negative ours, positive the engine's own
  ErrorCode error = ErrorCode::kNone;  // kNone: follows from operation and status
  std::string_view message;
};

// The engine ended a session by itself. `status` is never 0.
struct Failure {
  Handle handle = 0;
  int32_t status = 0;
  std::string_view message;
};

// Whether what a host said can be right. kCorrupt: stop that host (CHANNEL_CORRUPT).
enum class HostVerdict : uint8_t { kOk, kCorrupt };

// Of a result by its head alone. kLate: nobody wants it any more, which is nobody's fault.
enum class ResultVerdict : uint8_t { kWanted, kLate, kCorrupt };

// One session for listings; views are valid during the visit.
struct SessionInfo {
  SessionId id = 0;
  EngineId engine = 0;
  InstanceId instance = 0;  // 0: none yet
  Kind kind = Kind::kSession;
  State state = State::kQueued;
  bool is_attached = true;
  uint64_t queued_bytes = 0;
  const Front* front = nullptr;
  SessionStatistics statistics;
};

class Shard {
 public:
  // `index` < 256: which shard this is; part of each id.
  Shard(uint32_t index, ShardEvents& events);
  // Every session still there just vanishes: raise drain_deadline and let hosts answer first.
  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  // ---- time
  void set_now(int64_t now_ns);
  void advance(int64_t now_ns);      // sets now and raises what is due
  int64_t next_deadline_ns() const;  // kNever: none

  // ---- engines and instances; the pool is shared by the shards
  void add_engine(EngineId engine, std::shared_ptr<SlotPool> pool, const EngineOptions& options);
  void update_engine(EngineId engine, const EngineOptions& options);
  // No new sessions; those left go on. The pool is let go with the last of them.
  void remove_engine(EngineId engine);
  // Add the port to each shard before SlotPool::add_instance. The port outlives on_host_died.
  void add_port(InstanceId instance, EngineId engine, HostPort& port);
  // The instance was stopped with no session left. After on_host_died it need not be called.
  void remove_port(InstanceId instance);

  // ---- fronts
  // Always yields exactly one on_final, perhaps before it returns: then the result is an id that is
  // void already. Never 0.
  SessionId open(const OpenRequest& request);
  FrameResult frame(SessionId id, const MessageView& frame);
  FrameResult input_end(SessionId id);
  // Closes with client_cancel, or with what the cause says (client_gone, protocol). on_final comes
  // before it returns, unless it has been. An unknown id is ignored.
  void cancel(SessionId id, const Cause& cause = {});
  // The front goes, the session stays: results and final wait, bounded, for attach.
  ErrorCode detach(SessionId id);
  // Gives what waited to the new front, final included, before it returns.
  ErrorCode attach(SessionId id, Front& front);
  // The transport took results of that size: the engine may emit as much again.
  void result_consumed(SessionId id, uint64_t size_bytes, uint32_t records = 1);

  // ---- hosts
  HostVerdict on_completion(const Completion& completion);
  // What on_result() would say, before anything of the result has been fetched.
  ResultVerdict judge_result(Handle handle) const;
  HostVerdict on_result(Handle handle, const MessageView& result);
  HostVerdict on_failure(const Failure& failure);
  // The host itself found a hung call.
  HostVerdict on_hung(Handle handle);
  // No pong: the instance takes no new work and gets its grace, then on_kill_instance.
  void on_instance_hung(InstanceId instance);
  // Retire it in the pool first. Ends its sessions and forgets the port.
  void on_host_died(InstanceId instance, const Cause& cause = {});
  void on_slot_granted(const Grant& grant);

  // ---- operators
  bool kick(SessionId id, std::string_view message);
  // No new sessions; those left get drain_deadline at that time. on_drained when none is left.
  void drain(int64_t deadline_ns);
  // New sessions are taken again.
  void undrain();
  bool is_draining() const;
  // Raises an outside closer (drain_deadline, replaced, kicked) for the sessions of an engine, of
  // an instance, or of all.
  void close_all(Event event, const Cause& cause = {});
  void close_engine(EngineId engine, Event event, const Cause& cause = {});
  void close_instance(InstanceId instance, Event event, const Cause& cause = {});

  // ---- to look at
  size_t session_count() const;  // until closed; lingering detached ones included
  size_t engine_session_count(EngineId engine) const;
  const EngineCounters* counters(EngineId engine) const;  // nullptr: unknown engine
  void for_each_session(const std::function<void(const SessionInfo&)>& visit) const;
  bool find_session(SessionId id, SessionInfo& info) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace loader::session
