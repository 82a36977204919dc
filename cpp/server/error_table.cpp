#include "server/error_table.h"

#include "server/wire.h"

namespace loader::server {
namespace {

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
  append_metadata(info, "code", std::to_string(static_cast<uint32_t>(row.code)));
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

// Trailers are small: what the details repeat is cut, so that code and actor always arrive.
constexpr size_t kMessageBytes = 1024;
constexpr size_t kEngineMessageBytes = 2048;

std::string cut(std::string_view text, size_t limit) {
  if (text.size() <= limit) return std::string(text);
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xC0) == 0x80) limit--;
  return std::string(text.substr(0, limit));
}

}  // namespace

std::string encode_error(const ErrorReport& error) {
  const ErrorRow& row = error_row(error.code);
  std::string out;
  append_number(out, 1, static_cast<uint32_t>(row.code));
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

namespace {

std::string encode_details(const ErrorReport& error, grpc::Code code) {
  const ErrorRow& row = error_row(error.code);
  ErrorReport brief = error;
  brief.message = cut(error.message, kMessageBytes);
  brief.engine_message = cut(error.engine_message, kEngineMessageBytes);
  std::string details;
  append_any(details, "type.googleapis.com/google.rpc.ErrorInfo", encode_error_info(brief, row));
  append_any(details, "type.googleapis.com/loader.v1.Error", encode_error(brief));
  return grpc::encode_rpc_status(code, brief.message, details);
}

}  // namespace

ErrorCode error_of(grpc::Code code) {
  switch (code) {
    case grpc::Code::kCancelled:
      return ErrorCode::CANCELLED;
    case grpc::Code::kInvalidArgument:
      return ErrorCode::INVALID_ARGUMENT;
    case grpc::Code::kDeadlineExceeded:
      return ErrorCode::DEADLINE_EXCEEDED;
    case grpc::Code::kResourceExhausted:
      return ErrorCode::MESSAGE_TOO_LARGE;
    case grpc::Code::kUnimplemented:
      return ErrorCode::UNSUPPORTED;
    case grpc::Code::kInternal:
      return ErrorCode::PROTOCOL_VIOLATION;
    case grpc::Code::kUnavailable:
      return ErrorCode::DRAINING;
    case grpc::Code::kUnknown:
      return ErrorCode::INTERNAL;  // a handler threw
    default:
      return ErrorCode::kNone;
  }
}

std::string details_of(const grpc::Status& status) {
  ErrorCode code = error_of(status.code);
  if (code == ErrorCode::kNone) return {};
  return encode_details({code, status.message, 0, {}}, status.code);
}

grpc::Status to_status(const ErrorReport& error) {
  if (!error.is_set()) return {};
  auto code = static_cast<grpc::Code>(error_row(error.code).grpc);
  return {code, error.message, encode_details(error, code)};
}

}  // namespace loader::server
