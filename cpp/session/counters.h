// Counters of one engine in one shard. Plain numbers: read them on the shard's thread.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "session/table.h"

namespace loader::session {

// Power-of-two buckets of microseconds: bucket i counts values below 2^i us, the last one the rest.
struct Histogram {
  static constexpr size_t kBuckets = 28;  // up to 2^26 us, 67 s
  std::array<uint64_t, kBuckets> buckets{};
  uint64_t count = 0;
  int64_t sum_ns = 0;

  void add(int64_t ns) {
    const uint64_t us = ns > 0 ? static_cast<uint64_t>(ns) / 1000 : 0;
    const size_t bucket = static_cast<size_t>(std::bit_width(us));
    ++buckets[bucket < kBuckets ? bucket : kBuckets - 1];
    ++count;
    sum_ns += ns;
  }
};

struct EngineCounters {
  uint64_t sessions_opened = 0;  // admitted to the table, execs not included
  uint64_t execs_started = 0;
  uint64_t open_sessions = 0;  // of both kinds, now; queued ones included
  uint64_t queued = 0;         // now
  std::array<uint64_t, kReasonCount> closed{};
  uint64_t frames_in = 0;
  uint64_t bytes_in = 0;
  uint64_t frames_out = 0;
  uint64_t bytes_out = 0;
  uint64_t queued_input_bytes = 0;   // in the core, now
  uint64_t queued_result_bytes = 0;  // in the core, now: before opened, or detached
  uint64_t events_ignored = 0;
  uint64_t events_refused = 0;
  uint64_t calls_hung = 0;
  Histogram queue_wait;
  Histogram first_result;
  Histogram call;  // start to completion of write, end and exec
};

}  // namespace loader::session
