#include "host/runtime.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <thread>
#include <utility>

#include "host/jobs.h"
#include "host/runtime_impl.h"

namespace loader::host {

HostRuntime::HostRuntime(Engine& engine, RuntimeOptions options)
    : impl_(std::make_unique<Impl>(*this, engine, std::move(options))) {}
HostRuntime::~HostRuntime() = default;

int HostRuntime::run() {
  return impl_->run();
}

loader_status_t HostRuntime::emit(loader_handle_t handle, loader_frame_t* frame,
                                  uint32_t flags) noexcept {
  try {
    return impl_->emit(handle, frame, flags);
  } catch (...) {
    return LOADER_ERROR_MEMORY;
  }
}

loader_status_t HostRuntime::alloc_result(loader_handle_t handle, uint64_t size,
                                          loader_buffer_t* out, uint8_t** writable) noexcept {
  try {
    return impl_->alloc_result(handle, size, out, writable);
  } catch (...) {
    return LOADER_ERROR_MEMORY;
  }
}

loader_status_t HostRuntime::finish(loader_handle_t call, loader_status_t status,
                                    std::string_view message) noexcept {
  try {
    return impl_->finish(call, status, message);
  } catch (...) {
    return LOADER_ERROR_MEMORY;
  }
}

loader_status_t HostRuntime::fail(loader_handle_t handle, loader_status_t status,
                                  std::string_view message) noexcept {
  try {
    return impl_->fail(handle, status, message);
  } catch (...) {
    return LOADER_ERROR_MEMORY;
  }
}

void HostRuntime::log(loader_handle_t handle, int32_t level, std::string_view text) noexcept {
  try {
    impl_->log(handle, level, text);
  } catch (...) {  // no memory for a log line: it is lost
  }
}

void HostRuntime::meter(loader_handle_t handle, std::string_view unit, double amount) noexcept {
  try {
    impl_->meter(handle, unit, amount);
  } catch (...) {  // as above
  }
}

void HostRuntime::trace(loader_handle_t handle, std::string_view key,
                        std::string_view value) noexcept {
  try {
    impl_->trace(handle, key, value);
  } catch (...) {  // as above
  }
}

int64_t HostRuntime::deadline(loader_handle_t handle) noexcept {
  return impl_->deadline(handle);
}

bool HostRuntime::is_cancelled(loader_handle_t handle) noexcept {
  return impl_->is_cancelled(handle);
}

void HostRuntime::on_credit(loader_handle_t handle, std::function<void()> callback) noexcept {
  impl_->on_credit(handle, std::move(callback));
}

void HostRuntime::blocking_begin() noexcept {
  impl_->flush_before_wait();
  impl_->dispatcher().give_lead();
}

void HostRuntime::blocking_end() noexcept {}

const loader_host_t* HostRuntime::host_table() const noexcept {
  return impl_->table();
}

// ---- the inside

HostRuntime::Impl::Impl(HostRuntime& face, Engine& engine, RuntimeOptions options)
    : engine_(engine),
      options_(std::move(options)),
      face_(face),
      dispatcher_(*this, options_.handover_us),
      hung_clock_([this](int64_t now_ns) {
        report_hung(now_ns);
        report_hung_errands(now_ns);
        return_idle_memory();
        flush_delayed();
      }) {
  if (options_.channels.empty())
    throw std::invalid_argument("no channel: this program is started by `loader`, with --channel");
  build_table();
  uint32_t shard = 0;
  for (ChannelDescriptors& descriptors : options_.channels) {
    channel::HostDescriptors owned{channel::UniqueFd(std::exchange(descriptors.socket, -1)),
                                   channel::UniqueFd(std::exchange(descriptors.arena_in, -1)),
                                   channel::UniqueFd(std::exchange(descriptors.arena_out, -1))};
    auto link = std::make_shared<Link>(channel::open_channel(std::move(owned)), *this, dispatcher_,
                                       shard++);
    link->start();
    links_.push_back(std::move(link));
  }
}

HostRuntime::Impl::~Impl() {
  dispatcher_.stop_and_join();
  for (auto& link : links_) link->detach();
}

int HostRuntime::Impl::run() {
  start_lifeline();
  for (auto& link : links_) send_hello(*link);
  dispatcher_.run();
  flush_rest();
  hung_clock_.stop();
  lifeline_.reset();
  std::lock_guard lock(state_mutex_);
  return exit_code_;
}

void HostRuntime::Impl::collect(std::vector<pollfd>& descriptors) {
  for (const auto& link : links_) descriptors.push_back(link->wants());
  if (is_open_.load(std::memory_order_acquire)) return;
  for (auto& descriptor : descriptors) descriptor.fd = -1;  // poll() skips it
}

void HostRuntime::Impl::on_ready(const std::vector<pollfd>& descriptors) {
  for (size_t i = 0; i < descriptors.size(); ++i) {
    if (descriptors[i].revents == 0) continue;
    if ((descriptors[i].revents & POLLOUT) != 0) links_[i]->flush();
    if ((descriptors[i].revents & ~POLLOUT) == 0) continue;
    const channel::ReadStatus status = links_[i]->read();
    if (status == channel::ReadStatus::kClosed) {
      shut_down(LOADER_REASON_LOADER_GONE, kExitLoaderGone);
    } else if (status == channel::ReadStatus::kFault) {
      fault(links_[i]->fault());
    }
  }
}

void HostRuntime::Impl::flush() {
  for (auto& link : links_) link->flush();
}

// A process that ends has no later: what the loader has not taken yet waits for it a moment.
void HostRuntime::Impl::flush_rest() {
  constexpr int64_t kPatienceNs = 2'000'000'000;
  const int64_t end = monotonic_ns() + kPatienceNs;
  flush();
  for (auto& link : links_) {
    while (is_open_.load() && link->backlog_bytes() != 0 && monotonic_ns() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      link->flush();
    }
  }
}

// There is no way back: what waits in poll() still sees the old files, and nothing can wake it.
void HostRuntime::Impl::on_descriptors_lost() {
  std::fputs("engine host: the wrapper closed the host's descriptors; stopping\n", stderr);
  if (options_.owns_process) channel::kill_own_group();
  std::abort();
}

void HostRuntime::Impl::submit(JobKind kind, std::function<void()> work) {
  dispatcher_.submit(std::make_shared<FunctionJob>(std::move(work)), kind);
}

}  // namespace loader::host
