#include "server/host_link.h"

#include <sys/epoll.h>

#include <cstring>
#include <exception>
#include <optional>

#include "server/open_blob.h"

namespace loader::server {
namespace {

using channel::Operation;
using channel::RecordType;

constexpr int64_t kFlushAgainNs = 5'000'000;
constexpr int kDrainReads = 256;
constexpr const char* kNoCredit = "a result beyond its credit or of no session";

// A payload of a result on its way to the client; lives as long as somebody retains it.
class HeldPayload : public session::PayloadOwner {
 public:
  explicit HeldPayload(channel::Payload payload) : payload_(std::move(payload)) {}
  void retain() noexcept override { count_++; }
  void release() noexcept override {
    if (--count_ == 0) delete this;
  }

 private:
  int count_ = 1;  // shard thread only
  channel::Payload payload_;
};

std::optional<session::Op> session_op(Operation operation) {
  switch (operation) {
    case Operation::kCreate:
      return session::Op::kCreate;
    case Operation::kWrite:
      return session::Op::kWrite;
    case Operation::kEnd:
      return session::Op::kEnd;
    case Operation::kExec:
      return session::Op::kExec;
    case Operation::kDestroy:
      return session::Op::kDestroy;
    case Operation::kInit:
    case Operation::kWarmUp:
    case Operation::kUpdate:
    case Operation::kHealth:
    case Operation::kLoadResource:
    case Operation::kUnloadResource:
      break;
  }
  return std::nullopt;
}

}  // namespace

HostLink::HostLink(session::InstanceId instance, EventLoop& loop, session::Shard& core,
                   LinkOwner& owner, channel::Endpoint endpoint, const ServerOptions& options)
    : InstanceLink(instance),
      loop_(loop),
      core_(core),
      owner_(owner),
      endpoint_(std::move(endpoint)),
      inline_payload_bytes_(options.inline_payload_bytes),
      arena_bytes_(options.arena_bytes) {
  flush_again_.on_fire([this] { mark_dirty(); });
  // A payload may outlive this link in a connection's send queue.
  endpoint_.in->on_released([this, alive = std::weak_ptr<bool>(is_alive_)] {
    if (!alive.expired()) mark_dirty();
  });
}

HostLink::~HostLink() {
  leave();
}

void HostLink::start(const channel::Hello& hello) {
  endpoint_.socket->append_body(RecordType::kHello, 0, hello);
  loop_.watch(endpoint_.socket->fd(), EPOLLIN, this);
  is_watched_ = true;
  mark_dirty();
}

void HostLink::send_init(RecordType type, const channel::InitBody& body) {
  if (is_closed_) return;
  endpoint_.socket->append_body(type, 0, body);
  mark_dirty();
}

void HostLink::send_ping(uint64_t nonce) {
  if (is_closed_) return;
  endpoint_.socket->append_body(RecordType::kPing, 0, channel::PingBody{nonce});
  mark_dirty();
}

void HostLink::send_health() {
  if (is_closed_) return;
  endpoint_.socket->append(RecordType::kHealth, 0);
  mark_dirty();
}

void HostLink::send_load_resource(uint64_t call, uint32_t id, std::span<const uint8_t> frame) {
  if (is_closed_) return;
  const channel::ResourceBody body{id};
  send_message(RecordType::kLoadResource, call, &body, frame);
}

void HostLink::send_unload_resource(uint64_t call, uint32_t id) {
  if (is_closed_) return;
  endpoint_.socket->append_body(RecordType::kUnloadResource, call, channel::ResourceBody{id});
  mark_dirty();
}

void HostLink::send_fini(int32_t reason) {
  if (is_closed_) return;
  endpoint_.socket->append_body(RecordType::kFini, 0, channel::ReasonBody{reason});
  mark_dirty();
}

void HostLink::mark_dirty() {
  if (is_dirty_ || is_closed_) return;
  is_dirty_ = true;
  owner_.on_link_dirty(*this);
}

void HostLink::flush() {
  is_dirty_ = false;
  if (is_closed_) return;
  channel::append_releases(endpoint_, releases_);
  channel::FlushStatus status = endpoint_.socket->flush();
  if (status == channel::FlushStatus::kClosed) {
    // What the host still sent before it ended is read first; end of file tells the rest.
    return;
  }
  if (status == channel::FlushStatus::kDelayed) {
    flush_again_.set(loop_, loop_.now_ns() + kFlushAgainNs);
  }
  bool is_blocked = status == channel::FlushStatus::kBlocked;
  if (is_blocked != wants_writable_ && is_watched_) {
    wants_writable_ = is_blocked;
    loop_.rearm(endpoint_.socket->fd(), is_blocked ? EPOLLIN | EPOLLOUT : EPOLLIN, this);
  }
}

void HostLink::close(int32_t) {
  leave();
}

void HostLink::leave() {
  if (is_closed_) return;
  is_closed_ = true;
  is_alive_.reset();
  flush_again_.cancel();
  if (is_watched_) loop_.unwatch(endpoint_.socket->fd(), this);
  is_watched_ = false;
}

void HostLink::tidy_arena() {
  constexpr size_t kKeepBytes = 4u << 20;
  if (is_closed_) return;
  if (auto fresh = endpoint_.out->replace_if_idle(kKeepBytes)) {
    channel::PayloadRef ref;
    ref.kind = channel::kInMemfd;
    channel::ArenaBody body;
    body.size = arena_bytes_;
    ref.size = body.size;
    uint8_t* at = endpoint_.socket->begin(RecordType::kArena, 0, size_of(body), {&ref, 1});
    write(body, at);
    endpoint_.socket->attach(std::move(*fresh));
    mark_dirty();
  }
}

// ---- from the core

void HostLink::fill_open(session::Handle handle, const session::OpenView& open) {
  open_.clear();
  open_id_ = owner_.session_id(handle);
  open_.session_id = open_id_;
  open_.deadline_ns = open.deadline_ns;
  open_.window_records = open.credit_records;
  open_.window_bytes = open.credit_bytes;
  read_open_blob(open.body, open_);
}

void HostLink::send_create(session::Handle handle, const session::OpenView& open) {
  if (is_closed_) return;
  fill_open(handle, open);
  endpoint_.socket->append_body(RecordType::kCreate, handle, open_);
  mark_dirty();
}

void HostLink::send_exec(session::Handle handle, const session::OpenView& open,
                         const session::MessageView& request) {
  if (is_closed_) return;
  fill_open(handle, open);
  send_message(RecordType::kExec, handle, &open_, request.body);
}

void HostLink::send_write(session::Handle handle, const session::MessageView& frame) {
  if (is_closed_) return;
  send_message<channel::OpenBody>(RecordType::kWrite, handle, nullptr, frame.body);
}

template <typename Head>
void HostLink::send_message(RecordType type, session::Handle handle, const Head* head,
                            std::span<const uint8_t> frame) {
  mark_dirty();
  if (frame.size() > inline_payload_bytes_) return send_large(type, handle, head, frame);
  const size_t head_size = head == nullptr ? 0 : size_of(*head);
  uint8_t* at = endpoint_.socket->begin(type, handle, head_size + frame.size());
  if (head != nullptr) at = write(*head, at);
  if (!frame.empty()) std::memcpy(at, frame.data(), frame.size());
}

void HostLink::move_to_arena(frame::ItemView& item) {
  if (item.data.size() < inline_payload_bytes_ || out_refs_.size() == channel::kMaxPayloads) return;
  channel::OutPayload payload = endpoint_.out->allocate(item.data.size());
  if (!payload) return;  // no memory file left: it travels inside the record
  std::memcpy(payload.bytes().data(), item.data.data(), item.data.size());
  out_refs_.push_back(payload.ref());
  out_payloads_.push_back(std::move(payload));
  item.payload = static_cast<uint32_t>(out_refs_.size());
  item.data = {};
}

template <typename Head>
void HostLink::send_large(RecordType type, session::Handle handle, const Head* head,
                          std::span<const uint8_t> frame) {
  out_payloads_.clear();
  out_refs_.clear();
  frame_.clear();
  // The front has checked these bytes already.
  frame::decode_frame(frame, frame::Origin::kClient, frame_);
  for (frame::ItemView& item : frame_.items) move_to_arena(item);
  const size_t head_size = head == nullptr ? 0 : size_of(*head);
  uint8_t* at =
      endpoint_.socket->begin(type, handle, head_size + frame::encoded_size(frame_), out_refs_);
  if (head != nullptr) at = write(*head, at);
  frame::write_frame(frame_, at);
  for (channel::OutPayload& payload : out_payloads_) {
    channel::UniqueFd file = payload.mark_sent();
    if (file) endpoint_.socket->attach(std::move(file));
  }
  out_payloads_.clear();
}

void HostLink::send_end(session::Handle handle) {
  if (is_closed_) return;
  endpoint_.socket->append(RecordType::kEnd, handle);
  mark_dirty();
}

void HostLink::send_cancel(session::Handle handle, uint32_t reason) {
  if (is_closed_) return;
  endpoint_.socket->append_body(RecordType::kCancel, handle,
                                channel::ReasonBody{static_cast<int32_t>(reason)});
  mark_dirty();
}

void HostLink::send_destroy(session::Handle handle, uint32_t reason) {
  if (is_closed_) return;
  endpoint_.socket->append_body(RecordType::kDestroy, handle,
                                channel::ReasonBody{static_cast<int32_t>(reason)});
  mark_dirty();
}

void HostLink::grant(session::Handle handle, uint32_t records, uint64_t bytes) {
  if (is_closed_) return;
  endpoint_.socket->append_body(RecordType::kCredit, handle, channel::CreditBody{records, bytes});
  mark_dirty();
}

// ---- from the host

void HostLink::on_events(uint32_t events) {
  core_.set_now(loop_.now_ns());
  if ((events & EPOLLOUT) != 0) mark_dirty();
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) return;
  switch (read()) {
    case channel::ReadStatus::kDrained:
    case channel::ReadStatus::kMore:
      return;
    case channel::ReadStatus::kStopped:
      return lose(true, fault_);
    case channel::ReadStatus::kFault:
      return lose(true, endpoint_.socket->fault());
    case channel::ReadStatus::kClosed:
      return lose(false, "the engine's process closed its channel");
  }
}

