// Protobuf wire primitives for the hot envelopes: a checked reader over a view, and append
// functions. Knows no message; frames have their own codec (cpp/frame).
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

namespace loader::server {

// Reads the fields of one message in order. Every length is checked; `is_ok()` turns false for good
// at the first malformed byte, and next() ends.
class WireReader {
 public:
  explicit WireReader(std::string_view bytes)
      : at_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  // Advances to the next field; false at the end or when malformed.
  bool next() {
    if (at_ == end_ || !is_ok_) return false;
    uint64_t tag = varint();
    if (!is_ok_ || (tag >> 3) == 0 || (tag >> 32) != 0) return fail();
    field_ = static_cast<uint32_t>(tag >> 3);
    type_ = static_cast<uint32_t>(tag & 7);
    switch (type_) {
      case 0:
        number_ = varint();
        return is_ok_;
      case 1:
        return skip(8);
      case 2: {
        uint64_t size = varint();
        if (!is_ok_ || size > static_cast<uint64_t>(end_ - at_)) return fail();
        bytes_ = {at_, static_cast<size_t>(size)};
        at_ += size;
        return true;
      }
      case 5:
        return skip(4);
      default:
        return fail();
    }
  }

  bool is_ok() const { return is_ok_; }
  uint32_t field() const { return field_; }
  bool is_bytes() const { return type_ == 2; }
  bool is_number() const { return type_ == 0; }
  std::string_view bytes() const { return bytes_; }
  uint64_t number() const { return number_; }

 private:
  bool fail() { return is_ok_ = false; }
  bool skip(ptrdiff_t size) {
    if (end_ - at_ < size) return fail();
    at_ += size;
    return true;
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && at_ != end_; shift += 7) {
      auto byte = static_cast<uint8_t>(*at_++);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    is_ok_ = false;
    return 0;
  }

  const char* at_;
  const char* end_;
  bool is_ok_ = true;
  uint32_t field_ = 0;
  uint32_t type_ = 0;
  uint64_t number_ = 0;
  std::string_view bytes_;
};

inline size_t varint_size(uint64_t value) {
  return static_cast<size_t>(std::bit_width(value | 1) + 6) / 7;
}

inline char* put_varint(char* at, uint64_t value) {
  while (value >= 0x80) {
    *at++ = static_cast<char>(value | 0x80);
    value >>= 7;
  }
  *at++ = static_cast<char>(value);
  return at;
}

inline void append_varint(std::string& out, uint64_t value) {
  char room[10];
  out.append(room, static_cast<size_t>(put_varint(room, value) - room));
}

inline void append_number(std::string& out, uint32_t field, uint64_t value) {
  append_varint(out, static_cast<uint64_t>(field) << 3);
  append_varint(out, value);
}

inline void append_bytes(std::string& out, uint32_t field, std::string_view bytes) {
  append_varint(out, static_cast<uint64_t>(field) << 3 | 2);
  append_varint(out, bytes.size());
  out.append(bytes);
}

// Tag and length of a nested message whose bytes follow: what the fronts put before a frame.
class FieldHead {
 public:
  FieldHead(uint32_t field, uint64_t size) {
    char* at = put_varint(room_, static_cast<uint64_t>(field) << 3 | 2);
    size_ = static_cast<size_t>(put_varint(at, size) - room_);
  }
  std::string_view bytes() const { return {room_, size_}; }

 private:
  char room_[20];
  size_t size_;
};

}  // namespace loader::server
