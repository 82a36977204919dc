// Several shards on their own threads over one pool: run under ThreadSanitizer.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <random>
#include <thread>

#include "support.h"

namespace loader::session::test {
namespace {

// Posts to a mailbox for each shard, as event loops do.
class Mailboxes : public GrantSink {
 public:
  explicit Mailboxes(size_t count) : boxes_(count) {}
  void post_grant(const Grant& grant) override {
    Box& box = boxes_[shard_of(grant.session)];
    const std::lock_guard lock(box.mutex);
    box.grants.push_back(grant);
  }
  std::vector<Grant> take(size_t shard) {
    const std::lock_guard lock(boxes_[shard].mutex);
    return std::exchange(boxes_[shard].grants, {});
  }

 private:
  struct Box {
    std::mutex mutex;
    std::vector<Grant> grants;
  };
  std::vector<Box> boxes_;
};

constexpr size_t kThreads = 4;

// Slots taken and given back by several threads at once, with waiting, cancelling, double releases
// and resizes: never more held than there are, none leaked, none given to two.
TEST(Threads, SlotPoolUnderStress) {
  constexpr uint32_t kMost = 3;
  Mailboxes sink(kThreads);
  auto pool = std::make_shared<SlotPool>(sink, kMost, 64);
  pool->add_instance(1);
  pool->add_instance(2);
  std::atomic<int> held{0};
  const auto use = [&](const Slot& slot) {
    EXPECT_LE(++held, static_cast<int>(2 * kMost));
    --held;
    EXPECT_TRUE(pool->release(slot));
    EXPECT_FALSE(pool->release(slot));
  };
  const auto work = [&](size_t shard) {
    std::mt19937 random(static_cast<uint32_t>(shard));
    const SessionId session = static_cast<SessionId>(shard) << 24;
    for (int i = 0; i < 20000; ++i) {
      const Admission admission = pool->acquire(session + 1, static_cast<int32_t>(i % 3), i % 2);
      if (admission.slot) use(admission.slot);
      if (admission.ticket && random() % 2) pool->cancel(admission.ticket);
      for (const Grant& grant : sink.take(shard)) use(grant.slot);
      if (shard == 0 && i % 100 == 0) pool->set_slots_per_instance(1 + random() % kMost);
      if (shard == 1 && i % 100 == 0) pool->set_accepting(2, random() % 2);
    }
  };
  std::vector<std::thread> threads;
  for (size_t i = 0; i < kThreads; ++i) threads.emplace_back(work, i);
  for (std::thread& thread : threads) thread.join();
  pool->set_accepting(2, true);
  pool->set_slots_per_instance(kMost);
  for (bool is_quiet = false; !is_quiet;) {
    is_quiet = true;
    for (size_t i = 0; i < kThreads; ++i) {
      for (const Grant& grant : sink.take(i)) {
        use(grant.slot);
        is_quiet = false;
      }
    }
  }
  EXPECT_EQ(pool->state().used, 0u);
  EXPECT_EQ(pool->state().waiting, 0u);
}

// One shard's life on its thread: sessions and execs that compete for the slots of all shards.
class ShardThread {
 public:
  ShardThread(uint32_t index, Mailboxes& mailboxes, std::shared_ptr<SlotPool> pool)
      : index_(index), mailboxes_(mailboxes), random_(index), shard_(index, events_) {
    shard_.set_now(now_);
    EngineOptions options;
    options.admission_wait_ns = 3600 * kSecond;
    shard_.add_engine(kEngine, std::move(pool), options);
    shard_.add_port(1, kEngine, host_);
  }

  // `busy` counts the shards that still have sessions: a grant for one that has left may sit in the
  // mailbox of a shard without any, and others wait for its slot.
  void run(std::atomic<int>& busy) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(2);
    for (int i = 0; i < 3000; ++i) {
      if (fronts_.size() < 2000) open();
      round();
    }
    for (bool is_busy = true; busy.load() > 0; std::this_thread::yield()) {
      round();
      if (is_busy && shard_.session_count() == 0) {
        is_busy = false;
        --busy;
      }
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << shard_.session_count() << " left";
    }
    for (const auto& front : fronts_) EXPECT_EQ(front->finals, 1);
  }

 private:
  void open() {
    fronts_.push_back(std::make_unique<TestFront>());
    OpenRequest request;
    request.kind = random_() % 2 ? Kind::kExec : Kind::kSession;
    request.engine = kEngine;
    request.front = fronts_.back().get();
    const SessionId id = shard_.open(request);
    if (request.kind == Kind::kSession) {
      shard_.frame(id, view_of("frame"));
      random_() % 3 ? void(shard_.input_end(id)) : shard_.cancel(id);
    }
  }
  void round() {
    shard_.advance(now_ += kMs);
    for (const Grant& grant : mailboxes_.take(index_)) shard_.on_slot_granted(grant);
    std::erase_if(host_.work, [](const auto& entry) { return entry.second.running.empty(); });
    for (auto& [handle, work] : host_.work) {
      while (!work.running.empty()) host_.complete(shard_, handle);
    }
  }

  uint32_t index_;
  Mailboxes& mailboxes_;
  std::mt19937 random_;
  int64_t now_ = kSecond;
  TestEvents events_;
  TestHost host_;
  std::vector<std::unique_ptr<TestFront>> fronts_;
  Shard shard_;
};

// Shards that compete for slots serve every client, each with one final, and leave no slot held.
TEST(Threads, ShardsShareTheSlotsOfAnEngine) {
  Mailboxes mailboxes(3);
  auto pool = std::make_shared<SlotPool>(mailboxes, 3, 100000);
  std::vector<std::unique_ptr<ShardThread>> shards;
  for (uint32_t i = 0; i < 3; ++i) {
    shards.push_back(std::make_unique<ShardThread>(i, mailboxes, pool));
  }
  pool->add_instance(1);
  std::atomic<int> busy{3};
  std::vector<std::thread> threads;
  for (auto& shard : shards) threads.emplace_back([&shard, &busy] { shard->run(busy); });
  for (std::thread& thread : threads) thread.join();
  // Grants to sessions that had gone may still be on their way.
  for (uint32_t i = 0; i < 3; ++i) {
    for (const Grant& grant : mailboxes.take(i)) pool->release(grant.slot);
  }
  EXPECT_EQ(pool->state().used, 0u);
  EXPECT_EQ(pool->state().waiting, 0u);
}

}  // namespace
}  // namespace loader::session::test
