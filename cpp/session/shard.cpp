// What fronts and operators ask for, admission, and time.
#include "session/shard.h"

#include <algorithm>
#include <new>

#include "session/shard_impl.h"

namespace loader::session {
namespace {

constexpr uint32_t kIndexBits = 24;
constexpr uint32_t kIndexMask = (1u << kIndexBits) - 1;

constexpr SessionId first_id(uint32_t shard, uint32_t index) {
  return (SessionId{1} << 32) | (SessionId{shard} << kIndexBits) | index;
}
constexpr SessionId next_id(SessionId id) {
  const SessionId next = id + (SessionId{1} << 32);
  return next >> 32 == 0 ? next + (SessionId{1} << 32) : next;  // after 2^32 lives
}
constexpr uint32_t index_of(SessionId id) {
  return static_cast<uint32_t>(id) & kIndexMask;
}

constexpr int64_t after(int64_t from_ns, int64_t timeout_ns) {
  return timeout_ns <= 0 || from_ns > kNever - timeout_ns ? kNever : from_ns + timeout_ns;
}

bool is_outside_closer(Event event) {
  return std::any_of(table_detail::kOutsideClosers.begin(), table_detail::kOutsideClosers.end(),
                     [event](const auto& closer) { return closer.event == event; });
}

}  // namespace

Shard::Impl::Impl(uint32_t shard_index, ShardEvents& shard_events)
    : index(shard_index), events(shard_events) {}

Shard::Shard(uint32_t index, ShardEvents& events) : impl_(std::make_unique<Impl>(index, events)) {}
Shard::~Shard() = default;

// ---- sessions
// ------------------------------------------------------------------------------------

SessionState& Shard::Impl::add_session(EngineState& engine, const OpenRequest& request) {
  if (free.empty()) {
    const uint32_t added = static_cast<uint32_t>(sessions.size());
    sessions.push_back(std::make_unique<SessionState>());
    sessions.back()->id = first_id(index, added);
    free.reserve(sessions.size());
    free.push_back(added);
  }
  SessionState& s = *sessions[free.back()];
  free.pop_back();
  s.is_free = false;
  s.engine = &engine;
  s.front = request.front;
  s.variant = request.kind == Kind::kExec ? Variant::kExec : Variant::kSession;
  s.deadline_ns = request.deadline_ns;
  s.opened_ns = s.active_ns = now_ns;
  ++open_count;
  EngineCounters& counters = engine.counters;
  ++counters.open_sessions;
  ++(request.kind == Kind::kExec ? counters.execs_started : counters.sessions_opened);
  if (request.kind == Kind::kExec) {
    s.statistics.frames_in = 1;
    s.statistics.bytes_in = request.request.size_bytes();
    ++counters.frames_in;
    counters.bytes_in += s.statistics.bytes_in;
  }
  return s;
}

SessionState* Shard::Impl::find(SessionId id) const {
  const uint32_t i = index_of(id);
  if (i >= sessions.size() || sessions[i]->id != id || sessions[i]->is_free) return nullptr;
  return sessions[i].get();
}

bool Shard::Impl::was_issued(SessionId id) const {
  const uint32_t i = index_of(id);
  return shard_of(id) == index && i < sessions.size() && id >> 32 != 0 && id <= sessions[i]->id;
}

void Shard::Impl::list_for_reclaim(SessionState& s) {
  if (s.is_reclaim_listed) return;
  s.is_reclaim_listed = true;
  to_reclaim.push_back(&s);
}

void Shard::Impl::reclaim() {
  // Reclaiming calls nobody but owners of payloads and ShardEvents.
  for (size_t i = 0; i < to_reclaim.size(); ++i) {
    SessionState& s = *to_reclaim[i];
    s.is_reclaim_listed = false;
    if (s.state == State::kClosed && s.is_final_said) reclaim(s);
  }
  to_reclaim.clear();
  say_drained();
}

void Shard::Impl::reclaim(SessionState& s) {
  deadlines.remove(s);
  drop_input(s);
  drop_results(s);
  --s.engine->counters.open_sessions;
  --open_count;
  EngineState& engine = *s.engine;
  const SessionId id = next_id(s.id);
  InputCredit credit = std::move(s.input_credit);
  credit.shrink();
  s.~SessionState();
  new (&s) SessionState();
  s.id = id;
  s.input_credit = std::move(credit);
  free.push_back(index_of(id));
  if (engine.is_removed && engine.counters.open_sessions == 0) forget_engine(engine.id);
}

void Shard::Impl::forget_engine(EngineId id) {
  std::erase_if(ports, [&](const auto& entry) {
    const Port& port = entry.second;
    const bool is_its = port.engine->id == id;
    if (is_its && port.kill_ns != kNever) --hung_ports;
    return is_its;
  });
  engines.erase(id);
}

void Shard::Impl::say_drained() {
  if (!is_draining || is_drained_said || open_count > 0) return;
  is_drained_said = true;
  events.on_drained();
}

// ---- engines and instances
// -----------------------------------------------------------------------

void Shard::add_engine(EngineId engine, std::shared_ptr<SlotPool> pool,
                       const EngineOptions& options) {
  auto state = std::make_unique<EngineState>();
  state->id = engine;
  state->pool = std::move(pool);
  state->options = options;
  impl_->engines[engine] = std::move(state);
}

void Shard::update_engine(EngineId engine, const EngineOptions& options) {
  const auto found = impl_->engines.find(engine);
  if (found != impl_->engines.end()) found->second->options = options;
}

void Shard::remove_engine(EngineId engine) {
  const auto found = impl_->engines.find(engine);
  if (found == impl_->engines.end()) return;
  found->second->is_removed = true;
  if (found->second->counters.open_sessions == 0) impl_->forget_engine(engine);
}

void Shard::add_port(InstanceId instance, EngineId engine, HostPort& port) {
  const auto found = impl_->engines.find(engine);
  if (found == impl_->engines.end()) return;
  impl_->ports[instance] = {found->second.get(), &port};
}

void Shard::remove_port(InstanceId instance) {
  const auto found = impl_->ports.find(instance);
  if (found == impl_->ports.end()) return;
  if (found->second.kill_ns != kNever) --impl_->hung_ports;
  impl_->ports.erase(found);
}

// ---- admission
// -----------------------------------------------------------------------------------

SessionId Shard::open(const OpenRequest& request) {
  const Impl::Scope scope(*impl_);
  const auto found = impl_->engines.find(request.engine);
  const bool is_known = found != impl_->engines.end() && !found->second->is_removed;
  SessionState& s = impl_->add_session(is_known ? *found->second : impl_->nowhere, request);
  s.request = &request;
  if (!is_known) {
    impl_->raise(s, Event::kAdmissionTimeout,
                 {.reason = kReasonRefused, .error = ErrorCode::UNKNOWN_ENGINE});
  } else if (impl_->is_draining) {
    impl_->raise(s, Event::kDrainDeadline);
  } else if (request.deadline_ns <= impl_->now_ns) {
    impl_->raise(s, Event::kDeadline);
  } else {
    impl_->admit(s);
  }
  s.request = nullptr;
  return s.id;
}

// The action acquire_slot.
void Shard::Impl::admit(SessionState& s) {
  const OpenRequest& request = *s.request;
  const int64_t wait_ns = request.admission_wait_ns >= 0 ? request.admission_wait_ns
                                                         : s.engine->options.admission_wait_ns;
  s.admission_ns = wait_ns == 0 ? now_ns : after(now_ns, wait_ns);
  s.priority = request.priority;
  const uint64_t bytes = request.body.size() + request.request.size_bytes();
  const Admission admission = s.engine->pool->acquire(s.id, s.priority, wait_ns > 0, bytes);
  if (admission.slot) {
    start(s, admission.slot);
  } else if (admission.ticket) {
    wait_for_slot(s, admission.ticket);
  } else {
    raise(s, Event::kAdmissionTimeout, {.error = admission.error});
  }
}

void Shard::Impl::wait_for_slot(SessionState& s, const Ticket& ticket) {
  s.ticket = ticket;
  ++s.engine->counters.queued;
  if (s.request != nullptr) {
    s.open_body.assign(s.request->body.begin(), s.request->body.end());
    if (s.variant == Variant::kExec) queue_input(s, s.request->request);
    s.request = nullptr;
  }
  arm(s);
}

void Shard::Impl::start(SessionState& s, Slot slot) {
  for (;;) {
    const auto found = ports.find(slot.instance);
    if (found != ports.end()) {
      s.slot = slot;
      s.port = found->second.port;
      raise(s, Event::kSlotGranted);
      return;
    }
    // The host died while the grant was on its way: wait again, as long as the caller may.
    const bool is_serving = s.engine->pool->is_accepting(slot.instance);
    s.engine->pool->release(slot);
    const uint64_t bytes = s.open_body.size() + s.input.bytes();
    const Admission again = is_serving ? Admission{{}, {}, ErrorCode::ENGINE_UNAVAILABLE}
                                       : s.engine->pool->acquire(s.id, s.priority, true, bytes);
    if (again.ticket) return wait_for_slot(s, again.ticket);
    if (!again.slot) {
      raise(s, Event::kAdmissionTimeout, {.error = again.error});
      return;
    }
    slot = again.slot;
  }
}

// ---- fronts
// --------------------------------------------------------------------------------------

FrameResult Shard::frame(SessionId id, const MessageView& frame) {
  const Impl::Scope scope(*impl_);
  SessionState* found = impl_->find(id);
  if (found == nullptr) return {FrameStatus::kRefused, ErrorCode::UNKNOWN_SESSION};
  SessionState& s = *found;
  const EngineOptions& options = s.engine->options;
  // An end that came before created counts as one.
  const bool is_ended = s.is_end_noted && s.is_live();
  const Cell& cell = lookup(s.variant, is_ended ? State::kInputEnded : s.state, Event::kFrame);
  if (is_ended) {
    ++s.engine->counters.events_refused;
    return {FrameStatus::kRefused, cell.error};
  }
  if (cell.outcome == Outcome::kNext) {
    if (s.input.bytes() >= options.queue_bytes || s.input.count() >= options.queue_records) {
      return {FrameStatus::kWouldBlock, ErrorCode::kNone};
    }
    const uint64_t size = frame.size_bytes();
    ++s.statistics.frames_in;
    s.statistics.bytes_in += size;
    ++s.engine->counters.frames_in;
    s.engine->counters.bytes_in += size;
    s.active_ns = impl_->now_ns;
  }
  impl_->raise(s, Event::kFrame, {}, &frame);
  if (cell.outcome == Outcome::kIgnored) return {FrameStatus::kIgnored, ErrorCode::kNone};
  if (cell.outcome == Outcome::kRefused) return {FrameStatus::kRefused, cell.error};
  return {};
}

FrameResult Shard::input_end(SessionId id) {
  const Impl::Scope scope(*impl_);
  SessionState* s = impl_->find(id);
  if (s == nullptr) return {FrameStatus::kIgnored, ErrorCode::kNone};
  if (s->is_end_noted && s->is_live()) return {FrameStatus::kIgnored, ErrorCode::kNone};
  const Cell& cell = impl_->raise(*s, Event::kInputEnd);
  if (cell.outcome == Outcome::kNext) return {};
  return {FrameStatus::kIgnored, ErrorCode::kNone};
}

void Shard::cancel(SessionId id, const Cause& cause) {
  const Impl::Scope scope(*impl_);
  SessionState* s = impl_->find(id);
  if (s == nullptr) return;
  if (s->is_detached) return impl_->abandon(*s, cause);
  impl_->raise(*s, Event::kClientCancel, cause);
}

ErrorCode Shard::detach(SessionId id) {
  const Impl::Scope scope(*impl_);
  SessionState* s = impl_->find(id);
  if (s == nullptr || s->is_final_said) return ErrorCode::UNKNOWN_SESSION;
  if (const ErrorCode error = detach_error(!s->is_detached); error != ErrorCode::kNone)
    return error;
  impl_->raise(*s, Event::kDetach);
  return ErrorCode::kNone;
}

ErrorCode Shard::attach(SessionId id, Front& front) {
  const Impl::Scope scope(*impl_);
  SessionState* s = impl_->find(id);
  if (s == nullptr || s->is_final_said) return ErrorCode::UNKNOWN_SESSION;
  if (const ErrorCode error = attach_error(!s->is_detached); error != ErrorCode::kNone)
    return error;
  s->front = &front;
  impl_->raise(*s, Event::kAttach);
  return ErrorCode::kNone;
}

void Shard::result_consumed(SessionId id, uint64_t size_bytes, uint32_t records) {
  const Impl::Scope scope(*impl_);
  SessionState* s = impl_->find(id);
  if (s == nullptr) return;
  s->result_credit.consume(size_bytes, records);
  s->active_ns = impl_->now_ns;
  if (s->result_credit.is_consumed() && s->has_running_call()) {
    s->clock_ns = impl_->now_ns;
    impl_->arm(*s);
  }
  impl_->grant_if_due(*s);
}

// ---- operators
// -----------------------------------------------------------------------------------

bool Shard::kick(SessionId id, std::string_view message) {
  const Impl::Scope scope(*impl_);
  SessionState* s = impl_->find(id);
  if (s == nullptr || !s->is_live()) return false;
  impl_->raise(*s, Event::kKicked, {.message = message});
  return true;
}

void Shard::drain(int64_t deadline_ns) {
  const Impl::Scope scope(*impl_);
  impl_->is_draining = true;
  impl_->is_drained_said = false;
  impl_->drain_ns = deadline_ns;
}

void Shard::undrain() {
  impl_->is_draining = impl_->is_drained_said = false;
  impl_->drain_ns = kNever;
}

bool Shard::is_draining() const {
  return impl_->is_draining;
}

void Shard::Impl::close_where(Event event, const Cause& cause,
                              const std::function<bool(const SessionState&)>& is_chosen) {
  if (!is_outside_closer(event)) return;
  const Scope scope(*this);
  const size_t count = sessions.size();  // those opened meanwhile are not meant
  for (size_t i = 0; i < count; ++i) {
    SessionState& s = *sessions[i];
    if (s.is_free || !is_chosen(s)) continue;
    raise(s, event, cause);
    // Nobody may come back for it in time.
    if (s.is_detached && event == Event::kDrainDeadline) abandon(s, cause);
  }
}

void Shard::close_all(Event event, const Cause& cause) {
  impl_->close_where(event, cause, [](const SessionState&) { return true; });
}

void Shard::close_engine(EngineId engine, Event event, const Cause& cause) {
  impl_->close_where(event, cause,
                     [engine](const SessionState& s) { return s.engine->id == engine; });
}

void Shard::close_instance(InstanceId instance, Event event, const Cause& cause) {
  impl_->close_where(event, cause, [instance](const SessionState& s) {
    return s.slot && s.slot.instance == instance;
  });
}

// ---- time
// ----------------------------------------------------------------------------------------

void Shard::set_now(int64_t now_ns) {
  impl_->now_ns = now_ns;
}

void Shard::advance(int64_t now_ns) {
  const Impl::Scope scope(*impl_);
  Impl& shard = *impl_;
  shard.now_ns = now_ns;
  if (shard.drain_ns <= now_ns) {
    shard.drain_ns = kNever;
    close_all(Event::kDrainDeadline);
  }
  while (!shard.deadlines.empty() && shard.deadlines.first_ns() <= now_ns) {
    shard.wake(*shard.deadlines.first());
  }
  if (shard.hung_ports > 0) shard.check_hung_ports();
}

int64_t Shard::next_deadline_ns() const {
  int64_t next = impl_->drain_ns;
  if (!impl_->deadlines.empty()) next = std::min(next, impl_->deadlines.first_ns());
  if (impl_->hung_ports == 0) return next;
  for (const auto& [id, port] : impl_->ports) next = std::min(next, port.check_ns);
  return next;
}

// The clock of the call that runs: create, then write, end or exec, then destroy.
int64_t Shard::Impl::running_clock(const SessionState& s) const {
  const EngineOptions& options = s.engine->options;
  if (s.is_hung || !s.slot) return kNever;
  if (s.is_create_running) return after(s.clock_ns, options.create_timeout_ns);
  if (s.has_running_call()) {
    // It may be waiting for credit: then the client is slow, not the engine.
    const bool may_be_blocked = s.is_live() && !s.result_credit.is_consumed();
    return may_be_blocked ? kNever : after(s.clock_ns, options.call_timeout_ns);
  }
  return s.is_destroy_running ? after(s.clock_ns, options.destroy_timeout_ns) : kNever;
}

// While the engine works the other clock counts; a client that does not read is idle.
int64_t Shard::Impl::idle_clock(const SessionState& s) const {
  if (!s.is_served() || s.is_detached || s.variant == Variant::kExec) return kNever;
  if (s.has_running_call() && s.result_credit.is_consumed()) return kNever;
  return after(s.active_ns, s.engine->options.idle_timeout_ns);
}

int64_t Shard::Impl::detached_clock(const SessionState& s) const {
  if (!s.is_detached || s.is_abandoned || s.is_final_said) return kNever;
  return after(s.detached_ns, s.engine->options.detached_timeout_ns);
}

int64_t Shard::Impl::next_clock(const SessionState& s) const {
  int64_t next = detached_clock(s);
  if (s.is_live()) next = std::min(next, s.deadline_ns);
  if (s.state == State::kQueued) return std::min(next, s.admission_ns);
  return std::min({next, running_clock(s), idle_clock(s)});
}

void Shard::Impl::arm(SessionState& s) {
  const int64_t next = next_clock(s);
  if (next != kNever) deadlines.at_latest(s, next);
}

void Shard::Impl::wake(SessionState& s) {
  deadlines.remove(s);
  if (next_clock(s) <= now_ns) raise_due(s);
  arm(s);
}

void Shard::Impl::raise_due(SessionState& s) {
  if (detached_clock(s) <= now_ns) {
    abandon(s, {.reason = LOADER_REASON_CLIENT_GONE});
  } else if (s.is_live() && s.deadline_ns <= now_ns) {
    raise(s, Event::kDeadline);
  } else if (s.state == State::kQueued) {
    const bool is_served = s.engine->pool->state().instances > 0;
    raise(s, Event::kAdmissionTimeout,
          {.error = is_served ? ErrorCode::NO_FREE_SLOT : ErrorCode::ENGINE_UNAVAILABLE});
  } else if (running_clock(s) <= now_ns) {
    raise(s, Event::kCallHung);
  } else {
    raise(s, Event::kIdleTimeout);
  }
}

// A detached session that nobody will come back for.
void Shard::Impl::abandon(SessionState& s, const Cause& cause) {
  s.is_abandoned = true;
  raise(s, Event::kClientCancel, cause);
  if (s.is_final_due) say_final(s);
  if (s.state == State::kClosed) list_for_reclaim(s);
}

void Shard::Impl::check_hung_ports() {
  std::vector<InstanceId> to_kill;
  for (auto& [id, port] : ports) {
    if (port.check_ns > now_ns) continue;
    const SlotPool& pool = *port.engine->pool;
    const bool is_over = now_ns >= port.kill_ns || pool.used(id) <= pool.hung(id);
    port.check_ns = is_over ? kNever : std::min(port.kill_ns, now_ns + kHungCheckNs);
    if (is_over) to_kill.push_back(id);
  }
  for (const InstanceId id : to_kill) events.on_kill_instance(id);
}

// ---- to look at
// ----------------------------------------------------------------------------------

size_t Shard::session_count() const {
  return impl_->open_count;
}

size_t Shard::engine_session_count(EngineId engine) const {
  const EngineCounters* counters = this->counters(engine);
  return counters == nullptr ? 0 : counters->open_sessions;
}

const EngineCounters* Shard::counters(EngineId engine) const {
  const auto found = impl_->engines.find(engine);
  return found == impl_->engines.end() ? nullptr : &found->second->counters;
}

namespace {

SessionInfo info_of(const SessionState& s) {
  SessionInfo info;
  info.id = s.id;
  info.engine = s.engine->id;
  info.instance = s.slot.instance;
  info.kind = s.variant == Variant::kExec ? Kind::kExec : Kind::kSession;
  info.state = s.state;
  info.is_attached = !s.is_detached;
  info.queued_bytes = s.input.bytes() + s.results.bytes();
  info.front = s.front;
  info.statistics = s.statistics;
  return info;
}

}  // namespace

void Shard::for_each_session(const std::function<void(const SessionInfo&)>& visit) const {
  for (const auto& s : impl_->sessions) {
    if (!s->is_free) visit(info_of(*s));
  }
}

bool Shard::find_session(SessionId id, SessionInfo& info) const {
  const SessionState* s = impl_->find(id);
  if (s != nullptr) info = info_of(*s);
  return s != nullptr;
}

}  // namespace loader::session
