#include "grpc/police.h"

#include <algorithm>

namespace loader::grpc {

bool TokenBucket::take(int64_t now_ns) {
  if (last_ns_ != 0)
    tokens_ =
        std::min(burst_, tokens_ + static_cast<double>(now_ns - last_ns_) * 1e-9 * per_second_);
  last_ns_ = now_ns;
  if (tokens_ < 1) return false;
  tokens_ -= 1;
  return true;
}

Police::Police(const Options& options)
    : options_(options),
      settings_(options.max_settings_per_minute, options.max_settings_per_minute / 60.0),
      resets_(options.sent_reset_burst, options.sent_resets_per_second) {}

bool Police::on_ping(int64_t now_ns, bool has_streams) {
  int64_t interval_ms =
      has_streams ? options_.min_ping_interval_ms : options_.min_idle_ping_interval_ms;
  if (!has_last_ping_ || now_ns - last_ping_ns_ >= interval_ms * 1'000'000) {
    has_last_ping_ = true;
    last_ping_ns_ = now_ns;
    return true;
  }
  return ++strikes_ <= options_.max_ping_strikes;
}

}  // namespace loader::grpc
