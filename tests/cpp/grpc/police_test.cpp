// Floods are counted; honest clients are not thrown out.
#include "grpc/police.h"

#include <gtest/gtest.h>

namespace loader::grpc {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

TEST(PoliceTest, TheThirdEarlyPingIsTooMany) {
  Options o;
  Police p(o);
  EXPECT_TRUE(p.on_ping(kSecond, true)) << "the first is always good";
  EXPECT_TRUE(p.on_ping(kSecond + 1, true));
  EXPECT_TRUE(p.on_ping(kSecond + 2, true));
  EXPECT_FALSE(p.on_ping(kSecond + 3, true));
}

TEST(PoliceTest, PingsAtTheIntervalAreFineForEver) {
  Options o;
  Police p(o);
  for (int64_t i = 0; i < 1000; i++)
    EXPECT_TRUE(p.on_ping(i * o.min_ping_interval_ms * 1'000'000, false));
}

TEST(PoliceTest, ProgressForgivesPings) {
  Options o;
  Police p(o);
  for (int i = 0; i < 1000; i++) {
    EXPECT_TRUE(p.on_ping(kSecond, true));
    p.on_progress();
  }
}

TEST(PoliceTest, IdleFramesAreForgivenByACompletedMessage) {
  Options o;
  o.max_idle_frames = 3;
  Police p(o);
  for (int round = 0; round < 10; round++) {
    for (int i = 0; i < 3; i++) EXPECT_TRUE(p.on_idle_frame());
    p.on_message_completed();
  }
  for (int i = 0; i < 3; i++) EXPECT_TRUE(p.on_idle_frame());
  EXPECT_FALSE(p.on_idle_frame());
}

TEST(PoliceTest, WindowUpdatesThatAnswerOurDataAreNoFlood) {
  Options o;
  o.max_idle_frames = 3;
  Police p(o);
  for (int i = 0; i < 500; i++) p.on_data_sent();
  p.on_message_completed();
  for (int i = 0; i < 2000 + 3; i++) EXPECT_TRUE(p.on_idle_frame());
  EXPECT_FALSE(p.on_idle_frame());
}

TEST(PoliceTest, ResetsBeyondTheBurstMustKeepToTheRate) {
  Options o;
  Police p(o);
  int64_t now = kSecond;
  for (uint32_t i = 0; i < o.sent_reset_burst; i++) EXPECT_TRUE(p.on_reset_sent(now));
  EXPECT_FALSE(p.on_reset_sent(now));
  now += kSecond;
  for (uint32_t i = 0; i < o.sent_resets_per_second; i++) EXPECT_TRUE(p.on_reset_sent(now)) << i;
  EXPECT_FALSE(p.on_reset_sent(now));
}

TEST(PoliceTest, TheEleventhSettingsInAMinuteIsTooMany) {
  Options o;
  Police p(o);
  for (int i = 0; i < 10; i++) EXPECT_TRUE(p.on_settings(kSecond));
  EXPECT_FALSE(p.on_settings(kSecond));
}

}  // namespace
}  // namespace loader::grpc
