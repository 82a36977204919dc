// The error table (loader/errors.def) as data, and errors as gRPC statuses with google.rpc details.
// Knows nothing of when an error happens.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "grpc/status.h"

namespace loader::server {

enum class ErrorCode : uint32_t {
  NONE = 0,
#define LOADER_ERROR_ROW(code, name, status, http, actor, retry, text) name = code,
#include "loader/errors.def"
#undef LOADER_ERROR_ROW
};

struct ErrorRow {
  uint32_t code;
  std::string_view name;
  std::string_view grpc_status;
  grpc::Code grpc_code;
  int http_status;
  std::string_view actor;
  std::string_view retry;
  std::string_view text;
};

std::span<const ErrorRow> error_table();
// Unknown codes read as INTERNAL.
const ErrorRow& error_row(uint32_t code);

// One error on its way to a client.
struct ErrorReport {
  ErrorCode code = ErrorCode::NONE;
  std::string message;
  int32_t engine_code = 0;
  std::string engine_message;

  bool is_set() const { return code != ErrorCode::NONE; }
};

// loader.v1.Error, serialised.
std::string encode_error(const ErrorReport& error);
// The status with details: google.rpc.ErrorInfo and loader.v1.Error.
grpc::Status to_status(const ErrorReport& error);

}  // namespace loader::server
