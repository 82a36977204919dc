#include "loop/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <system_error>
#include <thread>
#include <utility>

namespace loader {
namespace {

constexpr int kBatch = 256;

uint64_t this_thread() {
  return std::hash<std::thread::id>{}(std::this_thread::get_id()) | 1;
}

void check(int rc, const char* what) {
  if (rc < 0) throw std::system_error(errno, std::generic_category(), what);
}

}  // namespace

void Timer::set(EventLoop& loop, int64_t deadline_ns) {
  if (loop_ == nullptr) {
    loop_ = &loop;
    loop.heap_.push_back(this);
    index_ = loop.heap_.size() - 1;
  }
  deadline_ns_ = deadline_ns;
  loop.sift_up(index_);
  loop.sift_down(index_);
}

void Timer::cancel() {
  if (loop_ == nullptr) return;
  EventLoop& loop = *std::exchange(loop_, nullptr);
  Timer* last = loop.heap_.back();
  loop.heap_.pop_back();
  if (last == this) return;
  loop.place(index_, last);
  loop.sift_up(last->index_);
  loop.sift_down(last->index_);
}

EventLoop::EventLoop() : now_ns_(clock_ns()) {
  epoll_fd_ = epoll_create1(EPOLL_CLOEXEC);
  check(epoll_fd_, "epoll_create1");
  wake_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  check(wake_fd_, "eventfd");
  watch(wake_fd_, EPOLLIN, nullptr);
}

EventLoop::~EventLoop() {
  posted_.clear();  // may own objects whose timers are in our heap
  while (!heap_.empty()) heap_.back()->cancel();
  ::close(wake_fd_);
  ::close(epoll_fd_);
}

int64_t EventLoop::clock_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1'000'000'000LL + t.tv_nsec;
}

void EventLoop::watch(int fd, uint32_t events, EventSource* source) {
  epoll_event e{};
  e.events = events;
  e.data.ptr = source;
  check(epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &e), "epoll_ctl add");
}

void EventLoop::rearm(int fd, uint32_t events, EventSource* source) {
  epoll_event e{};
  e.events = events;
  e.data.ptr = source;
  check(epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &e), "epoll_ctl mod");
}

void EventLoop::unwatch(int fd, EventSource* source) {
  epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);
  std::replace(batch_.begin(), batch_.end(), source, static_cast<EventSource*>(nullptr));
}

void EventLoop::add_hook(RoundHook* hook) {
  hooks_.push_back(hook);
}

void EventLoop::remove_hook(RoundHook* hook) {
  std::erase(hooks_, hook);
}

void EventLoop::post(std::function<void()> work) {
  bool must_wake;
  {
    std::lock_guard lock(mutex_);
    posted_.push_back(std::move(work));
    must_wake = !std::exchange(is_woken_, true);
  }
  if (must_wake) {
    uint64_t one = 1;
    [[maybe_unused]] ssize_t n = ::write(wake_fd_, &one, sizeof one);
  }
}

void EventLoop::stop() {
  is_stopping_.store(true, std::memory_order_release);
  post([] {});
}

bool EventLoop::is_loop_thread() const {
  return thread_.load(std::memory_order_relaxed) == this_thread();
}

void EventLoop::run() {
  thread_.store(this_thread(), std::memory_order_relaxed);
  while (!is_stopping_.load(std::memory_order_acquire)) run_round(timeout_ms());
  thread_.store(0, std::memory_order_relaxed);
}

int EventLoop::timeout_ms() const {
  if (heap_.empty()) return -1;
  int64_t left_ns = heap_.front()->deadline_ns_ - clock_ns();
  if (left_ns <= 0) return 0;
  return int(std::min<int64_t>((left_ns + 999'999) / 1'000'000, std::numeric_limits<int>::max()));
}

void EventLoop::run_round(int timeout_ms) {
  epoll_event events[kBatch];
  int n = 0;
  if (busy_poll_us_ > 0 && timeout_ms != 0) {
    int64_t until = clock_ns() + busy_poll_us_ * 1000;
    do {
      n = epoll_wait(epoll_fd_, events, kBatch, 0);
    } while (n == 0 && clock_ns() < until);
  }
  if (n == 0) n = epoll_wait(epoll_fd_, events, kBatch, timeout_ms);
  if (n < 0 && errno != EINTR) check(n, "epoll_wait");
  rounds_.fetch_add(1, std::memory_order_relaxed);
  now_ns_ = clock_ns();
  bool has_posted = false;
  batch_.clear();
  for (int i = 0; i < n; i++) batch_.push_back(static_cast<EventSource*>(events[i].data.ptr));
  for (int i = 0; i < n; i++) {
    if (events[i].data.ptr == nullptr) {
      has_posted = true;
    } else if (batch_[size_t(i)] != nullptr) {
      batch_[size_t(i)]->on_events(events[i].events);
    }
  }
  batch_.clear();
  if (has_posted) run_posted();
  run_timers();
  for (size_t i = 0; i < hooks_.size(); i++) hooks_[i]->on_round_end();
}

void EventLoop::run_posted() {
  uint64_t count;
  [[maybe_unused]] ssize_t n = ::read(wake_fd_, &count, sizeof count);
  std::vector<std::function<void()>> work;
  {
    std::lock_guard lock(mutex_);
    work.swap(posted_);
    is_woken_ = false;
  }
  for (auto& w : work) w();
}

void EventLoop::run_timers() {
  // Timers set by a firing timer for a time already past wait for the next round: no live-lock.
  int64_t now = now_ns_;
  for (size_t budget = heap_.size();
       budget > 0 && !heap_.empty() && heap_.front()->deadline_ns_ <= now; budget--) {
    Timer* timer = heap_.front();
    timer->cancel();
    auto fire = timer->fire_;  // the callback may destroy the timer
    fire();
  }
}

void EventLoop::place(size_t i, Timer* timer) {
  heap_[i] = timer;
  timer->index_ = i;
}

void EventLoop::sift_up(size_t i) {
  Timer* timer = heap_[i];
  while (i > 0) {
    size_t parent = (i - 1) / 4;
    if (heap_[parent]->deadline_ns_ <= timer->deadline_ns_) break;
    place(i, heap_[parent]);
    i = parent;
  }
  place(i, timer);
}

void EventLoop::sift_down(size_t i) {
  Timer* timer = heap_[i];
  for (;;) {
    size_t best = i * 4 + 1;
    if (best >= heap_.size()) break;
    for (size_t k = best + 1; k < std::min(best + 4, heap_.size()); k++)
      if (heap_[k]->deadline_ns_ < heap_[best]->deadline_ns_) best = k;
    if (heap_[best]->deadline_ns_ >= timer->deadline_ns_) break;
    place(i, heap_[best]);
    i = best;
  }
  place(i, timer);
}

}  // namespace loader
