// Runs what was queued for a session, one operation at a time, and answers each exactly once.
#include <utility>

#include "host/arguments.h"
#include "host/runtime_impl.h"

namespace loader::host {

using channel::Operation;

namespace {

struct OpenScratch {
  channel::OpenBody body;
  channel::Bytes rest;
  OpenArguments arguments;
};

void say(loader_error_t& error, std::string_view text) {
  error.size = static_cast<uint32_t>(text.copy(error.message, error.capacity));
}

}  // namespace

// A session's turn. Queued at most once for each session, whatever waits in it.
class HostRuntime::Impl::SessionJob final : public Job {
 public:
  SessionJob(Impl& impl, SessionPointer session) : impl_(impl), session_(std::move(session)) {}
  void run() noexcept override { impl_.run_session(session_); }

 private:
  Impl& impl_;
  SessionPointer session_;
};

void HostRuntime::Impl::enqueue(const SessionPointer& session, PendingOperation operation) {
  std::lock_guard lock(session->mutex);
  session->queue.push_back(std::move(operation));
  schedule(session);
}

bool HostRuntime::Impl::is_ready(const HostSession& session) {
  if (session.call == CallState::kParked) {
    return session.is_closed || session.is_cancelled.load(std::memory_order_relaxed) ||
           session.credit.fits(session.wanted_bytes);
  }
  if (session.call != CallState::kNone || session.queue.empty()) return false;
  const Operation next = session.queue.front().operation;
  if (next == Operation::kDestroy) return !session.is_cancel_busy;
  // Without room for another result like the last a write waits here: inside emit it would hold a
  // thread.
  return next != Operation::kWrite || session.is_closed ||
         session.is_cancelled.load(std::memory_order_relaxed) ||
         session.credit.fits(session.last_bytes);
}

void HostRuntime::Impl::schedule(const SessionPointer& session) {
  if (session->is_scheduled || !is_ready(*session)) return;
  session->is_scheduled = true;
  dispatcher_.submit(std::make_shared<SessionJob>(*this, session), JobKind::kCall);
}

void HostRuntime::Impl::run_session(const SessionPointer& session) {
  std::unique_lock lock(session->mutex);
  if (is_ready(*session)) {
    const bool resumes = session->call == CallState::kParked;
    session->call = CallState::kRunning;
    if (resumes) {
      lock.unlock();
      resume_operation(session);
    } else {
      PendingOperation operation = std::move(session->queue.front());
      session->queue.pop_front();
      session->operation = operation.operation;
      session->is_finished_early = false;
      // 0 means "the session itself", so it is no call's number.
      if (++session->call_number == 0) session->call_number = 1;
      lock.unlock();
      start_operation(session, std::move(operation));
    }
    lock.lock();
  }
  session->is_scheduled = false;
  schedule(session);
}

void HostRuntime::Impl::start_operation(const SessionPointer& session, PendingOperation operation) {
  if (operation.operation == Operation::kDestroy) return run_destroy(session, operation.reason);
  session->alive_ns.store(monotonic_ns(), std::memory_order_relaxed);
  bool is_over = session->is_cancelled.load(std::memory_order_relaxed);
  if (!is_over) {
    std::lock_guard lock(session->mutex);
    is_over = session->is_closed;
  }
  if (is_over) {
    return after_call(session, {LOADER_ERROR_CLOSED, "the session is being closed"});
  }
  const bool opens =
      operation.operation == Operation::kCreate || operation.operation == Operation::kExec;
  if (takes_resources_ && opens) {
    Outcome refusal = use_resources(*session, operation);
    if (refusal.status != LOADER_OK) return after_call(session, std::move(refusal));
  }
  ErrorRoom room;
  const loader_status_t status = call_engine(*session, operation, room.error());
  operation.block.reset();
  after_call(session, room.outcome(status));
}

void HostRuntime::Impl::resume_operation(const SessionPointer& session) {
  ErrorRoom room;
  const loader_handle_t call =
      session->is_exec ? session->handle
                       : engine_handle::with_call(session->handle, session->call_number);
  const loader_status_t status = engine_.resume(session->object, call, room.error());
  after_call(session, room.outcome(status));
}

loader_status_t HostRuntime::Impl::call_engine(HostSession& session, PendingOperation& operation,
                                               loader_error_t& error) {
  switch (operation.operation) {
    case Operation::kCreate:
    case Operation::kExec:
      return call_open(session, operation, error);
    case Operation::kWrite:
      return call_with_frame(session, operation, operation.block->body(), nullptr, error);
    default:
      return engine_.end(session.object,
                         engine_handle::with_call(session.handle, session.call_number), error);
  }
}

loader_status_t HostRuntime::Impl::call_open(HostSession& session, PendingOperation& operation,
                                             loader_error_t& error) {
  thread_local OpenScratch scratch;
  scratch.body.clear();
  if (!decode(operation.block->body(), scratch.body, scratch.rest)) {
    say(error, "the open information is malformed");
    return LOADER_ERROR_ARGUMENT;
  }
  const loader_open_t& open = scratch.arguments.fill(scratch.body);
  if (operation.operation == Operation::kExec)
    return call_with_frame(session, operation, scratch.rest, &open, error);
  return engine_.create(session.handle, open, &session.object, error);
}

loader_status_t HostRuntime::Impl::call_with_frame(HostSession& session,
                                                   PendingOperation& operation,
                                                   std::span<const uint8_t> bytes,
                                                   const loader_open_t* open,
                                                   loader_error_t& error) {
  thread_local FrameScratch scratch;
  const frame::Fault fault = scratch.fill(*operation.block, bytes);
  if (fault != frame::Fault::kNone) {
    say(error, std::string("the frame is malformed: ") + describe(fault));
    return LOADER_ERROR_INVALID_INPUT;
  }
  const loader_status_t status =
      open != nullptr ? engine_.exec(session.handle, *open, scratch.frame(), error)
                      : engine_.write(session.object,
                                      engine_handle::with_call(session.handle, session.call_number),
                                      scratch.frame(), error);
  scratch.release_rest();
  return status;
}

// The engine has returned. PENDING and kParked leave the call open.
void HostRuntime::Impl::after_call(const SessionPointer& session, Outcome outcome) {
  Operation operation{};
  {
    std::lock_guard lock(session->mutex);
    operation = session->operation;
    if (outcome.status == LOADER_PENDING && operation != Operation::kCreate) {
      // destroy voids a pending call; where it came while the engine ran, it voids this one now.
      if (!session->is_finished_early && !session->is_destroy_queued) {
        session->call = CallState::kPending;
        return;
      }
      outcome = session->is_finished_early
                    ? Outcome{session->early_status, std::move(session->early_message)}
                    : Outcome{LOADER_ERROR_CLOSED, "the session was closed before finish"};
    } else if (outcome.status == kParked && operation != Operation::kCreate) {
      session->call = CallState::kParked;
      return;
    }
  }
  if (outcome.status == LOADER_PENDING || outcome.status == kParked)
    outcome = {LOADER_ERROR_INTERNAL, "create may not return PENDING: emit later, from any thread"};
  settle(session, operation, outcome);
  std::lock_guard lock(session->mutex);
  session->call = CallState::kNone;
  if (operation == Operation::kCreate && session->is_created && session->failure)
    say_failure(*session, *session->failure);
}

// Draws the consequences of a call's end and tells the loader.
void HostRuntime::Impl::settle(const SessionPointer& session, Operation operation,
                               const Outcome& outcome) {
  const bool failed = outcome.status != LOADER_OK;
  {
    std::lock_guard lock(session->mutex);
    if (operation == Operation::kCreate && !failed) session->is_created = true;
    // After its end, or an error, a session only waits for its destroy.
    if (failed || operation == Operation::kEnd || operation == Operation::kExec)
      session->is_closed = true;
  }
  complete(*session->link, session->wire, operation, outcome);
  if (operation == Operation::kExec || (operation == Operation::kCreate && failed))
    forget(*session);
}

loader_status_t HostRuntime::Impl::finish(loader_handle_t call, loader_status_t status,
                                          std::string_view message) {
  const SessionPointer session = sessions_.find(call);
  if (!session) return LOADER_ERROR_CLOSED;
  if (status == LOADER_PENDING || status == LOADER_AGAIN || status == kParked)
    return LOADER_ERROR_ARGUMENT;
  Operation operation{};
  {
    std::lock_guard lock(session->mutex);
    if (session->is_closed) return LOADER_ERROR_CLOSED;
    const uint16_t number = engine_handle::call(call);
    if (number != 0 && number != session->call_number) return LOADER_ERROR_ARGUMENT;
    operation = session->operation;
    if (session->call == CallState::kRunning) {
      if (session->is_finished_early || operation == Operation::kCreate ||
          operation == Operation::kDestroy)
        return LOADER_ERROR_ARGUMENT;
      session->is_finished_early = true;
      session->early_status = status;
      session->early_message = clean_text(message);
      return LOADER_OK;
    }
    if (session->call != CallState::kPending) return LOADER_ERROR_ARGUMENT;
    session->call = CallState::kRunning;  // nothing else of it starts before the answer is queued
    session->is_finished_early = true;
  }
  settle(session, operation, {status, status == LOADER_OK ? "" : clean_text(message), 0});
  std::lock_guard lock(session->mutex);
  session->call = CallState::kNone;
  schedule(session);
  return LOADER_OK;
}

void HostRuntime::Impl::complete(Link& link, uint64_t wire, Operation operation,
                                 const Outcome& outcome) {
  channel::CompletionBody body;
  body.operation = operation;
  body.status = outcome.status;
  body.error_code = outcome.error_code;
  body.message = outcome.message;
  link.send_body(channel::RecordType::kCompletion, wire, body);
}

}  // namespace loader::host
