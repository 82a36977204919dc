// What hosts say: completions, results, hung calls, death. Checks that it can be right, then raises
// the table's event.
#include "session/shard_impl.h"

namespace loader::session {
namespace {

// The engine's own code and text travel beside our error.
Cause cause_of(int32_t status, std::string_view message) {
  Cause cause;
  cause.engine_code = status > 0 ? status : 0;
  cause.engine_message = message;
  if (status == LOADER_ERROR_INVALID_INPUT) cause.error = ErrorCode::INPUT_REJECTED;
  if (status == LOADER_ERROR_UNAVAILABLE) cause.error = ErrorCode::ENGINE_UNAVAILABLE;
  if (status == LOADER_ERROR_UNSUPPORTED) cause.error = ErrorCode::UNSUPPORTED;
  return cause;
}

Cause cause_of(const Completion& completion) {
  Cause cause = cause_of(completion.status, completion.message);
  if (completion.error != ErrorCode::kNone) cause.error = completion.error;
  return cause;
}

HostVerdict verdict(const Cell& cell) {
  const bool is_corrupt =
      cell.outcome == Outcome::kRefused && cell.error == ErrorCode::CHANNEL_CORRUPT;
  return is_corrupt ? HostVerdict::kCorrupt : HostVerdict::kOk;
}

}  // namespace

HostVerdict Shard::on_completion(const Completion& completion) {
  const Impl::Scope scope(*impl_);
  SessionState* s = impl_->find(completion.handle);
  if (s != nullptr) return impl_->complete(*s, completion);
  // Late for a session that closed with its calls void; a handle that never was is a lie.
  return impl_->was_issued(completion.handle) ? HostVerdict::kOk : HostVerdict::kCorrupt;
}

HostVerdict Shard::Impl::complete(SessionState& s, const Completion& completion) {
  if (s.state == State::kClosed) return HostVerdict::kOk;
  switch (completion.op) {
    case Op::kCreate:
      return complete_create(s, completion);
    case Op::kWrite:
      return complete_write(s, completion);
    case Op::kEnd:
      return complete_end(s, completion);
    case Op::kExec:
      return complete_exec(s, completion);
    case Op::kDestroy:
      return complete_destroy(s);
  }
  return HostVerdict::kCorrupt;
}

HostVerdict Shard::Impl::complete_create(SessionState& s, const Completion& completion) {
  if (!s.is_create_running) return HostVerdict::kCorrupt;
  s.is_create_running = false;
  if (completion.status != LOADER_OK) {
    const HostVerdict said = verdict(raise(s, Event::kCreateFailed, cause_of(completion)));
    // There is nothing to destroy.
    if (s.state == State::kClosing) raise(s, Event::kDestroyed);
    return said;
  }
  const HostVerdict said = verdict(raise(s, Event::kCreated));
  if (s.state == State::kOpen && s.is_end_noted) {
    s.is_end_noted = false;
    raise(s, Event::kInputEnd);
  }
  arm(s);
  return said;
}

void Shard::Impl::count_call(SessionState& s) {
  s.engine->counters.call.add(now_ns - s.call_ns);
  s.clock_ns = s.call_ns = now_ns;
}

HostVerdict Shard::Impl::complete_write(SessionState& s, const Completion& completion) {
  if (s.input_credit.outstanding() == 0) return HostVerdict::kCorrupt;
  const uint64_t held_bytes = s.input_credit.give_back();
  count_call(s);
  if (completion.status != LOADER_OK) {
    return verdict(raise(s, Event::kEngineError, cause_of(completion)));
  }
  ++s.processed;
  if (s.front != nullptr && s.is_served()) s.front->on_processed(s.id, s.processed);
  pump(s);
  if (held_bytes > 0 && s.front != nullptr && s.is_served()) {
    s.front->on_input_credit(s.id, held_bytes);
  }
  if (!s.has_running_call()) arm(s);  // from now on it may be idle
  return HostVerdict::kOk;
}

HostVerdict Shard::Impl::complete_end(SessionState& s, const Completion& completion) {
  // Calls of a session never overlap: end comes after the last write.
  if (!s.is_end_running || s.input_credit.outstanding() > 0) return HostVerdict::kCorrupt;
  s.is_end_running = false;
  count_call(s);
  if (completion.status != LOADER_OK) {
    return verdict(raise(s, Event::kEngineError, cause_of(completion)));
  }
  return verdict(raise(s, Event::kFinal));
}

HostVerdict Shard::Impl::complete_exec(SessionState& s, const Completion& completion) {
  if (!s.is_exec_running) return HostVerdict::kCorrupt;
  s.is_exec_running = false;
  count_call(s);
  const bool is_ok = completion.status == LOADER_OK;
  const Cell& cell =
      is_ok ? raise(s, Event::kFinal) : raise(s, Event::kEngineError, cause_of(completion));
  if (s.state == State::kClosing) raise(s, Event::kDestroyed);
  return verdict(cell);
}

HostVerdict Shard::Impl::complete_destroy(SessionState& s) {
  if (!s.is_destroy_running) return HostVerdict::kCorrupt;
  s.is_destroy_running = false;
  return verdict(raise(s, Event::kDestroyed));
}

ResultVerdict Shard::judge_result(Handle handle) const {
  const SessionState* s = impl_->find(handle);
  if (s == nullptr) {
    return impl_->was_issued(handle) ? ResultVerdict::kLate : ResultVerdict::kCorrupt;
  }
  const Cell& cell = lookup(s->variant, s->state, Event::kResult);
  if (cell.outcome != Outcome::kNext) {
    return verdict(cell) == HostVerdict::kOk ? ResultVerdict::kLate : ResultVerdict::kCorrupt;
  }
  return s->result_credit.is_left() ? ResultVerdict::kWanted : ResultVerdict::kCorrupt;
}

HostVerdict Shard::on_result(Handle handle, const MessageView& result) {
  const Impl::Scope scope(*impl_);
  SessionState* found = impl_->find(handle);
  if (found == nullptr) {
    return impl_->was_issued(handle) ? HostVerdict::kOk : HostVerdict::kCorrupt;
  }
  SessionState& s = *found;
  const Cell& cell = lookup(s.variant, s.state, Event::kResult);
  if (cell.outcome == Outcome::kNext) {
    const uint64_t size = result.size_bytes();
    if (!s.result_credit.receive(size)) return HostVerdict::kCorrupt;
    s.clock_ns = s.active_ns = impl_->now_ns;
    ++s.statistics.frames_out;
    s.statistics.bytes_out += size;
    ++s.engine->counters.frames_out;
    s.engine->counters.bytes_out += size;
    if (s.statistics.frames_out == 1) {
      s.statistics.first_result_ns = impl_->now_ns - s.opened_ns;
      s.engine->counters.first_result.add(s.statistics.first_result_ns);
    }
  }
  return verdict(impl_->raise(s, Event::kResult, {}, &result));
}

HostVerdict Shard::on_failure(const Failure& failure) {
  const Impl::Scope scope(*impl_);
  SessionState* s = impl_->find(failure.handle);
  if (s == nullptr) {
    return impl_->was_issued(failure.handle) ? HostVerdict::kOk : HostVerdict::kCorrupt;
  }
  if (s->variant == Variant::kExec) return HostVerdict::kCorrupt;
  if (s->state == State::kClosed) return HostVerdict::kOk;
  const Cause cause = cause_of(failure.status, failure.message);
  return verdict(impl_->raise(*s, Event::kEngineError, cause));
}

HostVerdict Shard::on_hung(Handle handle) {
  const Impl::Scope scope(*impl_);
  SessionState* s = impl_->find(handle);
  if (s != nullptr) {
    impl_->raise(*s, Event::kCallHung);
    return HostVerdict::kOk;
  }
  return impl_->was_issued(handle) ? HostVerdict::kOk : HostVerdict::kCorrupt;
}

void Shard::on_instance_hung(InstanceId instance) {
  const Impl::Scope scope(*impl_);
  const auto found = impl_->ports.find(instance);
  if (found == impl_->ports.end()) return;
  found->second.engine->pool->set_accepting(instance, false);
  impl_->hang_port(instance);
}

void Shard::on_host_died(InstanceId instance, const Cause& cause) {
  const Impl::Scope scope(*impl_);
  remove_port(instance);
  const size_t count = impl_->sessions.size();
  for (size_t i = 0; i < count; ++i) {
    SessionState& s = *impl_->sessions[i];
    if (s.is_free || !s.slot || s.slot.instance != instance) continue;
    impl_->raise(s, Event::kHostDied, cause);
  }
}

void Shard::on_slot_granted(const Grant& grant) {
  const Impl::Scope scope(*impl_);
  SessionState* s = impl_->find(grant.session);
  // Whoever waited is gone, or closed: the slot goes back.
  if (s == nullptr || !s->ticket) {
    grant.pool->release(grant.slot);
    return;
  }
  s->ticket = {};
  --s->engine->counters.queued;
  impl_->start(*s, grant.slot);
}

}  // namespace loader::session
