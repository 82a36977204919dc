// The slow halves of the protobuf primitives.
#include "frame/wire.h"

namespace loader::frame {

namespace {
constexpr uint64_t kMaxField = (1u << 29) - 1;
}

bool WireReader::read_long_varint(uint64_t& value) {
  uint64_t result = 0;
  const uint8_t* at = at_;
  for (uint32_t shift = 0; shift < 70 && at != end_; shift += 7) {
    const uint8_t byte = *at++;
    if (shift == 63 && byte > 1) return false;
    result |= uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80) {
      value = result;
      at_ = at;
      return true;
    }
  }
  return false;
}

bool WireReader::read_tag(uint32_t& field, uint32_t& wire_type) {
  const uint8_t* start = at_;
  uint64_t tag = 0;
  if (!read_varint(tag)) return false;
  if (tag >> 3 == 0 || tag >> 3 > kMaxField) {
    at_ = start;
    return false;
  }
  field = static_cast<uint32_t>(tag >> 3);
  wire_type = static_cast<uint32_t>(tag & 7);
  return true;
}

bool WireReader::skip(uint32_t wire_type) {
  uint64_t number = 0;
  std::span<const uint8_t> bytes;
  switch (wire_type) {
    case kVarint:
      return read_varint(number);
    case kLength:
      return read_length(bytes);
    case kFixed64:
    case kFixed32: {
      const size_t size = wire_type == kFixed64 ? 8 : 4;
      if (left() < size) return false;
      at_ += size;
      return true;
    }
    default:
      return false;
  }
}

}  // namespace loader::frame
