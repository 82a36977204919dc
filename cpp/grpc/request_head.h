// Collects one request's header block and judges it, in the order of the gRPC rules. One per
// connection: header blocks never interleave.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "grpc/metadata.h"
#include "grpc/options.h"
#include "grpc/status.h"

namespace loader::grpc {

enum class Encoding : uint8_t { kIdentity, kGzip, kDeflate };

class RequestHead {
 public:
  // The parts of a request that outlive its header block; owned by the stream.
  struct Kept {
    std::string authority;
    std::string user_agent;
    Metadata metadata;
    void clear();
  };

  void start(Kept* kept);
  void add(std::string_view name, std::string_view value, const Options& options);

  // 0, or the HTTP status (405, 415) that answers a request which is not gRPC at all.
  int http_refusal() const;
  // OK, or what a trailers-only answer must say.
  Status judge() const;

  std::string_view path() const { return path_; }
  // INT64_MAX without grpc-timeout.
  int64_t timeout_ns() const { return timeout_ns_; }
  Encoding encoding() const { return encoding_; }
  bool has_encoding() const { return has_encoding_; }
  bool accepts_gzip() const { return accepts_gzip_; }

 private:
  void add_pseudo(std::string_view name, std::string_view value);
  bool add_protocol(std::string_view name, std::string_view value);
  void add_timeout(std::string_view value);
  void add_encoding(std::string_view value);
  void add_binary(std::string_view name, std::string_view value);

  Kept* kept_ = nullptr;
  std::string path_;
  std::string scratch_;
  std::string timeout_error_, binary_error_, encoding_error_;
  int64_t timeout_ns_ = 0;
  size_t bytes_ = 0;
  uint32_t fields_ = 0;
  Encoding encoding_ = Encoding::kIdentity;
  bool has_encoding_ = false;
  bool has_timeout_ = false;
  bool has_authority_ = false;
  bool accepts_gzip_ = false;
  bool is_post_ = false;
  bool is_grpc_ = false;
  bool is_too_large_ = false;
};

}  // namespace loader::grpc
