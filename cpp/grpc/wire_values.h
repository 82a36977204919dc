// Header values gRPC defines: timeouts, base64, key classes. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace loader::grpc {

// `grpc-timeout` in nanoseconds, saturated at INT64_MAX; nothing if malformed.
std::optional<int64_t> parse_timeout(std::string_view value);

// Standard alphabet, no padding.
std::string base64_encode(std::string_view bytes);
// Accepts padded and unpadded input; appends to `out`. False if malformed.
bool base64_decode(std::string_view text, std::string& out);

inline bool is_binary_key(std::string_view key) {
  return key.ends_with("-bin");
}

// Keys an application may not send: those of HTTP/2 and of gRPC itself.
bool is_reserved_key(std::string_view key);

// Is `token` one of the comma-separated tokens of `list` (spaces around them ignored)?
bool list_contains(std::string_view list, std::string_view token);

std::string_view strip(std::string_view value);

}  // namespace loader::grpc
