// The header blocks a gRPC server sends, as nghttp2 name/value arrays. Static memory where the
// content is constant; the rest goes through one scratch buffer that nghttp2 copies from.
#pragma once

#include <nghttp2/nghttp2.h>

#include <span>
#include <string>
#include <vector>

#include "grpc/metadata.h"
#include "grpc/status.h"

namespace loader::grpc {

// Reused by every block of a server; valid until the submit call returns.
struct HeadScratch {
  std::vector<nghttp2_nv> fields;
  std::vector<std::string> values;
};

class ResponseHead {
 public:
  using Fields = std::span<const nghttp2_nv>;
  explicit ResponseHead(HeadScratch& scratch);

  Fields headers(bool announces_gzip, const Metadata* metadata);
  Fields ok_trailers();
  Fields trailers(const Status& status, const Metadata& metadata);
  Fields trailers_only(const Status& status, const Metadata& metadata);
  Fields http_refusal(int http_status);

 private:
  void add_fixed(const nghttp2_nv& field) { scratch_.fields.push_back(field); }
  size_t add_metadata(const Metadata& metadata);
  void add_status(const Status& status, const Metadata& metadata);

  HeadScratch& scratch_;
};

}  // namespace loader::grpc
