// The end of an instance: every session destroyed with the reason, fini, then run() returns.
#include <utility>

#include "host/runtime_impl.h"

namespace loader::host {

void HostRuntime::Impl::start_lifeline() {
  if (options_.lifeline < 0) return;
  lifeline_ = std::make_unique<channel::Lifeline>(
      channel::UniqueFd(std::exchange(options_.lifeline, -1)),
      [this] { shut_down(LOADER_REASON_LOADER_GONE, kExitLoaderGone); });
}

void HostRuntime::Impl::shut_down(int32_t reason, int exit_code) {
  {
    std::lock_guard lock(state_mutex_);
    if (exit_code != kExitOk) is_open_.store(false, std::memory_order_release);
    if (is_shutting_down_) return;
    is_shutting_down_ = true;
    is_serving_.store(false, std::memory_order_release);
    exit_code_ = exit_code;
  }
  for (const SessionPointer& session : sessions_.all()) request_destroy(session, reason);
  finish_shutdown();
  dispatcher_.poke();
}

// Called whenever something ended that a shutdown waits for.
void HostRuntime::Impl::finish_shutdown() {
  int exit_code = kExitOk;
  {
    std::lock_guard lock(state_mutex_);
    if (!is_shutting_down_ || !sessions_.empty() || !errands_.empty()) return;
    if (stage_ == Stage::kReady) {
      stage_ = Stage::kFinishing;
      submit(JobKind::kMain, [this] { run_fini(); });
      return;
    }
    if (stage_ != Stage::kLoaded) return;  // init still runs, or fini does
    stage_ = Stage::kOver;
    exit_code = exit_code_;
  }
  leave(exit_code);
}

void HostRuntime::Impl::run_fini() {
  engine_.fini();
  int exit_code = kExitOk;
  {
    std::lock_guard lock(state_mutex_);
    stage_ = Stage::kOver;
    exit_code = exit_code_;
  }
  leave(exit_code);
}

void HostRuntime::Impl::leave(int exit_code) {
  {
    std::lock_guard lock(state_mutex_);
    exit_code_ = exit_code;
  }
  flush();
  dispatcher_.stop();
}

}  // namespace loader::host
