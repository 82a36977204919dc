#include "server/plane.h"

#include <algorithm>
#include <charconv>

#include "server/shard_context.h"

namespace loader::server {

void Plane::tell_health(const std::string& name, const Engines& engines) {
  const bool is_serving =
      !is_draining && std::any_of(engines.begin(), engines.end(), [](const auto& one) {
        return one->is_routed && one->ready_instances > 0;
      });
  health.set(name, is_serving ? grpc::Serving::kServing : grpc::Serving::kNotServing);
}

void Plane::set_routed(const std::string& name, Engines engines) {
  std::lock_guard lock(health_mutex_);
  if (engines.empty()) {
    routed_.erase(name);
    return health.set(name, grpc::Serving::kServiceUnknown);
  }
  tell_health(name, routed_[name] = std::move(engines));
}

void Plane::note_health(const std::string& name) {
  std::lock_guard lock(health_mutex_);
  if (auto found = routed_.find(name); found != routed_.end()) tell_health(name, found->second);
}

void Plane::note_health() {
  std::lock_guard lock(health_mutex_);
  for (const auto& [name, engines] : routed_) tell_health(name, engines);
}

std::string Plane::session_id(session::SessionId id) const {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text = node_id;
  text.reserve(text.size() + 17);
  text.push_back('-');
  for (int shift = 60; shift >= 0; shift -= 4) text.push_back(kDigits[id >> shift & 15]);
  return text;
}

session::SessionId Plane::parse_session_id(const std::string& text) const {
  if (text.size() != node_id.size() + 17 || !text.starts_with(node_id + "-")) return 0;
  session::SessionId id = 0;
  const char* begin = text.data() + node_id.size() + 1;
  const char* end = text.data() + text.size();
  auto [at, error] = std::from_chars(begin, end, id, 16);
  return error == std::errc() && at == end ? id : 0;
}

}  // namespace loader::server
