// Compressed messages are inflated under a limit and judged to the last byte.
#include "grpc/gzip.h"

#include <gtest/gtest.h>
#include <zlib.h>

namespace loader::grpc {
namespace {

std::string pack(Gzip& gzip, std::string_view text) {
  std::string out;
  gzip.deflate(std::span(&text, 1), out);
  return out;
}

TEST(GzipTest, WhatIsDeflatedInflatesAgain) {
  Gzip gzip;
  std::string out;
  for (size_t n : {0u, 1u, 1000u, 300'000u}) {
    std::string text(n, 'a');
    for (size_t i = 0; i < n; i += 7) text[i] = static_cast<char>(i);
    EXPECT_EQ(gzip.inflate(pack(gzip, text), n, out), Gzip::Result::kOk) << n;
    EXPECT_EQ(out, text);
  }
}

TEST(GzipTest, OneByteOverTheLimitIsTooLarge) {
  Gzip gzip;
  std::string out, packed = pack(gzip, std::string(100'000, 'z'));
  EXPECT_EQ(gzip.inflate(packed, 100'000, out), Gzip::Result::kOk);
  EXPECT_EQ(gzip.inflate(packed, 99'999, out), Gzip::Result::kTooLarge);
}

TEST(GzipTest, ABombStopsAtTheLimit) {
  Gzip gzip;
  std::string out, packed = pack(gzip, std::string(50 << 20, '\0'));
  EXPECT_EQ(gzip.inflate(packed, 1 << 20, out), Gzip::Result::kTooLarge);
  EXPECT_LE(out.capacity(), (2u << 20) + (128u << 10));
}

TEST(GzipTest, EveryTruncationIsCorrupt) {
  Gzip gzip;
  std::string out, packed = pack(gzip, "hello hello hello");
  for (size_t n = 0; n < packed.size(); n++)
    EXPECT_EQ(gzip.inflate(packed.substr(0, n), 1000, out), Gzip::Result::kCorrupt) << n;
}

TEST(GzipTest, BytesAfterTheEndAreRefused) {
  Gzip gzip;
  std::string out, packed = pack(gzip, "x");
  EXPECT_EQ(gzip.inflate(packed + "y", 1000, out), Gzip::Result::kTrailing);
  EXPECT_EQ(gzip.inflate(packed + packed, 1000, out), Gzip::Result::kTrailing);
}

TEST(GzipTest, AFlippedByteIsCorrupt) {
  Gzip gzip;
  std::string out, packed = pack(gzip, "hello hello hello");
  packed[packed.size() - 6] ^= 1;  // in the checksum
  EXPECT_EQ(gzip.inflate(packed, 1000, out), Gzip::Result::kCorrupt);
  EXPECT_EQ(gzip.inflate("not gzip at all", 1000, out), Gzip::Result::kCorrupt);
}

TEST(GzipTest, ZlibFormatIsAcceptedToo) {
  Gzip gzip;
  std::string text(5000, 'd'), packed(6000, '\0'), out;
  uLongf n = packed.size();
  ASSERT_EQ(compress(reinterpret_cast<Bytef*>(packed.data()), &n,
                     reinterpret_cast<const Bytef*>(text.data()), text.size()),
            Z_OK);
  packed.resize(n);
  EXPECT_EQ(gzip.inflate(packed, 5000, out), Gzip::Result::kOk);
  EXPECT_EQ(out, text);
}

}  // namespace
}  // namespace loader::grpc
