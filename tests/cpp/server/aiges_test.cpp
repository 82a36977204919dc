// Handles, order, messages and expectations of AIGES clients, without a server.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "loader/wrapper.h"
#include "server/aiges_contract.h"
#include "server/aiges_error.h"
#include "server/aiges_handle.h"
#include "server/aiges_input.h"
#include "server/aiges_order.h"
#include "server/aiges_wire.h"
#include "server/wire.h"

namespace loader::server {
namespace {

std::string pair_of(std::string_view key, std::string_view value) {
  std::string out;
  append_bytes(out, 1, key);
  append_bytes(out, 2, value);
  return out;
}

std::string meta_of(std::string_view name, uint32_t type,
                    std::initializer_list<TextPair> attributes) {
  std::string out;
  append_bytes(out, 1, name);
  append_number(out, 2, type);
  for (const TextPair& one : attributes) append_bytes(out, 3, pair_of(one.first, one.second));
  return out;
}

std::string payload_of(std::string_view meta, std::string_view data) {
  std::string out;
  append_bytes(out, 1, meta);
  append_bytes(out, 2, data);
  return out;
}

// ---- handles

TEST(AigesHandles, CarryTheAddressAndBelongToTheirShard) {
  for (uint32_t count : {1u, 3u, 8u, 255u}) {
    for (uint32_t shard = 0; shard < count; shard += count / 3 + 1) {
      AigesHandles handles(shard, count);
      ASSERT_TRUE(handles.set_address("10.1.2.3:5090"));
      std::set<std::string> seen;
      for (int i = 0; i < 1000; i++) {
        const std::string handle = handles.make(1'700'000'000);
        ASSERT_EQ(handle.size(), 26u);
        EXPECT_EQ(handle.substr(0, 13), "00a01020313e2");
        EXPECT_EQ(aiges_shard_of(handle, count), shard);
        EXPECT_TRUE(seen.insert(handle).second);
      }
    }
  }
}

TEST(AigesHandles, TheCounterStaysWithItsShardWhenItBeginsAnew) {
  constexpr uint32_t kShards = 200;  // does not divide 2^24
  AigesHandles handles(7, kShards);
  for (uint32_t i = 0; i < (1u << 24) / kShards + 10; i++) {
    ASSERT_EQ(aiges_shard_of(handles.make(0), kShards), 7u);
  }
}

TEST(AigesHandles, AnAddressThatIsNoneChangesNothing) {
  AigesHandles handles(0, 1);
  ASSERT_TRUE(handles.set_address("127.0.0.1:8001"));
  for (const char* wrong : {"", "127.0.0.1", "host:1", "[::1]:80", "1.2.3.4:70000", "1.2.3.4:x"}) {
    EXPECT_FALSE(handles.set_address(wrong)) << wrong;
  }
  EXPECT_EQ(handles.address(), "127.0.0.1:8001");
}

TEST(AigesHandles, AnyHandleOfAClientHasOneShard) {
  for (const char* handle : {"", "x", "00000000000000000000000000", "zzzzzzzzzzzzzzzzzzzzzzzzzz"}) {
    EXPECT_LT(aiges_shard_of(handle, 3), 3u);
    EXPECT_EQ(aiges_shard_of(handle, 3), aiges_shard_of(std::string(handle), 3));
  }
}

// ---- order

using Place = AigesOrder::Place;
constexpr bool kRoom = true;

TEST(AigesOrder, LatePackagesWaitAndOldOnesAreDropped) {
  AigesOrder order;
  order.begin(4);
  EXPECT_EQ(order.place(6, "six", kRoom, 0), Place::kLater);
  EXPECT_EQ(order.place(6, "six again", kRoom, 0), Place::kPast);
  EXPECT_EQ(order.place(3, "three", kRoom, 0), Place::kPast);
  EXPECT_EQ(order.place(4, "four", kRoom, 0), Place::kPast);
  EXPECT_FALSE(order.take_next(0).has_value());
  EXPECT_EQ(order.place(5, "five", kRoom, 0), Place::kNext);
  EXPECT_EQ(order.take_next(0), "six");
  EXPECT_EQ(order.bytes(), 0u);
  EXPECT_EQ(order.place(6, "six", kRoom, 0), Place::kPast);
}

TEST(AigesOrder, AGapIsPassedOverAfterFiveSeconds) {
  AigesOrder order;
  order.begin(0);
  EXPECT_EQ(order.gap_deadline_ns(), INT64_MAX);
  order.place(3, "three", kRoom, 100);
  order.place(9, "nine", kRoom, 200);
  EXPECT_EQ(order.gap_deadline_ns(), 100 + 5'000'000'000);
  order.skip_gap();
  EXPECT_EQ(order.take_next(5'000'000'100), "three");
  EXPECT_FALSE(order.take_next(5'000'000'100).has_value());
  EXPECT_EQ(order.gap_deadline_ns(), 10'000'000'100);
  EXPECT_EQ(order.place(1, "one", kRoom, 0), Place::kPast);
}

TEST(AigesOrder, WhatWaitsIsBounded) {
  AigesOrder order;
  order.begin(0);
  EXPECT_EQ(order.place(2, "x", false, 0), Place::kFull);
  for (int i = 0; i < 500; i++) EXPECT_EQ(order.place(2 + i, "x", kRoom, 0), Place::kLater);
  EXPECT_EQ(order.place(600, "x", kRoom, 0), Place::kFull);
  EXPECT_EQ(order.place(1, "x", false, 0), Place::kNext);
}

TEST(AigesOrder, TheLargestNumbersDoNotOverflow) {
  AigesOrder order;
  order.begin(INT32_MAX);
  EXPECT_EQ(order.place(INT32_MAX, "x", kRoom, 0), Place::kPast);
  AigesOrder other;
  other.begin(INT32_MIN);
  EXPECT_EQ(other.place(INT32_MIN + 1, "x", kRoom, 0), Place::kNext);
}

// ---- messages

std::string sample_request() {
  std::string session, meta, out;
  append_bytes(session, 1, "trace");
  append_bytes(session, 2, "handle");
  append_bytes(session, 3, pair_of("PeerAddr", "1.2.3.4:5"));
  std::string input;
  append_bytes(input, 1, "svc");
  append_number(input, 3, 1);
  append_bytes(input, 4, pair_of("sid", "s1"));
  append_bytes(input, 5, pair_of("rate", "16000"));
  append_bytes(input, 6, meta_of("out", 0, {{"encoding", "utf8"}}));
  append_bytes(input, 7, payload_of(meta_of("in", 1, {{"status", "2"}, {"seq", "3"}}), "data"));
  append_number(input, 8, 5);
  append_bytes(meta, 1, input);
  append_bytes(out, 1, "AIIn");
  append_bytes(out, 2, session);
  append_bytes(out, 3, pair_of("SeqNo", "1"));
  append_bytes(out, 3, pair_of("waitTime", "700"));
  append_bytes(out, 4, meta);
  return out;
}

TEST(AigesWire, ReadsWhatClientsSend) {
  const std::string bytes = sample_request();
  XsfRequest request;
  ASSERT_TRUE(parse_xsf_request(bytes, request));
  EXPECT_EQ(request.op, "AIIn");
  EXPECT_EQ(request.handle, "handle");
  EXPECT_EQ(request.trace, "trace");
  EXPECT_TRUE(request.is_first);
  EXPECT_EQ(request.wait_ms, 700);
  LoaderInput input;
  ASSERT_EQ(parse_loader_input(request.body, input), nullptr);
  EXPECT_EQ(input.service_id, "svc");
  EXPECT_TRUE(input.is_once);
  EXPECT_EQ(input.sync_id, 5);
  EXPECT_EQ(input.header("sid"), "s1");
  ASSERT_EQ(input.payloads.size(), 1u);
  EXPECT_EQ(input.payloads[0].data, "data");
  EXPECT_EQ(AigesInput::status_of(input.attributes_of(input.payloads[0].meta)), AigesStatus::kEnd);
}

TEST(AigesWire, WaitsAreWithinReasonWhateverTheClientWrites) {
  for (auto [text, expected] : {std::pair{"", 500},
                                {"x", 500},
                                {"-5", 0},
                                {"0", 0},
                                {"12", 12},
                                {"99999999999999999999", 500},
                                {"999999999", 3'600'000}}) {
    std::string bytes;
    append_bytes(bytes, 3, pair_of("waitTime", text));
    XsfRequest request;
    ASSERT_TRUE(parse_xsf_request(bytes, request));
    EXPECT_EQ(request.wait_ms, expected) << text;
  }
}

// Every view must lie within the bytes; AddressSanitizer sees what does not.
void read_all(std::string_view bytes) {
  const std::string copy(bytes);  // exactly as long: a read beyond is seen
  XsfRequest request;
  AigesInput input;
  std::span<const uint8_t> frame;
  const std::string_view body = parse_xsf_request(copy, request) ? request.body : copy;
  for (std::string_view one : {body, std::string_view(copy)}) {
    if (input.parse(one) != nullptr) continue;
    const auto wrong = input.make_frame(nullptr, true, frame);
    std::vector<TextPair> parameters;
    input.make_parameters(*Schema::parse(""), {}, parameters);
    AigesContract contract;
    contract.set(input.view());
    frame::FrameView view;
    if (wrong || frame::decode_frame(frame, frame::Origin::kClient, view) != frame::Fault::kNone) {
      continue;
    }
    AigesPackage package;
    contract.append(view, false, package);
    package.close();
  }
}

TEST(AigesWire, NoBytesAreTooStrange) {
  const std::string sample = sample_request();
  for (size_t size = 0; size < sample.size(); size++) read_all(sample.substr(0, size));
  std::mt19937 random(20261121);
  for (int i = 0; i < 30'000; i++) {
    std::string bytes = sample;
    const int changes = 1 + static_cast<int>(random() % 4);
    for (int n = 0; n < changes; n++) {
      const size_t at = random() % bytes.size();
      switch (random() % 3) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes.erase(at, random() % 5);
          break;
        default:
          bytes.insert(at, random() % 5, static_cast<char>(random()));
      }
      if (bytes.empty()) bytes = "x";
    }
    read_all(bytes);
  }
}

TEST(AigesWire, ErrorsAreInTheOutputAndOnlyRetriesBesideIt) {
  for (const char* retry : {"", "full"}) {
    std::string out;
    append_xsf_head(out, {"svc", 10110, "text", AigesStatus::kEnd}, 0, "h", "", peer_entry("a:1"),
                    retry);
    uint64_t code = 0;
    std::string_view data;
    WireReader in(out);
    while (in.next()) {
      if (in.field() == 1) code = in.number();
      if (in.field() == 5) data = in.bytes();
    }
    EXPECT_EQ(code, *retry == 0 ? 0u : 10110u);
    WireReader meta(data);
    ASSERT_TRUE(meta.next());
    WireReader output(meta.bytes());
    std::map<uint32_t, uint64_t> numbers;
    while (output.next()) {
      if (output.is_number()) numbers[output.field()] = output.number();
    }
    EXPECT_EQ(numbers, (std::map<uint32_t, uint64_t>{{2, 10110}, {4, 2}}));
  }
}

// ---- parameters

TEST(AigesInput, ParametersAreWhatTheEngineDeclares) {
  std::string bytes;
  for (auto [key, value] :
       {std::pair{"rate", "16000"}, {"fast", "true"}, {"word", "12"}, {"odd", "a\"\\\n"}}) {
    append_bytes(bytes, 5, pair_of(key, value));
  }
  append_bytes(bytes, 4, pair_of("appid", "7"));
  const auto declared = Schema::parse(R"({"parameters": [
      {"name": "rate", "type": "integer"}, {"name": "fast", "type": "boolean"},
      {"name": "word", "type": "string"}, {"name": "odd"}]})");
  const std::string pass[] = {"appid"};
  AigesInput input;
  ASSERT_EQ(input.parse(bytes), nullptr);
  std::vector<TextPair> out;
  input.make_parameters(*declared, pass, out);
  const std::vector<TextPair> typed = {
      {"rate", "16000"}, {"fast", "true"}, {"word", "\"12\""}, {"odd", "\"a\\\"\\\\\\u000a\""}};
  EXPECT_EQ(out, typed);
  out.clear();
  input.make_parameters(*Schema::parse(""), pass, out);
  const std::vector<TextPair> untyped = {{"rate", "\"16000\""}, {"fast", "\"true\""},
                                         {"word", "\"12\""},    {"odd", "\"a\\\"\\\\\\u000a\""},
                                         {"appid", "\"7\""},    {"sid", "\"\""}};
  EXPECT_EQ(out, untyped);
}

// ---- results

struct Result {
  std::string key;
  uint32_t type, status;
};

const char* add(AigesContract& contract, const Result& result, bool is_once, AigesPackage& out) {
  frame::FrameView frame;
  frame::ItemView& item = frame.add_item(result.key, {});
  item.type = result.type;
  item.status = result.status;
  frame.add_attribute("lang", "en");
  return contract.append(frame, is_once, out);
}

TEST(AigesContract, OnceOfAStreamIsItsEnd) {
  AigesContract contract;
  AigesPackage stream, once;
  add(contract, {"k", LOADER_ITEM_TEXT, LOADER_STATUS_ONCE}, false, stream);
  add(contract, {"k", LOADER_ITEM_TEXT, LOADER_STATUS_ONCE}, true, once);
  EXPECT_EQ(stream.status, AigesStatus::kEnd);
  EXPECT_EQ(once.status, AigesStatus::kOnce);
}

TEST(AigesContract, AnyFinalNodeMakesThePackageFinal) {
  AigesContract contract;
  AigesPackage package;
  add(contract, {"a", LOADER_ITEM_TEXT, LOADER_STATUS_END}, false, package);
  add(contract, {"b", LOADER_ITEM_TEXT, LOADER_STATUS_CONTINUE}, false, package);
  EXPECT_EQ(package.status, AigesStatus::kEnd);
}

TEST(AigesContract, WhatTheEngineLeftOpenIsTheEndWhenNothingFollows) {
  AigesContract contract;
  AigesPackage package;
  add(contract, {"a", LOADER_ITEM_TEXT, LOADER_STATUS_UNSPECIFIED}, false, package);
  EXPECT_EQ(package.status, AigesStatus::kContinue);
  const std::string before = package.payloads;
  package.close();
  EXPECT_EQ(package.status, AigesStatus::kEnd);
  EXPECT_EQ(before.size(), package.payloads.size());
  EXPECT_NE(package.payloads.find(pair_of("status", "2")), std::string::npos);
  EXPECT_EQ(before.find(pair_of("status", "2")), std::string::npos);
}

TEST(AigesContract, KeysAndTypesAreThoseExpected) {
  std::string bytes;
  append_bytes(bytes, 6, meta_of("k", 1, {{"lang", "zh"}, {"seq", "9"}}));
  LoaderInput input;
  ASSERT_EQ(parse_loader_input(bytes, input), nullptr);
  AigesContract contract;
  contract.set(input);
  AigesPackage package;
  EXPECT_STREQ(add(contract, {"other", LOADER_ITEM_AUDIO, 0}, false, package),
               "wrapper output data is nil ");
  EXPECT_STREQ(add(contract, {"k", LOADER_ITEM_TEXT, 0}, false, package),
               "wrapper output data invalid(key or type)");
  EXPECT_EQ(add(contract, {"k", LOADER_ITEM_AUDIO, 0}, false, package), nullptr);
  EXPECT_NE(package.payloads.find(pair_of("lang", "zh")), std::string::npos);
  EXPECT_EQ(package.payloads.find(pair_of("lang", "en")), std::string::npos);
  EXPECT_NE(package.payloads.find(pair_of("seq", "1")), std::string::npos);
}

// ---- errors

TEST(AigesError, CodesOfAigesEnginesTravelUnchanged) {
  const ErrorReport own{ErrorCode::ENGINE_ERROR, "x", 10910, "text;code=-1"};
  EXPECT_EQ(to_aiges_error(own, session::Kind::kSession).code, 10910);
  EXPECT_EQ(to_aiges_error(own, session::Kind::kSession).text, "text;code=-1");
  const ErrorReport other{ErrorCode::ENGINE_ERROR, "x", 42, "boom"};
  EXPECT_EQ(to_aiges_error(other, session::Kind::kExec).code, 10909);
  EXPECT_EQ(to_aiges_error(other, session::Kind::kSession).code, 10907);
  EXPECT_EQ(to_aiges_error(other, session::Kind::kSession).text, "boom;code=42");
  EXPECT_FALSE(to_aiges_error(ErrorReport{}, session::Kind::kExec).is_set());
}

}  // namespace
}  // namespace loader::server
