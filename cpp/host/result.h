// Results on their way to the loader: checks what an engine emits, and lays it out as a record.
// Knows the frame codec, arenas and wrapper.h; no sessions, no credit.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "channel/arena.h"
#include "channel/socket.h"
#include "frame/frame_codec.h"
#include "loader/wrapper.h"

namespace loader::host {

// Memory for one result, in `arena` where it is large enough to travel outside its record.
loader_status_t allocate_result(channel::OutArena& arena, uint64_t size, loader_buffer_t* out,
                                uint8_t** writable);

// One result frame being sent. Reused: no allocation once grown.
class ResultWriter {
 public:
  // Checks the engine's frame and measures it; nothing of it is taken yet. OK, or ARGUMENT.
  loader_status_t plan(const loader_frame_t& frame, uint64_t seq);
  // Bytes that the credit window is charged.
  uint64_t charge() const { return body_size_ + outside_bytes_; }
  bool uses_shared_memory() const { return !outside_.empty(); }
  // Brings large payloads into shared memory. OK or MEMORY.
  loader_status_t place(channel::OutArena& arena);
  // Appends the record. The caller holds the socket's writing half.
  void append(channel::ChannelSocket& socket, uint64_t handle);
  // Gives up whatever was placed.
  void clear();

  // The same without a channel, for a host inside the loader: the frame's bytes, and the items
  // whose data travels beside them.
  void set_seq(uint64_t seq);
  size_t body_size() const { return body_size_; }
  void write_body(uint8_t* at) const { frame::write_frame(view_, at); }
  size_t outside_count() const { return outside_.size(); }
  // The emitted frame is the host's: the caller may take the item's buffer.
  loader_item_t& outside_item(size_t i) const {
    return const_cast<loader_item_t&>(*items_[outside_[i].item]);
  }

 private:
  struct Outside {
    uint32_t item;
    channel::OutPayload payload;
  };
  loader_status_t plan_item(const loader_item_t& item);
  bool goes_outside(const loader_item_t& item) const;

  frame::FrameView view_;
  std::vector<const loader_item_t*> items_;
  std::vector<Outside> outside_;
  std::vector<channel::PayloadRef> references_;
  size_t body_size_ = 0;
  uint64_t outside_bytes_ = 0;
};

// Calls `release` of each item that has one and clears it.
void release_items(loader_frame_t& frame);

}  // namespace loader::host
