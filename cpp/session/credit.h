// Credit windows of one session, one struct for each direction. Pure arithmetic.
#pragma once

#include <cstdint>
#include <vector>

namespace loader::session {

// Input: what may still be sent to the engine. The engine returns it by completing writes in order.
class InputCredit {
 public:
  void reset(uint64_t bytes, uint32_t records) {
    window_bytes_ = static_cast<int64_t>(bytes);
    bytes_ = window_bytes_;
    records_ = records;
    head_ = 0;
    count_ = 0;
  }
  // A message fits when it is covered; one larger than the window may overdraw while any is left.
  bool fits(uint64_t bytes) const {
    const int64_t size = static_cast<int64_t>(bytes);
    return records_ > 0 && (size <= bytes_ || (size > window_bytes_ && bytes_ > 0));
  }
  // `held_bytes`: of the transport's window, until the write has completed.
  void take(uint64_t bytes, uint64_t held_bytes) {
    if (count_ == ring_.size()) grow();
    ring_[(head_ + count_) & (ring_.size() - 1)] = {bytes, held_bytes};
    ++count_;
    --records_;
    bytes_ -= static_cast<int64_t>(bytes);
  }
  // The oldest write has completed. Returns what it held of the transport's window.
  uint64_t give_back() {
    const Write write = ring_[head_];
    bytes_ += static_cast<int64_t>(write.bytes);
    head_ = (head_ + 1) & (ring_.size() - 1);
    --count_;
    ++records_;
    return write.held_bytes;
  }
  size_t outstanding() const { return count_; }
  uint64_t outstanding_bytes() const { return static_cast<uint64_t>(window_bytes_ - bytes_); }
  void shrink() {
    if (ring_.size() > kKeptRing) std::vector<Write>().swap(ring_);
  }

 private:
  struct Write {
    uint64_t bytes;
    uint64_t held_bytes;
  };
  static constexpr size_t kKeptRing = 32;

  void grow() {
    std::vector<Write> larger(ring_.empty() ? 8 : ring_.size() * 2);
    for (size_t i = 0; i < count_; ++i) larger[i] = ring_[(head_ + i) & (ring_.size() - 1)];
    ring_.swap(larger);
    head_ = 0;
  }

  int64_t window_bytes_ = 0;
  int64_t bytes_ = 0;  // negative: overdrawn
  uint32_t records_ = 0;
  std::vector<Write> ring_;  // the writes that run; its size is a power of two
  size_t head_ = 0;
  size_t count_ = 0;
};

// Results: what the engine may still emit, what the front has not taken, what is to be granted.
class ResultCredit {
 public:
  struct Grant {
    uint32_t records = 0;
    uint64_t bytes = 0;
  };

  void reset(uint64_t bytes, uint32_t records) {
    window_bytes_ = bytes;
    window_records_ = records;
    left_bytes_ = static_cast<int64_t>(bytes);
    left_records_ = records;
    unconsumed_bytes_ = 0;
    unconsumed_records_ = 0;
    pending_ = {};
  }
  // Anything may overdraw while something is left.
  bool is_left() const { return left_records_ > 0 && left_bytes_ > 0; }
  // False: the engine emitted without credit.
  bool receive(uint64_t bytes) {
    if (!is_left()) return false;
    --left_records_;
    left_bytes_ -= static_cast<int64_t>(bytes);
    ++unconsumed_records_;
    unconsumed_bytes_ += bytes;
    return true;
  }
  // Never more than was received.
  void consume(uint64_t bytes, uint32_t records) {
    bytes = bytes < unconsumed_bytes_ ? bytes : unconsumed_bytes_;
    records = records < unconsumed_records_ ? records : unconsumed_records_;
    unconsumed_bytes_ -= bytes;
    unconsumed_records_ -= records;
    pending_.bytes += bytes;
    pending_.records += records;
  }
  // Grants stay rare: a quarter of the window.
  bool is_grant_due() const {
    return pending_.bytes >= window_bytes_ / 4 || pending_.records >= (window_records_ + 3) / 4;
  }
  Grant take_grant() {
    const Grant grant = pending_;
    pending_ = {};
    left_bytes_ += static_cast<int64_t>(grant.bytes);
    left_records_ += grant.records;
    return grant;
  }
  bool is_consumed() const { return unconsumed_records_ == 0; }
  uint64_t unconsumed_bytes() const { return unconsumed_bytes_; }

 private:
  uint64_t window_bytes_ = 0;
  uint32_t window_records_ = 0;
  int64_t left_bytes_ = 0;
  uint32_t left_records_ = 0;
  uint64_t unconsumed_bytes_ = 0;
  uint32_t unconsumed_records_ = 0;
  Grant pending_;
};

}  // namespace loader::session
