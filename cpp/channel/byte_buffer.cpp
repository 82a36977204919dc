// Growth and shrinking of byte buffers.
#include "channel/byte_buffer.h"

#include <algorithm>
#include <cstring>

namespace loader::channel {

namespace {
constexpr size_t kFirstBytes = 16 * 1024;
}

uint8_t* ByteBuffer::reserve(size_t size) {
  if (capacity_ - end_ >= size) return memory_.get() + end_;
  const size_t used = this->size();
  // Moving to the front is enough when half of the memory is then free: else moves would be
  // frequent.
  if (used + size <= capacity_ / 2) {
    std::memmove(memory_.get(), memory_.get() + begin_, used);
  } else {
    const size_t grown = std::max({kFirstBytes, capacity_ * 2, used + size});
    auto larger = std::make_unique_for_overwrite<uint8_t[]>(grown);
    if (used != 0) std::memcpy(larger.get(), memory_.get() + begin_, used);
    memory_ = std::move(larger);
    capacity_ = grown;
  }
  begin_ = 0;
  end_ = used;
  return memory_.get() + end_;
}

void ByteBuffer::shrink(size_t keep_bytes) {
  if (!empty() || capacity_ <= keep_bytes) return;
  memory_.reset();
  capacity_ = begin_ = end_ = 0;
}

}  // namespace loader::channel
