#include "server/aiges_handle.h"

#include <arpa/inet.h>

#include <charconv>
#include <functional>
#include <optional>
#include <random>

namespace loader::server {
namespace {

// version 1, address 8, port 4, counter 6, seconds 7
constexpr size_t kHandleSize = 26;
constexpr size_t kCounterAt = 13;
constexpr size_t kCounterSize = 6;
constexpr uint32_t kCounters = 1u << 24;
constexpr uint32_t kSeconds = (1u << 28) - 1;

template <class Number>
std::optional<Number> number_in(std::string_view text, int base) {
  Number value{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

void append_hex(std::string& out, uint32_t value, int digits) {
  static constexpr char kDigits[] = "0123456789abcdef";
  for (int shift = (digits - 1) * 4; shift >= 0; shift -= 4) {
    out.push_back(kDigits[value >> shift & 15]);
  }
}

}  // namespace

uint32_t aiges_shard_of(std::string_view handle, uint32_t shard_count) {
  if (handle.size() == kHandleSize) {
    const auto counter = number_in<uint32_t>(handle.substr(kCounterAt, kCounterSize), 16);
    if (counter) return *counter % shard_count;
  }
  return static_cast<uint32_t>(std::hash<std::string_view>{}(handle) % shard_count);
}

// From anywhere: handles of the loader that was here before mean nothing to this one.
AigesHandles::AigesHandles(uint32_t shard, uint32_t shard_count)
    : shard_(shard), shard_count_(shard_count) {
  const uint32_t start = std::random_device{}() % (kCounters / 2);
  counter_ = start - start % shard_count + shard;
}

bool AigesHandles::set_address(std::string_view address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string_view::npos) return false;
  in_addr ip{};
  if (inet_pton(AF_INET, std::string(address.substr(0, colon)).c_str(), &ip) != 1) return false;
  const auto port = number_in<uint16_t>(address.substr(colon + 1), 10);
  if (!port) return false;
  ip_ = ntohl(ip.s_addr);
  port_ = *port;
  address_ = address;
  return true;
}

std::string AigesHandles::make(int64_t unix_seconds) {
  std::string handle;
  handle.reserve(kHandleSize);
  handle.push_back('0');
  append_hex(handle, ip_, 8);
  append_hex(handle, port_, 4);
  append_hex(handle, counter_, kCounterSize);
  append_hex(handle, static_cast<uint32_t>(unix_seconds) & kSeconds, 7);
  counter_ += shard_count_;
  if (counter_ >= kCounters) counter_ = shard_;
  return handle;
}

}  // namespace loader::server