// Whatever the bytes of one host set off that nobody foresaw ends that host, never the loader.
channel::ReadStatus HostLink::read() {
  try {
    return endpoint_.socket->read(*this);
  } catch (const std::exception& error) {
    fault_ = std::string("what could not be handled: ") + error.what();
    return channel::ReadStatus::kStopped;
  }
}

void HostLink::drain() {
  if (is_closed_ || !is_watched_) return;
  is_draining_ = true;
  // One read may take only a part. What a process forked may write for ever.
  for (int i = 0; i < kDrainReads; i++) {
    const uint64_t before = record_count_;
    on_events(EPOLLIN);
    if (is_closed_ || record_count_ == before) return;
  }
}

void HostLink::lose(bool is_corrupt, const std::string& why) {
  if (is_closed_) return;
  leave();
  if (!is_draining_) owner_.on_link_lost(*this, is_corrupt, why);
}

bool HostLink::fault(std::string why) {
  fault_ = std::move(why);
  return false;
}

bool HostLink::on_record(channel::RecordView& record) {
  record_count_++;
  if (is_closed_) return false;
  if (!has_hello_ && record.type != RecordType::kHello) {
    return fault("the first record is not a hello");
  }
  switch (record.type) {
    case RecordType::kCompletion:
      return take_completion(record);
    case RecordType::kResult:
      return take_result(record);
    case RecordType::kFailure:
      return take_failure(record);
    case RecordType::kCredit:
    case RecordType::kRelease:
      return take_credit_or_release(record);
    default:
      return take_instance_record(record);
  }
}

