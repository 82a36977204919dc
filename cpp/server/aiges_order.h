// The order of a session's input packages: by sync_id, whatever connection they came on. A package
// that never comes is passed over after a while. Knows no sessions; packages are bytes here.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace loader::server {

class AigesOrder {
 public:
  static constexpr int64_t kPatienceNs = 5'000'000'000;
  static constexpr size_t kMostPackages = 500;

  enum class Place : uint8_t { kNext, kLater, kPast, kFull };

  // The first package of a session says where counting begins.
  void begin(int32_t sync_id) { next_ = int64_t{sync_id} + 1; }
  // kNext: its turn is now, and counts as taken. kLater: kept, if `has_room`. kPast: its turn is
  // over.
  Place place(int32_t sync_id, std::string_view package, bool has_room, int64_t now_ns) {
    if (sync_id < next_) return Place::kPast;
    if (sync_id == next_) {
      advance(now_ns);
      return Place::kNext;
    }
    if (kept_.contains(sync_id)) return Place::kPast;
    if (kept_.size() >= kMostPackages || !has_room) return Place::kFull;
    if (kept_.empty()) waiting_since_ns_ = now_ns;
    bytes_ += package.size();
    kept_.emplace(sync_id, package);
    return Place::kLater;
  }
  // The kept package whose turn has come.
  std::optional<std::string> take_next(int64_t now_ns) {
    auto first = kept_.begin();
    if (first == kept_.end() || first->first != next_) return std::nullopt;
    std::string package = std::move(first->second);
    bytes_ -= package.size();
    kept_.erase(first);
    advance(now_ns);
    return package;
  }
  // When the gap before the kept packages is passed over; INT64_MAX: there is none.
  int64_t gap_deadline_ns() const {
    return kept_.empty() ? INT64_MAX : waiting_since_ns_ + kPatienceNs;
  }
  void skip_gap() {
    if (!kept_.empty()) next_ = kept_.begin()->first;
  }
  size_t bytes() const { return bytes_; }

 private:
  void advance(int64_t now_ns) {
    ++next_;
    waiting_since_ns_ = now_ns;
  }

  int64_t next_ = 0;
  int64_t waiting_since_ns_ = 0;
  size_t bytes_ = 0;
  std::map<int64_t, std::string> kept_;
};

}  // namespace loader::server
