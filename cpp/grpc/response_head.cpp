#include "grpc/response_head.h"

#include <algorithm>

#include "grpc/wire_values.h"

namespace loader::grpc {
namespace {

constexpr size_t kTrailerLimit = 8000;  // clients may refuse 8 KiB of metadata
constexpr size_t kMessageLimit = 4000;
constexpr size_t kShortMessage = 256;

constexpr uint8_t kStatic = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE;

nghttp2_nv field(std::string_view name, std::string_view value, uint8_t flags) {
  auto bytes = [](std::string_view s) {
    return reinterpret_cast<uint8_t*>(const_cast<char*>(s.data()));
  };
  return {bytes(name), bytes(value), name.size(), value.size(), flags};
}

const nghttp2_nv kHttpOk = field(":status", "200", kStatic);
const nghttp2_nv kHttp405 = field(":status", "405", kStatic);
const nghttp2_nv kHttp415 = field(":status", "415", kStatic);
const nghttp2_nv kAllow = field("allow", "POST", kStatic);
const nghttp2_nv kContentType = field("content-type", "application/grpc", kStatic);
const nghttp2_nv kAccept = field("grpc-accept-encoding", "identity,deflate,gzip", kStatic);
const nghttp2_nv kGzip = field("grpc-encoding", "gzip", kStatic);
const nghttp2_nv kStatusOk = field("grpc-status", "0", kStatic);
const nghttp2_nv kPlainHeaders[] = {kHttpOk, kContentType, kAccept};
const nghttp2_nv kOkTrailers[] = {kStatusOk};

}  // namespace

ResponseHead::ResponseHead(HeadScratch& scratch) : scratch_(scratch) {
  scratch_.fields.clear();
  scratch_.values.clear();
}

ResponseHead::Fields ResponseHead::headers(bool announces_gzip, const Metadata* metadata) {
  if (!announces_gzip && (metadata == nullptr || metadata->is_empty())) return kPlainHeaders;
  for (const nghttp2_nv& f : kPlainHeaders) add_fixed(f);
  if (announces_gzip) add_fixed(kGzip);
  if (metadata != nullptr) add_metadata(*metadata);
  return scratch_.fields;
}

ResponseHead::Fields ResponseHead::ok_trailers() {
  return kOkTrailers;
}

ResponseHead::Fields ResponseHead::trailers(const Status& status, const Metadata& metadata) {
  add_status(status, metadata);
  return scratch_.fields;
}

ResponseHead::Fields ResponseHead::trailers_only(const Status& status, const Metadata& metadata) {
  for (const nghttp2_nv& f : kPlainHeaders) add_fixed(f);
  add_status(status, metadata);
  return scratch_.fields;
}

ResponseHead::Fields ResponseHead::http_refusal(int http_status) {
  bool is_method = http_status == 405;
  add_fixed(is_method ? kHttp405 : kHttp415);
  if (is_method) add_fixed(kAllow);
  add_fixed(kContentType);
  add_status(is_method ? Status(Code::kInternal, "gRPC requires POST")
                       : Status(Code::kInvalidArgument, "content-type is not application/grpc"),
             {});
  return scratch_.fields;
}

size_t ResponseHead::add_metadata(const Metadata& metadata) {
  size_t bytes = 0;
  scratch_.values.reserve(metadata.size() + 3);
  for (Metadata::Entry e : metadata) {
    std::string_view value = e.value;
    if (is_binary_key(e.key)) {
      scratch_.values.push_back(base64_encode(e.value));
      value = scratch_.values.back();
    } else {
      value = strip(value);
    }
    scratch_.fields.push_back(field(e.key, value, NGHTTP2_NV_FLAG_NONE));
    bytes += e.key.size() + value.size() + 32;
  }
  return bytes;
}

void ResponseHead::add_status(const Status& status, const Metadata& metadata) {
  auto& values = scratch_.values;
  size_t used = add_metadata(metadata);  // also reserves: pointers into `values` stay good
  auto code = std::clamp(static_cast<int>(status.code), 0, 99);
  values.push_back(std::to_string(code));
  scratch_.fields.push_back(field("grpc-status", values.back(), NGHTTP2_NV_FLAG_NO_COPY_NAME));
  size_t room = used < kTrailerLimit ? kTrailerLimit - used : 0;
  // Details say more than the end of a long message: their room is set aside first.
  size_t details_size = status.details.size() / 3 * 4 + 4;
  bool has_details = !status.details.empty() && details_size + kShortMessage < room;
  if (has_details) room -= details_size;
  if (!status.message.empty()) {
    size_t limit = std::max(kShortMessage, std::min(kMessageLimit, room));
    values.push_back(percent_encode(status.message, limit));
    scratch_.fields.push_back(field("grpc-message", values.back(), NGHTTP2_NV_FLAG_NO_COPY_NAME));
  }
  if (has_details) {
    values.push_back(base64_encode(status.details));
    scratch_.fields.push_back(
        field("grpc-status-details-bin", values.back(), NGHTTP2_NV_FLAG_NO_COPY_NAME));
  }
}

}  // namespace loader::grpc
