#include "grpc/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <new>

namespace loader::grpc {
namespace {
constexpr size_t kStep = 64 << 10;

Bytef* bytes(const char* p) {
  return reinterpret_cast<Bytef*>(const_cast<char*>(p));
}
}  // namespace

struct Gzip::State {
  z_stream in{};
  z_stream out{};
  bool has_in = false;
  bool has_out = false;
  ~State() {
    if (has_in) inflateEnd(&in);
    if (has_out) deflateEnd(&out);
  }
};

Gzip::Gzip() : state_(std::make_unique<State>()) {}
Gzip::~Gzip() = default;

Gzip::Result Gzip::inflate(std::string_view in, size_t limit, std::string& out) {
  z_stream& z = state_->in;
  if (!state_->has_in) {
    if (inflateInit2(&z, 15 + 32) != Z_OK) throw std::bad_alloc();
    state_->has_in = true;
  } else {
    inflateReset(&z);
  }
  z.next_in = bytes(in.data());
  z.avail_in = static_cast<uInt>(in.size());
  out.clear();
  for (;;) {
    size_t have = out.size();
    size_t step = std::min({kStep, limit + 1 - have, std::max<size_t>(in.size() * 4, 256)});
    out.resize(have + step);
    z.next_out = bytes(out.data() + have);
    z.avail_out = static_cast<uInt>(step);
    int rc = ::inflate(&z, Z_NO_FLUSH);
    out.resize(have + step - z.avail_out);
    if (out.size() > limit) return Result::kTooLarge;
    if (rc == Z_STREAM_END) return z.avail_in == 0 ? Result::kOk : Result::kTrailing;
    if (rc != Z_OK || (z.avail_in == 0 && z.avail_out > 0)) return Result::kCorrupt;
  }
}

void Gzip::deflate(std::span<const std::string_view> parts, std::string& out) {
  z_stream& z = state_->out;
  if (!state_->has_out) {
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
      throw std::bad_alloc();
    state_->has_out = true;
  } else {
    deflateReset(&z);
  }
  char block[16 << 10];
  auto run = [&](std::string_view part, int flush) {
    z.next_in = bytes(part.data());
    z.avail_in = static_cast<uInt>(part.size());
    do {
      z.next_out = bytes(block);
      z.avail_out = sizeof block;
      ::deflate(&z, flush);
      out.append(block, sizeof block - z.avail_out);
    } while (z.avail_out == 0);
  };
  for (std::string_view part : parts) run(part, Z_NO_FLUSH);
  run({}, Z_FINISH);
}

}  // namespace loader::grpc
