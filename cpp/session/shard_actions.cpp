// What the table orders: each action, in the order of its bit. Decides nothing about the lifecycle.
#include <algorithm>

#include "session/shard_impl.h"

namespace loader::session {

const Cell& Shard::Impl::raise(SessionState& s, Event event, const Cause& cause,
                               const MessageView* message) {
  const Cell& cell = lookup(s.variant, s.state, event);
  if (cell.outcome == Outcome::kNext) {
    const bool was_live = s.is_live();
    s.state = cell.next;
    if (was_live && !s.is_live()) note_reason(s, cell, cause);
    perform(s, cell, message);
  } else if (cell.outcome == Outcome::kIgnored) {
    ++s.engine->counters.events_ignored;
  } else {
    ++s.engine->counters.events_refused;
  }
  return cell;
}

// A session has one reason, that of the event which started to close it.
void Shard::Impl::note_reason(SessionState& s, const Cell& cell, const Cause& cause) {
  s.reason = cause.reason != 0 ? cause.reason : cell.reason;
  s.error = cause.error != ErrorCode::kNone ? cause.error : cell.error;
  s.engine_code = cause.engine_code;
  s.error_text.assign(cause.message);
  s.engine_text.assign(cause.engine_message);
}

void Shard::Impl::perform(SessionState& s, const Cell& cell, const MessageView* message) {
  const uint32_t actions = cell.actions;
  perform_before(s, actions);
  if (actions & kQueueInput) queue_input(s, *message);
  if (actions & kNoteEnd) s.is_end_noted = true;
  if (actions & kSayOpened) say_opened(s);
  if (actions & kSendInput) {
    if (message != nullptr) {
      send_input(s, *message);
    } else {
      pump(s);
    }
  }
  if (actions & kQueueResult) keep_result(s, *message);
  if (actions & kSendResult) send_result(s, *message);
  if (actions & kSendEnd) {
    s.is_end_due = true;
    send_end_if_due(s);
  }
  if (actions & kAttachFront) attach_front(s);
  if (actions & kDetachFront) detach_front(s);
  perform_after(s, actions);
  if (s.state == State::kClosed) list_for_reclaim(s);
}

// What goes to the pool and the host when a session starts or is being closed.
void Shard::Impl::perform_before(SessionState& s, uint32_t actions) {
  // First: an inline engine may complete its destroy inside, and then there is no slot to mark.
  if (actions & kMarkHung) mark_hung(s);
  if ((actions & kCancelTicket) && s.ticket) {
    // False: the grant is on its way, and will find nobody.
    s.engine->pool->cancel(s.ticket);
    s.ticket = {};
    --s.engine->counters.queued;
  }
  if (actions & kDropInput) drop_input(s);
  if (actions & kSendCreate) send_start(s, false);
  if (actions & kSendExec) send_start(s, true);
  if (actions & kSendCancel) s.port->send_cancel(s.id, s.reason);
  if (actions & kSendDestroy) {
    s.is_destroy_running = true;
    s.clock_ns = s.has_running_call() ? s.clock_ns : now_ns;
    s.port->send_destroy(s.id, s.reason);
    arm(s);
  }
}

void Shard::Impl::perform_after(SessionState& s, uint32_t actions) {
  if (actions & kReleaseSlot) release_slot(s);
  if (actions & kSendFinal) send_final(s);
}

void Shard::Impl::send_start(SessionState& s, bool is_exec) {
  const EngineOptions& options = s.engine->options;
  s.input_credit.reset(options.window_bytes, options.window_records);
  s.result_credit.reset(options.window_bytes, options.window_records);
  s.clock_ns = s.call_ns = s.active_ns = now_ns;
  s.statistics.queue_ns = now_ns - s.opened_ns;
  s.engine->counters.queue_wait.add(s.statistics.queue_ns);
  (is_exec ? s.is_exec_running : s.is_create_running) = true;
  arm(s);
  const std::vector<uint8_t> kept = std::move(s.open_body);
  s.open_body = {};
  OpenView open;
  open.body = s.request != nullptr ? s.request->body : std::span<const uint8_t>(kept);
  open.deadline_ns = s.deadline_ns;
  open.credit_bytes = options.window_bytes;
  open.credit_records = options.window_records;
  if (!is_exec) {
    s.port->send_create(s.id, open);
  } else if (s.request != nullptr) {
    const MessageView request = s.request->request;
    s.port->send_exec(s.id, open, request);
  } else {
    s.is_pumping = true;
    s.port->send_exec(s.id, open, s.input.front());
    s.is_pumping = false;
    drop_input(s);
  }
}

// ---- input
// ---------------------------------------------------------------------------------------

void Shard::Impl::queue_input(SessionState& s, const MessageView& frame) {
  s.input.push(frame);
  s.engine->counters.queued_input_bytes += frame.size_bytes();
}

void Shard::Impl::send_input(SessionState& s, const MessageView& frame) {
  if (s.input.empty() && !s.is_pumping && s.input_credit.fits(frame.size_bytes())) {
    write_now(s, frame);
    pump(s);
  } else {
    queue_input(s, frame);
  }
}

// Everything is accounted for before the port is called: it may complete before it returns.
void Shard::Impl::write_now(SessionState& s, const MessageView& frame) {
  if (!s.has_running_call()) {
    s.clock_ns = s.call_ns = now_ns;
    s.input_credit.take(frame.size_bytes(), frame.window_bytes);
    arm(s);
  } else {
    s.input_credit.take(frame.size_bytes(), frame.window_bytes);
  }
  s.is_pumping = true;
  s.port->send_write(s.id, frame);
  s.is_pumping = false;
  if (s.is_drop_due) drop_input(s);
}

void Shard::Impl::pump(SessionState& s) {
  if (s.is_pumping) return;  // the loop below goes on
  while (s.is_served() && !s.input.empty()) {
    const MessageView frame = s.input.front();
    const uint64_t size = frame.size_bytes();
    if (!s.input_credit.fits(size)) return;
    s.input_credit.take(size, frame.window_bytes);
    if (!s.is_end_running && s.input_credit.outstanding() == 1) {
      s.clock_ns = s.call_ns = now_ns;
      arm(s);
    }
    s.is_pumping = true;
    s.port->send_write(s.id, frame);
    s.is_pumping = false;
    if (s.is_drop_due) {
      drop_input(s);
      return;
    }
    s.input.pop();
    s.engine->counters.queued_input_bytes -= size;
  }
  send_end_if_due(s);
}

void Shard::Impl::send_end_if_due(SessionState& s) {
  if (!s.is_end_due || !s.input.empty() || s.is_pumping || !s.is_served()) return;
  s.is_end_due = false;
  if (!s.has_running_call()) s.clock_ns = s.call_ns = now_ns;
  s.is_end_running = true;
  arm(s);
  s.port->send_end(s.id);
}

void Shard::Impl::drop_input(SessionState& s) {
  s.is_drop_due = s.is_pumping;
  s.is_end_due = false;
  if (s.is_pumping) return;
  s.engine->counters.queued_input_bytes -= s.input.bytes();
  s.input.clear();
}

// ---- results
// -------------------------------------------------------------------------------------

void Shard::Impl::attach_front(SessionState& s) {
  s.is_detached = false;
  s.active_ns = now_ns;
  if (s.is_opened_due) {
    say_opened(s);
  } else if (s.is_opened_said || s.variant == Variant::kExec) {
    flush_results(s);
  }
  if (s.is_final_due) say_final(s);
  arm(s);
}

void Shard::Impl::detach_front(SessionState& s) {
  s.front = nullptr;
  s.is_detached = true;
  s.detached_ns = now_ns;
  arm(s);
}

void Shard::Impl::say_opened(SessionState& s) {
  s.active_ns = now_ns;
  if (s.front == nullptr) {
    s.is_opened_due = true;
    return;
  }
  s.is_opened_due = false;
  s.is_opened_said = true;
  s.front->on_opened(s.id);
  flush_results(s);
}

void Shard::Impl::send_result(SessionState& s, const MessageView& result) {
  if (s.front == nullptr || !s.results.empty() || s.is_flushing) {
    keep_result(s, result);
  } else {
    s.front->on_result(s.id, result);
  }
}

void Shard::Impl::keep_result(SessionState& s, const MessageView& result) {
  s.results.push(result);
  s.engine->counters.queued_result_bytes += result.size_bytes();
}

// A final that was due meanwhile follows the last result.
void Shard::Impl::flush_results(SessionState& s) {
  if (s.is_flushing) return;
  give_results(s);
  if (s.is_final_due && s.results.empty()) say_final(s);
}

// The front may detach or cancel in between.
void Shard::Impl::give_results(SessionState& s) {
  while (s.front != nullptr && !s.results.empty()) {
    const MessageView result = s.results.front();
    const uint64_t size = result.size_bytes();
    s.is_flushing = true;
    s.front->on_result(s.id, result);
    s.is_flushing = false;
    s.results.pop();
    s.engine->counters.queued_result_bytes -= size;
  }
}

void Shard::Impl::drop_results(SessionState& s) {
  s.engine->counters.queued_result_bytes -= s.results.bytes();
  s.results.clear();
}

// What is not yet due is held back for good: once the front has taken everything, more than half of
// the window is left, and then a host may emit a result of any size (channel/credit.h).
void Shard::Impl::grant_if_due(SessionState& s) {
  if (s.port != nullptr && s.is_live() && s.result_credit.is_grant_due()) grant_now(s);
}

void Shard::Impl::grant_now(SessionState& s) {
  const ResultCredit::Grant grant = s.result_credit.take_grant();
  s.port->grant(s.id, grant.records, grant.bytes);
}

// ---- the end
// -------------------------------------------------------------------------------------

void Shard::Impl::release_slot(SessionState& s) {
  if (!s.slot) return;
  const Slot slot = s.slot;
  s.slot = {};
  s.port = nullptr;
  if (s.is_hung) s.engine->pool->uncount_hung(slot.instance);
  s.engine->pool->release(slot);
}

void Shard::Impl::mark_hung(SessionState& s) {
  if (s.is_hung || !s.slot) return;
  s.is_hung = true;
  ++s.engine->counters.calls_hung;
  s.engine->pool->set_accepting(s.slot.instance, false);
  s.engine->pool->count_hung(s.slot.instance);
  hang_port(s.slot.instance);
  events.on_instance_hung(s.slot.instance, s.id);
}

void Shard::Impl::hang_port(InstanceId instance) {
  const auto found = ports.find(instance);
  if (found == ports.end()) return;
  Port& port = found->second;
  if (port.kill_ns != kNever) return;
  port.kill_ns = now_ns + port.engine->options.hang_grace_ns;
  port.check_ns = now_ns;
  ++hung_ports;
}

void Shard::Impl::send_final(SessionState& s) {
  s.statistics.duration_ns = now_ns - s.opened_ns;
  ++s.engine->counters.closed[s.reason < kReasonCount ? s.reason : 0];
  s.is_final_due = true;
  say_final(s);
}

void Shard::Impl::say_final(SessionState& s) {
  if (s.is_final_said) return;
  if (s.is_abandoned) {
    s.is_final_due = false;
    s.is_final_said = true;
    drop_results(s);
    return;
  }
  if (s.front == nullptr || s.is_flushing) return;
  // Results of a create that failed: nobody was told that anything is open.
  if (s.variant != Variant::kExec && !s.is_opened_said) drop_results(s);
  if (!s.results.empty()) flush_results(s);
  if (s.front == nullptr || s.is_final_said) return;  // detached or cancelled meanwhile
  Front* front = s.front;
  s.front = nullptr;
  s.is_final_due = false;
  s.is_final_said = true;
  const FinalView final{
      s.reason, {s.error, s.error_text, s.engine_code, s.engine_text}, s.statistics};
  front->on_final(s.id, final);
}

}  // namespace loader::session
