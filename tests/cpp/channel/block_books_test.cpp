// The buddy allocator's books.
#include "channel/block_books.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace loader::channel {
namespace {

// The block given back last is the one used next, so that it is hot.
TEST(BlockBooks, the_hottest_block_is_reused) {
  BlockBooks books(64);
  const uint32_t a = *books.take(4);
  const uint32_t b = *books.take(4);
  EXPECT_NE(BlockBooks::first_unit(a), BlockBooks::first_unit(b));
  EXPECT_TRUE(books.give_back(a, false));
  EXPECT_EQ(BlockBooks::first_unit(*books.take(4)), BlockBooks::first_unit(a));
  EXPECT_EQ(books.idle_units(), 0u);
}

// A block's number changes with each use: a late release finds nothing.
TEST(BlockBooks, a_stale_number_is_refused) {
  BlockBooks books(4);
  const uint32_t old = *books.take(4);
  ASSERT_TRUE(books.give_back(old, false));
  const uint32_t fresh = *books.take(4);
  EXPECT_NE(old, fresh);
  EXPECT_FALSE(books.give_back(old, false));
  EXPECT_TRUE(books.give_back(fresh, false));
  EXPECT_FALSE(books.give_back(fresh, false));
}

// A peer can give back only what was sent to it.
TEST(BlockBooks, an_unsent_block_cannot_be_released_by_the_peer) {
  BlockBooks books(4);
  const uint32_t block = *books.take(1);
  EXPECT_FALSE(books.give_back(block, true));
  EXPECT_TRUE(books.mark_sent(block));
  EXPECT_FALSE(books.give_back(block, false));
  EXPECT_TRUE(books.give_back(block, true));
}

// Numbers that were never given out are refused, whatever they are.
TEST(BlockBooks, invented_numbers_are_refused) {
  BlockBooks books(64);
  ASSERT_TRUE(books.mark_sent(*books.take(3)));
  std::mt19937 random(1);
  int refused = 0;
  for (int i = 0; i < 100'000; ++i)
    refused += books.give_back(static_cast<uint32_t>(random()) | 1, true) ? 0 : 1;
  EXPECT_EQ(refused, 100'000);
  EXPECT_FALSE(books.give_back(UINT32_MAX, true));
}

// Random traffic: blocks never overlap, and when all are back the arena is whole again.
TEST(BlockBooks, blocks_never_overlap_and_all_come_back) {
  BlockBooks books(256);
  std::mt19937 random(5);
  std::map<size_t, std::pair<size_t, uint32_t>> out;  // first unit -> units, block
  for (int round = 0; round < 50'000; ++round) {
    if (random() % 2 == 0) {
      const size_t units = 1 + random() % 32;
      const auto block = books.take(units);
      if (!block) continue;
      const size_t first = BlockBooks::first_unit(*block);
      const auto next = out.lower_bound(first);
      if (next != out.end()) {
        ASSERT_LE(first + units, next->first);
      }
      if (next != out.begin()) {
        ASSERT_LE(std::prev(next)->first + std::prev(next)->second.first, first);
      }
      ASSERT_LE(first + units, 256u);
      out[first] = {units, *block};
    } else if (!out.empty()) {
      const auto victim = std::next(out.begin(), static_cast<ptrdiff_t>(random() % out.size()));
      ASSERT_TRUE(books.give_back(victim->second.second, false));
      out.erase(victim);
    }
    ASSERT_EQ(books.block_count(), out.size());
  }
  for (const auto& [first, block] : out) ASSERT_TRUE(books.give_back(block.second, false));
  EXPECT_EQ(books.used_units(), 0u);
  EXPECT_TRUE(books.take(256).has_value());
}

// Idle units are counted, cleared once, and the ones to keep are kept.
TEST(BlockBooks, idle_units_are_cleared_once) {
  BlockBooks books(64);
  const uint32_t block = *books.take(10);
  const uint32_t held = *books.take(8);
  ASSERT_TRUE(books.give_back(block, false));
  EXPECT_EQ(books.idle_units(), 10u);
  size_t cleared = 0;
  books.clear_idle(4, [&](size_t first, size_t count) {
    EXPECT_TRUE(first + count <= BlockBooks::first_unit(held) ||
                first >= BlockBooks::first_unit(held) + 8);
    cleared += count;
    return true;
  });
  EXPECT_EQ(cleared, 6u);
  EXPECT_EQ(books.idle_units(), 4u);
}

// An arena that is no power of two is refused.
TEST(BlockBooks, only_powers_of_two_are_arenas) {
  EXPECT_THROW(BlockBooks(0), std::invalid_argument);
  EXPECT_THROW(BlockBooks(3), std::invalid_argument);
  EXPECT_FALSE(BlockBooks(4).take(5).has_value());
}

}  // namespace
}  // namespace loader::channel
