// SlotPool: who gets a slot, who waits, who is refused.
#include <gtest/gtest.h>

#include "support.h"

namespace loader::session::test {
namespace {

class Slots : public testing::Test {
 protected:
  std::shared_ptr<SlotPool> make(uint32_t slots, uint32_t queue_limit = 10) {
    return std::make_shared<SlotPool>(sink, slots, queue_limit);
  }
  PostedGrants sink;
};

// The instance with most free slots is chosen.
TEST_F(Slots, ChoosesTheInstanceWithMostFreeSlots) {
  auto pool = make(2);
  pool->add_instance(1);
  pool->add_instance(2);
  const Slot a = pool->acquire(1, 0, true).slot;
  const Slot b = pool->acquire(2, 0, true).slot;
  EXPECT_NE(a.instance, b.instance);
  EXPECT_TRUE(pool->release(a));
  EXPECT_EQ(pool->acquire(3, 0, true).slot.instance, a.instance);
}

// A slot is released once; a later release of the same handle frees no stranger's slot.
TEST_F(Slots, LateReleaseFreesNobodyElse) {
  auto pool = make(1);
  pool->add_instance(1);
  const Slot first = pool->acquire(1, 0, true).slot;
  EXPECT_TRUE(pool->release(first));
  const Slot second = pool->acquire(2, 0, true).slot;
  EXPECT_EQ(first.index, second.index);
  EXPECT_NE(first.generation, second.generation);
  EXPECT_FALSE(pool->release(first));
  EXPECT_EQ(pool->used(1), 1u);
  EXPECT_TRUE(pool->release(second));
  EXPECT_FALSE(pool->release(second));
  EXPECT_FALSE(pool->release({}));
  EXPECT_FALSE(pool->release({9, 0, 1}));
  EXPECT_EQ(pool->used(1), 0u);
}

// Waiters are served by priority, then by age.
TEST_F(Slots, WaitersAreServedByPriorityThenAge) {
  auto pool = make(1);
  pool->add_instance(1);
  Slot slot = pool->acquire(100, 0, true).slot;
  for (SessionId id : {1, 2}) EXPECT_TRUE(pool->acquire(id, 0, true).ticket);
  for (SessionId id : {3, 4}) EXPECT_TRUE(pool->acquire(id, 5, true).ticket);
  EXPECT_TRUE(pool->acquire(5, -1, true).ticket);
  std::vector<SessionId> order;
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(pool->release(slot));
    ASSERT_EQ(sink.posted.size(), 1u);
    order.push_back(sink.posted.front().session);
    slot = sink.posted.front().slot;
    sink.posted.pop_front();
  }
  EXPECT_EQ(order, (std::vector<SessionId>{3, 4, 1, 2, 5}));
}

// By what those who wait keep, too; one that is larger may wait alone.
TEST_F(Slots, QueueIsBoundedByBytes) {
  auto pool = make(1);
  pool->add_instance(1);
  EXPECT_TRUE(pool->acquire(1, 0, true).slot);
  const Ticket large = pool->acquire(2, 0, true, kMaxWaitingBytes + 1).ticket;
  EXPECT_TRUE(large);
  EXPECT_EQ(pool->acquire(3, 0, true, 1).error, ErrorCode::QUEUE_FULL);
  EXPECT_TRUE(pool->cancel(large));
  EXPECT_TRUE(pool->acquire(3, 0, true, kMaxWaitingBytes).ticket);
  EXPECT_EQ(pool->acquire(4, 0, true, 1).error, ErrorCode::QUEUE_FULL);
}

// The queue is bounded, and whoever may not wait is told so.
TEST_F(Slots, QueueIsBounded) {
  auto pool = make(1, 2);
  EXPECT_EQ(pool->acquire(1, 0, false).error, ErrorCode::ENGINE_UNAVAILABLE);
  pool->add_instance(1);
  EXPECT_TRUE(pool->acquire(1, 0, true).slot);
  EXPECT_EQ(pool->acquire(2, 0, false).error, ErrorCode::NO_FREE_SLOT);
  EXPECT_TRUE(pool->acquire(3, 0, true).ticket);
  EXPECT_TRUE(pool->acquire(4, 0, true).ticket);
  EXPECT_EQ(pool->acquire(5, 0, true).error, ErrorCode::QUEUE_FULL);
  EXPECT_EQ(pool->state().waiting, 2u);
  pool->set_queue_limit(3);
  EXPECT_TRUE(pool->acquire(5, 0, true).ticket);
  pool->set_available(false);
  EXPECT_EQ(pool->acquire(6, 0, true).error, ErrorCode::ENGINE_UNAVAILABLE);
}

// A cancelled ticket gets no grant; a granted one cannot be cancelled.
TEST_F(Slots, CancelledTicketIsNotGranted) {
  auto pool = make(1);
  pool->add_instance(1);
  const Slot slot = pool->acquire(1, 0, true).slot;
  const Ticket gone = pool->acquire(2, 0, true).ticket;
  const Ticket next = pool->acquire(3, 0, true).ticket;
  EXPECT_TRUE(pool->cancel(gone));
  EXPECT_FALSE(pool->cancel(gone));
  pool->release(slot);
  ASSERT_EQ(sink.posted.size(), 1u);
  EXPECT_EQ(sink.posted.front().session, 3u);
  EXPECT_FALSE(pool->cancel(next));
}

// Growing grants at once; shrinking waits for releases.
TEST_F(Slots, ResizeIsLive) {
  auto pool = make(1);
  pool->add_instance(1);
  std::vector<Slot> held = {pool->acquire(1, 0, true).slot};
  for (SessionId id : {2, 3, 4}) pool->acquire(id, 0, true);
  pool->set_slots_per_instance(3);
  ASSERT_EQ(sink.posted.size(), 2u);
  for (const Grant& grant : sink.posted) held.push_back(grant.slot);
  sink.posted.clear();
  pool->set_slots_per_instance(1);
  EXPECT_EQ(pool->used(1), 3u);
  pool->release(held[0]);
  pool->release(held[1]);
  EXPECT_TRUE(sink.posted.empty());
  pool->release(held[2]);
  ASSERT_EQ(sink.posted.size(), 1u);
  EXPECT_EQ(sink.posted.front().session, 4u);
}

// An instance that does not accept takes nothing new; its slots still come back.
TEST_F(Slots, InstanceThatDoesNotAcceptTakesNothingNew) {
  auto pool = make(1);
  pool->add_instance(1);
  const Slot slot = pool->acquire(1, 0, true).slot;
  pool->set_accepting(1, false);
  EXPECT_TRUE(pool->acquire(2, 0, true).ticket);
  EXPECT_TRUE(pool->release(slot));
  EXPECT_TRUE(sink.posted.empty());
  pool->set_accepting(1, true);
  EXPECT_EQ(sink.posted.size(), 1u);
}

// A retired instance is forgotten with its last slot, and a new one serves the queue.
TEST_F(Slots, RetiredInstanceIsForgottenWithItsLastSlot) {
  auto pool = make(2);
  pool->add_instance(1);
  const Slot a = pool->acquire(1, 0, true).slot;
  const Slot b = pool->acquire(2, 0, true).slot;
  EXPECT_TRUE(pool->acquire(3, 0, true).ticket);
  pool->retire_instance(1);
  EXPECT_TRUE(pool->release(a));
  EXPECT_TRUE(sink.posted.empty());
  pool->set_accepting(1, true);
  EXPECT_TRUE(sink.posted.empty()) << "a retired instance does not come back";
  EXPECT_EQ(pool->state().used, 1u);
  EXPECT_TRUE(pool->release(b));
  EXPECT_EQ(pool->state().used, 0u);
  EXPECT_FALSE(pool->release(b));
  pool->add_instance(2);
  ASSERT_EQ(sink.posted.size(), 1u);
  EXPECT_EQ(sink.posted.front().slot.instance, 2u);
}

}  // namespace
}  // namespace loader::session::test
