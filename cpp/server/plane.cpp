#include "server/plane.h"

#include <charconv>

#include "server/shard_context.h"

namespace loader::server {

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
