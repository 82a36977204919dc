// Credit windows: what fits, what is refused, and that nobody waits for ever.
#include "channel/credit.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>

namespace loader::channel {
namespace {

// What is covered fits; the rest waits.
TEST(SendCredit, a_window_is_used_up_in_records_and_bytes) {
  SendCredit credit(2, 100);
  EXPECT_TRUE(credit.take(10));
  EXPECT_TRUE(credit.take(10));
  EXPECT_FALSE(credit.take(0)) << "no record left";
  SendCredit bytes(10, 100);
  EXPECT_TRUE(bytes.take(60));
  EXPECT_FALSE(bytes.take(60));
  EXPECT_TRUE(bytes.take(40));
  EXPECT_EQ(bytes.bytes(), 0);
}

// One larger payload may overdraw once; then nothing fits until enough came back.
TEST(SendCredit, a_larger_payload_overdraws_once) {
  SendCredit credit(256, 100);
  EXPECT_TRUE(credit.take(1000));
  EXPECT_EQ(credit.bytes(), -900);
  EXPECT_FALSE(credit.take(1));
  EXPECT_FALSE(credit.take(1000));
  EXPECT_TRUE(credit.give_back({1, 1000}));
  EXPECT_TRUE(credit.take(1000));
}

// A peer that grants more than was taken is lying: nothing changes.
TEST(SendCredit, more_than_was_taken_is_not_given_back) {
  SendCredit credit(4, 100);
  ASSERT_TRUE(credit.take(30));
  EXPECT_FALSE(credit.give_back({2, 30}));
  EXPECT_FALSE(credit.give_back({1, 31}));
  EXPECT_FALSE(credit.give_back({1, UINT64_MAX}));
  EXPECT_EQ(credit.records(), 3u);
  EXPECT_EQ(credit.bytes(), 70);
  EXPECT_TRUE(credit.give_back({1, 30}));
}

// Sizes at the edge of the number range neither wrap nor pass.
TEST(SendCredit, huge_sizes_are_refused) {
  SendCredit credit(4, UINT64_MAX);
  EXPECT_FALSE(credit.take(UINT64_MAX));
  EXPECT_TRUE(credit.take(1000));
}

// A sender beyond its window is caught by the receiver.
TEST(ReceiveCredit, sending_without_credit_is_noticed) {
  ReceiveCredit credit(2, 100);
  EXPECT_TRUE(credit.received(80));
  EXPECT_FALSE(credit.received(80));
  EXPECT_EQ(credit.outstanding_bytes(), 80u);
}

// Grants are collected until half of the window is due.
TEST(ReceiveCredit, grants_come_in_halves) {
  ReceiveCredit credit(256, 1000);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(credit.received(100));
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(credit.consumed(100).empty());
  const Grant grant = credit.consumed(100);
  EXPECT_EQ(grant.records, 5u);
  EXPECT_EQ(grant.bytes, 500u);
}

// Random sizes, any window: the two sides never stop with work left, and what is outstanding stays
// within the window plus one payload.
TEST(ReceiveCredit, neither_side_waits_for_ever) {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    const uint64_t window = 1 + random() % 1000;
    const auto records = static_cast<uint32_t>(1 + random() % 8);
    SendCredit sender(records, window);
    ReceiveCredit receiver(records, window);
    std::deque<uint64_t> queue;
    uint64_t size = random() % (2 * window);
    uint64_t queued = 0;
    for (int step = 0; step < 500;) {
      if (sender.take(size)) {
        ASSERT_TRUE(receiver.received(size));
        queue.push_back(size);
        queued += size;
        ASSERT_LE(queued, window + 2 * window);
        size = random() % (2 * window);
        ++step;
        if (random() % 2 == 0) continue;
      }
      ASSERT_FALSE(queue.empty()) << "stuck with an empty queue, window " << window;
      queued -= queue.front();
      const Grant grant = receiver.consumed(queue.front());
      queue.pop_front();
      if (!grant.empty()) {
        ASSERT_TRUE(sender.give_back(grant));
      }
    }
  }
}

}  // namespace
}  // namespace loader::channel
