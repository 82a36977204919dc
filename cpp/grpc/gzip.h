// Message compression for one shard: one inflate and one deflate state, made on first use and
// reset for each message.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace loader::grpc {

class Gzip {
 public:
  enum class Result { kOk, kCorrupt, kTrailing, kTooLarge };

  Gzip();
  ~Gzip();

  // One gzip member or one zlib stream, nothing after it. `out` is replaced and never grows past
  // `limit` + 64 KiB.
  Result inflate(std::string_view in, size_t limit, std::string& out);
  // Appends one gzip member holding the parts back to back.
  void deflate(std::span<const std::string_view> parts, std::string& out);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace loader::grpc
