// Decoder and encoder of frames. Field numbers are those of proto/loader/v1/frame.proto.
#include "frame/frame_codec.h"

#include "frame/wire.h"

namespace loader::frame {

namespace {

enum FrameField : uint32_t { kSeq = 1, kItems = 2, kPosition = 3, kEpoch = 4 };
enum ItemField : uint32_t {
  kKey = 1,
  kType = 2,
  kStatus = 3,
  kDataType = 4,
  kShape = 5,
  kAttributes = 6,
  kData = 7,
  kPayload = 15
};
enum EntryField : uint32_t { kEntryKey = 1, kEntryValue = 2 };

constexpr uint64_t kMaxType = 7;
constexpr uint64_t kMaxStatus = 4;
constexpr uint64_t kMaxDataType = 13;

// ---- decoding

class Decoder {
 public:
  Decoder(Origin origin, FrameView& out, uint32_t payload_count, const Limits& limits)
      : origin_(origin), out_(out), payload_count_(payload_count), limits_(limits) {}

  Fault frame(Bytes bytes) {
    WireReader reader(bytes);
    while (!reader.at_end()) {
      uint32_t field = 0;
      uint32_t type = 0;
      if (!reader.read_tag(field, type)) return Fault::kBadTag;
      if (const Fault fault = frame_field(reader, field, type); fault != Fault::kNone) return fault;
    }
    return Fault::kNone;
  }

 private:
  Fault frame_field(WireReader& reader, uint32_t field, uint32_t type) {
    uint64_t value = 0;
    switch (field) {
      case kItems: {
        Bytes bytes;
        if (type != kLength) return Fault::kBadWireType;
        if (!reader.read_length(bytes)) return Fault::kTruncated;
        return item(bytes);
      }
      case kSeq:
        return varint(reader, type, out_.seq);
      case kPosition:
        if (const Fault fault = varint(reader, type, value); fault != Fault::kNone) return fault;
        out_.position = static_cast<int64_t>(value);
        out_.has_position = true;
        return Fault::kNone;
      case kEpoch:
        return narrow(reader, type, UINT32_MAX, Fault::kBadVarint, out_.epoch);
      default:
        return unknown(reader, type);
    }
  }

  Fault item(Bytes bytes) {
    if (out_.items.size() >= limits_.items) return Fault::kTooManyItems;
    ItemView& item = out_.add_item({}, {});
    bool has_data = false;
    WireReader reader(bytes);
    while (!reader.at_end()) {
      uint32_t field = 0;
      uint32_t type = 0;
      if (!reader.read_tag(field, type)) return Fault::kBadTag;
      has_data |= field == kData;
      if (const Fault fault = item_field(reader, item, field, type); fault != Fault::kNone) {
        return fault;
      }
    }
    return has_data && item.payload != 0 ? Fault::kBadPayload : Fault::kNone;
  }

  Fault item_field(WireReader& reader, ItemView& item, uint32_t field, uint32_t type) {
    switch (field) {
      case kKey:
        return text(reader, type, item.key);
      case kData:
        if (type != kLength) return Fault::kBadWireType;
        return reader.read_length(item.data) ? Fault::kNone : Fault::kTruncated;
      case kType:
        return narrow(reader, type, kMaxType, Fault::kBadEnum, item.type);
      case kStatus:
        return narrow(reader, type, kMaxStatus, Fault::kBadEnum, item.status);
      case kDataType:
        return narrow(reader, type, kMaxDataType, Fault::kBadEnum, item.data_type);
      case kShape:
        return shape(reader, item, type);
      case kAttributes:
        return attribute(reader, item, type);
      case kPayload:
        if (origin_ == Origin::kNode) return payload(reader, item, type);
        out_.needs_rewrite = true;
        [[fallthrough]];
      default:
        return unknown(reader, type);
    }
  }

  Fault payload(WireReader& reader, ItemView& item, uint32_t type) {
    if (const Fault fault = narrow(reader, type, payload_count_, Fault::kBadPayload, item.payload);
        fault != Fault::kNone) {
      return fault;
    }
    return item.payload == 0 ? Fault::kBadPayload : Fault::kNone;
  }

