// Frames and messages are unrelated: any cutting of the bytes gives the same messages.
#include "grpc/message_parser.h"

#include <gtest/gtest.h>

#include <vector>

namespace loader::grpc {
namespace {

using Step = MessageParser::Step;

std::string framed(std::string_view body, char flag = 0) {
  auto n = static_cast<uint32_t>(body.size());
  std::string out{flag, static_cast<char>(n >> 24), static_cast<char>(n >> 16),
                  static_cast<char>(n >> 8), static_cast<char>(n)};
  return out.append(body);
}

// Feeds the chunks; collects the messages.
std::vector<std::string> parse(MessageParser& parser, const std::vector<std::string>& chunks) {
  std::vector<std::string> messages;
  for (const std::string& chunk : chunks) {
    std::string_view in = chunk;
    for (Step step; (step = parser.next(in)) != Step::kNeedMore;)
      if (step == Step::kMessage) messages.emplace_back(parser.body());
  }
  return messages;
}

TEST(MessageParser, EverySplitIntoTwoGivesTheSameMessages) {
  const std::vector<std::string> expected = {"abc", "", "0123456789"};
  std::string wire;
  for (auto& m : expected) wire += framed(m);
  for (size_t i = 0; i <= wire.size(); i++) {
    MessageParser parser;
    EXPECT_EQ(parse(parser, {wire.substr(0, i), wire.substr(i)}), expected) << i;
    EXPECT_TRUE(parser.is_between_messages());
  }
}

TEST(MessageParser, SingleBytesGiveTheSameMessages) {
  std::string wire = framed("hello") + framed("") + framed("x");
  std::vector<std::string> chunks;
  for (char c : wire) chunks.emplace_back(1, c);
  MessageParser parser;
  EXPECT_EQ(parse(parser, chunks), (std::vector<std::string>{"hello", "", "x"}));
}

TEST(MessageParser, AWholeMessageInOneChunkIsAView) {
  MessageParser parser;
  std::string wire = framed("hello");
  std::string_view in = wire;
  ASSERT_EQ(parser.next(in), Step::kPrefix);
  ASSERT_EQ(parser.next(in), Step::kMessage);
  EXPECT_EQ(parser.body().data(), wire.data() + 5);
  EXPECT_EQ(parser.assembled(), nullptr);
}

TEST(MessageParser, APrefixAloneBuysNoMemory) {
  MessageParser parser;
  std::string wire("\0\x7f\xff\xff\xff", 5);
  wire += "x";
  std::string_view in = wire;
  ASSERT_EQ(parser.next(in), Step::kPrefix);
  EXPECT_EQ(parser.size(), 0x7fffffffu);
  ASSERT_EQ(parser.next(in), Step::kNeedMore);
  EXPECT_LE(parser.assembled()->capacity(), 64u << 10);
  EXPECT_FALSE(parser.is_between_messages());
}

TEST(MessageParser, MemoryNeverExceedsTwiceWhatWasAnnounced) {
  MessageParser parser;
  std::string body(300'000, 'q');
  std::string wire = framed(body);
  std::vector<std::string> got;
  for (size_t i = 0; i < wire.size(); i += 16'384) {
    std::string chunk = wire.substr(i, 16'384);
    std::string_view in = chunk;
    for (Step step; (step = parser.next(in)) != Step::kNeedMore;)
      if (step == Step::kMessage) {
        EXPECT_LE(parser.assembled()->capacity(), 2 * body.size());
        got.emplace_back(parser.body());
      }
  }
  EXPECT_EQ(got, std::vector<std::string>{body});
}

TEST(MessageParser, APartialPrefixIsAnUnfinishedMessage) {
  for (size_t n = 1; n < 5; n++) {
    MessageParser parser;
    parse(parser, {std::string(n, '\0')});
    EXPECT_FALSE(parser.is_between_messages()) << n;
  }
}

TEST(MessageParser, TheFlagIsReportedAsSent) {
  MessageParser parser;
  std::string wire = framed("a", 7);
  std::string_view in = wire;
  ASSERT_EQ(parser.next(in), Step::kPrefix);
  EXPECT_EQ(parser.flag(), 7);
}

}  // namespace
}  // namespace loader::grpc
