// The readers of the gRPC layer against bytes that somebody made up, the same ones in each run.
// Meant to run under ASan and UBSan too.
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "grpc/gzip.h"
#include "grpc/message_parser.h"
#include "grpc/wire_values.h"

namespace loader::grpc {
namespace {

struct Message {
  uint8_t flag = 0;
  std::string body;
  bool operator==(const Message&) const = default;
};

std::string noise(std::mt19937& random, size_t size) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

// The rule, read off the whole stream at once. `rest` gets what is no whole message.
std::vector<Message> messages_of(std::string_view wire, std::string_view& rest) {
  std::vector<Message> messages;
  for (rest = wire; rest.size() >= 5;) {
    size_t size = 0;
    for (int i = 1; i < 5; ++i) size = size << 8 | static_cast<uint8_t>(rest[i]);
    if (rest.size() - 5 < size) break;
    messages.push_back({static_cast<uint8_t>(rest[0]), std::string(rest.substr(5, size))});
    rest.remove_prefix(5 + size);
  }
  return messages;
}

// Messages of all sizes, some with a damaged prefix.
std::string made_up_stream(std::mt19937& random) {
  std::string wire;
  for (uint32_t count = random() % 6; count > 0; --count) {
    const uint32_t size = random() % 20 == 0 ? random() % 200'000 : random() % 300;
    const uint32_t flag = random() % 3;
    for (const uint32_t byte : {flag, size >> 24, size >> 16, size >> 8, size})
      wire.push_back(static_cast<char>(byte));
    if (random() % 8 == 0) wire[wire.size() - 1 - random() % 5] = static_cast<char>(random());
    wire += noise(random, size);
  }
  return wire;
}

// Feeds a stream in pieces of exactly their size, each gone before the next comes.
std::vector<Message> parse_in_pieces(MessageParser& parser, std::string_view wire,
                                     std::mt19937& random) {
  std::vector<Message> messages;
  while (!wire.empty()) {
    const size_t size = std::min<size_t>(wire.size(), 1 + random() % (random() % 3 ? 40 : 70'000));
    const std::vector<char> piece(wire.begin(), wire.begin() + static_cast<ptrdiff_t>(size));
    wire.remove_prefix(size);
    std::string_view in(piece.data(), piece.size());
    for (MessageParser::Step step; (step = parser.next(in)) != MessageParser::Step::kNeedMore;)
      if (step == MessageParser::Step::kMessage)
        messages.push_back({parser.flag(), std::string(parser.body())});
    EXPECT_TRUE(in.empty());
  }
  return messages;
}

// Whatever the prefixes say and however the bytes are cut: the messages are those of the whole
// stream, and what is left over is an unfinished one.
TEST(GrpcHostile, MadeUpStreamsAreCutAsWhole) {
  std::mt19937 random(21);
  size_t seen = 0;
  size_t unfinished = 0;
  for (int round = 0; round < 3000; ++round) {
    const std::string wire = made_up_stream(random);
    std::string_view rest;
    const std::vector<Message> expected = messages_of(wire, rest);
    MessageParser parser;
    ASSERT_EQ(parse_in_pieces(parser, wire, random), expected) << round;
    ASSERT_EQ(parser.is_between_messages(), rest.empty()) << round;
    seen += expected.size();
    unfinished += rest.empty() ? 0 : 1;
  }
  EXPECT_GT(seen, 5000u);
  EXPECT_GT(unfinished, 100u);
}

// Damaged compressed messages are refused or are within the limit; the state survives them.
TEST(GrpcHostile, DamagedGzipStaysWithinItsLimit) {
  constexpr size_t kLimit = 20'000;
  std::mt19937 random(22);
  Gzip gzip;
  std::string text = noise(random, 64);
  while (text.size() < 10'000) text += text;
  const std::string_view parts[] = {text};
  std::string good;
  gzip.deflate(parts, good);
  std::string out;
  int refused = 0;
  for (int round = 0; round < 5000; ++round) {
    std::string bad = good.substr(0, good.size() - random() % 3);
    for (uint32_t count = 1 + random() % 4; count > 0; --count)
      bad[random() % bad.size()] = static_cast<char>(random());
    const std::vector<char> exact(bad.begin(), bad.end());
    refused += gzip.inflate({exact.data(), exact.size()}, kLimit, out) != Gzip::Result::kOk;
    ASSERT_LE(out.size(), kLimit + (64u << 10));
  }
  EXPECT_GT(refused, 1000);
  EXPECT_EQ(gzip.inflate(good, kLimit, out), Gzip::Result::kOk);
  EXPECT_EQ(out, text);
}

// Header values of any bytes are refused or read; what base64 reads it writes the same way.
TEST(GrpcHostile, MadeUpHeaderValuesAreReadOrRefused) {
  constexpr std::string_view kLikely = "0123456789abcHMSmunAZaz+/=-_, ";
  std::mt19937 random(23);
  int timeouts = 0;
  int decoded = 0;
  for (int round = 0; round < 100'000; ++round) {
    std::vector<char> value(random() % 12);
    for (char& byte : value)
      byte = random() % 16 ? kLikely[random() % kLikely.size()] : static_cast<char>(random());
    const std::string_view text(value.data(), value.size());
    const auto timeout = parse_timeout(text);
    if (timeout) {
      ASSERT_GE(*timeout, 0);
      ++timeouts;
    }
    std::string bytes;
    if (base64_decode(text, bytes)) {
      std::string again;
      ASSERT_TRUE(base64_decode(base64_encode(bytes), again));
      ASSERT_EQ(again, bytes);
      ++decoded;
    }
  }
  EXPECT_GT(timeouts, 100);
  EXPECT_GT(decoded, 1000);
}

}  // namespace
}  // namespace loader::grpc
