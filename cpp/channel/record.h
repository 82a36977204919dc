// The layout of a record between loader and engine host, and the checks on one that came in.
// Refuses to know what the body of a record means (bodies.h) and how it travels (socket.h).
//
// A record: 16-byte header {u32 size of the whole record, u16 type, u16 payload count, u64 handle},
// 24 bytes for each payload reference, then the body. Little-endian, packed, unaligned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "channel/byte_buffer.h"
#include "channel/unique_fd.h"

namespace loader::channel {

// Numbers are the protocol: append only. Loader to host below 64, host to loader from 64.
enum class RecordType : uint16_t {
  kHello = 1,   // both directions, the first record of each
  kInit = 2,    // InitBody                -> completion
  kCreate = 3,  // OpenBody                -> completion
  kWrite = 4,  // a frame                 -> completion (returns one record and its bytes of credit)
  kEnd = 5,    // empty                   -> completion
  kExec = 6,   // OpenBody, then a frame  -> completion
  kCancel = 7,         // ReasonBody
  kDestroy = 8,        // ReasonBody              -> completion, unless the handle names no session
  kCredit = 9,         // CreditBody; both directions
  kRelease = 10,       // ReleaseBody; both directions
  kPing = 11,          // PingBody                -> pong
  kHealth = 12,        // empty                   -> completion
  kUpdate = 13,        // InitBody                -> completion
  kFini = 14,          // ReasonBody: destroy what is open, fini, exit
  kArena = 15,         // ArenaBody + one memory file: replaces the loader's arena from here on
  kLoadResource = 16,  // ResourceBody, then a frame of one item -> completion
  kUnloadResource = 17,  // ResourceBody -> completion, once no session uses it

  kReady = 64,       // ReadyBody: before the completion of init
  kCompletion = 65,  // CompletionBody
  kResult = 66,      // a frame
  kPong = 67,        // PingBody, echoed
  kLog = 68,         // LogBody
  kMeter = 69,       // MeterBody
  kTrace = 70,       // TraceBody
  kHung = 71,        // HungBody: the host's clock says that a call is over its limit
  kFailure = 72      // FailureBody: the engine ended a session, no call of it need run
};

enum class Side { kLoader, kHost };

// May this type be received by `receiver`?
bool is_expected(RecordType type, Side receiver);
const char* name_of(RecordType type);

// Index of an instance's table in the low half, its generation above: never reused.
constexpr uint64_t make_handle(uint32_t generation, uint32_t index) {
  return uint64_t{generation} << 32 | index;
}
constexpr uint32_t index_of(uint64_t handle) {
  return static_cast<uint32_t>(handle);
}
constexpr uint32_t generation_of(uint64_t handle) {
  return static_cast<uint32_t>(handle >> 32);
}

enum PayloadKind : uint32_t {
  kInArena = 1,  // `size` bytes at `offset` of the sender's arena; `block` goes back in a release
  kInMemfd = 2   // `size` bytes of the next memory file; offset and block are 0; nothing to release
};

struct PayloadRef {
  uint32_t kind = 0;
  uint32_t block = 0;
  uint64_t offset = 0;
  uint64_t size = 0;
};

constexpr size_t kHeaderBytes = 16;
constexpr size_t kPayloadRefBytes = 24;
constexpr size_t kMaxPayloads = 64;  // of one record
// Larger payloads travel outside the record, in the arena or in a memory file of their own.
constexpr size_t kInlinePayloadBytes = 16 * 1024;
// No record is larger; a longer one is a fault of its sender.
constexpr size_t kMaxRecordBytes = 64u * 1024 * 1024;

// A frame with its payloads. Larger results are refused where they are emitted; whoever sends one
// all the same is broken.
constexpr uint64_t kMaxResultBytes = 256u * 1024 * 1024;

// What a sink sees. Valid during the call; memory files may be moved out.
struct RecordView {
  RecordType type{};
  uint64_t handle = 0;
  std::span<const PayloadRef> payloads;
  std::span<const uint8_t> body;
  std::span<UniqueFd> memfds;  // one for each payload of kind kInMemfd, in order

  uint64_t payload_bytes() const;
};

size_t record_size(size_t payload_count, size_t body_size);
// Writes header and references and returns the place of the body: write exactly `body_size` there.
uint8_t* begin_record(ByteBuffer& out, RecordType type, uint64_t handle,
                      std::span<const PayloadRef> payloads, size_t body_size);
void append_record(ByteBuffer& out, RecordType type, uint64_t handle,
                   std::span<const PayloadRef> payloads, std::span<const uint8_t> body);

// Cuts records off the front of received bytes, checking everything a header can say wrong.
class RecordReader {
 public:
  enum class Status { kRecord, kIncomplete, kFault };

  explicit RecordReader(Side receiver, size_t max_record_bytes = kMaxRecordBytes)
      : receiver_(receiver), max_record_bytes_(max_record_bytes) {}

  // kRecord: `out` is filled (without memfds), consumed() bytes belong to it. kIncomplete: needed()
  // bytes in all are wanted. kFault: fault() says why; the channel is beyond repair.
  Status next(std::span<const uint8_t> bytes, RecordView& out);
  size_t consumed() const { return consumed_; }
  size_t needed() const { return needed_; }
  const std::string& fault() const { return fault_; }

 private:
  Status fail(std::string why);
  bool read_payloads(const uint8_t* at, size_t count);

  Side receiver_;
  size_t max_record_bytes_;
  size_t consumed_ = 0;
  size_t needed_ = 0;
  std::string fault_;
  std::vector<PayloadRef> payloads_;
};

}  // namespace loader::channel
