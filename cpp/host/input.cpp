#include "host/input.h"

#include <cstring>
#include <new>
#include <utility>

#include "host/arguments.h"

namespace loader::host {

namespace {

void release_item(loader_buffer_t* buffer) {
  static_cast<InputBlock*>(std::exchange(buffer->private_data, nullptr))->release();
  buffer->release = nullptr;
}

}  // namespace

InputBlock::Pointer InputBlock::create(std::span<const uint8_t> body,
                                       std::vector<channel::Payload> payloads,
                                       std::shared_ptr<std::atomic<int64_t>> pinned) {
  void* const memory = ::operator new(sizeof(InputBlock) + body.size());
  Pointer block(new (memory) InputBlock);
  block->body_size_ = body.size();
  if (!body.empty())
    std::memcpy(static_cast<uint8_t*>(memory) + sizeof(InputBlock), body.data(), body.size());
  block->payloads_ = std::move(payloads);
  for (const auto& payload : block->payloads_)
    block->pinned_bytes_ += static_cast<int64_t>(payload.bytes().size());
  if (block->pinned_bytes_ != 0) {
    block->pinned_ = std::move(pinned);
    block->pinned_->fetch_add(block->pinned_bytes_, std::memory_order_relaxed);
  }
  return block;
}

InputBlock::~InputBlock() {
  if (pinned_) pinned_->fetch_sub(pinned_bytes_, std::memory_order_relaxed);
}

void InputBlock::release() {
  // acq_rel: whoever frees has seen every other holder's last read.
  if (references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  this->~InputBlock();
  ::operator delete(this);
}

frame::Fault FrameScratch::fill(InputBlock& block, std::span<const uint8_t> bytes) {
  view_.clear();
  const auto fault = frame::decode_frame(bytes, frame::Origin::kNode, view_,
                                         static_cast<uint32_t>(block.payloads().size()));
  if (fault != frame::Fault::kNone) return fault;
  pairs_.clear();
  for (const auto& attribute : view_.attributes)
    pairs_.push_back({string_of(attribute.key), string_of(attribute.value)});
  items_.resize(view_.items.size());
  for (size_t i = 0; i < items_.size(); ++i) fill_item(block, view_.items[i], items_[i]);
  frame_ = {};
  frame_.struct_size = sizeof frame_;
  frame_.item_size = sizeof(loader_item_t);
  frame_.item_count = static_cast<uint32_t>(items_.size());
  frame_.seq = view_.seq;
  frame_.position = -1;
  frame_.items = items_.data();
  return frame::Fault::kNone;
}

void FrameScratch::fill_item(InputBlock& block, const frame::ItemView& view, loader_item_t& item) {
  item = {};
  item.key = string_of(view.key);
  item.type = view.type == 0 ? uint32_t{LOADER_ITEM_BYTES} : view.type;
  item.status = view.status;
  item.data_type = view.data_type;
  item.shape = view_.dims.data() + view.dim_begin;
  item.dim_count = view.dim_count;
  item.attributes = pairs_.data() + view.attribute_begin;
  item.attribute_count = view.attribute_count;
  const auto data = view.payload == 0 ? view.data : block.payloads()[view.payload - 1].bytes();
  item.data.data = data.data();
  item.data.size = data.size();
  if (data.empty()) return;
  block.retain();
  item.data.release = release_item;
  item.data.private_data = &block;
}

void FrameScratch::release_rest() {
  // The engine may have changed `items` or `item_count`; ours are the ones that count.
  for (auto& item : items_)
    if (item.data.release != nullptr) item.data.release(&item.data);
  items_.clear();
}

}  // namespace loader::host
