// The bytes one stream still has to send: copied bytes with references to foreign payloads between
// them, and where each message ends. Knows nothing of HTTP/2.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grpc/call.h"

namespace loader::grpc {

// A payload held by a stream and by connection segments at once. Loop thread only.
class SharedPayload {
 public:
  SharedPayload() = default;
  explicit SharedPayload(Payload payload) : block_(new Block{std::move(payload), 1}) {}
  SharedPayload(const SharedPayload& o) : block_(o.block_) {
    if (block_ != nullptr) block_->refs++;
  }
  SharedPayload(SharedPayload&& o) noexcept : block_(std::exchange(o.block_, nullptr)) {}
  SharedPayload& operator=(SharedPayload o) noexcept {
    std::swap(block_, o.block_);
    return *this;
  }
  ~SharedPayload() {
    if (block_ != nullptr && --block_->refs == 0) delete block_;
  }
  std::string_view bytes() const { return {block_->payload.data(), block_->payload.size()}; }

 private:
  struct Block {
    Payload payload;
    size_t refs;
  };
  Block* block_ = nullptr;
};

// Where OutBuffer::gather() puts its bytes.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  virtual void append(std::string_view bytes) = 0;
  virtual void append(std::string_view bytes, const SharedPayload& keep) = 0;
};

class OutBuffer {
 public:
  // One whole message at a time: begin, any number of adds, commit.
  void add(std::string_view bytes) {
    if (bytes_.size() + bytes.size() > bytes_.capacity()) make_room(bytes.size());
    bytes_.append(bytes);
    size_ += bytes.size();
  }
  void add(SharedPayload payload);
  void commit(size_t message_bytes);

  size_t size() const { return size_; }
  bool is_empty() const { return size_ == 0; }
  // The next `n` bytes are announced to the peer and will be gathered: they are as good as taken.
  void promise(size_t n) { promised_ = n; }
  // Does what is taken or promised end inside a message?
  bool is_inside_message() const { return begun_bytes().first != promised_; }
  // Does a payload reference lie within the first `n` bytes?
  bool has_payload_within(size_t n) const;

  // Takes `n` <= size() bytes off the front, by copy or by reference.
  void copy_to(uint8_t* to, size_t n);
  void gather(size_t n, ByteSink& sink);

  // Drops every message of which nothing has been taken or promised.
  void drop_whole_messages();
  void clear();
  // Exchanges the (empty) memory behind the bytes with a pool's.
  std::string& storage() { return bytes_; }

 private:
  struct Ref {
    size_t at;  // index in bytes_ before which the payload stands
    size_t offset;
    SharedPayload payload;
  };
  template <class OnBytes, class OnPayload>
  void take(size_t n, OnBytes on_bytes, OnPayload on_payload);
  void make_room(size_t more);
  void drop_taken();
  void account(size_t n);
  void compact();
  // What is left of the messages begun, in bytes, and their number.
  std::pair<size_t, size_t> begun_bytes() const;

  std::string bytes_;
  size_t offset_ = 0;  // bytes_ before it are gone
  size_t size_ = 0;
  std::vector<Ref> refs_;
  std::vector<uint32_t> messages_;  // sizes, from messages_[front_] on
  size_t front_ = 0;
  size_t taken_of_front_ = 0;
  size_t promised_ = 0;
};

}  // namespace loader::grpc
