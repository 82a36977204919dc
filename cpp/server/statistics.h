// Counters of the shards, and one snapshot summed from them. Reads only; each shard's part on its
// own thread, which may be busy: nobody waits for it longer than kShardPatience.
#pragma once

#include <chrono>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/server.h"
#include "server/shard_context.h"

namespace loader::server {

using Shards = std::vector<std::unique_ptr<ShardContext>>;

inline constexpr auto kShardPatience = std::chrono::milliseconds(250);

// What `read(ShardContext&)` gives on each shard's thread; nothing for a shard that has not
// answered in time. A late answer goes nowhere, so `read` captures only what lives as long as the
// shards.
template <class Read>
auto ask_shards(const Shards& shards, Read read) {
  using Answer = decltype(read(*shards.front()));
  std::vector<std::future<Answer>> asked;
  for (const auto& shard : shards) {
    auto task = std::make_shared<std::packaged_task<Answer()>>(
        [read, one = shard.get()] { return read(*one); });
    asked.push_back(task->get_future());
    if (shard->is_running()) {
      shard->post([task] { (*task)(); });
    } else {
      (*task)();
    }
  }
  const auto deadline = std::chrono::steady_clock::now() + kShardPatience;
  std::vector<std::optional<Answer>> answers(asked.size());
  for (size_t i = 0; i < asked.size(); i++) {
    if (asked[i].wait_until(deadline) == std::future_status::ready) answers[i] = asked[i].get();
  }
  return answers;
}

// Sums the shards. A shard that is too busy counts with what it said last, and as silent.
class ShardSums {
 public:
  // Adds to the rows of engines and instances that `out` has, and to its counters.
  void add_to(Statistics& out, const Shards& shards);

 private:
  std::vector<Statistics> newest_;  // by shard
};

// What engines counted that have been removed: a counter never goes back. By name and version.
class RetiredSums {
 public:
  // Takes the rows of `engine` out of one shard's part.
  void add(const Statistics& part, uint32_t engine);
  void add_to(Statistics& out) const;

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, EngineStatistics> sums_;
};

// What all shards share of an engine: slots, queue, instances.
EngineStatistics engine_row(const EngineShared& engine);
// One shard's part, on its thread.
Statistics read_statistics(ShardContext& shard);
// Open sessions of `engine`, or of all engines; on the shard's thread.
std::vector<SessionInfo> read_sessions(ShardContext& shard, const std::string& engine);

}  // namespace loader::server
