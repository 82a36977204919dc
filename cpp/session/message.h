// A message passing through the core, either way: a view of bytes and of payloads that live
// elsewhere. Knows nothing of what the bytes mean.
#pragma once

#include <cstdint>
#include <span>

namespace loader::session {

// Keeps the memory of a payload (an arena block, a memory file, a heap buffer) alive by counting.
class PayloadOwner {
 public:
  virtual ~PayloadOwner() = default;
  virtual void retain() noexcept = 0;
  virtual void release() noexcept = 0;
};

// Bytes beside the body. `token` belongs to whoever made the view (a block, a descriptor).
struct PayloadView {
  std::span<const uint8_t> bytes;
  PayloadOwner* owner = nullptr;  // REQUIRED: whoever keeps the view past the call retains it
  uint64_t token = 0;
};

// Valid until the call that passes it returns; who needs it longer copies the body and retains the
// payloads.
struct MessageView {
  std::span<const uint8_t> body;
  std::span<const PayloadView> payloads;
  // Input only: what it holds of the transport's window; comes back through Front::on_input_credit.
  uint64_t window_bytes = 0;

  // What it is charged against a credit window: a message of no bytes still costs one record.
  uint64_t size_bytes() const {
    uint64_t size = body.size();
    for (const PayloadView& payload : payloads) size += payload.bytes.size();
    return size;
  }
};

}  // namespace loader::session
