// Input frames on their way to an engine: the bytes of one record, kept alive by counting, and the
// loader_frame_t that points into them. Knows the frame codec and wrapper.h; no sessions.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "channel/arena.h"
#include "channel/record.h"
#include "frame/frame_codec.h"
#include "loader/wrapper.h"

namespace loader::host {

// Body and payloads of one record. Lives until the call and every buffer taken out of it are done.
class InputBlock {
 public:
  struct Release {
    void operator()(InputBlock* block) const { block->release(); }
  };
  using Pointer = std::unique_ptr<InputBlock, Release>;

  // Copies the body; takes the payloads over. `pinned` counts the payload bytes it holds.
  static Pointer create(std::span<const uint8_t> body, std::vector<channel::Payload> payloads,
                        std::shared_ptr<std::atomic<int64_t>> pinned);
  InputBlock(const InputBlock&) = delete;
  InputBlock& operator=(const InputBlock&) = delete;

  // The bytes lie behind the object, in the same piece of memory.
  std::span<const uint8_t> body() const {
    return {reinterpret_cast<const uint8_t*>(this + 1), body_size_};
  }
  std::span<const channel::Payload> payloads() const { return payloads_; }
  void retain() { references_.fetch_add(1, std::memory_order_relaxed); }
  void release();

 private:
  InputBlock() = default;
  ~InputBlock();

  std::atomic<uint32_t> references_{1};
  size_t body_size_ = 0;
  int64_t pinned_bytes_ = 0;
  std::vector<channel::Payload> payloads_;
  std::shared_ptr<std::atomic<int64_t>> pinned_;
};

// Turns frames into what entries receive. One for each thread, reused: no allocation once grown.
class FrameScratch {
 public:
  // `bytes` is the frame inside `block`. The items' buffers hold the block until released.
  frame::Fault fill(InputBlock& block, std::span<const uint8_t> bytes);
  loader_frame_t& frame() { return frame_; }
  // Releases what the engine left.
  void release_rest();

 private:
  void fill_item(InputBlock& block, const frame::ItemView& view, loader_item_t& item);
  frame::FrameView view_;
  std::vector<loader_item_t> items_;
  std::vector<loader_pair_t> pairs_;
  loader_frame_t frame_{};
};

}  // namespace loader::host
