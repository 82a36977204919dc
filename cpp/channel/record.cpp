// Writing and checking of record headers and payload references.
#include "channel/record.h"

#include "channel/little_endian.h"

namespace loader::channel {

namespace {

constexpr size_t kTypeAt = 4;
constexpr size_t kPayloadCountAt = 6;
constexpr size_t kHandleAt = 8;

std::string label(uint16_t type) {
  return std::string(name_of(static_cast<RecordType>(type))) + " (" + std::to_string(type) + ")";
}

bool is_valid(const PayloadRef& ref) {
  if (ref.kind == kInArena) return true;
  return ref.kind == kInMemfd && ref.block == 0 && ref.offset == 0 && ref.size != 0;
}

}  // namespace

bool is_expected(RecordType type, Side receiver) {
  switch (type) {
    case RecordType::kHello:
    case RecordType::kCredit:
    case RecordType::kRelease:
      return true;
    default:
      break;
  }
  const auto number = static_cast<uint16_t>(type);
  const auto first =
      static_cast<uint16_t>(receiver == Side::kHost ? RecordType::kHello : RecordType::kReady);
  const auto last = static_cast<uint16_t>(receiver == Side::kHost ? RecordType::kUnloadResource
                                                                  : RecordType::kFailure);
  return number >= first && number <= last;
}

const char* name_of(RecordType type) {
  switch (type) {
    case RecordType::kHello:
      return "hello";
    case RecordType::kInit:
      return "init";
    case RecordType::kCreate:
      return "create";
    case RecordType::kWrite:
      return "write";
    case RecordType::kEnd:
      return "end";
    case RecordType::kExec:
      return "exec";
    case RecordType::kCancel:
      return "cancel";
    case RecordType::kDestroy:
      return "destroy";
    case RecordType::kCredit:
      return "credit";
    case RecordType::kRelease:
      return "release";
    case RecordType::kPing:
      return "ping";
    case RecordType::kHealth:
      return "health";
    case RecordType::kUpdate:
      return "update";
    case RecordType::kFini:
      return "fini";
    case RecordType::kArena:
      return "arena";
    case RecordType::kLoadResource:
      return "load resource";
    case RecordType::kUnloadResource:
      return "unload resource";
    case RecordType::kReady:
      return "ready";
    case RecordType::kCompletion:
      return "completion";
    case RecordType::kResult:
      return "result";
    case RecordType::kPong:
      return "pong";
    case RecordType::kLog:
      return "log";
    case RecordType::kMeter:
      return "meter";
    case RecordType::kTrace:
      return "trace";
    case RecordType::kHung:
      return "hung";
    case RecordType::kFailure:
      return "failure";
  }
  return "unknown";
}

uint64_t RecordView::payload_bytes() const {
  uint64_t total = 0;
  for (const PayloadRef& ref : payloads) total += ref.size;
  return total;
}

size_t record_size(size_t payload_count, size_t body_size) {
  return kHeaderBytes + payload_count * kPayloadRefBytes + body_size;
}

uint8_t* begin_record(ByteBuffer& out, RecordType type, uint64_t handle,
                      std::span<const PayloadRef> payloads, size_t body_size) {
  const size_t size = record_size(payloads.size(), body_size);
  uint8_t* at = out.extend(size);
  at = put(static_cast<uint32_t>(size), at);
  at = put(type, at);
  at = put(static_cast<uint16_t>(payloads.size()), at);
  at = put(handle, at);
  for (const PayloadRef& ref : payloads) {
    at = put(ref.size, put(ref.offset, put(ref.block, put(ref.kind, at))));
  }
  return at;
}

void append_record(ByteBuffer& out, RecordType type, uint64_t handle,
                   std::span<const PayloadRef> payloads, std::span<const uint8_t> body) {
  uint8_t* at = begin_record(out, type, handle, payloads, body.size());
  if (!body.empty()) std::memcpy(at, body.data(), body.size());
}

RecordReader::Status RecordReader::fail(std::string why) {
  fault_ = std::move(why);
  return Status::kFault;
}

// Offsets are checked against the arena by whoever opens the payload; here only what needs no
// arena.
bool RecordReader::read_payloads(const uint8_t* at, size_t count) {
  payloads_.clear();
  uint64_t total = 0;
  for (size_t i = 0; i < count; ++i) {
    PayloadRef ref;
    Reader({at + i * kPayloadRefBytes, kPayloadRefBytes})
        .get(ref.kind)
        .get(ref.block)
        .get(ref.offset)
        .get(ref.size);
    if (!is_valid(ref) || __builtin_add_overflow(total, ref.size, &total)) return false;
    payloads_.push_back(ref);
  }
  return true;
}

RecordReader::Status RecordReader::next(std::span<const uint8_t> bytes, RecordView& out) {
  needed_ = kHeaderBytes;
  if (bytes.size() < kHeaderBytes) return Status::kIncomplete;
  const auto size = get_at<uint32_t>(bytes.data());
  const auto type = get_at<uint16_t>(bytes.data() + kTypeAt);
  const auto payload_count = get_at<uint16_t>(bytes.data() + kPayloadCountAt);
  const size_t front = record_size(payload_count, 0);
  if (!is_expected(static_cast<RecordType>(type), receiver_)) {
    return fail("a record of type " + label(type) + " is not for this side");
  }
  if (payload_count > kMaxPayloads) {
    return fail("a " + label(type) + " record has " + std::to_string(payload_count) +
                " payloads; at most " + std::to_string(kMaxPayloads) + " are allowed");
  }
  if (size < front || size > max_record_bytes_) {
    return fail("a " + label(type) + " record says it has " + std::to_string(size) +
                " bytes; between " + std::to_string(front) + " and " +
                std::to_string(max_record_bytes_) + " are allowed");
  }
  needed_ = size;
  if (bytes.size() < size) return Status::kIncomplete;
  if (!read_payloads(bytes.data() + kHeaderBytes, payload_count)) {
    return fail("a " + label(type) + " record has a payload reference that cannot be right");
  }
  out.type = static_cast<RecordType>(type);
  out.handle = get_at<uint64_t>(bytes.data() + kHandleAt);
  out.payloads = payloads_;
  out.body = bytes.subspan(front, size - front);
  out.memfds = {};
  consumed_ = size;
  return Status::kRecord;
}

}  // namespace loader::channel
