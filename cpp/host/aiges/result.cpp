#include "host/aiges/result.h"

#include <cstring>
#include <stdexcept>

#include "frame/frame_codec.h"
#include "host/outcome.h"

namespace loader::host::aiges {

namespace {

// As many as a frame may have.
constexpr size_t kMostNodes = 4096;
constexpr size_t kMostPairs = 256;

std::string_view text_at(const char* text) {
  return text == nullptr ? std::string_view() : std::string_view(text);
}

uint32_t type_of(int type) {
  switch (type) {
    case kText:
      return LOADER_ITEM_TEXT;
    case kAudio:
      return LOADER_ITEM_AUDIO;
    case kImage:
      return LOADER_ITEM_IMAGE;
    case kVideo:
      return LOADER_ITEM_VIDEO;
    default:
      return LOADER_ITEM_BYTES;
  }
}

uint32_t status_of(int status, bool is_once) {
  if (status >= kBegin && status <= kOnce) return static_cast<uint32_t>(status) + 1;
  return is_once ? LOADER_STATUS_ONCE : LOADER_STATUS_CONTINUE;
}

}  // namespace

ResultFrame::ResultFrame(const DataList* head, ValueEnd end, bool is_once) {
  for (const DataList* node = head; node != nullptr; node = node->next) {
    if (items_.size() == kMostNodes)
      throw std::invalid_argument("a result has more than 4096 nodes: is its last `next` NULL?");
    add(*node, end, is_once);
  }
  size_t pair = 0;  // only now do the pairs stay where they are
  for (loader_item_t& item : items_) {
    item.attributes = pairs_.data() + pair;
    pair += item.attribute_count;
  }
  frame_.struct_size = sizeof frame_;
  frame_.item_size = sizeof(loader_item_t);
  frame_.item_count = static_cast<uint32_t>(items_.size());
  frame_.position = -1;
  frame_.items = items_.data();
}

void ResultFrame::add(const DataList& node, ValueEnd end, bool is_once) {
  if (node.data == nullptr && node.len != 0)
    throw std::invalid_argument("the result `" + clean_text(text_at(node.key)) + "` says len " +
                                std::to_string(node.len) + " but its data is NULL");
  loader_item_t item{};
  item.key = clean(text_at(node.key));
  item.data.data = static_cast<const uint8_t*>(node.data);
  item.data.size = node.len;
  item.type = type_of(node.type);
  item.status = status_of(node.status, is_once);
  const size_t before = pairs_.size();
  add_description(node.desc, end);
  item.attribute_count = static_cast<uint32_t>(pairs_.size() - before);
  items_.push_back(item);
  size_bytes_ += node.len;
  is_final_ = is_final_ || item.status == LOADER_STATUS_END || item.status == LOADER_STATUS_ONCE;
}

// Pairs without a key are AIGES's own form of "none".
void ResultFrame::add_description(const ParamList* pair, ValueEnd end) {
  for (size_t count = 0; pair != nullptr && count < kMostPairs; pair = pair->next, ++count) {
    if (pair->key == nullptr) continue;
    std::string_view value;
    if (pair->value != nullptr)
      value = end == ValueEnd::kByLength ? std::string_view(pair->value, pair->vlen)
                                         : std::string_view(pair->value);
    pairs_.push_back({clean(pair->key), clean(value)});
  }
}

loader_string_t ResultFrame::clean(std::string_view text) {
  if (!frame::is_utf8(text)) text = texts_.emplace_back(clean_text(text));
  return {text.data(), text.size()};
}

loader_string_t ResultFrame::copied(const loader_string_t& text) {
  if (text.size == 0) return {};
  const std::string& copy = texts_.emplace_back(text.data, text.size);
  return {copy.data(), copy.size()};
}

void ResultFrame::own() {
  for (loader_item_t& item : items_) {
    item.key = copied(item.key);
    const loader_string_t data =
        copied({reinterpret_cast<const char*>(item.data.data), item.data.size});
    item.data.data = reinterpret_cast<const uint8_t*>(data.data);
  }
  for (loader_pair_t& pair : pairs_) pair = {copied(pair.key), copied(pair.value)};
}

}  // namespace loader::host::aiges
