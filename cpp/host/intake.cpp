// What each record from the loader does. On the leader's thread; never blocks, never calls the
// engine.
#include <unistd.h>

#include <cstdio>
#include <utility>

#include "host/runtime_impl.h"

namespace loader::host {

using channel::Operation;
using channel::RecordType;
using channel::RecordView;

bool HostRuntime::Impl::on_record(Link& link, RecordView& record) {
  switch (record.type) {
    case RecordType::kWrite:
      return on_write(link, record);
    case RecordType::kExec:
      return on_open(link, record, true);
    case RecordType::kCreate:
      return on_open(link, record, false);
    case RecordType::kEnd:
      return on_end(link, record);
    case RecordType::kCredit:
      return on_grant(record);
    case RecordType::kCancel:
      return on_cancel(record);
    case RecordType::kDestroy:
      return on_destroy(record);
    case RecordType::kRelease:
      return on_release(link, record);
    case RecordType::kPing:
      return on_ping(link, record);
    case RecordType::kHello:
      return on_hello(link, record);
    case RecordType::kInit:
      return on_init(link, record);
    case RecordType::kHealth:
      return on_health(link, record);
    case RecordType::kUpdate:
      return on_update(link, record);
    case RecordType::kLoadResource:
      return on_load_resource(link, record);
    case RecordType::kUnloadResource:
      return on_unload_resource(link, record);
    case RecordType::kFini:
      return on_fini(record);
    case RecordType::kArena:
      return link.arena_in().replace(record) || fault("an ARENA record without a sealed file");
    default:
      return fault(std::string("a record that a host never gets: ") + name_of(record.type));
  }
}

// The loader speaks wrongly, or something wrote into its socket: nothing after it can be trusted.
bool HostRuntime::Impl::fault(std::string text) {
  std::fprintf(stderr, "engine host: the channel is broken: %s; stopping\n", text.c_str());
  shut_down(LOADER_REASON_LOADER_GONE, kExitChannel);
  return false;
}

channel::Hello HostRuntime::Impl::hello(const Link& link) const {
  channel::Hello hello;
  hello.shard = link.shard();
  hello.shard_count = static_cast<uint32_t>(links_.size());
  hello.pid = static_cast<uint32_t>(::getpid());
  hello.language = options_.is_python ? channel::Language::kPython : channel::Language::kNative;
  hello.package_version = options_.package_version;
  hello.runtime = options_.runtime_name;
  return hello;
}

void HostRuntime::Impl::send_hello(Link& link) {
  link.send_body(RecordType::kHello, 0, hello(link));
}

bool HostRuntime::Impl::on_hello(Link& link, const RecordView& record) {
  channel::Hello theirs;
  if (!decode(record.body, theirs)) return fault("a HELLO record is malformed");
  const auto refusal = channel::refuse_hello(hello(link), theirs);
  if (!refusal) return true;
  std::fprintf(stderr, "engine host: %s\n", refusal->c_str());
  shut_down(LOADER_REASON_LOADER_GONE, kExitChannel);
  return false;
}

bool HostRuntime::Impl::take_payloads(Link& link, RecordView& record, HostSession* session,
                                      std::vector<channel::Payload>& out) {
  if (record.payloads.empty()) return true;
  // A session that holds on to more than its window gets copies, so that it starves nobody else.
  const int64_t pinned = session == nullptr ? 0 : session->pinned->load(std::memory_order_relaxed);
  const bool must_copy = pinned > static_cast<int64_t>(channel::kDefaultWindowBytes);
  return link.arena_in().open(record, out, must_copy) || fault("a payload outside the arena");
}

bool HostRuntime::Impl::on_open(Link& link, RecordView& record, bool is_exec) {
  thread_local channel::OpenBody open;
  open.clear();
  channel::Bytes rest;
  if (!decode(record.body, open, rest)) return fault("an OPEN body is malformed");
  const Operation operation = is_exec ? Operation::kExec : Operation::kCreate;
  auto session = std::make_shared<HostSession>(link.shared_from_this(), record.handle, is_exec);
  session->deadline_ns = open.deadline_ns;
  session->credit = channel::SendCredit(open.window_records, open.window_bytes);
  std::vector<channel::Payload> payloads;
  if (!take_payloads(link, record, session.get(), payloads)) return false;
  bool is_added = false;
  {
    // What is added is seen by a shutdown: one that begins later, on whatever thread.
    std::lock_guard lock(state_mutex_);
    if (is_serving_.load(std::memory_order_acquire)) is_added = sessions_.add(session);
  }
  if (!is_added && is_serving_.load(std::memory_order_acquire))
    return fault("a handle was opened twice");
  if (!is_added) return complete(link, record.handle, operation, kNotServing), true;
  enqueue(session,
          {operation, InputBlock::create(record.body, std::move(payloads), session->pinned), 0});
  return true;
}

bool HostRuntime::Impl::on_write(Link& link, RecordView& record) {
  const SessionPointer session = sessions_.find_wire(record.handle);
  std::vector<channel::Payload> payloads;
  if (!take_payloads(link, record, session.get(), payloads)) return false;
  if (!session) {
    complete(link, record.handle, Operation::kWrite, {LOADER_ERROR_CLOSED, "no such session"});
    return true;
  }
  enqueue(session, {Operation::kWrite,
                    InputBlock::create(record.body, std::move(payloads), session->pinned), 0});
  return true;
}

bool HostRuntime::Impl::on_end(Link& link, const RecordView& record) {
  const SessionPointer session = sessions_.find_wire(record.handle);
  if (session) {
    enqueue(session, {Operation::kEnd, nullptr, 0});
  } else {
    complete(link, record.handle, Operation::kEnd, {LOADER_ERROR_CLOSED, "no such session"});
  }
  return true;
}

bool HostRuntime::Impl::on_cancel(const RecordView& record) {
  channel::ReasonBody body;
  if (!decode(record.body, body)) return fault("a CANCEL record is malformed");
  if (const SessionPointer session = sessions_.find_wire(record.handle))
    cancel(session, body.reason);
  return true;
}

bool HostRuntime::Impl::on_destroy(const RecordView& record) {
  channel::ReasonBody body;
  if (!decode(record.body, body)) return fault("a DESTROY record is malformed");
  if (const SessionPointer session = sessions_.find_wire(record.handle))
    request_destroy(session, body.reason);
  return true;
}

bool HostRuntime::Impl::on_grant(const RecordView& record) {
  channel::CreditBody body;
  if (!decode(record.body, body)) return fault("a CREDIT record is malformed");
  const SessionPointer session = sessions_.find_wire(record.handle);
  if (!session) return true;
  std::unique_lock lock(session->mutex);
  if (!session->credit.give_back({body.records, body.bytes})) {
    lock.unlock();  // the fault closes this session, too
    return fault("more credit was granted than was used");
  }
  session->changed.notify_all();
  if (session->credit.fits(session->wanted_bytes)) fire_waiters(*session);
  schedule(session);
  return true;
}

bool HostRuntime::Impl::on_release(Link& link, const RecordView& record) {
  channel::ReleaseBody body;
  if (!decode(record.body, body)) return fault("a RELEASE record is malformed");
  for (const uint32_t block : body.blocks)
    if (!link.arena_out().release(block)) return fault("a block was released that is not out");
  return true;
}

bool HostRuntime::Impl::on_ping(Link& link, const RecordView& record) {
  channel::PingBody body;
  if (!decode(record.body, body)) return fault("a PING record is malformed");
  link.send_body(RecordType::kPong, record.handle, body);
  return true;
}

bool HostRuntime::Impl::on_fini(const RecordView& record) {
  channel::ReasonBody body;
  if (!decode(record.body, body)) return fault("a FINI record is malformed");
  shut_down(body.reason, kExitOk);
  return true;
}

}  // namespace loader::host
