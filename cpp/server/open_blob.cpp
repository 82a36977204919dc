#include "server/open_blob.h"

#include <cstring>

namespace loader::server {
namespace {

void append_u32(std::string& out, size_t value) {
  auto number = static_cast<uint32_t>(value);
  char raw[sizeof number];
  std::memcpy(raw, &number, sizeof number);
  out.append(raw, sizeof raw);
}

void append_pairs(std::string& out, std::span<const TextPair> pairs) {
  append_u32(out, pairs.size());
  for (const TextPair& pair : pairs) {
    append_u32(out, pair.first.size());
    out.append(pair.first);
    append_u32(out, pair.second.size());
    out.append(pair.second);
  }
}

uint32_t take_u32(const uint8_t*& at) {
  uint32_t number;
  std::memcpy(&number, at, sizeof number);
  at += sizeof number;
  return number;
}

std::string_view take_text(const uint8_t*& at) {
  uint32_t size = take_u32(at);
  std::string_view text(reinterpret_cast<const char*>(at), size);
  at += size;
  return text;
}

void take_pairs(const uint8_t*& at, std::vector<channel::PairView>& out) {
  for (uint32_t left = take_u32(at); left > 0; left--) {
    std::string_view key = take_text(at);
    out.push_back({key, take_text(at)});
  }
}

}  // namespace

void append_open_blob(std::string& out, std::span<const TextPair> parameters,
                      std::span<const TextPair> metadata) {
  if (parameters.empty() && metadata.empty()) return;
  append_pairs(out, parameters);
  append_pairs(out, metadata);
}

void read_open_blob(std::span<const uint8_t> blob, channel::OpenBody& out) {
  if (blob.empty()) return;
  const uint8_t* at = blob.data();
  take_pairs(at, out.parameters);
  take_pairs(at, out.metadata);
}

}  // namespace loader::server
