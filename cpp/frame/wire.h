// The protobuf primitives that hand-written parsers and writers share: varints, tags, lengths.
// Every read is checked against the end. Refuses to know any message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace loader::frame {

enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kLength = 2, kFixed32 = 5 };

// A cursor over protobuf bytes. A failed read leaves the cursor where it was.
class WireReader {
 public:
  explicit WireReader(std::span<const uint8_t> bytes)
      : at_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  bool at_end() const { return at_ == end_; }
  size_t left() const { return static_cast<size_t>(end_ - at_); }
  const uint8_t* position() const { return at_; }

  bool read_varint(uint64_t& value) {
    if (at_ != end_ && *at_ < 0x80) {
      value = *at_++;
      return true;
    }
    return read_long_varint(value);
  }
  // False also for field number 0 and for numbers above the protobuf maximum.
  bool read_tag(uint32_t& field, uint32_t& wire_type);
  bool read_length(std::span<const uint8_t>& bytes) {
    const uint8_t* start = at_;
    uint64_t size = 0;
    if (!read_varint(size) || size > left()) {
      at_ = start;
      return false;
    }
    bytes = {at_, static_cast<size_t>(size)};
    at_ += size;
    return true;
  }
  // Skips the value of an unknown field; groups are refused.
  bool skip(uint32_t wire_type);

 private:
  bool read_long_varint(uint64_t& value);
  const uint8_t* at_;
  const uint8_t* end_;
};

inline size_t varint_size(uint64_t value) {
  const auto bits = static_cast<uint32_t>(64 - __builtin_clzll(value | 1));
  return (bits + 6) / 7;
}
inline uint8_t* write_varint(uint64_t value, uint8_t* out) {
  while (value >= 0x80) {
    *out++ = static_cast<uint8_t>(value | 0x80);
    value >>= 7;
  }
  *out++ = static_cast<uint8_t>(value);
  return out;
}
// Fields 1 to 15 only: their tag is one byte.
inline uint8_t* write_tag(uint32_t field, WireType type, uint8_t* out) {
  *out++ = static_cast<uint8_t>(field << 3 | type);
  return out;
}
inline uint8_t* write_bytes(const void* data, size_t size, uint8_t* out) {
  if (size != 0) std::memcpy(out, data, size);
  return out + size;
}
inline std::string_view as_text(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace loader::frame
