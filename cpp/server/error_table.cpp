#include "server/error_table.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "server/wire.h"

namespace loader::server {
namespace {

namespace code_of {
using grpc::Code;
[[maybe_unused]] constexpr Code CANCELLED = Code::kCancelled;
[[maybe_unused]] constexpr Code UNKNOWN = Code::kUnknown;
[[maybe_unused]] constexpr Code INVALID_ARGUMENT = Code::kInvalidArgument;
[[maybe_unused]] constexpr Code DEADLINE_EXCEEDED = Code::kDeadlineExceeded;
[[maybe_unused]] constexpr Code NOT_FOUND = Code::kNotFound;
[[maybe_unused]] constexpr Code ALREADY_EXISTS = Code::kAlreadyExists;
[[maybe_unused]] constexpr Code PERMISSION_DENIED = Code::kPermissionDenied;
[[maybe_unused]] constexpr Code RESOURCE_EXHAUSTED = Code::kResourceExhausted;
[[maybe_unused]] constexpr Code FAILED_PRECONDITION = Code::kFailedPrecondition;
[[maybe_unused]] constexpr Code ABORTED = Code::kAborted;
[[maybe_unused]] constexpr Code OUT_OF_RANGE = Code::kOutOfRange;
[[maybe_unused]] constexpr Code UNIMPLEMENTED = Code::kUnimplemented;
[[maybe_unused]] constexpr Code INTERNAL = Code::kInternal;
[[maybe_unused]] constexpr Code UNAVAILABLE = Code::kUnavailable;
[[maybe_unused]] constexpr Code UNAUTHENTICATED = Code::kUnauthenticated;
}  // namespace code_of

constexpr ErrorRow kRows[] = {
#define LOADER_ERROR_ROW(code, name, status, http, actor, retry, text) \
  {code, #name, #status, code_of::status, http, #actor, #retry, text},
#include "loader/errors.def"
#undef LOADER_ERROR_ROW
};

void append_metadata(std::string& out, std::string_view key, std::string_view value) {
  std::string entry;
  append_bytes(entry, 1, key);
  append_bytes(entry, 2, value);
  append_bytes(out, 3, entry);
}

std::string encode_error_info(const ErrorReport& error, const ErrorRow& row) {
  std::string info;
  append_bytes(info, 1, row.name);
  append_bytes(info, 2, "engine-loader");
  append_metadata(info, "code", std::to_string(row.code));
  append_metadata(info, "actor", row.actor);
  append_metadata(info, "retry", row.retry);
  if (error.engine_code != 0) {
    append_metadata(info, "engine_code", std::to_string(error.engine_code));
  }
  return info;
}

void append_any(std::string& out, std::string_view type_url, std::string_view value) {
  std::string any;
  append_bytes(any, 1, type_url);
  append_bytes(any, 2, value);
  append_bytes(out, 3, any);
}

}  // namespace

std::span<const ErrorRow> error_table() { return kRows; }

const ErrorRow& error_row(uint32_t code) {
  auto found = std::find_if(std::begin(kRows), std::end(kRows),
                            [code](const ErrorRow& row) { return row.code == code; });
  if (found != std::end(kRows)) return *found;
  return error_row(static_cast<uint32_t>(ErrorCode::INTERNAL));
}

std::string encode_error(const ErrorReport& error) {
  const ErrorRow& row = error_row(static_cast<uint32_t>(error.code));
  std::string out;
  append_number(out, 1, row.code);
  append_bytes(out, 2, row.name);
  append_bytes(out, 3, error.message);
  append_bytes(out, 4, row.actor);
  append_bytes(out, 5, row.retry);
  if (error.engine_code != 0) {
    append_number(out, 6, static_cast<uint64_t>(static_cast<int64_t>(error.engine_code)));
  }
  if (!error.engine_message.empty()) append_bytes(out, 7, error.engine_message);
  return out;
}

grpc::Status to_status(const ErrorReport& error) {
  if (!error.is_set()) return {};
  const ErrorRow& row = error_row(static_cast<uint32_t>(error.code));
  std::string details;
  append_any(details, "type.googleapis.com/google.rpc.ErrorInfo", encode_error_info(error, row));
  append_any(details, "type.googleapis.com/loader.v1.Error", encode_error(error));
  return {row.grpc_code, error.message,
          grpc::encode_rpc_status(row.grpc_code, error.message, details)};
}

}  // namespace loader::server
