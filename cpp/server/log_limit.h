// How much one instance may log: a bucket that holds one second of it, as for what its process
// prints (loader/engine/output.py). What is over is counted. Knows no instance and no queue.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>

namespace loader::server {

// Any thread.
class LogLimit {
 public:
  static constexpr int64_t kRateBytes = 1 << 20;  // a second
  static constexpr int64_t kRecordBytes = 256;    // of a record in the log beside its text

  // Whether a record with so much text may pass now.
  bool take(size_t text_bytes, int64_t now_ns) {
    std::lock_guard lock(mutex_);
    const int64_t size = static_cast<int64_t>(text_bytes) + kRecordBytes;
    refill(now_ns);
    if (size <= left_) {
      left_ -= size;
      return true;
    }
    dropped_bytes_ += text_bytes;
    return false;
  }

  // Bytes of text refused since the last time this said so.
  uint64_t take_dropped() {
    std::lock_guard lock(mutex_);
    return std::exchange(dropped_bytes_, 0);
  }

 private:
  static constexpr int64_t kSecondNs = 1'000'000'000;

  // Whole bytes only: the time of a part of one is left for the next call.
  void refill(int64_t now_ns) {
    const int64_t passed_ns = std::clamp(now_ns - at_ns_, int64_t{0}, kSecondNs);
    const int64_t earned = passed_ns * kRateBytes / kSecondNs;
    if (earned == 0) return;
    left_ = std::min(kRateBytes, left_ + earned);
    at_ns_ = now_ns;
  }

  std::mutex mutex_;
  int64_t left_ = kRateBytes;
  int64_t at_ns_ = 0;
  uint64_t dropped_bytes_ = 0;
};

}  // namespace loader::server
