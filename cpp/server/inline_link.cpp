#include "server/inline_link.h"

#include <utility>

#include "host/native_engine.h"
#include "server/inline_engine.h"
#include "server/open_blob.h"

namespace loader::server {
namespace {

using session::Op;
using Call = InlineSession::Call;

constexpr uint32_t kIndexMask = (1u << 24) - 1;

void say(loader_error_t& error, std::string_view text) {
  error.size = static_cast<uint32_t>(text.copy(error.message, error.capacity));
}

std::string text_of(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

host::InputBlock::Pointer block_of(const session::MessageView& message) {
  return host::InputBlock::create(message.body, {}, nullptr);
}

}  // namespace

thread_local const InlineLink* InlineLink::entered_link = nullptr;

InlineLink::InlineLink(session::InstanceId instance, uint32_t shard, EventLoop& loop,
                       session::Shard& core, LinkOwner& owner, InlineEngine& engine)
    : InstanceLink(instance),
      shard_(shard),
      loop_(loop),
      core_(core),
      owner_(owner),
      engine_(engine) {}

// ---- the instance

void InlineLink::send_init(channel::RecordType type, const channel::InitBody& body) {
  if (is_closed_) return;
  std::vector<uint8_t> bytes(size_of(body));
  write(body, bytes.data());
  engine_.post(
      [self = shared_from_this(), type, bytes = std::move(bytes)] { self->run_init(type, bytes); });
}

// On the engine's thread.
void InlineLink::run_init(channel::RecordType type, const std::vector<uint8_t>& bytes) {
  channel::InitBody body;
  static_cast<void>(decode(bytes, body));  // our own words
  const bool is_init = type == channel::RecordType::kInit;
  auto operation = is_init ? channel::Operation::kInit : channel::Operation::kUpdate;
  host::Outcome outcome = is_init ? engine_.init(body, operation) : engine_.update(body);
  host::Identity identity;
  if (is_init && outcome.status == LOADER_OK) identity = engine_.identity();
  post([this, is_init, operation, outcome, identity] {
    if (is_init && outcome.status == LOADER_OK) {
      owner_.on_link_ready(*this, {identity.flags, identity.abi_major, identity.abi_minor,
                                   identity.name, identity.version, identity.describe_json});
    }
    owner_.on_link_completion(*this, 0,
                              {operation, outcome.status, outcome.error_code, outcome.message});
  });
}

// The loop that asks is the one that would answer.
void InlineLink::send_ping(uint64_t nonce) {
  if (!is_closed_) owner_.on_link_pong(*this, nonce);
}

// Any thread. What concerns the instance may take its time: on the engine's thread.
void InlineLink::run_on_engine(channel::Operation operation, uint64_t call,
                               std::function<host::Outcome()> work) {
  engine_.post([self = shared_from_this(), operation, call, work = std::move(work)] {
    host::Outcome outcome = work();
    self->post([link = self.get(), operation, call, outcome] {
      link->owner_.on_link_completion(
          *link, call, {operation, outcome.status, outcome.error_code, outcome.message});
    });
  });
}

void InlineLink::send_health() {
  if (is_closed_) return;
  run_on_engine(channel::Operation::kHealth, 0, [this] { return engine_.check_health(); });
}

void InlineLink::send_load_resource(uint64_t call, uint32_t id, std::span<const uint8_t> frame) {
  if (is_closed_) return;
  run_on_engine(channel::Operation::kLoadResource, call,
                [this, id, bytes = std::vector<uint8_t>(frame.begin(), frame.end())] {
                  return engine_.load_resource(id, bytes);
                });
}

void InlineLink::send_unload_resource(uint64_t call, uint32_t id) {
  if (is_closed_) return;
  // Run by whoever was the last to use it: on any thread.
  const auto unload = [self = weak_from_this(), call, id] {
    if (const auto link = self.lock()) {
      link->run_on_engine(channel::Operation::kUnloadResource, call,
                          [link = link.get(), id] { return link->engine_.unload_resource(id); });
    }
  };
  host::ResourceTable::Job now;
  if (!engine_.resources().leave(id, unload, now)) {
    now = [this, call, id] {
      run_on_engine(channel::Operation::kUnloadResource, call, [id] {
        return host::unknown_resource("resource " + std::to_string(id) + " is not loaded");
      });
    };
  }
  if (now) now();
}

void InlineLink::send_fini(int32_t) {
  if (!is_closed_) owner_.on_link_lost(*this, false, "stopped");
}

void InlineLink::close(int32_t reason) {
  if (is_closed_) return;
  std::vector<InlineSessionPointer> left;
  {
    std::lock_guard lock(mutex_);
    is_closed_ = true;
    left.swap(sessions_);
    for (const InlineSessionPointer& session : left) {
      if (!session) continue;
      session->is_closed = session->is_cancelled = true;
      session->changed.notify_all();
    }
  }
  for (const InlineSessionPointer& session : left) {
    if (!session) continue;
    drop_results(*session);
    destroy_object(*session, reason);
  }
  deferred_.clear();
  std::lock_guard lock(mutex_);
  has_owner_ = false;
}

// ---- from the core

const InlineSessionPointer& InlineLink::find_wire(session::Handle handle) const {
  static const InlineSessionPointer kNobody;
  const size_t i = handle & kIndexMask;
  return i < sessions_.size() && sessions_[i] && sessions_[i]->wire == handle ? sessions_[i]
                                                                              : kNobody;
}

InlineSessionPointer InlineLink::add(session::Handle handle, const session::OpenView& open,
                                     bool is_exec) {
  auto session = std::make_shared<InlineSession>(handle, is_exec);
  session->deadline_ns = open.deadline_ns;
  session->credit = {open.credit_records, open.credit_bytes};
  session->window_records = open.credit_records;
  std::lock_guard lock(mutex_);
  const size_t i = handle & kIndexMask;
  if (i >= sessions_.size()) sessions_.resize(i + 1);
  session->handle = next_handle(*session);
  sessions_[i] = session;
  return session;
}

void InlineLink::send_create(session::Handle handle, const session::OpenView& open) {
  if (is_closed_) return;
  submit(add(handle, open, false), {Op::kCreate, nullptr, text_of(open.body)});
}

void InlineLink::send_exec(session::Handle handle, const session::OpenView& open,
                           const session::MessageView& request) {
  if (is_closed_) return;
  submit(add(handle, open, true), {Op::kExec, block_of(request), text_of(open.body)});
}

void InlineLink::send_write(session::Handle handle, const session::MessageView& frame) {
  if (const auto& session = find_wire(handle)) submit(session, {Op::kWrite, block_of(frame), {}});
}

void InlineLink::send_end(session::Handle handle) {
  if (const auto& session = find_wire(handle)) submit(session, {Op::kEnd, nullptr, {}});
}

void InlineLink::send_cancel(session::Handle handle, uint32_t reason) {
  const InlineSessionPointer session = find_wire(handle);
  if (!session || session->is_cancelled) return;
  {
    std::lock_guard lock(mutex_);
    session->is_cancelled = true;
    session->changed.notify_all();
  }
  drop_results(*session);
  session->reason = static_cast<int32_t>(reason);
  session->is_cancel_due = true;
  work(session);
}

void InlineLink::send_destroy(session::Handle handle, uint32_t reason) {
  const InlineSessionPointer session = find_wire(handle);
  if (!session) return;
  session->reason = static_cast<int32_t>(reason);
  session->is_destroy_due = true;
  work(session);
}

void InlineLink::grant(session::Handle handle, uint32_t records, uint64_t bytes) {
  const InlineSessionPointer session = find_wire(handle);
  if (!session) return;
  {
    std::lock_guard lock(mutex_);
    session->credit.give_back({records, bytes});
    if (session->waiting > 0) session->changed.notify_all();
  }
  work(session);
}

// ---- what happens next

void InlineLink::submit(const InlineSessionPointer& session, InlineOperation operation) {
  bool is_next = !session->is_working && !is_entered() && session->queue.empty();
  if (is_next) {
    std::lock_guard lock(mutex_);
    is_next = may_start(*session);
  }
  if (is_next) return work(session, &operation);
  session->queue.push_back(std::move(operation));
  work(session);
}

// Steps may bring the core back here: the outermost goes on for all. `first` is what starts at
// once.
void InlineLink::work(const InlineSessionPointer& given, InlineOperation* first) {
  if (given->is_working) return;
  if (is_entered()) return deferred_.push_back(given);
  const InlineSessionPointer session = given;  // the table may let go of it
  session->is_working = true;
  if (first != nullptr) run(*session, *first);
  while (!is_closed_ && step(session)) {
  }
  session->is_working = false;
  while (!deferred_.empty()) {
    const InlineSessionPointer next = std::move(deferred_.back());
    deferred_.pop_back();
    work(next);
  }
}

// False: nothing can be done for the session now.
bool InlineLink::step(const InlineSessionPointer& session) {
  InlineSession& s = *session;
  if (std::exchange(s.is_cancel_due, false)) {
    if (s.is_created) {
      enter([&] {
        engine_.code().cancel(s.object, s.handle, s.reason);
        return LOADER_OK;
      });
    }
    return true;
  }
  if (std::exchange(s.is_destroy_due, false)) return destroy(s), false;
  InlineOutgoing out;
  {
    std::lock_guard lock(mutex_);
    if (!take_outgoing(s, out) && (s.queue.empty() || !may_start(s))) return false;
  }
  if (out.kind == InlineOutgoing::Kind::kCompletion) {
    complete(s, out.op, out.outcome);
  } else if (out.kind == InlineOutgoing::Kind::kFailure) {
    check(core_.on_failure({s.wire, out.outcome.status, out.outcome.message}));
  } else if (!out.body.empty()) {
    pass_on(s.wire, out);
  } else {
    InlineOperation operation = std::move(s.queue.front());
    s.queue.pop_front();
    run(s, operation);
  }
  return true;
}

bool InlineLink::take_outgoing(InlineSession& s, InlineOutgoing& out) {
  if (s.outgoing.empty()) return false;
  InlineOutgoing& first = s.outgoing.front();
  if (first.is_overdrawn) {
    if (!s.credit.take(first.charge)) return false;
    s.overdrawn_bytes -= first.charge;
    --s.overdrawn_records;
  }
  out = std::move(first);
  s.outgoing.pop_front();
  return true;
}

// An entry that could emit nothing would only fail.
bool InlineLink::may_start(const InlineSession& s) const {
  if (s.call != Call::kNone || !s.outgoing.empty()) return false;
  return s.is_cancelled || s.credit.fits(1);
}

// ---- calls

// No entry inside another, one at a time where `threads` says so.
template <typename Entry>
loader_status_t InlineLink::enter(Entry&& entry) {
  loader_status_t status = LOADER_OK;
  {
    const auto turn = engine_.take_turn();
    const InlineLink* const outer = std::exchange(entered_link, this);
    entered_ns_.store(loop_.now_ns(), std::memory_order_relaxed);
    status = entry();
    entered_ns_.store(0, std::memory_order_relaxed);
    entered_link = outer;
  }
  // The call took time that nobody else accounts for.
  core_.set_now(EventLoop::clock_ns());
  return status;
}

void InlineLink::run(InlineSession& s, InlineOperation& operation) {
  bool is_over = false;
  {
    std::lock_guard lock(mutex_);
    s.op = operation.op;
    s.call = Call::kRunning;
    s.is_finished_early = false;
    s.call_handle = s.is_exec ? s.handle : next_handle(s);
    is_over = s.is_cancelled || s.is_closed;
  }
  if (is_over) return after(s, {LOADER_ERROR_CLOSED, "the session is being closed"});
  const bool opens = operation.op == Op::kCreate || operation.op == Op::kExec;
  if (opens && engine_.takes_resources()) {
    host::Outcome refusal = use_resources(s, operation);
    if (refusal.status != LOADER_OK) return after(s, std::move(refusal));
  }
  host::ErrorRoom room;
  const loader_status_t status = call(s, operation, room.error());
  operation.block.reset();
  after(s, room.outcome(status));
}

loader_status_t InlineLink::call(InlineSession& s, InlineOperation& operation,
                                 loader_error_t& error) {
  host::NativeEngine& code = engine_.code();
  switch (operation.op) {
    case Op::kCreate: {
      const loader_open_t& open = open_of(s, operation);
      return enter([&] { return code.create(s.handle, open, &s.object, error); });
    }
    case Op::kExec:
      return call_with_frame(s, operation, &open_of(s, operation), error);
    case Op::kWrite:
      return call_with_frame(s, operation, nullptr, error);
    case Op::kEnd:
    case Op::kDestroy:
      break;
  }
  return enter([&] { return code.end(s.object, s.call_handle, error); });
}

const loader_open_t& InlineLink::open_of(const InlineSession& s, const InlineOperation& operation) {
  open_.clear();
  session_id_ = owner_.session_id(s.wire);
  open_.session_id = session_id_;
  const auto* blob = reinterpret_cast<const uint8_t*>(operation.open.data());
  read_open_blob({blob, operation.open.size()}, open_);
  return arguments_.fill(open_);
}

loader_status_t InlineLink::call_with_frame(InlineSession& s, InlineOperation& operation,
                                            const loader_open_t* open, loader_error_t& error) {
  const frame::Fault fault = frame_.fill(*operation.block, operation.block->body());
  if (fault != frame::Fault::kNone) {
    say(error, std::string("the frame is malformed: ") + describe(fault));
    return LOADER_ERROR_INVALID_INPUT;
  }
  host::NativeEngine& code = engine_.code();
  const loader_status_t status = enter([&] {
    return open != nullptr ? code.exec(s.call_handle, *open, frame_.frame(), error)
                           : code.write(s.object, s.call_handle, frame_.frame(), error);
  });
  frame_.release_rest();
  return status;
}

// The engine has returned. PENDING leaves the call open.
void InlineLink::after(InlineSession& s, host::Outcome outcome) {
  {
    std::lock_guard lock(mutex_);
    if (outcome.status == LOADER_PENDING && s.op == Op::kCreate) {
      outcome = {LOADER_ERROR_INTERNAL,
                 "create may not return PENDING: emit later, from any thread"};
    } else if (outcome.status == LOADER_PENDING) {
      if (!s.is_finished_early) {
        s.call = Call::kPending;
        return;
      }
      outcome = std::move(s.early);
    }
    settle(s, outcome);
    if (!s.outgoing.empty()) {
      s.outgoing.push_back(
          {.kind = InlineOutgoing::Kind::kCompletion, .op = s.op, .outcome = std::move(outcome)});
      return;
    }
  }
  complete(s, s.op, outcome);
}

// The consequences of a call's end that hold at once.
void InlineLink::settle(InlineSession& s, const host::Outcome& outcome) {
  const bool failed = outcome.status != LOADER_OK;
  s.call = Call::kAnswering;
  if (s.op == Op::kCreate) s.is_created = !failed;
  // After its end, or an error, a session only waits for its destroy; an exec for nothing.
  if (!failed && s.op != Op::kEnd && s.op != Op::kExec) return;
  s.is_closed = true;
  s.changed.notify_all();
}

void InlineLink::complete(InlineSession& s, Op op, const host::Outcome& outcome) {
  {
    std::lock_guard lock(mutex_);
    s.call = Call::kNone;
    if (op == Op::kExec || (op == Op::kCreate && !s.is_created)) {
      remove(s);
    } else if (op == Op::kCreate && s.failure) {
      s.outgoing.push_back(
          {.kind = InlineOutgoing::Kind::kFailure, .outcome = std::move(*s.failure)});
    }
  }
  if (op == Op::kExec || (op == Op::kCreate && !s.is_created)) release_resources(s);
  const auto error = static_cast<ErrorCode>(outcome.error_code);
  check(core_.on_completion({s.wire, op, outcome.status, error, outcome.message}));
}

// Whatever waits is void.
void InlineLink::destroy(InlineSession& s) {
  {
    std::lock_guard lock(mutex_);
    s.is_closed = s.is_cancelled = true;
    s.call = Call::kNone;
    s.changed.notify_all();
    remove(s);
  }
  s.queue.clear();
  drop_results(s);
  destroy_object(s, s.reason);
  check(core_.on_completion({s.wire, Op::kDestroy, LOADER_OK, ErrorCode::kNone, {}}));
}

void InlineLink::destroy_object(InlineSession& s, int32_t reason) {
  if (std::exchange(s.is_created, false)) {
    enter([&] {
      engine_.code().destroy(s.object, s.handle, reason);
      return LOADER_OK;
    });
  }
  release_resources(s);
}

host::Outcome InlineLink::use_resources(InlineSession& s, const InlineOperation& operation) {
  open_of(s, operation);
  return engine_.resources().use(open_.parameters, s.resources);
}

void InlineLink::release_resources(InlineSession& s) {
  if (s.resources.empty()) return;
  const std::vector<uint32_t> left = std::exchange(s.resources, {});
  for (const auto& job : engine_.resources().release(left)) job();
}

void InlineLink::remove(const InlineSession& s) {
  const size_t i = s.wire & kIndexMask;
  if (i < sessions_.size() && sessions_[i].get() == &s) sessions_[i].reset();
}

void InlineLink::pass_on(session::Handle wire, const InlineOutgoing& result) {
  check(core_.on_result(wire, {result.body, result.payloads, 0}));
  for (const session::PayloadView& payload : result.payloads) payload.owner->release();
}

// A defect of ours: better the instance than a wrong answer.
void InlineLink::check(session::HostVerdict verdict) {
  if (verdict != session::HostVerdict::kOk)
    owner_.on_link_lost(*this, true, "an answer to work that was not begun");
}

// ---- any thread

// 24 bits of place, 8 of shard, 32 that count every call of this shard: a late one finds nobody.
loader_handle_t InlineLink::next_handle(const InlineSession& s) {
  if (++sequence_ == 0) sequence_ = 1;
  return loader_handle_t{sequence_} << 32 | loader_handle_t{shard_} << 24 | (s.wire & kIndexMask);
}

InlineSession* InlineLink::find(loader_handle_t handle) const {
  const size_t i = handle & kIndexMask;
  if (i >= sessions_.size() || !sessions_[i] || handle == 0) return nullptr;
  InlineSession& s = *sessions_[i];
  return handle == s.handle || handle == s.call_handle ? &s : nullptr;
}

void InlineLink::post(std::function<void()> work) {
  std::lock_guard lock(mutex_);
  if (is_closed_) return;
  loop_.post([self = shared_from_this(), work = std::move(work)] {
    if (self->is_closed_) return;
    self->core_.set_now(self->loop_.now_ns());
    work();
  });
}

void InlineLink::schedule(InlineSession& s) {
  if (is_closed_ || std::exchange(s.is_posted, true)) return;
  loop_.post([self = shared_from_this(), session = sessions_[s.wire & kIndexMask]] {
    if (self->is_closed_) return;
    {
      std::lock_guard lock(self->mutex_);
      session->is_posted = false;
    }
    self->core_.set_now(self->loop_.now_ns());
    self->work(session);
  });
}

}  // namespace loader::server