  // Packed or one by one: a protobuf reader takes both.
  Fault shape(WireReader& reader, ItemView& item, uint32_t type) {
    if (type == kVarint) return dim(reader, item);
    if (type != kLength) return Fault::kBadWireType;
    Bytes bytes;
    if (!reader.read_length(bytes)) return Fault::kTruncated;
    WireReader packed(bytes);
    while (!packed.at_end()) {
      if (const Fault fault = dim(packed, item); fault != Fault::kNone) return fault;
    }
    return Fault::kNone;
  }

  Fault dim(WireReader& reader, const ItemView& item) {
    uint64_t value = 0;
    if (!reader.read_varint(value)) return Fault::kTruncated;
    if (item.dim_count >= limits_.dims) return Fault::kTooManyItems;
    out_.add_dim(static_cast<int64_t>(value));
    return Fault::kNone;
  }

  Fault attribute(WireReader& reader, const ItemView& item, uint32_t type) {
    Bytes bytes;
    if (type != kLength) return Fault::kBadWireType;
    if (!reader.read_length(bytes)) return Fault::kTruncated;
    if (item.attribute_count >= limits_.attributes) return Fault::kTooManyItems;
    AttributeView entry;
    WireReader inner(bytes);
    while (!inner.at_end()) {
      uint32_t field = 0;
      uint32_t wire = 0;
      if (!inner.read_tag(field, wire)) return Fault::kBadTag;
      const Fault fault = field == kEntryKey     ? text(inner, wire, entry.key)
                          : field == kEntryValue ? text(inner, wire, entry.value)
                                                 : unknown(inner, wire);
      if (fault != Fault::kNone) return fault;
    }
    out_.add_attribute(entry.key, entry.value);
    return Fault::kNone;
  }

  Fault unknown(WireReader& reader, uint32_t type) {
    ++out_.unknown_fields;
    if (type == 3 || type == 4 || type > 5) return Fault::kBadTag;
    return reader.skip(type) ? Fault::kNone : Fault::kTruncated;
  }

  static Fault varint(WireReader& reader, uint32_t type, uint64_t& value) {
    if (type != kVarint) return Fault::kBadWireType;
    if (reader.read_varint(value)) return Fault::kNone;
    return reader.left() < 10 ? Fault::kTruncated : Fault::kBadVarint;
  }

  static Fault narrow(WireReader& reader, uint32_t type, uint64_t max, Fault too_large,
                      uint32_t& value) {
    uint64_t wide = 0;
    if (const Fault fault = varint(reader, type, wide); fault != Fault::kNone) return fault;
    if (wide > max) return too_large;
    value = static_cast<uint32_t>(wide);
    return Fault::kNone;
  }

  static Fault text(WireReader& reader, uint32_t type, std::string_view& value) {
    Bytes bytes;
    if (type != kLength) return Fault::kBadWireType;
    if (!reader.read_length(bytes)) return Fault::kTruncated;
    value = as_text(bytes);
    return is_utf8(value) ? Fault::kNone : Fault::kBadUtf8;
  }

