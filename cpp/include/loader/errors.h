// The error table of errors.def as constexpr data: code, name, statuses, who must act, retry, text.
// Knows nothing of gRPC or HTTP but their numbers.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace loader {

// Stable numbers of errors.def; kNone is "no error". Spelled as in the table, which generates them.
enum class ErrorCode : uint32_t {
  kNone = 0,
#define LOADER_ERROR_ROW(code, name, grpc, http, actor, retry, text) name = code,
#include "loader/errors.def"
#undef LOADER_ERROR_ROW
};

// Numbers of google.rpc.Code, which gRPC puts on the wire.
enum class GrpcCode : uint8_t {
  OK = 0,
  CANCELLED = 1,
  UNKNOWN = 2,
  INVALID_ARGUMENT = 3,
  DEADLINE_EXCEEDED = 4,
  NOT_FOUND = 5,
  ALREADY_EXISTS = 6,
  PERMISSION_DENIED = 7,
  RESOURCE_EXHAUSTED = 8,
  FAILED_PRECONDITION = 9,
  ABORTED = 10,
  OUT_OF_RANGE = 11,
  UNIMPLEMENTED = 12,
  INTERNAL = 13,
  UNAVAILABLE = 14,
  DATA_LOSS = 15,
  UNAUTHENTICATED = 16,
};

struct ErrorRow {
  ErrorCode code;
  std::string_view name;
  GrpcCode grpc;
  std::string_view grpc_name;
  uint16_t http;
  std::string_view actor;  // client, author, operator or us
  std::string_view retry;  // no, same or elsewhere
  std::string_view text;
};

inline constexpr std::array kErrorTable = {
#define LOADER_ERROR_ROW(code, name, grpc, http, actor, retry, text) \
  ErrorRow{ErrorCode::name, #name, GrpcCode::grpc, #grpc, http, #actor, #retry, text},
#include "loader/errors.def"
#undef LOADER_ERROR_ROW
};

// The row of a code; that of INTERNAL for a number that is not in the table.
constexpr const ErrorRow& error_row(ErrorCode code) {
  const ErrorRow* internal = nullptr;
  for (const ErrorRow& row : kErrorTable) {
    if (row.code == code) return row;
    if (row.code == ErrorCode::INTERNAL) internal = &row;
  }
  return *internal;
}

}  // namespace loader