bool HostLink::take_completion(const channel::RecordView& record) {
  channel::CompletionBody body;
  if (!decode(record.body, body)) return fault("a completion that cannot be read");
  std::optional<session::Op> op = session_op(body.operation);
  if (!op) return owner_.on_link_completion(*this, record.handle, body), true;
  session::Completion completion{record.handle, *op, body.status,
                                 static_cast<ErrorCode>(body.error_code), body.message};
  if (core_.on_completion(completion) == session::HostVerdict::kOk) return true;
  return fault("a completion of work that was not begun");
}

bool HostLink::take_failure(const channel::RecordView& record) {
  channel::FailureBody body;
  if (!decode(record.body, body)) return fault("a failure that cannot be read");
  if (core_.on_failure({record.handle, body.status, body.message}) == session::HostVerdict::kOk) {
    return true;
  }
  return fault("a failure of no session");
}

bool HostLink::take_result(channel::RecordView& record) {
  if (record.payloads.empty()) {
    if (core_.on_result(record.handle, {record.body, {}, 0}) == session::HostVerdict::kOk) {
      return true;
    }
    return fault(kNoCredit);
  }
  if (record.payload_bytes() > channel::kMaxResultBytes) {
    return fault("a result of " + std::to_string(record.payload_bytes()) + " bytes");
  }
  switch (core_.judge_result(record.handle)) {
    case session::ResultVerdict::kWanted:
      break;
    case session::ResultVerdict::kLate:
      return endpoint_.in->refuse(record), true;
    case session::ResultVerdict::kCorrupt:
      return fault(kNoCredit);
  }
  in_payloads_.clear();
  in_views_.clear();
  if (!endpoint_.in->open(record, in_payloads_)) return fault("a payload outside the arena");
  for (channel::Payload& payload : in_payloads_) {
    auto bytes = payload.bytes();
    in_views_.push_back({bytes, new HeldPayload(std::move(payload)), 0});
  }
  in_payloads_.clear();
  // The core and the front may come back here; the scratch is theirs until then.
  std::vector<session::PayloadView> views = std::move(in_views_);
  session::HostVerdict verdict = core_.on_result(record.handle, {record.body, views, 0});
  for (const session::PayloadView& view : views) view.owner->release();
  in_views_ = std::move(views);
  in_views_.clear();
  if (verdict == session::HostVerdict::kOk) return true;
  return fault(kNoCredit);
}

