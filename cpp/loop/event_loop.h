// One epoll loop: descriptors, timers, posted work, and a hook at the end of each round.
// Knows nothing of gRPC, channels or sessions. One loop belongs to one thread; only post() and
// stop() may be called from others.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <vector>

namespace loader {

// Receives the events of one descriptor. The owner keeps it alive until unwatch().
class EventSource {
 public:
  virtual ~EventSource() = default;
  // `events` is a set of EPOLL* bits.
  virtual void on_events(uint32_t events) = 0;
};

// Called once after each batch of events and timers; the place where written data leaves.
class RoundHook {
 public:
  virtual ~RoundHook() = default;
  virtual void on_round_end() = 0;
};

class EventLoop;

// A deadline in the loop's heap. Embed it, set it, forget it: the destructor removes it.
class Timer {
 public:
  explicit Timer(std::function<void()> fire = {}) : fire_(std::move(fire)) {}
  ~Timer() { cancel(); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  void on_fire(std::function<void()> fire) { fire_ = std::move(fire); }
  // (Re)arms at an absolute monotonic time. Cheap: one heap sift, no system call.
  void set(EventLoop& loop, int64_t deadline_ns);
  void cancel();
  bool is_set() const { return loop_ != nullptr; }
  int64_t deadline_ns() const { return deadline_ns_; }

 private:
  friend class EventLoop;
  EventLoop* loop_ = nullptr;
  size_t index_ = 0;
  int64_t deadline_ns_ = 0;
  std::function<void()> fire_;
};

class EventLoop {
 public:
  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Level-triggered. Throws std::system_error when the kernel refuses.
  void watch(int fd, uint32_t events, EventSource* source);
  void rearm(int fd, uint32_t events, EventSource* source);
  // After this no further on_events() reaches `source`, not even from the batch in progress.
  void unwatch(int fd, EventSource* source);

  void add_hook(RoundHook* hook);
  void remove_hook(RoundHook* hook);

  // Runs `work` on the loop's thread, in the order posted. Any thread. Work posted after stop()
  // is destroyed unrun.
  void post(std::function<void()> work);

  // CLOCK_MONOTONIC in nanoseconds: now_ns() as of the current round, clock_ns() of this moment.
  int64_t now_ns() const { return now_ns_; }
  static int64_t clock_ns();

  // Until stop(). `busy_poll_us` > 0 spins that long before sleeping.
  void run();
  void stop();
  void set_busy_poll_us(int64_t us) { busy_poll_us_ = us; }
  bool is_loop_thread() const;

  // Wake-ups of the loop (rounds) since start, for metrics and benchmarks.
  uint64_t rounds() const { return rounds_.load(std::memory_order_relaxed); }

 private:
  friend class Timer;
  struct Wake;
  void run_round(int timeout_ms);
  void run_posted();
  void run_timers();
  int timeout_ms() const;
  void sift_up(size_t i);
  void sift_down(size_t i);
  void place(size_t i, Timer* timer);

  int epoll_fd_ = -1;
  int wake_fd_ = -1;
  int64_t now_ns_ = 0;
  int64_t busy_poll_us_ = 0;
  std::atomic<bool> is_stopping_{false};
  std::atomic<uint64_t> rounds_{0};
  std::atomic<uint64_t> thread_{0};
  std::vector<Timer*> heap_;
  std::vector<RoundHook*> hooks_;
  std::vector<EventSource*>
      batch_;  // sources of the batch in progress; unwatch() blanks its entries
  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;
  bool is_woken_ = false;
};

}  // namespace loader
