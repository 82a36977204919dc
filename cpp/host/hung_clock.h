// A thread that looks after the host every now and then: at running calls, at idle memory, at
// records that wait for memory files in flight. It never takes a lock of the engine.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

namespace loader::host {

class HungClock {
 public:
  explicit HungClock(std::function<void(int64_t now_ns)> look) : look_(std::move(look)) {}
  ~HungClock() { stop(); }
  HungClock(const HungClock&) = delete;
  HungClock& operator=(const HungClock&) = delete;

  // From here on looks often enough to notice a call that is `limit_ns` old within a quarter of it,
  // and at least once a second.
  void start(int64_t limit_ns);
  void stop();
  int64_t limit_ns() const { return limit_ns_; }

 private:
  void run();
  std::function<void(int64_t)> look_;
  int64_t limit_ns_ = 0;
  int64_t period_ns_ = 0;
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool is_stopping_ = false;
  std::thread thread_;
};

int64_t monotonic_ns();

}  // namespace loader::host
