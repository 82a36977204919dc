// The outcome of a call, as gRPC writes it on the wire. Knows nothing of HTTP/2.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace loader::grpc {

enum class Code : int {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

// "OK", "CANCELLED", ... for logs and metrics.
const char* code_name(Code code);

struct Status {
  Code code = Code::kOk;
  // UTF-8 text for people; any length: what does not fit the wire is cut at a code point.
  std::string message;
  // Empty, or a serialised google.rpc.Status whose code and message equal ours. Dropped when the
  // trailers would grow too large for clients (8 KiB).
  std::string details;

  Status() = default;
  // Not explicit: `return {Code::kNotFound, "no such engine"}` reads as what it is.
  Status(Code c, std::string m = {}, std::string d = {})
      : code(c), message(std::move(m)), details(std::move(d)) {}
  bool is_ok() const { return code == Code::kOk; }
};

// Serialises google.rpc.Status{code, message} followed by `details` fields already encoded as
// repeated google.protobuf.Any (field 3). A helper for those who have no protobuf at hand.
std::string encode_rpc_status(Code code, std::string_view message, std::string_view details = {});

// The `grpc-message` form: every byte outside 0x20-0x7e and '%' becomes %XX, at most `limit` bytes
// of output, cut at a code point. Invalid UTF-8 is replaced by U+FFFD first.
std::string percent_encode(std::string_view text, size_t limit);

}  // namespace loader::grpc
