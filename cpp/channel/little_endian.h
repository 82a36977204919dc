// Numbers and texts in little-endian bytes, written unchecked into reserved room and read with
// every step checked. Refuses to know what they mean.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

namespace loader::channel {

static_assert(std::endian::native == std::endian::little, "the channel assumes little-endian");

template <typename Number>
requires std::is_arithmetic_v<Number> || std::is_enum_v<Number> uint8_t* put(Number value,
                                                                             uint8_t* out) {
  std::memcpy(out, &value, sizeof value);
  return out + sizeof value;
}
template <typename Number>
Number get_at(const uint8_t* at) {
  Number value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

inline size_t text_size(std::string_view text) {
  return sizeof(uint32_t) + text.size();
}
inline uint8_t* put_text(std::string_view text, uint8_t* out) {
  out = put(static_cast<uint32_t>(text.size()), out);
  if (!text.empty()) std::memcpy(out, text.data(), text.size());
  return out + text.size();
}

// After the first failed read every later one fails too: check ok() once, at the end.
class Reader {
 public:
  explicit Reader(std::span<const uint8_t> bytes) : left_(bytes) {}

  template <typename Number>
  requires std::is_arithmetic_v<Number> || std::is_enum_v<Number> Reader& get(Number& value) {
    if (!has(sizeof value)) return *this;
    std::memcpy(&value, left_.data(), sizeof value);
    left_ = left_.subspan(sizeof value);
    return *this;
  }
  Reader& get_text(std::string_view& text) {
    uint32_t size = 0;
    get(size);
    if (!has(size)) return *this;
    text = {reinterpret_cast<const char*>(left_.data()), size};
    left_ = left_.subspan(size);
    return *this;
  }
  bool ok() const { return is_ok_; }
  bool ok_at_end() const { return is_ok_ && left_.empty(); }
  std::span<const uint8_t> left() const { return left_; }

 private:
  bool has(size_t size) {
    is_ok_ = is_ok_ && left_.size() >= size;
    return is_ok_;
  }
  std::span<const uint8_t> left_;
  bool is_ok_ = true;
};

}  // namespace loader::channel
