// Counters and latency histograms of one shard, read by other threads. Relaxed atomics: one writer,
// and a reader that may be a moment late but never sees a torn value.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace loader::server {

// One writer thread: load and store instead of a locked add.
class Counter {
 public:
  void add(uint64_t n = 1) {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  void sub(uint64_t n = 1) {
    value_.store(value_.load(std::memory_order_relaxed) - n, std::memory_order_relaxed);
  }
  uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

// Seconds in buckets that grow by about the square root of ten, from 100 us to 100 s.
class Histogram {
 public:
  static constexpr std::array<double, 13> kBounds = {0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1,
                                                     0.3,    1,      3,     10,    30,   100};

  void observe(double seconds) {
    size_t i = 0;
    while (i < kBounds.size() && seconds > kBounds[i]) i++;
    buckets_[i].add();
    sum_ns_.add(static_cast<uint64_t>(seconds * 1e9));
  }
  uint64_t bucket(size_t i) const { return buckets_[i].get(); }
  double sum() const { return static_cast<double>(sum_ns_.get()) / 1e9; }

 private:
  std::array<Counter, kBounds.size() + 1> buckets_;
  Counter sum_ns_;
};

}  // namespace loader::server
