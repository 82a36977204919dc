#include "grpc/metadata.h"

#include <algorithm>

#include "grpc/wire_values.h"

namespace loader::grpc {

void Metadata::add(std::string_view key, std::string_view value) {
  slots_.push_back({static_cast<uint32_t>(bytes_.size()), static_cast<uint32_t>(key.size()),
                    static_cast<uint32_t>(value.size())});
  bytes_.append(key).append(value);
}

Metadata::Entry Metadata::operator[](size_t i) const {
  const Slot& s = slots_[i];
  std::string_view all = bytes_;
  return {all.substr(s.at, s.key_bytes), all.substr(s.at + s.key_bytes, s.value_bytes)};
}

std::optional<std::string_view> Metadata::find(std::string_view key) const {
  for (Entry e : *this)
    if (e.key == key) return e.value;
  return std::nullopt;
}

bool Metadata::is_sendable(std::string_view key, std::string_view value) {
  auto is_key_char = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
  };
  if (key.empty() || !std::all_of(key.begin(), key.end(), is_key_char)) return false;
  if (is_reserved_key(key)) return false;
  if (is_binary_key(key)) return true;
  return std::all_of(value.begin(), value.end(), [](char c) { return c >= 0x20 && c <= 0x7e; });
}

}  // namespace loader::grpc
