// The hand-written envelopes: what they read, what they refuse, for any cut of the bytes.
#include "server/envelope.h"

#include <gtest/gtest.h>

#include <random>

#include "server/wire.h"

namespace loader::server {
namespace {

std::string pair_bytes(std::string_view key, std::string_view value) {
  std::string out;
  append_bytes(out, 1, key);
  append_bytes(out, 2, value);
  return out;
}

std::string exec_bytes() {
  std::string target;
  append_bytes(target, 1, "echo");
  append_bytes(target, 2, "1.0");
  append_number(target, 5, 7);
  append_number(target, 99, 1);
  std::string out;
  append_bytes(out, 1, target);
  append_bytes(out, 2, pair_bytes("rate", "8000"));
  append_bytes(out, 2, pair_bytes("rate", "16000"));
  append_bytes(out, 3, "frame");
  return out;
}

TEST(Envelope, ExecIsReadInPlace) {
  std::string bytes = exec_bytes();
  RequestView request;
  ASSERT_EQ(parse_exec(bytes, request), nullptr);
  EXPECT_EQ(request.target.engine, "echo");
  EXPECT_EQ(request.target.version, "1.0");
  EXPECT_EQ(request.target.priority, 7);
  EXPECT_EQ(request.frame, "frame");
  EXPECT_EQ(request.unknown_fields, 1u);
  ASSERT_EQ(request.parameters.size(), 1u) << "the last of equal keys wins";
  EXPECT_EQ(request.parameters[0].second, "16000");
}

TEST(Envelope, EveryTruncationIsEitherRefusedOrAWholeMessage) {
  std::string bytes = exec_bytes();
  for (size_t size = 0; size < bytes.size(); size++) {
    RequestView request;
    std::string exact = bytes.substr(0, size);
    const char* wrong = parse_exec(exact, request);
    if (size == bytes.size() - 1) {
      EXPECT_NE(wrong, nullptr);
    }
  }
}

TEST(Envelope, NamesThatAreNotUtf8AreRefused) {
  std::string target;
  append_bytes(target, 1, "\xff");
  std::string bytes;
  append_bytes(bytes, 1, target);
  RequestView request;
  EXPECT_NE(parse_exec(bytes, request), nullptr);
}

// Each entry is compared with those before it: a map without bound would hold up the data plane.
TEST(Envelope, MapsAreBounded) {
  for (size_t count : {256, 257}) {
    std::string bytes, target;
    for (size_t i = 0; i < count; i++) {
      append_bytes(bytes, 2, pair_bytes("p" + std::to_string(i), "1"));
      append_bytes(target, 4, pair_bytes("l" + std::to_string(i), "1"));
    }
    std::string labels;
    append_bytes(labels, 1, target);
    for (const std::string& one : {bytes, labels}) {
      RequestView request;
      EXPECT_EQ(parse_exec(one, request) == nullptr, count == 256);
      request.clear();
      EXPECT_EQ(parse_open(one, request) == nullptr, count == 256);
    }
  }
}

TEST(Envelope, TheLastMemberOfASessionRequestCounts) {
  std::string bytes;
  append_bytes(bytes, 2, "frame");
  append_bytes(bytes, 3, "");
  append_bytes(bytes, 77, "unknown");
  SessionRequestView request;
  ASSERT_EQ(parse_session_request(bytes, request), nullptr);
  EXPECT_EQ(request.kind, SessionRequestView::Kind::kEnd);
}

TEST(Envelope, AnUnknownMemberIsNoMessage) {
  std::string bytes;
  append_bytes(bytes, 77, "unknown");
  SessionRequestView request;
  ASSERT_EQ(parse_session_request(bytes, request), nullptr);
  EXPECT_EQ(request.kind, SessionRequestView::Kind::kNone);
}

// Damaged requests are refused or read; nothing that was read lies outside their bytes.
TEST(Envelope, DamagedRequestsAreReadWithinTheirBytes) {
  std::mt19937 random(24);
  const std::string whole = exec_bytes();
  RequestView request;
  int read = 0;
  for (int round = 0; round < 100'000; ++round) {
    std::vector<char> bytes(whole.begin(), whole.end() - static_cast<ptrdiff_t>(random() % 8));
    for (uint32_t count = 1 + random() % 4; count > 0; --count)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    const std::string_view exact(bytes.data(), bytes.size());
    const auto is_inside = [&](std::string_view part) {
      return part.empty() || (part.data() >= exact.data() &&
                              part.data() + part.size() <= exact.data() + exact.size());
    };
    SessionRequestView session;
    if (parse_session_request(exact, session) == nullptr) {
      ASSERT_TRUE(is_inside(session.body));
      parse_ack(session.body);
    }
    request.clear();
    if ((round % 2 ? parse_open : parse_exec)(exact, request) != nullptr) continue;
    ++read;
    ASSERT_TRUE(is_inside(request.frame) && is_inside(request.target.engine));
    for (const auto& [key, value] : request.parameters)
      ASSERT_TRUE(is_inside(key) && is_inside(value));
  }
  EXPECT_GT(read, 1000);
}

}  // namespace
}  // namespace loader::server
