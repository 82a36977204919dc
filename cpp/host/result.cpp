#include "host/result.h"

#include <cstring>
#include <new>
#include <utility>

namespace loader::host {

namespace {

constexpr uint32_t kMaxItems = 4096;
constexpr uint32_t kMaxDims = 32;
constexpr uint32_t kMaxAttributes = 256;
// Sizes before the first later minor; what older wrappers fill.
constexpr uint32_t kFrameSize = 40;
constexpr uint32_t kItemSize = 88;

// What a buffer from alloc_result holds: a block to send in place, or plain memory when small.
struct ResultBlock {
  channel::OutPayload payload;
  std::unique_ptr<uint8_t[]> small;
};

void release_block(loader_buffer_t* buffer) {
  delete static_cast<ResultBlock*>(std::exchange(buffer->private_data, nullptr));
  buffer->release = nullptr;
}

ResultBlock* block_of(const loader_item_t& item) {
  if (item.data.release != release_block) return nullptr;
  return static_cast<ResultBlock*>(item.data.private_data);
}

// True when the item's bytes begin where its block does, so that the block itself can be sent.
bool is_in_place(const loader_item_t& item, const ResultBlock& block) {
  return block.payload && item.data.data == block.payload.bytes().data() &&
         item.data.size <= block.payload.bytes().size();
}

bool is_sound(const loader_string_t& text) {
  return text.data != nullptr || text.size == 0;
}

std::string_view view_of(const loader_string_t& text) {
  return text.size == 0 ? std::string_view() : std::string_view(text.data, text.size);
}

bool is_sound(const loader_item_t& item) {
  if (!is_sound(item.key) || item.key.size > channel::kMaxRecordBytes) return false;
  if (item.data.data == nullptr && item.data.size != 0) return false;
  if (item.type > LOADER_ITEM_TENSOR || item.status > LOADER_STATUS_ONCE) return false;
  if (item.data_type > LOADER_TYPE_BF16) return false;
  if (item.dim_count > kMaxDims || item.attribute_count > kMaxAttributes) return false;
  if (item.dim_count != 0 && item.shape == nullptr) return false;
  if (item.attribute_count != 0 && item.attributes == nullptr) return false;
  for (uint32_t i = 0; i < item.attribute_count; ++i) {
    const loader_pair_t& pair = item.attributes[i];
    if (!is_sound(pair.key) || !is_sound(pair.value)) return false;
    if (pair.key.size + pair.value.size > channel::kMaxRecordBytes) return false;
    if (!frame::is_utf8(view_of(pair.key)) || !frame::is_utf8(view_of(pair.value))) return false;
  }
  return frame::is_utf8(view_of(item.key));
}

}  // namespace

loader_status_t allocate_result(channel::OutArena& arena, uint64_t size, loader_buffer_t* out,
                                uint8_t** writable) {
  if (out == nullptr || writable == nullptr) return LOADER_ERROR_ARGUMENT;
  if (size > channel::kMaxResultBytes) return LOADER_ERROR_ARGUMENT;
  auto block = std::make_unique<ResultBlock>();
  uint8_t* bytes = nullptr;
  if (size > channel::kInlinePayloadBytes) {
    block->payload = arena.allocate(size);
    if (!block->payload) return LOADER_ERROR_MEMORY;
    bytes = block->payload.bytes().data();
  } else {
    block->small = std::make_unique_for_overwrite<uint8_t[]>(size == 0 ? 1 : size);
    bytes = block->small.get();
  }
  *out = {bytes, size, release_block, block.release()};
  *writable = bytes;
  return LOADER_OK;
}

bool ResultWriter::goes_outside(const loader_item_t& item) const {
  return item.data.size > channel::kInlinePayloadBytes && outside_.size() < channel::kMaxPayloads;
}

loader_status_t ResultWriter::plan(const loader_frame_t& frame, uint64_t seq) {
  clear();
  if (frame.struct_size < kFrameSize || frame.item_count > kMaxItems) return LOADER_ERROR_ARGUMENT;
  if (frame.item_count != 0 && (frame.items == nullptr || frame.item_size < kItemSize))
    return LOADER_ERROR_ARGUMENT;
  view_.seq = seq;
  view_.has_position = frame.position >= 0;
  view_.position = frame.position;
  const auto* first = reinterpret_cast<const unsigned char*>(frame.items);
  for (uint32_t i = 0; i < frame.item_count; ++i) {
    const auto* item = reinterpret_cast<const loader_item_t*>(first + size_t{i} * frame.item_size);
    if (plan_item(*item) != LOADER_OK) return LOADER_ERROR_ARGUMENT;
  }
  body_size_ = frame::encoded_size(view_);
  const size_t size = channel::record_size(outside_.size(), body_size_);
  if (size > channel::kMaxRecordBytes) return LOADER_ERROR_ARGUMENT;
  return charge() > channel::kMaxResultBytes ? LOADER_ERROR_ARGUMENT : LOADER_OK;
}

void ResultWriter::set_seq(uint64_t seq) {
  view_.seq = seq;
  body_size_ = frame::encoded_size(view_);
}

loader_status_t ResultWriter::plan_item(const loader_item_t& item) {
  if (!is_sound(item)) return LOADER_ERROR_ARGUMENT;
  const bool outside = goes_outside(item);
  // Sums of lying sizes must not wrap.
  const uint64_t limit = outside ? channel::kMaxResultBytes : channel::kMaxRecordBytes;
  if (item.data.size > limit) return LOADER_ERROR_ARGUMENT;
  const frame::Bytes data = outside ? frame::Bytes() : frame::Bytes(item.data.data, item.data.size);
  frame::ItemView& made = view_.add_item(view_of(item.key), data);
  made.type = item.type;
  made.status = item.status;
  made.data_type = item.data_type;
  if (outside) {
    outside_.push_back({static_cast<uint32_t>(items_.size()), {}});
    outside_bytes_ += item.data.size;
    made.payload = static_cast<uint32_t>(outside_.size());
  }
  items_.push_back(&item);
  for (uint32_t i = 0; i < item.dim_count; ++i) view_.add_dim(item.shape[i]);
  for (uint32_t i = 0; i < item.attribute_count; ++i)
    view_.add_attribute(view_of(item.attributes[i].key), view_of(item.attributes[i].value));
  return LOADER_OK;
}

loader_status_t ResultWriter::place(channel::OutArena& arena) {
  for (Outside& outside : outside_) {
    const loader_item_t& item = *items_[outside.item];
    ResultBlock* block = block_of(item);
    if (block != nullptr && is_in_place(item, *block)) continue;
    outside.payload = arena.allocate(item.data.size);
    if (!outside.payload) return LOADER_ERROR_MEMORY;
    std::memcpy(outside.payload.bytes().data(), item.data.data, item.data.size);
  }
  // Only now, when nothing can fail any more, are blocks taken from their buffers.
  for (Outside& outside : outside_) {
    if (outside.payload) continue;
    const loader_item_t& item = *items_[outside.item];
    outside.payload = std::move(block_of(item)->payload);
    outside.payload.truncate(item.data.size);
  }
  return LOADER_OK;
}

void ResultWriter::append(channel::ChannelSocket& socket, uint64_t handle) {
  references_.clear();
  for (const Outside& outside : outside_) references_.push_back(outside.payload.ref());
  uint8_t* body = socket.begin(channel::RecordType::kResult, handle, body_size_, references_);
  frame::write_frame(view_, body);
  for (Outside& outside : outside_) {
    channel::UniqueFd memfd = outside.payload.mark_sent();
    if (memfd) socket.attach(std::move(memfd));
  }
}

void ResultWriter::clear() {
  view_.clear();
  items_.clear();
  outside_.clear();
  references_.clear();
  body_size_ = 0;
  outside_bytes_ = 0;
}

void release_items(loader_frame_t& frame) {
  auto* first = reinterpret_cast<unsigned char*>(frame.items);
  for (uint32_t i = 0; i < frame.item_count; ++i) {
    auto* item = reinterpret_cast<loader_item_t*>(first + size_t{i} * frame.item_size);
    const auto release = std::exchange(item->data.release, nullptr);
    if (release != nullptr) release(&item->data);
  }
}

}  // namespace loader::host
