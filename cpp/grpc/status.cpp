#include "grpc/status.h"

#include <array>
#include <cstdint>

namespace loader::grpc {
namespace {

constexpr std::array<const char*, 17> kNames = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// Length of the well-formed UTF-8 sequence at the front of `s`, 0 if it is malformed (RFC 3629).
size_t sequence_length(std::string_view s) {
  auto byte = [&](size_t i) { return static_cast<uint8_t>(s[i]); };
  uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  size_t n = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || s.size() < n) return 0;
  uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (byte(1) < low || byte(1) > high) return 0;
  for (size_t i = 2; i < n; i++)
    if ((byte(i) & 0xC0) != 0x80) return 0;
  return n;
}

void append_varint(std::string& to, uint64_t v) {
  for (; v >= 0x80; v >>= 7) to.push_back(static_cast<char>(v | 0x80));
  to.push_back(static_cast<char>(v));
}

void append_encoded(std::string& to, std::string_view bytes) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  for (char ch : bytes) {
    auto c = static_cast<uint8_t>(ch);
    if (c >= 0x20 && c <= 0x7e && c != '%') {
      to.push_back(ch);
    } else {
      to.push_back('%');
      to.push_back(kHex[c >> 4]);
      to.push_back(kHex[c & 15]);
    }
  }
}

}  // namespace

const char* code_name(Code code) {
  auto i = static_cast<size_t>(code);
  return i < kNames.size() ? kNames[i] : "UNKNOWN";
}

std::string encode_rpc_status(Code code, std::string_view message, std::string_view details) {
  std::string out;
  if (code != Code::kOk) {
    out.push_back(0x08);
    append_varint(out, static_cast<uint64_t>(code));
  }
  if (!message.empty()) {
    out.push_back(0x12);
    append_varint(out, message.size());
    out.append(message);
  }
  out.append(details);
  return out;
}

std::string percent_encode(std::string_view text, size_t limit) {
  std::string out;
  while (!text.empty()) {
    size_t n = sequence_length(text);
    size_t before = out.size();
    append_encoded(out, n > 0 ? text.substr(0, n) : kReplacement);
    if (out.size() > limit) {
      out.resize(before);
      break;
    }
    text.remove_prefix(n > 0 ? n : 1);
  }
  return out;
}

}  // namespace loader::grpc
