// Counts what a client may not do too often. Pure: time comes in as an argument.
#pragma once

#include <algorithm>
#include <cstdint>

#include "grpc/options.h"

namespace loader::grpc {

class TokenBucket {
 public:
  TokenBucket(uint32_t burst, double per_second)
      : burst_(burst), per_second_(per_second), tokens_(burst) {}
  // False when the bucket is empty.
  bool take(int64_t now_ns);

 private:
  double burst_;
  double per_second_;
  double tokens_;
  int64_t last_ns_ = 0;
};

class Police {
 public:
  explicit Police(const Options& options);

  // Each returns false when the client has gone too far.
  bool on_ping(int64_t now_ns, bool has_streams);
  bool on_settings(int64_t now_ns) { return settings_.take(now_ns); }
  // Empty DATA, PRIORITY, a WINDOW_UPDATE below 1 KiB, an unknown frame.
  bool on_idle_frame() { return ++idle_frames_ <= options_.max_idle_frames; }
  bool on_reset_sent(int64_t now_ns) { return resets_.take(now_ns); }

  // HEADERS, DATA or WINDOW_UPDATE sent, DATA received: pings are forgiven.
  void on_progress() { strikes_ = 0, has_last_ping_ = false; }
  void on_message_completed() { idle_frames_ = std::min<int64_t>(idle_frames_, 0); }
  // A client answers our DATA with small window updates, of the stream and of the connection: those
  // are no flood, however many streams it reads without sending anything.
  void on_data_sent() {
    idle_frames_ = std::max<int64_t>(idle_frames_ - kUpdatesPerDataFrame, -kMostForgiven);
  }

 private:
  static constexpr int64_t kUpdatesPerDataFrame = 4;
  static constexpr int64_t kMostForgiven = 100'000;

  const Options& options_;
  TokenBucket settings_;
  TokenBucket resets_;
  int64_t idle_frames_ = 0;  // below 0: forgiven in advance
  uint32_t strikes_ = 0;
  bool has_last_ping_ = false;
  int64_t last_ping_ns_ = 0;
};

}  // namespace loader::grpc
