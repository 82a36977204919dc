// The rules of header values: timeouts, base64, reserved keys, percent-encoding.
#include "grpc/wire_values.h"

#include <gtest/gtest.h>

#include <limits>

#include "grpc/metadata.h"
#include "grpc/status.h"

namespace loader::grpc {
namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

TEST(Timeout, EachUnitScalesToNanoseconds) {
  EXPECT_EQ(parse_timeout("2H"), 7'200'000'000'000);
  EXPECT_EQ(parse_timeout("3M"), 180'000'000'000);
  EXPECT_EQ(parse_timeout("4S"), 4'000'000'000);
  EXPECT_EQ(parse_timeout("5m"), 5'000'000);
  EXPECT_EQ(parse_timeout("6u"), 6'000);
  EXPECT_EQ(parse_timeout("7n"), 7);
  EXPECT_EQ(parse_timeout("0n"), 0);
}

TEST(Timeout, EightDigitsOfHoursSaturate) {
  EXPECT_EQ(parse_timeout("99999999H"), kMax);
}

TEST(Timeout, AnythingElseIsMalformed) {
  for (const char* bad :
       {"", "1", "S", "+1S", "-1S", " 1S", "1 S", "1.5S", "123456789S", "1s", "1h", "0x1S", "1SS"})
    EXPECT_FALSE(parse_timeout(bad).has_value()) << bad;
}

TEST(Base64, EncodingIsUnpadded) {
  EXPECT_EQ(base64_encode(""), "");
  EXPECT_EQ(base64_encode("f"), "Zg");
  EXPECT_EQ(base64_encode("fo"), "Zm8");
  EXPECT_EQ(base64_encode("foo"), "Zm9v");
  EXPECT_EQ(base64_encode("\xff\xfe"), "//4");
}

TEST(Base64, PaddedAndUnpaddedDecodeAlike) {
  for (size_t n = 0; n < 40; n++) {
    std::string bytes(n, '\xa5');
    std::string text = base64_encode(bytes), out;
    EXPECT_TRUE(base64_decode(text, out));
    EXPECT_EQ(out, bytes);
    while (text.size() % 4 != 0) text += '=';
    out.clear();
    EXPECT_TRUE(base64_decode(text, out));
    EXPECT_EQ(out, bytes);
  }
}

TEST(Base64, MalformedTextIsRefused) {
  for (const char* bad : {"A", "AAAAA", "A=", "AA=", "AAA A", "A-_A", "=AAA", "AA==A", "===="}) {
    std::string out;
    EXPECT_FALSE(base64_decode(bad, out)) << bad;
  }
}

TEST(Percent, OnlyPrintableAsciiStays) {
  EXPECT_EQ(percent_encode("a b~", 100), "a b~");
  EXPECT_EQ(percent_encode("100%", 100), "100%25");
  EXPECT_EQ(percent_encode("\t\n\x7f", 100), "%09%0A%7F");
  EXPECT_EQ(percent_encode("\u263a", 100), "%E2%98%BA");
}

TEST(Percent, TruncationCutsAtACodePoint) {
  std::string faces = "\u263a\u263a";
  for (size_t limit = 0; limit < 9; limit++) EXPECT_EQ(percent_encode(faces, limit), "");
  for (size_t limit = 9; limit < 18; limit++) EXPECT_EQ(percent_encode(faces, limit), "%E2%98%BA");
  EXPECT_EQ(percent_encode(faces, 18).size(), 18u);
}

TEST(Percent, InvalidUtf8BecomesTheReplacementCharacter) {
  const std::string replaced = "%EF%BF%BD";
  EXPECT_EQ(percent_encode("\xff", 100), replaced);
  EXPECT_EQ(percent_encode("\xc0\x80", 100), replaced + replaced);                 // overlong
  EXPECT_EQ(percent_encode("\xed\xa0\x80", 100), replaced + replaced + replaced);  // surrogate
  EXPECT_EQ(percent_encode("a\xe2\x98", 100), "a" + replaced + replaced);          // cut short
}

TEST(Lists, TokensMatchWholeAndIgnoreSpaces) {
  EXPECT_TRUE(list_contains("identity, gzip", "gzip"));
  EXPECT_TRUE(list_contains("gzip", "gzip"));
  EXPECT_FALSE(list_contains("xgzip,gzipx", "gzip"));
  EXPECT_FALSE(list_contains("", "gzip"));
}

TEST(Keys, ReservedAndIllegalOnesAreNotSendable) {
  for (const char* bad : {"", "Upper", "a b", ":path", "grpc-status", "grpc-timeout", "te",
                          "content-type", "user-agent", "connection"})
    EXPECT_FALSE(Metadata::is_sendable(bad, "v")) << bad;
  for (const char* good : {"x-a", "a_b.c", "0", "grpc-trace-bin", "grpc-retry-pushback-ms"})
    EXPECT_TRUE(Metadata::is_sendable(good, "1")) << good;
}

TEST(Keys, AsciiValuesArePrintableAndBinaryOnesAnything) {
  EXPECT_FALSE(Metadata::is_sendable("a", "\n"));
  EXPECT_FALSE(Metadata::is_sendable("a", "\x80"));
  EXPECT_TRUE(Metadata::is_sendable("a", ""));
  EXPECT_TRUE(Metadata::is_sendable("a-bin", std::string_view("\0\xff", 2)));
}

TEST(MetadataTest, DuplicatesStayApartAndInOrder) {
  Metadata m{{"k", "1"}, {"x", "2"}, {"k", "3"}};
  ASSERT_EQ(m.size(), 3u);
  EXPECT_EQ(m.find("k"), "1");
  EXPECT_EQ(m[2].value, "3");
  EXPECT_FALSE(m.find("none").has_value());
}

TEST(RpcStatus, IsAValidProtobufMessage) {
  EXPECT_EQ(encode_rpc_status(Code::kNotFound, "no"), std::string("\x08\x05\x12\x02no"));
}

}  // namespace
}  // namespace loader::grpc