  Origin origin_;
  FrameView& out_;
  uint32_t payload_count_;
  const Limits& limits_;
};

// ---- encoding

size_t number_size(uint64_t value) {
  return value == 0 ? 0 : 1 + varint_size(value);
}
size_t length_size(size_t size) {
  return 1 + varint_size(size) + size;
}
size_t text_size(std::string_view text) {
  return text.empty() ? 0 : length_size(text.size());
}

uint8_t* write_number(uint32_t field, uint64_t value, uint8_t* out) {
  return value == 0 ? out : write_varint(value, write_tag(field, kVarint, out));
}
uint8_t* write_text(uint32_t field, std::string_view text, uint8_t* out) {
  if (text.empty()) return out;
  out = write_varint(text.size(), write_tag(field, kLength, out));
  return write_bytes(text.data(), text.size(), out);
}

// The two encodings differ in what becomes of an item's payload.
enum class Payloads {
  kReferenced,  // `payload` != 0 becomes field 15
  kWhole        // always field 7
};

bool is_referenced(const ItemView& item, Payloads payloads) {
  return payloads == Payloads::kReferenced && item.payload != 0;
}

size_t dims_size(const FrameView& frame, const ItemView& item) {
  size_t size = 0;
  for (const int64_t dim : frame.shape(item)) size += varint_size(static_cast<uint64_t>(dim));
  return size;
}

size_t entry_size(const AttributeView& entry) {
  return text_size(entry.key) + text_size(entry.value);
}

size_t item_size(const FrameView& frame, const ItemView& item, Payloads payloads) {
  size_t size = text_size(item.key) + number_size(item.type) + number_size(item.status) +
                number_size(item.data_type);
  if (item.dim_count != 0) size += length_size(dims_size(frame, item));
  for (const AttributeView& entry : frame.attributes_of(item)) {
    size += length_size(entry_size(entry));
  }
  if (is_referenced(item, payloads)) return size + number_size(item.payload);
  return item.data.empty() ? size : size + length_size(item.data.size());
}

size_t head_size(const FrameView& frame) {
  size_t size = number_size(frame.seq) + number_size(frame.epoch);
  if (frame.has_position) size += 1 + varint_size(static_cast<uint64_t>(frame.position));
  return size;
}

uint8_t* write_head(const FrameView& frame, uint8_t* out) {
  out = write_number(kSeq, frame.seq, out);
  if (frame.has_position) {
    out = write_varint(static_cast<uint64_t>(frame.position), write_tag(kPosition, kVarint, out));
  }
  return write_number(kEpoch, frame.epoch, out);
}

// Everything of an item but its payload, which comes last.
uint8_t* write_item_head(const FrameView& frame, const ItemView& item, uint8_t* out) {
  out = write_text(kKey, item.key, out);
  out = write_number(kType, item.type, out);
  out = write_number(kStatus, item.status, out);
  out = write_number(kDataType, item.data_type, out);
  if (item.dim_count != 0) {
    out = write_varint(dims_size(frame, item), write_tag(kShape, kLength, out));
    for (const int64_t dim : frame.shape(item)) {
      out = write_varint(static_cast<uint64_t>(dim), out);
    }
  }
  for (const AttributeView& entry : frame.attributes_of(item)) {
    out = write_varint(entry_size(entry), write_tag(kAttributes, kLength, out));
    out = write_text(kEntryValue, entry.value, write_text(kEntryKey, entry.key, out));
  }
  return out;
}

uint8_t* write_item(const FrameView& frame, const ItemView& item, Payloads payloads, uint8_t* out) {
  out = write_varint(item_size(frame, item, payloads), write_tag(kItems, kLength, out));
  out = write_item_head(frame, item, out);
  if (is_referenced(item, payloads)) return write_number(kPayload, item.payload, out);
  if (item.data.empty()) return out;
  return write_varint(item.data.size(), write_tag(kData, kLength, out));
}

bool is_cut(const ItemView& item, size_t min_bytes) {
  return !item.data.empty() && item.data.size() >= min_bytes;
}

bool is_continuation(uint8_t byte) {
  return (byte & 0xc0) == 0x80;
}

// Length of the UTF-8 sequence at `at`, 0 when there is none (RFC 3629: no surrogates, nothing
// overlong, nothing above U+10FFFF).
size_t sequence_length(const uint8_t* at, size_t left) {
  const uint8_t first = at[0];
  if (first < 0x80) return 1;
  if (left < 2 || !is_continuation(at[1])) return 0;
  if (first >= 0xc2 && first <= 0xdf) return 2;
  if (left < 3 || !is_continuation(at[2])) return 0;
  if (first == 0xe0) return at[1] >= 0xa0 ? 3 : 0;
  if (first == 0xed) return at[1] <= 0x9f ? 3 : 0;
  if (first >= 0xe1 && first <= 0xef) return 3;
  if (left < 4 || !is_continuation(at[3])) return 0;
  if (first == 0xf0) return at[1] >= 0x90 ? 4 : 0;
  if (first == 0xf4) return at[1] <= 0x8f ? 4 : 0;
  return first >= 0xf1 && first <= 0xf3 ? 4 : 0;
}

}  // namespace

void FrameView::clear() {
  seq = 0;
  position = 0;
  epoch = 0;
  has_position = false;
  unknown_fields = 0;
  needs_rewrite = false;
  items.clear();
  dims.clear();
  attributes.clear();
}

ItemView& FrameView::add_item(std::string_view key, Bytes data) {
  ItemView& item = items.emplace_back();
  item.key = key;
  item.data = data;
  item.dim_begin = static_cast<uint32_t>(dims.size());
  item.attribute_begin = static_cast<uint32_t>(attributes.size());
  return item;
}

void FrameView::add_dim(int64_t size) {
  dims.push_back(size);
  ++items.back().dim_count;
}

void FrameView::add_attribute(std::string_view key, std::string_view value) {
  attributes.push_back({key, value});
  ++items.back().attribute_count;
}

const char* describe(Fault fault) {
  switch (fault) {
    case Fault::kNone:
      return "the frame is valid";
    case Fault::kTruncated:
      return "a length or number runs past the end of the frame";
    case Fault::kBadVarint:
      return "a number is longer than ten bytes or larger than its field";
    case Fault::kBadTag:
      return "a field has number 0 or is a group";
    case Fault::kBadWireType:
      return "a field has another wire type than frame.proto says";
    case Fault::kBadUtf8:
      return "a key or attribute is not UTF-8";
    case Fault::kTooManyItems:
      return "there are too many items, dimensions or attributes";
    case Fault::kBadEnum:
      return "a type, status or data_type is not one that frame.proto lists";
    case Fault::kBadPayload:
      return "a payload reference names no payload that came along";
  }
  return "unknown fault";
}

Fault decode_frame(Bytes bytes, Origin origin, FrameView& out, uint32_t payload_count,
                   const Limits& limits) {
  out.clear();
  return Decoder(origin, out, payload_count, limits).frame(bytes);
}

size_t encoded_size(const FrameView& frame) {
  size_t size = head_size(frame);
  for (const ItemView& item : frame.items) {
    size += length_size(item_size(frame, item, Payloads::kReferenced));
  }
  return size;
}

uint8_t* write_frame(const FrameView& frame, uint8_t* out) {
  out = write_head(frame, out);
  for (const ItemView& item : frame.items) {
    out = write_item(frame, item, Payloads::kReferenced, out);
    if (item.payload == 0) out = write_bytes(item.data.data(), item.data.size(), out);
  }
  return out;
}

void append_frame(const FrameView& frame, std::string& out) {
  const size_t before = out.size();
  out.resize(before + encoded_size(frame));
  write_frame(frame, reinterpret_cast<uint8_t*>(out.data()) + before);
}

size_t split_size(const FrameView& frame, size_t min_bytes) {
  size_t size = head_size(frame);
  for (const ItemView& item : frame.items) {
    size += length_size(item_size(frame, item, Payloads::kWhole));
    if (is_cut(item, min_bytes)) size -= item.data.size();
  }
  return size;
}

uint8_t* write_frame_split(const FrameView& frame, size_t min_bytes, uint8_t* out,
                           std::vector<Cut>& cuts) {
  const uint8_t* start = out;
  out = write_head(frame, out);
  for (size_t i = 0; i < frame.items.size(); ++i) {
    const ItemView& item = frame.items[i];
    out = write_item(frame, item, Payloads::kWhole, out);
    if (is_cut(item, min_bytes)) {
      cuts.push_back({static_cast<size_t>(out - start), static_cast<uint32_t>(i)});
    } else {
      out = write_bytes(item.data.data(), item.data.size(), out);
    }
  }
  return out;
}

bool is_utf8(std::string_view text) {
  const auto* at = reinterpret_cast<const uint8_t*>(text.data());
  size_t left = text.size();
  while (left != 0) {
    const size_t length = sequence_length(at, left);
    if (length == 0) return false;
    at += length;
    left -= length;
  }
  return true;
}

}  // namespace loader::frame
