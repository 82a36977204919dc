// Fail, cancel and destroy: how a session leaves, whatever its call is doing.
#include <utility>

#include "host/runtime_impl.h"

namespace loader::host {

using channel::Operation;

// Under one lock with what the end of a call decides: whichever is first is what the loader hears.
loader_status_t HostRuntime::Impl::fail(loader_handle_t handle, loader_status_t status,
                                        std::string_view message) {
  if (!is_error(status)) return LOADER_ERROR_ARGUMENT;
  Outcome failure{status, clean_text(message)};
  const SessionPointer session = sessions_.find(handle);
  if (!session) return LOADER_ERROR_CLOSED;
  if (session->is_exec) return LOADER_ERROR_ARGUMENT;
  std::lock_guard lock(session->mutex);
  const uint16_t call = engine_handle::call(handle);
  const bool is_late = call != 0 && call != session->call_number;
  if (is_late || session->is_closed || session->is_cancelled.load()) return LOADER_ERROR_CLOSED;
  const bool is_in_create =
      session->call == CallState::kRunning && session->operation == Operation::kCreate;
  if (is_in_create) {
    session->failure = std::move(failure);
  } else {
    say_failure(*session, failure);
  }
  session->is_closed = true;
  session->changed.notify_all();
  fire_waiters(*session);
  schedule(session);
  return LOADER_OK;
}

void HostRuntime::Impl::say_failure(HostSession& session, const Outcome& failure) {
  channel::FailureBody body;
  body.status = failure.status;
  body.message = failure.message;
  session.link->send_body(channel::RecordType::kFailure, session.wire, body);
}

void HostRuntime::Impl::cancel(const SessionPointer& session, int32_t reason) {
  {
    std::lock_guard lock(session->mutex);
    if (session->is_cancelled.exchange(true)) return;
    session->changed.notify_all();
    fire_waiters(*session);
    schedule(session);
    const bool is_known =
        session->is_exec ? session->call != CallState::kNone : session->is_created;
    if (!is_known) return;
    session->is_cancel_busy = true;
  }
  submit(JobKind::kControl, [this, session, reason] { run_cancel(session, reason); });
}

void HostRuntime::Impl::run_cancel(const SessionPointer& session, int32_t reason) {
  bool is_known = true;
  {
    std::lock_guard lock(session->mutex);
    is_known = session->is_exec ? session->call != CallState::kNone : session->is_created;
  }
  if (is_known) engine_.cancel(session->object, session->handle, reason);
  std::lock_guard lock(session->mutex);
  session->is_cancel_busy = false;
  schedule(session);
}

void HostRuntime::Impl::request_destroy(const SessionPointer& session, int32_t reason) {
  bool is_voided = false;
  Operation voided{};
  bool is_busy = false;
  {
    std::lock_guard lock(session->mutex);
    if (session->is_destroy_queued) return;
    session->is_destroy_queued = true;
    is_busy = session->call != CallState::kNone;
  }
  // A call that still runs is to return soon: its engine hears of the end first.
  if (is_busy) cancel(session, reason);
  {
    std::lock_guard lock(session->mutex);
    session->is_cancelled.store(true);
    session->changed.notify_all();
    fire_waiters(*session);
    is_voided = session->call == CallState::kPending;
    voided = session->operation;
    if (is_voided) {
      session->call = CallState::kNone;
      session->is_closed = true;
    }
    session->queue.push_back({Operation::kDestroy, nullptr, reason});
    schedule(session);
  }
  if (is_voided) {
    complete(*session->link, session->wire, voided,
             {LOADER_ERROR_CLOSED, "the session was closed before finish"});
  }
}

void HostRuntime::Impl::run_destroy(const SessionPointer& session, int32_t reason) {
  bool was_created = false;
  {
    std::lock_guard lock(session->mutex);
    session->is_closed = true;
    was_created = std::exchange(session->is_created, false);
  }
  if (was_created) engine_.destroy(session->object, session->handle, reason);
  complete(*session->link, session->wire, Operation::kDestroy, {});
  forget(*session);
}

// The handle is void from here on. What was still queued is answered, not run.
void HostRuntime::Impl::forget(HostSession& session) {
  std::deque<PendingOperation> rest;
  {
    std::lock_guard lock(session.mutex);
    session.is_closed = true;
    session.changed.notify_all();
    fire_waiters(session);
    rest.swap(session.queue);
  }
  sessions_.remove(session);
  for (const PendingOperation& operation : rest) {
    const bool is_destroy = operation.operation == Operation::kDestroy;
    complete(*session.link, session.wire, operation.operation,
             is_destroy ? Outcome{} : Outcome{LOADER_ERROR_CLOSED, "the session is closed"});
  }
  release_resources(session);
  finish_shutdown();
}

}  // namespace loader::host
