// Bytes that grow at the end and are consumed at the front, without being zeroed first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace loader::channel {

class ByteBuffer {
 public:
  bool empty() const { return begin_ == end_; }
  size_t size() const { return end_ - begin_; }
  uint8_t* data() { return memory_.get() + begin_; }
  std::span<const uint8_t> bytes() const { return {memory_.get() + begin_, size()}; }
  size_t capacity() const { return capacity_; }

  // Room for `size` more bytes at the end, uninitialised; they count at once. Valid until the next
  // call that is not const.
  uint8_t* extend(size_t size) {
    uint8_t* room = reserve(size);
    end_ += size;
    return room;
  }
  // The same, but not yet counted: follow with commit().
  uint8_t* reserve(size_t size);
  void commit(size_t size) { end_ += size; }
  // Room at the end without moving anything.
  size_t room() const { return capacity_ - end_; }
  void consume(size_t size) {
    begin_ += size;
    if (begin_ == end_) begin_ = end_ = 0;
  }
  // Gives memory back when empty and grown beyond `keep_bytes`.
  void shrink(size_t keep_bytes);

 private:
  std::unique_ptr<uint8_t[]> memory_;
  size_t capacity_ = 0;
  size_t begin_ = 0;
  size_t end_ = 0;
};

}  // namespace loader::channel
