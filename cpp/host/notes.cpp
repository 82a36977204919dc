// The small services of the host table: log, meter, trace, deadline, and the report of hung calls.
#include <malloc.h>

#include <cstring>
#include <utility>

#include "host/runtime_impl.h"

namespace loader::host {

namespace {

// What a loader that reads nothing may make this process hold for log lines and the like.
constexpr size_t kMaxBacklogBytes = 1024 * 1024;

HostRuntime& runtime_of(void* host) {
  return *static_cast<HostRuntime*>(host);
}

std::string_view text_of(const char* text, uint64_t size) {
  return text == nullptr ? std::string_view() : std::string_view(text, size);
}

std::string_view text_of(const char* text) {
  return text_of(text, text == nullptr ? 0 : std::strlen(text));
}

}  // namespace

void HostRuntime::Impl::build_table() {
  table_ = {};
  table_.abi_major = LOADER_ABI_MAJOR;
  table_.abi_minor = LOADER_ABI_MINOR;
  table_.struct_size = sizeof table_;
  table_.host = &face_;
  table_.emit = [](void* host, loader_handle_t handle, loader_frame_t* frame, uint32_t flags) {
    return runtime_of(host).emit(handle, frame, flags);
  };
  table_.alloc_result = [](void* host, loader_handle_t handle, uint64_t size, loader_buffer_t* out,
                           uint8_t** writable) {
    return runtime_of(host).alloc_result(handle, size, out, writable);
  };
  table_.finish = [](void* host, loader_handle_t call, loader_status_t status, const char* message,
                     uint64_t message_size) {
    return runtime_of(host).finish(call, status, text_of(message, message_size));
  };
  table_.log = [](void* host, loader_handle_t handle, int32_t level, const char* text,
                  uint64_t size) {
    if (text != nullptr) runtime_of(host).log(handle, level, {text, size});
  };
  table_.meter = [](void* host, loader_handle_t handle, const char* unit, double amount) {
    runtime_of(host).meter(handle, text_of(unit), amount);
  };
  table_.trace = [](void* host, loader_handle_t handle, const char* key, const char* value) {
    runtime_of(host).trace(handle, text_of(key), text_of(value));
  };
  table_.deadline = [](void* host, loader_handle_t handle) {
    return runtime_of(host).deadline(handle);
  };
  table_.is_cancelled = [](void* host, loader_handle_t handle) -> int32_t {
    return runtime_of(host).is_cancelled(handle) ? 1 : 0;
  };
  table_.get_extension = [](void*, const char*) -> const void* { return nullptr; };
  table_.fail = [](void* host, loader_handle_t handle, loader_status_t status, const char* message,
                   uint64_t message_size) {
    return runtime_of(host).fail(handle, status, text_of(message, message_size));
  };
}

template <typename Body>
void HostRuntime::Impl::send_note(channel::RecordType type, loader_handle_t handle,
                                  const Body& body) {
  const SessionPointer session = sessions_.find(handle);
  Link& link = session ? *session->link : *links_.front();
  // A note is worth less than the memory of a host whose loader does not listen.
  if (link.backlog_bytes() > kMaxBacklogBytes) return;
  link.send_body(type, session ? session->wire : 0, body);
}

void HostRuntime::Impl::log(loader_handle_t handle, int32_t level, std::string_view text) {
  const std::string clean = clean_text(text);
  channel::LogBody body;
  body.level = level;
  body.text = clean;
  send_note(channel::RecordType::kLog, handle, body);
}

void HostRuntime::Impl::meter(loader_handle_t handle, std::string_view unit, double amount) {
  const std::string clean = clean_text(unit);
  channel::MeterBody body;
  body.amount = amount;
  body.unit = clean;
  send_note(channel::RecordType::kMeter, handle, body);
}

void HostRuntime::Impl::trace(loader_handle_t handle, std::string_view key,
                              std::string_view value) {
  const std::string clean_key = clean_text(key);
  const std::string clean_value = clean_text(value);
  channel::TraceBody body;
  body.key = clean_key;
  body.value = clean_value;
  send_note(channel::RecordType::kTrace, handle, body);
}

int64_t HostRuntime::Impl::deadline(loader_handle_t handle) {
  const SessionPointer session = sessions_.find(handle);
  if (!session) return 0;
  if (session->deadline_ns == channel::kNoDeadline) return INT64_MAX;
  return session->deadline_ns - monotonic_ns();
}

bool HostRuntime::Impl::is_cancelled(loader_handle_t handle) {
  const SessionPointer session = sessions_.find(handle);
  return !session || session->is_cancelled.load();
}

// On the clock's thread.
void HostRuntime::Impl::flush_delayed() {
  for (auto& link : links_) link->flush_delayed();
}

// On the clock's thread. Pages of the arena that nothing has used since the last look go back to
// the system; a few stay, because the first touch of a page is what costs.
void HostRuntime::Impl::return_idle_memory() {
  constexpr size_t kKeepBytes = 4 * 1024 * 1024;
  for (auto& link : links_) {
    const uint64_t sent = link->payloads_sent();
    if (link->exchange_seen_payloads(sent) == sent && link->arena_out().idle_bytes() > kKeepBytes)
      link->arena_out().punch_idle(kKeepBytes);
  }
  trim_idle_heap();
}

// On the clock's thread. A burst of frames leaves a heap full of holes, which the allocator keeps;
// once it is over they go back, if they are worth the page faults of the next burst.
void HostRuntime::Impl::trim_idle_heap() {
  constexpr uint64_t kQuietReads = 8;  // a ping is one
  constexpr size_t kKeepBytes = 8 * 1024 * 1024;
  uint64_t reads = 0;
  for (const auto& link : links_) reads += link->reads();
  const bool is_quiet = reads - std::exchange(reads_seen_, reads) <= kQuietReads;
  if (is_quiet && has_worked_ && mallinfo2().fordblks > kKeepBytes) malloc_trim(0);
  has_worked_ = !is_quiet;
}

// On the clock's thread. Time blocked for credit is the client's, not the engine's.
void HostRuntime::Impl::report_hung(int64_t now_ns) {
  if (hung_clock_.limit_ns() == channel::kNoDeadline) return;
  for (const SessionPointer& session : sessions_.all()) {
    channel::HungBody body;
    {
      std::lock_guard lock(session->mutex);
      const bool is_called =
          session->call == CallState::kRunning || session->call == CallState::kPending;
      const bool is_limited = session->operation == channel::Operation::kWrite ||
                              session->operation == channel::Operation::kEnd ||
                              session->operation == channel::Operation::kExec;
      if (session->is_waiting || !session->waiters.empty())
        session->alive_ns.store(now_ns, std::memory_order_relaxed);
      body.elapsed_ns = now_ns - session->alive_ns.load(std::memory_order_relaxed);
      const bool is_hung = is_called && is_limited && body.elapsed_ns > hung_clock_.limit_ns();
      if (!is_hung || std::exchange(session->is_hung_reported, true)) continue;
      body.operation = session->operation;
    }
    session->link->send_body(channel::RecordType::kHung, session->wire, body);
  }
}

}  // namespace loader::host
