// Credit windows in records and bytes: one direction of one session or exec. Pure arithmetic, no
// I/O, no locks: the owner serialises.
#pragma once

#include <cstdint>

namespace loader::channel {

constexpr uint64_t kDefaultWindowBytes = 64 * 1024;
constexpr uint32_t kDefaultWindowRecords = 256;

struct Grant {
  uint32_t records = 0;
  uint64_t bytes = 0;
  bool empty() const { return records == 0 && bytes == 0; }
};

// The sender's side: what it may still send.
class SendCredit {
 public:
  SendCredit() = default;
  SendCredit(uint32_t records, uint64_t bytes);

  // A record fits when it is covered. A larger one may overdraw while more than half of the window
  // is left; then nothing fits until enough came back. (Half, not all: the receiver holds up to
  // half of the window back before it grants, and neither side may wait for the other for ever.)
  bool fits(uint64_t bytes) const;
  // Takes one record of `bytes`; false and unchanged when it does not fit.
  bool take(uint64_t bytes);
  // False, and unchanged, for more than was taken: the peer is lying.
  bool give_back(Grant grant);

  uint32_t records() const { return records_; }
  int64_t bytes() const { return bytes_; }  // negative: overdrawn
  uint64_t window_bytes() const { return static_cast<uint64_t>(window_bytes_); }

 private:
  int64_t window_bytes_ = 0;
  int64_t bytes_ = 0;
  uint32_t window_records_ = 0;
  uint32_t records_ = 0;
};

// The receiver's side: checks that the sender kept to its window, and collects what to grant.
class ReceiveCredit {
 public:
  ReceiveCredit() = default;
  ReceiveCredit(uint32_t records, uint64_t bytes)
      : sender_(records, bytes), threshold_(bytes / 2) {}

  // False: the peer sent without credit.
  bool received(uint64_t bytes) { return sender_.take(bytes); }
  // One record of `bytes` has been used up. Returns the grant to send now: empty until half of the
  // window (in bytes, or a quarter of it in records) has come together, so that grants stay rare.
  Grant consumed(uint64_t bytes);
  // The rest, whatever its size: for a flush when the queue ran empty.
  Grant take_pending();
  uint64_t outstanding_bytes() const;

 private:
  SendCredit sender_;
  uint64_t threshold_ = 0;
  Grant pending_;
  bool is_due() const;
};

}  // namespace loader::channel
