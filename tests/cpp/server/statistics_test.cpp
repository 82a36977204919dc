// One snapshot of all shards, also while one of them is busy.
#include "server/statistics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <future>

namespace loader::server {
namespace {

struct Planed {
  explicit Planed(uint32_t shards) {
    for (uint32_t i = 0; i < shards; i++) {
      plane.shards.push_back(std::make_unique<ShardContext>(i, plane));
    }
  }
  ~Planed() {
    for (auto& shard : plane.shards) shard->stop();
  }
  void start() {
    for (auto& shard : plane.shards) shard->start();
  }
  Statistics read() {
    Statistics out;
    sums.add_to(out, plane.shards);
    return out;
  }

  ShardSums sums;
  Plane plane;
};

uint64_t value(const std::vector<std::pair<std::string, uint64_t>>& counters,
               const std::string& name) {
  auto found = std::find_if(counters.begin(), counters.end(),
                            [&](const auto& one) { return one.first == name; });
  return found == counters.end() ? 0 : found->second;
}

// Keeps a shard's thread until it is let go.
class Hold {
 public:
  explicit Hold(ShardContext& shard) {
    auto begun = std::make_shared<std::promise<void>>();
    shard.post([begun, until = release_.get_future().share()] {
      begun->set_value();
      until.wait();
    });
    begun->get_future().wait();
  }
  ~Hold() { let_go(); }
  void let_go() {
    if (!std::exchange(is_over_, true)) release_.set_value();
  }

 private:
  std::promise<void> release_;
  bool is_over_ = false;
};

TEST(ShardSums, AddsWhatTheShardsCount) {
  Planed one(3);
  one.plane.shards[0]->count_refusal(ErrorCode::UNKNOWN_ENGINE);
  one.plane.shards[2]->count_refusal(ErrorCode::UNKNOWN_ENGINE);
  one.start();
  Statistics read = one.read();
  EXPECT_EQ(value(read.refusals, "UNKNOWN_ENGINE"), 2u);
  EXPECT_EQ(value(read.counters, "shards_silent"), 0u);
}

TEST(ShardSums, ABusyShardCountsWithWhatItSaidLast) {
  Planed one(2);
  one.start();
  ShardContext& busy = *one.plane.shards[1];
  busy.call([&] { busy.count_refusal(ErrorCode::DRAINING); });
  EXPECT_EQ(value(one.read().refusals, "DRAINING"), 1u);

  busy.call([&] { busy.count_refusal(ErrorCode::DRAINING); });
  Hold hold(busy);
  Statistics read = one.read();  // returns although the shard does not answer
  EXPECT_EQ(value(read.counters, "shards_silent"), 1u);
  EXPECT_EQ(value(read.refusals, "DRAINING"), 1u);

  hold.let_go();
  busy.call([] {});
  read = one.read();
  EXPECT_EQ(value(read.counters, "shards_silent"), 0u);
  EXPECT_EQ(value(read.refusals, "DRAINING"), 2u);
}

TEST(ShardSums, AStoppedShardIsReadWithoutItsThread) {
  Planed one(2);
  one.start();
  for (auto& shard : one.plane.shards) shard->stop();
  one.plane.shards[1]->count_refusal(ErrorCode::DRAINING);
  Statistics read = one.read();
  EXPECT_EQ(value(read.counters, "shards_silent"), 0u);
  EXPECT_EQ(value(read.refusals, "DRAINING"), 1u);
}

}  // namespace
}  // namespace loader::server
