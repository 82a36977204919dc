#include "host/hung_clock.h"

#include <time.h>

#include <algorithm>
#include <chrono>

namespace loader::host {

int64_t monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

void HungClock::start(int64_t limit_ns) {
  limit_ns_ = limit_ns;
  period_ns_ = std::clamp<int64_t>(limit_ns / 4, 5'000'000, 1'000'000'000);
  thread_ = std::thread([this] { run(); });
}

void HungClock::stop() {
  {
    std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  stopped_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void HungClock::run() {
  std::unique_lock lock(mutex_);
  while (!is_stopping_) {
    stopped_.wait_for(lock, std::chrono::nanoseconds(period_ns_), [this] { return is_stopping_; });
    if (is_stopping_) return;
    lock.unlock();
    look_(monotonic_ns());
    lock.lock();
  }
}

}  // namespace loader::host
