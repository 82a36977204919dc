// Errors on their way to a client: loader.v1.Error, and gRPC statuses with google.rpc details.
// Knows nothing of when an error happens.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "grpc/status.h"
#include "loader/errors.h"

namespace loader::server {

struct ErrorReport {
  ErrorCode code = ErrorCode::kNone;
  std::string message;
  int32_t engine_code = 0;
  std::string engine_message;

  bool is_set() const { return code != ErrorCode::kNone; }
};

// loader.v1.Error, serialised.
std::string encode_error(const ErrorReport& error);
// What a status of the gRPC library means: a limit, a malformed request, the deadline, a drain.
// kNone: nothing of ours.
ErrorCode error_of(grpc::Code code);
// google.rpc details for a status that came without, by its code; empty for codes not of ours.
std::string details_of(const grpc::Status& status);
// The status with details: google.rpc.ErrorInfo and loader.v1.Error.
grpc::Status to_status(const ErrorReport& error);

}  // namespace loader::server
