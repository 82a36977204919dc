// Reads and writes the protobuf wire form of loader.v1.Frame by hand, in place: a frame is looked
// at where its bytes lie and costs no allocation once its view has grown. Refuses to know where the
// bytes came from, what a payload means, and everything around a frame (envelopes, records).
//
// Inside a node an item whose payload travels outside the bytes carries field 15 (1-based index
// into the payloads sent along) instead of field 7. In a client's frame field 15 is just an unknown
// field.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace loader::frame {

using Bytes = std::span<const uint8_t>;

struct AttributeView {
  std::string_view key;
  std::string_view value;
};

// One item; every view points into the decoded bytes (or wherever its maker let it point).
struct ItemView {
  std::string_view key;
  Bytes data;
  uint32_t type = 0;       // LOADER_ITEM_*; 0 on the wire means bytes and is kept as 0
  uint32_t status = 0;     // LOADER_STATUS_*
  uint32_t data_type = 0;  // LOADER_TYPE_*
  uint32_t payload = 0;    // field 15; 0: the payload is `data`
  uint32_t dim_begin = 0;  // into FrameView::dims
  uint32_t dim_count = 0;
  uint32_t attribute_begin = 0;  // into FrameView::attributes
  uint32_t attribute_count = 0;
};

// A frame taken apart. Reuse one view for many frames: clear() keeps the memory.
struct FrameView {
  uint64_t seq = 0;
  int64_t position = 0;  // meaningful when has_position
  uint32_t epoch = 0;
  bool has_position = false;
  uint32_t unknown_fields = 0;  // skipped and counted, field 15 of clients included
  bool needs_rewrite =
      false;  // a client's frame carried field 15: append_frame() instead of the bytes
  std::vector<ItemView> items;
  std::vector<int64_t> dims;
  std::vector<AttributeView> attributes;

  void clear();
  std::span<const int64_t> shape(const ItemView& item) const {
    return {dims.data() + item.dim_begin, item.dim_count};
  }
  std::span<const AttributeView> attributes_of(const ItemView& item) const {
    return {attributes.data() + item.attribute_begin, item.attribute_count};
  }
  // For makers of frames: append an item, then its dims and attributes, before the next item.
  ItemView& add_item(std::string_view key, Bytes data);
  void add_dim(int64_t size);
  void add_attribute(std::string_view key, std::string_view value);
};

enum class Origin {
  kClient,  // field 15 is unknown and dropped
  kNode     // field 15 is a payload reference
};

enum class Fault {
  kNone,
  kTruncated,     // a length or varint runs past the end
  kBadVarint,     // more than ten bytes, or a value its field cannot hold
  kBadTag,        // field number 0, or a group
  kBadWireType,   // a known field with another wire type
  kBadUtf8,       // a key or attribute is not UTF-8
  kTooManyItems,  // more than Limits::items (or dims, attributes)
  kBadEnum,       // type, status or data_type outside the header's lists
  kBadPayload     // field 15 and field 7 together, or an index of 0 or beyond `payload_count`
};

// A sentence for an error text.
const char* describe(Fault fault);

struct Limits {
  uint32_t items = 4096;
  uint32_t dims = 32;         // of one item
  uint32_t attributes = 256;  // of one item
};

// Takes `bytes` apart. On a fault the view's content is unspecified but safe to clear and reuse.
// `payload_count` is the number of payloads that came along (0 for clients).
Fault decode_frame(Bytes bytes, Origin origin, FrameView& out, uint32_t payload_count = 0,
                   const Limits& limits = {});

// Size of what write_frame() writes. Items with `payload` != 0 count without their data.
size_t encoded_size(const FrameView& frame);
// Writes exactly encoded_size() bytes and returns the end.
uint8_t* write_frame(const FrameView& frame, uint8_t* out);
void append_frame(const FrameView& frame, std::string& out);

// Where the payload of item `item` has to be inserted into the bytes written.
struct Cut {
  size_t offset;  // into the bytes written by write_frame_split()
  uint32_t item;
};
// As write_frame() with every payload in field 7, but payloads of at least `min_bytes` are left
// out: the lengths count them, and `cuts` says where they belong. For gathering writes without a
// copy.
size_t split_size(const FrameView& frame, size_t min_bytes);
uint8_t* write_frame_split(const FrameView& frame, size_t min_bytes, uint8_t* out,
                           std::vector<Cut>& cuts);

bool is_utf8(std::string_view text);

}  // namespace loader::frame
