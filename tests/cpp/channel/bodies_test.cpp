// Bodies of records: what is written is read, and nothing else is accepted.
#include "channel/bodies.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <random>

namespace loader::channel {
namespace {

template <typename Body>
std::vector<uint8_t> encode(const Body& body) {
  std::vector<uint8_t> bytes(size_of(body));
  EXPECT_EQ(write(body, bytes.data()), bytes.data() + bytes.size());
  return bytes;
}

// A copy of exactly this size, so that a sanitizer sees every read beyond it.
template <typename Body>
bool decode_exact(const std::vector<uint8_t>& bytes, size_t size, Body& out) {
  const auto copy = std::make_unique<uint8_t[]>(size);
  if (size != 0) std::memcpy(copy.get(), bytes.data(), size);
  return decode(Bytes(copy.get(), size), out);
}

// Every prefix and one byte more are refused.
template <typename Body>
void expect_exact_size(const Body& body) {
  std::vector<uint8_t> bytes = encode(body);
  Body out;
  for (size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decode_exact(bytes, size, out));
  EXPECT_TRUE(decode_exact(bytes, bytes.size(), out));
  bytes.push_back(0);
  EXPECT_FALSE(decode_exact(bytes, bytes.size(), out));
}

Hello hello_of(Language language, const std::string& version) {
  Hello hello;
  hello.language = language;
  hello.package_version = version;
  hello.runtime = language == Language::kLoader ? "loader" : "python 3.11.2 /usr/bin/python3";
  return hello;
}

InitBody make_init() {
  InitBody body;
  body.engine = "asr";
  body.version = "1";
  body.directory = "/w";
  body.entry = "wrapper.so";
  body.json = "{}";
  body.slots = 8;
  body.threads = 2;
  body.options = {{"a", "1"}, {"b", ""}};
  return body;
}

// Every body survives the way there and back and has one size only.
TEST(Bodies, bodies_have_one_size_only) {
  expect_exact_size(hello_of(Language::kPython, "0.1.0"));
  expect_exact_size(make_init());
  expect_exact_size(ReasonBody{3});
  expect_exact_size(CreditBody{1, 2});
  expect_exact_size(PingBody{7});
  expect_exact_size(ArenaBody{1 << 20});
  expect_exact_size(ReadyBody{kHasExec | kHasSessions, 1, 0, "n", "v", "{}"});
  expect_exact_size(LogBody{LOADER_LOG_INFO, "text"});
  expect_exact_size(MeterBody{1.5, "seconds"});
  expect_exact_size(TraceBody{"key", "value"});
  expect_exact_size(HungBody{Operation::kWrite, 30'000'000'000});
  expect_exact_size(FailureBody{42, "it broke"});
}

TEST(Bodies, init_is_read_as_written) {
  const std::vector<uint8_t> bytes = encode(make_init());
  InitBody out;
  ASSERT_TRUE(decode(bytes, out));
  EXPECT_EQ(out.engine, "asr");
  EXPECT_EQ(out.entry, "wrapper.so");
  EXPECT_EQ(out.slots, 8u);
  EXPECT_EQ(out.threads, 2u);
  EXPECT_EQ(out.call_timeout_ns, kNoDeadline);
  ASSERT_EQ(out.options.size(), 2u);
  EXPECT_EQ(out.options[0].value, "1");
}

// The frame of an exec is what follows the open information.
TEST(Bodies, an_open_leaves_the_frame_as_the_rest) {
  OpenBody body;
  body.session_id = "s-1";
  body.deadline_ns = 5;
  body.window_records = 256;
  body.window_bytes = 65536;
  body.parameters = {{"rate", "16000"}};
  body.metadata = {{"traceparent", "00-1"}, {"tenant", "t"}};
  std::vector<uint8_t> bytes = encode(body);
  const size_t front = bytes.size();
  bytes.insert(bytes.end(), {1, 2, 3});
  OpenBody out;
  Bytes rest;
  ASSERT_TRUE(decode(bytes, out, rest));
  EXPECT_EQ(out.session_id, "s-1");
  EXPECT_EQ(out.deadline_ns, 5);
  EXPECT_EQ(out.window_bytes, 65536u);
  EXPECT_EQ(out.parameters[0].value, "16000");
  EXPECT_EQ(out.metadata[1].key, "tenant");
  EXPECT_EQ(rest.size(), 3u);
  for (size_t size = 0; size < front; ++size) {
    EXPECT_FALSE(decode(Bytes(bytes.data(), size), out, rest)) << size;
  }
}

// A resource's frame is what follows its number; half a number is refused.
TEST(Bodies, a_resource_leaves_the_frame_as_the_rest) {
  std::vector<uint8_t> bytes = encode(ResourceBody{7});
  bytes.insert(bytes.end(), {1, 2, 3});
  ResourceBody out;
  Bytes rest;
  ASSERT_TRUE(decode(bytes, out, rest));
  EXPECT_EQ(out.id, 7u);
  EXPECT_EQ(rest.size(), 3u);
  ASSERT_TRUE(decode(Bytes(bytes.data(), 4), out, rest));
  EXPECT_TRUE(rest.empty());
  EXPECT_FALSE(decode(Bytes(bytes.data(), 3), out, rest));
}

// A completion is eight bytes and a text; an unknown operation is refused.
TEST(Bodies, a_completion_carries_status_and_text) {
  std::vector<uint8_t> bytes = encode(CompletionBody{Operation::kWrite, -8, 2001, "it broke"});
  EXPECT_EQ(bytes.size(), 16u);
  CompletionBody out;
  ASSERT_TRUE(decode(bytes, out));
  EXPECT_EQ(out.operation, Operation::kWrite);
  EXPECT_EQ(out.status, -8);
  EXPECT_EQ(out.error_code, 2001);
  EXPECT_EQ(out.message, "it broke");
  bytes[0] = 99;
  EXPECT_FALSE(decode(bytes, out));
  EXPECT_FALSE(decode(Bytes(bytes.data(), 7), out));
}

// A failure carries the engine's own number and text; one without a number is none.
TEST(Bodies, a_failure_carries_status_and_text) {
  FailureBody out;
  const std::vector<uint8_t> bytes = encode(FailureBody{10910, "it broke"});
  ASSERT_TRUE(decode(bytes, out));
  EXPECT_EQ(out.status, 10910);
  EXPECT_EQ(out.message, "it broke");
  EXPECT_FALSE(decode(encode(FailureBody{0, "it broke"}), out));
}

// A count of pairs that are not there costs no memory.
TEST(Bodies, a_lying_count_is_refused) {
  OpenBody body;
  std::vector<uint8_t> bytes = encode(body);
  std::memset(bytes.data() + bytes.size() - 4, 0xff, 4);
  OpenBody out;
  Bytes rest;
  EXPECT_FALSE(decode(bytes, out, rest));
  EXPECT_LT(out.metadata.capacity(), 100u);
}

// A release is a list of whole block numbers.
TEST(Bodies, a_release_lists_blocks) {
  const std::vector<uint8_t> bytes = encode(ReleaseBody{{1, 0xffffffff}});
  ReleaseBody out;
  ASSERT_TRUE(decode(bytes, out));
  EXPECT_EQ(out.blocks, (std::vector<uint32_t>{1, 0xffffffff}));
  EXPECT_FALSE(decode(Bytes(bytes.data(), 7), out));
}

// Random bytes are survived by every decoder.
TEST(Bodies, noise_is_survived) {
  std::mt19937 random(11);
  for (int round = 0; round < 20'000; ++round) {
    std::vector<uint8_t> bytes(random() % 80);
    for (uint8_t& byte : bytes) byte = random() % 3 == 0 ? static_cast<uint8_t>(random()) : 0;
    Hello hello;
    InitBody init;
    OpenBody open;
    Bytes rest;
    ReadyBody ready;
    TraceBody trace;
    CompletionBody completion;
    decode_exact(bytes, bytes.size(), hello);
    decode_exact(bytes, bytes.size(), init);
    decode_exact(bytes, bytes.size(), ready);
    decode_exact(bytes, bytes.size(), trace);
    decode_exact(bytes, bytes.size(), completion);
    if (decode(bytes, open, rest)) {
      EXPECT_LE(rest.size(), bytes.size());
    }
  }
}

// Two of the same version understand each other.
TEST(Hello, the_same_version_is_accepted) {
  EXPECT_FALSE(
      refuse_hello(hello_of(Language::kLoader, "1.2.0"), hello_of(Language::kPython, "1.2.0")));
}

// A refusal names both versions, who speaks, and the cure.
TEST(Hello, another_package_version_is_refused_with_the_pip_line) {
  const auto text =
      refuse_hello(hello_of(Language::kLoader, "1.2.0"), hello_of(Language::kPython, "1.1.9"));
  ASSERT_TRUE(text.has_value());
  for (const char* part :
       {"1.2.0", "1.1.9", "/usr/bin/python3", "pip install engine-loader==1.2.0"}) {
    EXPECT_NE(text->find(part), std::string::npos) << *text;
  }
}

TEST(Hello, the_host_gives_the_same_cure) {
  const auto text =
      refuse_hello(hello_of(Language::kPython, "1.1.9"), hello_of(Language::kLoader, "1.2.0"));
  ASSERT_TRUE(text.has_value());
  EXPECT_NE(text->find("pip install engine-loader==1.2.0"), std::string::npos) << *text;
}

TEST(Hello, another_protocol_or_abi_or_channel_is_refused) {
  const Hello mine = hello_of(Language::kLoader, "1");
  for (const auto change : {+[](Hello& h) { h.magic = 1; }, +[](Hello& h) { h.protocol = 99; },
                            +[](Hello& h) { h.abi_major = 7; }, +[](Hello& h) { h.shard = 1; }}) {
    Hello theirs = hello_of(Language::kNative, "1");
    change(theirs);
    EXPECT_TRUE(refuse_hello(mine, theirs).has_value());
  }
}

// A hello of a future protocol is understood as far as a refusal needs.
TEST(Hello, a_future_hello_is_still_decoded) {
  Hello future = hello_of(Language::kPython, "9");
  future.protocol = kProtocolVersion + 1;
  std::vector<uint8_t> bytes = encode(future);
  bytes.push_back(1);
  Hello out;
  ASSERT_TRUE(decode(bytes, out));
  EXPECT_EQ(out.protocol, kProtocolVersion + 1);
  EXPECT_EQ(out.package_version, "9");
}

}  // namespace
}  // namespace loader::channel
