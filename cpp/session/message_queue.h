// A first-in first-out queue of messages in chunks: copies bodies, retains payloads. Costs no
// memory while it is empty; a message at the front stays where it is while others are pushed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <utility>

#include "session/message.h"

namespace loader::session {

class MessageQueue {
 public:
  MessageQueue() = default;
  ~MessageQueue() { clear(); }
  MessageQueue(const MessageQueue&) = delete;
  MessageQueue& operator=(const MessageQueue&) = delete;

  bool empty() const { return count_ == 0; }
  size_t count() const { return count_; }
  uint64_t bytes() const { return bytes_; }  // sum of size_bytes()

  void push(const MessageView& message) {
    uint8_t* place = reserve(entry_size(message));
    const Entry entry{message.body.size(), message.window_bytes, message.payloads.size()};
    std::memcpy(place, &entry, sizeof(entry));
    PayloadView* payloads = payloads_of(place);
    for (size_t i = 0; i < message.payloads.size(); ++i) {
      new (payloads + i) PayloadView(message.payloads[i]);
      payloads[i].owner->retain();
    }
    if (!message.body.empty()) {
      std::memcpy(body_of(place, entry), message.body.data(), message.body.size());
    }
    ++count_;
    bytes_ += message.size_bytes();
  }

  // Valid until pop() or clear().
  MessageView front() const {
    uint8_t* place = first_->data.get() + first_->head;
    const Entry entry = entry_at(place);
    return {{body_of(place, entry), entry.body_size},
            {payloads_of(place), entry.payload_count},
            entry.window_bytes};
  }

  void pop() {
    const MessageView message = front();
    bytes_ -= message.size_bytes();
    --count_;
    first_->head += entry_size(message);
    for (const PayloadView& payload : message.payloads) payload.owner->release();
    if (first_->head == first_->size) drop_first_chunk();
  }

  void clear() {
    while (!empty()) pop();
  }

 private:
  static constexpr size_t kChunkBytes = 16384;

  struct Entry {
    uint64_t body_size;
    uint64_t window_bytes;
    uint64_t payload_count;
  };
  struct Chunk {
    std::unique_ptr<uint8_t[]> data;
    size_t capacity = 0;
    size_t size = 0;
    size_t head = 0;
    std::unique_ptr<Chunk> next;
  };

  static size_t entry_size(const MessageView& message) {
    const size_t body = (message.body.size() + 7) & ~size_t{7};
    return sizeof(Entry) + message.payloads.size() * sizeof(PayloadView) + body;
  }
  static Entry entry_at(const uint8_t* place) {
    Entry entry;
    std::memcpy(&entry, place, sizeof(entry));
    return entry;
  }
  static PayloadView* payloads_of(uint8_t* place) {
    return reinterpret_cast<PayloadView*>(place + sizeof(Entry));
  }
  static uint8_t* body_of(uint8_t* place, const Entry& entry) {
    return place + sizeof(Entry) + entry.payload_count * sizeof(PayloadView);
  }

  uint8_t* reserve(size_t size) {
    if (last_ == nullptr || last_->capacity - last_->size < size) add_chunk(size);
    uint8_t* place = last_->data.get() + last_->size;
    last_->size += size;
    return place;
  }
  void add_chunk(size_t size) {
    auto chunk = std::make_unique<Chunk>();
    chunk->capacity = size > kChunkBytes ? size : kChunkBytes;
    chunk->data = std::make_unique_for_overwrite<uint8_t[]>(chunk->capacity);
    Chunk* added = chunk.get();
    (last_ == nullptr ? first_ : last_->next) = std::move(chunk);
    last_ = added;
  }
  void drop_first_chunk() {
    std::unique_ptr<Chunk> next = std::move(first_->next);
    first_ = std::move(next);
    if (first_ == nullptr) last_ = nullptr;
  }

  std::unique_ptr<Chunk> first_;
  Chunk* last_ = nullptr;
  size_t count_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace loader::session
