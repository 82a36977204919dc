#include "grpc/request_head.h"

#include <limits>

#include "grpc/wire_values.h"

namespace loader::grpc {
namespace {

bool is_grpc_content_type(std::string_view v) {
  constexpr std::string_view kBase = "application/grpc";
  if (!v.starts_with(kBase)) return false;
  return v.size() == kBase.size() || v[kBase.size()] == '+' || v[kBase.size()] == ';';
}

// A value for an error message: short and printable.
std::string shown(std::string_view v) {
  return percent_encode(v, 64);
}

}  // namespace

void RequestHead::Kept::clear() {
  authority.clear();
  user_agent.clear();
  metadata.clear();
}

void RequestHead::start(Kept* kept) {
  kept_ = kept;
  path_.clear();
  timeout_error_.clear();
  binary_error_.clear();
  encoding_error_.clear();
  timeout_ns_ = std::numeric_limits<int64_t>::max();
  bytes_ = 0;
  fields_ = 0;
  encoding_ = Encoding::kIdentity;
  has_encoding_ = has_timeout_ = has_authority_ = false;
  accepts_gzip_ = is_post_ = is_grpc_ = is_too_large_ = false;
}

void RequestHead::add(std::string_view name, std::string_view value, const Options& options) {
  bytes_ += name.size() + value.size() + 32;
  fields_++;
  if (bytes_ > options.max_header_bytes || fields_ > options.max_header_fields) {
    is_too_large_ = true;
    return;
  }
  if (name[0] == ':') return add_pseudo(name, value);
  value = strip(value);
  if (add_protocol(name, value)) return;
  if (is_reserved_key(name)) return;
  if (is_binary_key(name)) return add_binary(name, value);
  kept_->metadata.add(name, value);
}

void RequestHead::add_pseudo(std::string_view name, std::string_view value) {
  if (name == ":path") {
    path_ = value;
  } else if (name == ":method") {
    is_post_ = value == "POST";
  } else if (name == ":authority") {
    kept_->authority = value;
    has_authority_ = true;
  }
}

// True when the field belongs to the protocol and is no metadata.
bool RequestHead::add_protocol(std::string_view name, std::string_view value) {
  switch (name.size()) {
    case 2:
      return name == "te";
    case 4:
      if (name != "host") return false;
      if (!has_authority_) kept_->authority = value;
      return true;
    case 10:
      if (name != "user-agent") return false;
      kept_->user_agent = value;
      return true;
    case 12:
      if (name == "content-type") return is_grpc_ = is_grpc_content_type(value), true;
      if (name == "grpc-timeout") return add_timeout(value), true;
      return false;
    case 13:
      if (name != "grpc-encoding") return false;
      add_encoding(value);
      return true;
    case 20:
      if (name != "grpc-accept-encoding") return false;
      accepts_gzip_ = accepts_gzip_ || list_contains(value, "gzip");
      return true;
    default:
      return false;
  }
}

void RequestHead::add_timeout(std::string_view value) {
  auto ns = has_timeout_ ? std::nullopt : parse_timeout(value);
  has_timeout_ = true;
  if (ns) {
    timeout_ns_ = *ns;
  } else if (timeout_error_.empty()) {
    timeout_error_ = "malformed grpc-timeout '" + shown(value) + "'";
  }
}

void RequestHead::add_encoding(std::string_view value) {
  has_encoding_ = value != "identity";
  if (value == "gzip") {
    encoding_ = Encoding::kGzip;
  } else if (value == "deflate") {
    encoding_ = Encoding::kDeflate;
  } else if (value != "identity") {
    encoding_error_ = "grpc-encoding '" + shown(value) + "' is not supported";
  }
}

void RequestHead::add_binary(std::string_view name, std::string_view value) {
  for (;;) {
    size_t comma = value.find(',');
    scratch_.clear();
    if (!base64_decode(strip(value.substr(0, comma)), scratch_)) {
      if (binary_error_.empty()) binary_error_ = "malformed base64 in '" + shown(name) + "'";
      return;
    }
    kept_->metadata.add(name, scratch_);
    if (comma == std::string_view::npos) return;
    value.remove_prefix(comma + 1);
  }
}

int RequestHead::http_refusal() const {
  // Past the limit fields were not looked at: no verdict on what may have been among them.
  if (is_too_large_) return 0;
  if (!is_post_) return 405;
  return is_grpc_ ? 0 : 415;
}

Status RequestHead::judge() const {
  if (is_too_large_) return {Code::kResourceExhausted, "request headers exceed the limit"};
  if (!timeout_error_.empty()) return {Code::kInternal, timeout_error_};
  if (!binary_error_.empty()) return {Code::kInternal, binary_error_};
  if (!encoding_error_.empty()) return {Code::kUnimplemented, encoding_error_};
  return {};
}

}  // namespace loader::grpc
