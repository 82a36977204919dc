// What an engine that runs inline says, from any thread: results, ends of calls, failures, notes.
#include <cstring>
#include <utility>

#include "host/result.h"
#include "server/inline_engine.h"
#include "server/inline_link.h"

namespace loader::server {
namespace {

using Call = InlineSession::Call;

void release_bytes(loader_buffer_t* buffer) {
  delete[] static_cast<uint8_t*>(std::exchange(buffer->private_data, nullptr));
  buffer->release = nullptr;
}

loader_buffer_t new_buffer(uint64_t size) {
  auto* bytes = new uint8_t[size == 0 ? 1 : size];
  return {bytes, size, release_bytes, bytes};
}

// A large payload of a result on its way to the client: the engine's own buffer, not copied.
class LentBuffer final : public session::PayloadOwner {
 public:
  LentBuffer(loader_buffer_t buffer, InlineEngine& engine)
      : buffer_(buffer), engine_(engine.shared_from_this()) {
    engine_->lend_buffer();
  }
  void retain() noexcept override { count_++; }
  void release() noexcept override {
    if (--count_ == 0) delete this;
  }

 private:
  ~LentBuffer() override {
    buffer_.release(&buffer_);
    engine_->return_buffer();
  }

  int count_ = 1;  // the shard's thread only, once it is on its way
  loader_buffer_t buffer_;
  const std::shared_ptr<InlineEngine> engine_;
};

// Takes the buffer out of the engine's item, or copies what is only borrowed.
session::PayloadView lend(loader_item_t& item, InlineEngine& engine) {
  loader_buffer_t buffer = item.data;
  if (buffer.release == nullptr) {
    buffer = new_buffer(item.data.size);
    std::memcpy(buffer.private_data, item.data.data, item.data.size);
  }
  item.data.release = nullptr;
  return {{buffer.data, buffer.size}, new LentBuffer(buffer, engine), 0};
}

bool is_final_status(loader_status_t status) {
  return status != LOADER_PENDING && status != LOADER_AGAIN && status != host::kParked;
}

}  // namespace

InlineLink::Room InlineLink::room_for(InlineSession& s, uint64_t charge, uint32_t flags) const {
  if (s.overdrawn_records == 0 && s.credit.take(charge)) return Room::kCredit;
  if ((flags & LOADER_EMIT_NOWAIT) != 0 || entered_link == nullptr) return Room::kNone;
  const bool has_room =
      s.overdrawn_bytes < s.credit.window_bytes() && s.overdrawn_records < s.window_records;
  return has_room ? Room::kOverdraft : Room::kNone;
}

loader_status_t InlineLink::emit(loader_handle_t handle, loader_frame_t* frame, uint32_t flags) {
  if (frame == nullptr) return LOADER_ERROR_ARGUMENT;
  thread_local host::ResultWriter writer;
  const loader_status_t planned = writer.plan(*frame, 1);
  if (planned != LOADER_OK) return planned;
  const bool may_wait =
      (flags & LOADER_EMIT_NOWAIT) == 0 && entered_link == nullptr && !loop_.is_loop_thread();
  InlineOutgoing result;
  {
    std::unique_lock lock(mutex_);
    InlineSession* s = find(handle);
    if (s == nullptr) return LOADER_ERROR_CLOSED;
    const InlineSessionPointer keep = may_wait ? sessions_[s->wire & 0xffffff] : nullptr;
    Room room = Room::kNone;
    while (true) {
      if (s->is_closed || s->is_cancelled || (handle != s->handle && handle != s->call_handle))
        return LOADER_ERROR_CLOSED;
      writer.set_seq(s->seq + 1);
      room = room_for(*s, writer.charge(), flags);
      if (room != Room::kNone) break;
      if (!may_wait) return LOADER_AGAIN;
      ++s->waiting;
      s->changed.wait(lock);
      --s->waiting;
    }
    ++s->seq;
    if (is_entered()) result.body.swap(body_);
    result.body.resize(writer.body_size());
    writer.write_body(result.body.data());
    for (size_t i = 0; i < writer.outside_count(); ++i)
      result.payloads.push_back(lend(writer.outside_item(i), engine_));
    if (!is_entered() || room != Room::kCredit || !s->outgoing.empty()) {
      result.charge = writer.charge();
      result.is_overdrawn = room == Room::kOverdraft;
      if (result.is_overdrawn) s->overdrawn_bytes += result.charge;
      if (result.is_overdrawn) ++s->overdrawn_records;
      s->outgoing.push_back(std::move(result));
      if (!is_entered() || s->call != Call::kRunning) schedule(*s);
      lock.unlock();
    } else {
      const session::Handle wire = s->wire;
      lock.unlock();
      pass_on(wire, result);
      body_.swap(result.body);
    }
  }
  writer.clear();
  host::release_items(*frame);
  return LOADER_OK;
}

loader_status_t InlineLink::alloc_result(loader_handle_t handle, uint64_t size,
                                         loader_buffer_t* out, uint8_t** writable) {
  if (out == nullptr || writable == nullptr) return LOADER_ERROR_ARGUMENT;
  {
    std::lock_guard lock(mutex_);
    if (find(handle) == nullptr) return LOADER_ERROR_CLOSED;
  }
  *out = new_buffer(size);
  *writable = static_cast<uint8_t*>(out->private_data);
  return LOADER_OK;
}

loader_status_t InlineLink::finish(loader_handle_t call, loader_status_t status,
                                   std::string_view message) {
  if (!is_final_status(status)) return LOADER_ERROR_ARGUMENT;
  std::lock_guard lock(mutex_);
  InlineSession* s = find(call);
  if (s == nullptr || s->is_closed) return LOADER_ERROR_CLOSED;
  host::Outcome outcome{status, status == LOADER_OK ? std::string() : host::clean_text(message), 0};
  if (s->call == Call::kRunning) {
    if (s->is_finished_early || s->op == session::Op::kCreate) return LOADER_ERROR_ARGUMENT;
    s->is_finished_early = true;
    s->early = std::move(outcome);
    return LOADER_OK;
  }
  if (s->call != Call::kPending) return LOADER_ERROR_ARGUMENT;
  settle(*s, outcome);
  s->outgoing.push_back(
      {.kind = InlineOutgoing::Kind::kCompletion, .op = s->op, .outcome = std::move(outcome)});
  schedule(*s);
  return LOADER_OK;
}

loader_status_t InlineLink::fail(loader_handle_t handle, loader_status_t status,
                                 std::string_view message) {
  if (!host::is_error(status)) return LOADER_ERROR_ARGUMENT;
  host::Outcome failure{status, host::clean_text(message)};
  std::lock_guard lock(mutex_);
  InlineSession* s = find(handle);
  if (s == nullptr) return LOADER_ERROR_CLOSED;
  if (s->is_exec) return LOADER_ERROR_ARGUMENT;
  if (s->is_closed || s->is_cancelled) return LOADER_ERROR_CLOSED;
  if (s->op == session::Op::kCreate && s->call != Call::kNone) {
    s->failure = std::move(failure);
  } else {
    s->outgoing.push_back({.kind = InlineOutgoing::Kind::kFailure, .outcome = std::move(failure)});
    schedule(*s);
  }
  s->is_closed = true;
  s->changed.notify_all();
  return LOADER_OK;
}

// Its end still goes to the core; what it emitted would be ignored there.
void InlineLink::drop_results(InlineSession& s) {
  std::list<InlineOutgoing> dropped;
  {
    std::lock_guard lock(mutex_);
    for (auto one = s.outgoing.begin(); one != s.outgoing.end();) {
      const auto next = std::next(one);
      if (one->kind != InlineOutgoing::Kind::kCompletion)
        dropped.splice(dropped.end(), s.outgoing, one);
      one = next;
    }
    s.overdrawn_bytes = 0;
    s.overdrawn_records = 0;
  }
  for (const InlineOutgoing& result : dropped)
    for (const session::PayloadView& payload : result.payloads) payload.owner->release();
}

// ---- notes

session::Handle InlineLink::wire_of(loader_handle_t handle) const {
  const InlineSession* s = find(handle);
  return s == nullptr ? 0 : s->wire;
}

void InlineLink::log(loader_handle_t handle, int32_t level, std::string_view text) {
  const std::string clean = host::clean_text(text);
  std::lock_guard lock(mutex_);
  if (has_owner_) owner_.on_link_log(*this, wire_of(handle), {level, clean});
}

void InlineLink::meter(loader_handle_t handle, std::string_view unit, double amount) {
  const std::string clean = host::clean_text(unit);
  std::lock_guard lock(mutex_);
  if (has_owner_) owner_.on_link_meter(*this, wire_of(handle), {amount, clean});
}

void InlineLink::trace(loader_handle_t handle, std::string_view key, std::string_view value) {
  const std::string clean_key = host::clean_text(key);
  const std::string clean_value = host::clean_text(value);
  std::lock_guard lock(mutex_);
  if (has_owner_) owner_.on_link_trace(*this, wire_of(handle), {clean_key, clean_value});
}

int64_t InlineLink::deadline(loader_handle_t handle) {
  std::lock_guard lock(mutex_);
  const InlineSession* s = find(handle);
  if (s == nullptr) return 0;
  if (s->deadline_ns == session::kNever) return INT64_MAX;
  return s->deadline_ns - EventLoop::clock_ns();
}

bool InlineLink::is_cancelled(loader_handle_t handle) {
  std::lock_guard lock(mutex_);
  const InlineSession* s = find(handle);
  return s == nullptr || s->is_cancelled || s->is_closed;
}

}  // namespace loader::server
