// Reads and writes single protobuf fields, for the few small messages the library speaks itself.
// No generated code: that would register foreign files in the process-wide descriptor pool.
#pragma once

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace loader::grpc {

class ProtoReader {
 public:
  explicit ProtoReader(std::string_view bytes)
      : in_(reinterpret_cast<const uint8_t*>(bytes.data()), static_cast<int>(bytes.size())) {}
  // False at the end or when malformed; is_good() tells which.
  bool next() {
    if (at_end()) return false;
    tag_ = in_.ReadTag();
    is_good_ = is_good_ && tag_ != 0;
    return is_good_;
  }
  uint32_t field() const { return tag_ >> 3; }
  std::string text() {
    std::string value;
    is_good_ = is_good_ && (tag_ & 7) == 2 &&
               google::protobuf::internal::WireFormatLite::ReadBytes(&in_, &value);
    return value;
  }
  uint64_t number() {
    uint64_t value = 0;
    is_good_ = is_good_ && (tag_ & 7) == 0 && in_.ReadVarint64(&value);
    return value;
  }
  void skip() {
    is_good_ = is_good_ && google::protobuf::internal::WireFormatLite::SkipField(&in_, tag_);
  }
  bool is_good() const { return is_good_; }

 private:
  bool at_end() {
    const void* p = nullptr;
    int n = 0;
    return !is_good_ || !in_.GetDirectBufferPointer(&p, &n);
  }
  google::protobuf::io::CodedInputStream in_;
  uint32_t tag_ = 0;
  bool is_good_ = true;
};

inline void put_varint(std::string& to, uint64_t v) {
  for (; v >= 0x80; v >>= 7) to.push_back(static_cast<char>(v | 0x80));
  to.push_back(static_cast<char>(v));
}
inline void put_number(std::string& to, uint32_t field, uint64_t v) {
  put_varint(to, uint64_t{field} << 3);
  put_varint(to, v);
}
inline void put_text(std::string& to, uint32_t field, std::string_view v) {
  put_varint(to, (uint64_t{field} << 3) | 2);
  put_varint(to, v.size());
  to.append(v);
}

}  // namespace loader::grpc