bool HostLink::take_credit_or_release(channel::RecordView& record) {
  if (record.type == RecordType::kCredit) return true;  // writes are credited by completions
  channel::ReleaseBody body;
  if (!decode(record.body, body)) return fault("a release that cannot be read");
  for (uint32_t block : body.blocks) {
    if (!endpoint_.out->release(block)) return fault("a release of a block that is not out");
  }
  return true;
}

template <typename Body, typename Take>
bool HostLink::take_body(const channel::RecordView& record, const char* what, Take take) {
  Body body;
  if (!decode(record.body, body)) return fault(std::string(what) + " that cannot be read");
  take(body);
  return true;
}

bool HostLink::take_instance_record(channel::RecordView& record) {
  switch (record.type) {
    case RecordType::kHello:
      has_hello_ = true;
      return take_body<channel::Hello>(record, "a hello", [&](const channel::Hello& body) {
        owner_.on_link_hello(*this, body);
      });
    case RecordType::kReady:
      return take_body<channel::ReadyBody>(record, "a ready", [&](const channel::ReadyBody& body) {
        owner_.on_link_ready(*this, body);
      });
    case RecordType::kPong:
      return take_body<channel::PingBody>(record, "a pong", [&](const channel::PingBody& body) {
        owner_.on_link_pong(*this, body.nonce);
      });
    case RecordType::kLog:
      return take_body<channel::LogBody>(record, "a log", [&](const channel::LogBody& body) {
        owner_.on_link_log(*this, record.handle, body);
      });
    case RecordType::kMeter:
      return take_body<channel::MeterBody>(record, "a meter", [&](const channel::MeterBody& body) {
        owner_.on_link_meter(*this, record.handle, body);
      });
    case RecordType::kTrace:
      return take_body<channel::TraceBody>(record, "a trace", [&](const channel::TraceBody& body) {
        owner_.on_link_trace(*this, record.handle, body);
      });
    case RecordType::kHung:
      return take_body<channel::HungBody>(
                 record, "a hung",
                 [&](const channel::HungBody&) {
                   if (core_.on_hung(record.handle) != session::HostVerdict::kOk)
                     fault_ = "hung, of no call";
                 }) &&
             fault_.empty();
    default:
      return fault(std::string("an unexpected record ") + name_of(record.type));
  }
}

}  // namespace loader::server
