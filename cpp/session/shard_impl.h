// The inside of a Shard, shared by shard.cpp (fronts, operators, time), shard_hosts.cpp (what hosts
// say) and shard_actions.cpp (what the table orders). Nobody else includes it.
#pragma once

#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "session/session_state.h"

namespace loader::session {

struct Shard::Impl {
  struct Port {
    EngineState* engine = nullptr;
    HostPort* port = nullptr;
    int64_t kill_ns = kNever;   // hung: the grace ends
    int64_t check_ns = kNever;  // hung: look whether anybody still profits from the grace
  };

  // Sessions that closed are reused when the outermost call returns: until then pointers hold.
  class Scope {
   public:
    explicit Scope(Impl& shard) : shard_(shard) { ++shard_.depth; }
    ~Scope() {
      if (shard_.depth == 1) shard_.reclaim();
      --shard_.depth;
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Impl& shard_;
  };

  Impl(uint32_t shard_index, ShardEvents& shard_events);

  // ---- sessions (shard.cpp)
  SessionState& add_session(EngineState& engine, const OpenRequest& request);
  SessionState* find(SessionId id) const;
  bool was_issued(SessionId id) const;
  void reclaim();
  void reclaim(SessionState& s);
  void list_for_reclaim(SessionState& s);
  void say_drained();
  void forget_engine(EngineId id);

  // ---- admission (shard.cpp)
  void admit(SessionState& s);
  void wait_for_slot(SessionState& s, const Ticket& ticket);
  void start(SessionState& s, Slot slot);

  // ---- time (shard.cpp)
  int64_t next_clock(const SessionState& s) const;
  int64_t running_clock(const SessionState& s) const;
  int64_t detached_clock(const SessionState& s) const;
  int64_t idle_clock(const SessionState& s) const;
  void arm(SessionState& s);
  void wake(SessionState& s);
  void raise_due(SessionState& s);
  void abandon(SessionState& s, const Cause& cause);
  void close_where(Event event, const Cause& cause,
                   const std::function<bool(const SessionState&)>& is_chosen);
  void check_hung_ports();

  // ---- the table (shard_actions.cpp)
  const Cell& raise(SessionState& s, Event event, const Cause& cause = {},
                    const MessageView* message = nullptr);
  void perform(SessionState& s, const Cell& cell, const MessageView* message);
  void perform_before(SessionState& s, uint32_t actions);
  void perform_after(SessionState& s, uint32_t actions);
  void note_reason(SessionState& s, const Cell& cell, const Cause& cause);
  void send_start(SessionState& s, bool is_exec);
  void queue_input(SessionState& s, const MessageView& frame);
  void send_input(SessionState& s, const MessageView& frame);
  void write_now(SessionState& s, const MessageView& frame);
  void pump(SessionState& s);
  void send_end_if_due(SessionState& s);
  void drop_input(SessionState& s);
  void attach_front(SessionState& s);
  void detach_front(SessionState& s);
  void say_opened(SessionState& s);
  void send_result(SessionState& s, const MessageView& result);
  void keep_result(SessionState& s, const MessageView& result);
  void flush_results(SessionState& s);
  void give_results(SessionState& s);
  void drop_results(SessionState& s);
  void release_slot(SessionState& s);
  void mark_hung(SessionState& s);
  void hang_port(InstanceId instance);
  void send_final(SessionState& s);
  void say_final(SessionState& s);
  void grant_if_due(SessionState& s);
  void grant_now(SessionState& s);

  // ---- hosts (shard_hosts.cpp)
  HostVerdict complete(SessionState& s, const Completion& completion);
  HostVerdict complete_create(SessionState& s, const Completion& completion);
  HostVerdict complete_write(SessionState& s, const Completion& completion);
  HostVerdict complete_end(SessionState& s, const Completion& completion);
  HostVerdict complete_exec(SessionState& s, const Completion& completion);
  HostVerdict complete_destroy(SessionState& s);
  void count_call(SessionState& s);

  uint32_t index;
  ShardEvents& events;
  int64_t now_ns = 0;
  int depth = 0;
  std::unordered_map<EngineId, std::unique_ptr<EngineState>> engines;
  std::unordered_map<InstanceId, Port> ports;
  std::vector<std::unique_ptr<SessionState>> sessions;  // by index; objects are reused
  std::vector<uint32_t> free;
  std::vector<SessionState*> to_reclaim;
  Deadlines<SessionState> deadlines;
  size_t open_count = 0;
  uint32_t hung_ports = 0;
  EngineState nowhere;  // for sessions that ask for an engine that is not here
  bool is_draining = false;
  bool is_drained_said = false;
  int64_t drain_ns = kNever;
};

inline constexpr int64_t kHungCheckNs = 20'000'000;

}  // namespace loader::session
