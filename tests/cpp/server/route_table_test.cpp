// Which version a new session goes to: shares are exact, pins and labels are honoured, and what is
// held waits for a route or is refused in time.
#include "server/route_table.h"

#include <gtest/gtest.h>

#include <map>

namespace loader::server {
namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

RouteTarget to(uint32_t engine, uint32_t weight, Pairs labels = {}, Pairs capabilities = {}) {
  return {engine, std::to_string(engine), weight, std::move(labels), std::move(capabilities)};
}

TargetView named(std::string_view engine, std::string_view version = {}) {
  TargetView target;
  target.engine = engine;
  target.version = version;
  return target;
}

struct RouteTableTest : testing::Test {
  EventLoop loop;
  RouteTable table{loop};
  std::string why;

  uint32_t choose(TargetView target) { return table.choose(target, why); }
  uint32_t asr() { return choose(named("asr")); }
  std::map<uint32_t, int> count(int sessions, const TargetView& target) {
    std::map<uint32_t, int> out;
    for (int i = 0; i < sessions; i++) out[table.choose(target, why)]++;
    return out;
  }
};

TEST_F(RouteTableTest, SharesAreExactAndSpreadEvenly) {
  table.set("asr", {to(1, 95), to(2, 5)});
  EXPECT_EQ(count(100, named("asr")), (std::map<uint32_t, int>{{1, 95}, {2, 5}}));
  int longest = 0, now = 0;
  for (int i = 0; i < 200; i++) {
    now = asr() == 1 ? now + 1 : 0;
    longest = std::max(longest, now);
  }
  EXPECT_EQ(longest, 19);  // every twentieth goes to the canary, never two late
}

TEST_F(RouteTableTest, APinnedVersionIsFoundWhateverItsWeight) {
  table.set("asr", {to(1, 100), to(2, 0)});
  EXPECT_EQ(choose(named("asr", "2")), 2u);
  EXPECT_EQ(choose(named("asr", "3")), 0u);
  EXPECT_EQ(count(50, named("asr")), (std::map<uint32_t, int>{{1, 50}}));
}

TEST_F(RouteTableTest, WeightZeroEverywhereServesNobodyAndSaysSo) {
  table.set("asr", {to(1, 0), to(2, 0)});
  EXPECT_EQ(asr(), 0u);
  EXPECT_NE(why.find("weight 0"), std::string::npos);
  table.set("asr", {to(1, 0)});
  EXPECT_EQ(asr(), 0u);
}

TEST_F(RouteTableTest, LabelsLeadToTheirGroupAndNobodyElse) {
  table.set("asr", {to(1, 100), to(2, 100, {{"group", "beta"}})});
  TargetView beta = named("asr");
  beta.labels = {{"group", "beta"}, {"user", "7"}};
  EXPECT_EQ(count(10, beta), (std::map<uint32_t, int>{{2, 10}}));
  TargetView other = named("asr");
  other.labels = {{"group", "alpha"}};
  EXPECT_EQ(count(10, other), (std::map<uint32_t, int>{{1, 10}}));
  EXPECT_EQ(count(10, named("asr")), (std::map<uint32_t, int>{{1, 10}}));
}

TEST_F(RouteTableTest, ASelectorFindsWhatAnnouncesAllOfIt) {
  table.set("a", {to(1, 100, {}, {{"type", "asr"}, {"language", "en"}})});
  table.set("b", {to(2, 100, {}, {{"type", "asr"}, {"language", "de"}})});
  TargetView german;
  german.selector = {{"type", "asr"}, {"language", "de"}};
  EXPECT_EQ(choose(german), 2u);
  german.selector = {{"type", "tts"}};
  EXPECT_EQ(choose(german), 0u);
}

TEST_F(RouteTableTest, AnEmptyRouteIsNoLongerServed) {
  table.set("asr", {to(1, 100)});
  table.set("asr", {});
  EXPECT_EQ(asr(), 0u);
  EXPECT_FALSE(table.is_known("asr"));
}

struct Open final : HeldOpen {
  void on_released() override { released++; }
  void on_hold_refused(const ErrorReport& error) override { refused = error.message; }
  int released = 0;
  std::string refused;
};

TEST_F(RouteTableTest, WhatIsHeldIsReleasedOnceByTheNextRoute) {
  Open one, gone;
  table.hold("asr", 60'000'000'000);
  ASSERT_NE(table.held_name(named("asr")), nullptr);
  EXPECT_EQ(table.held_name(named("tts")), nullptr);
  EXPECT_TRUE(table.wait("asr", one, INT64_MAX));
  EXPECT_TRUE(table.wait("asr", gone, INT64_MAX));
  table.leave(gone);
  table.set("asr", {to(1, 100)});
  EXPECT_EQ(one.released, 0) << "released before the rest of the change is in place";
  table.release();
  table.release();
  EXPECT_EQ(one.released, 1);
  EXPECT_EQ(gone.released, 0);
  EXPECT_EQ(table.held_name(named("asr")), nullptr);
}

TEST_F(RouteTableTest, WhatIsHeldTooLongIsRefused) {
  Open patient, hasty;
  table.hold("asr", 60'000'000'000);
  EXPECT_TRUE(table.wait("asr", patient, INT64_MAX));
  EXPECT_TRUE(table.wait("asr", hasty, loop.now_ns() + 1'000'000));
  Timer end([this] { loop.stop(); });
  end.set(loop, EventLoop::clock_ns() + 50'000'000);
  loop.run();
  EXPECT_NE(hasty.refused.find("asr"), std::string::npos);
  EXPECT_TRUE(patient.refused.empty());
  table.leave(patient);
}

TEST_F(RouteTableTest, ASelectorWaitsForWhatIsHeldWhereNothingElseHasIt) {
  table.set("a", {to(1, 100, {}, {{"type", "asr"}, {"language", "en"}})});
  TargetView english;
  english.selector = {{"language", "en"}};
  TargetView german;
  german.selector = {{"language", "de"}};
  table.hold("a", 60'000'000'000);
  table.hold("a", 60'000'000'000);  // again, with another name that is replaced
  ASSERT_NE(table.held_name(english), nullptr);
  EXPECT_EQ(*table.held_name(english), "a");
  EXPECT_EQ(table.held_name(german), nullptr);
  EXPECT_EQ(table.held_name({}), nullptr) << "who asks for nothing is told so at once";
  table.set("b", {to(2, 100, {}, {{"language", "en"}})});
  EXPECT_EQ(table.held_name(english), nullptr);
  EXPECT_EQ(choose(english), 2u);
}

// Its refusal takes another one along, as the end of a connection does.
struct Chain final : HeldOpen {
  void on_released() override {}
  void on_hold_refused(const ErrorReport&) override {
    refusals++;
    if (next != nullptr) table->leave(*next);
  }
  RouteTable* table = nullptr;
  HeldOpen* next = nullptr;
  int refusals = 0;
};

TEST_F(RouteTableTest, WhoLeavesWhileOthersAreRefusedIsNotCalled) {
  Chain first, second;
  first.table = second.table = &table;
  first.next = &second;
  table.hold("asr", 1'000'000);
  EXPECT_TRUE(table.wait("asr", first, INT64_MAX));
  EXPECT_TRUE(table.wait("asr", second, INT64_MAX));
  Timer end([this] { loop.stop(); });
  end.set(loop, EventLoop::clock_ns() + 50'000'000);
  loop.run();
  EXPECT_EQ(first.refusals, 1);
  EXPECT_EQ(second.refusals, 0);
}

}  // namespace
}  // namespace loader::server
