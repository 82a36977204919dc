// A native engine that declares itself non_blocking, inside the loader: its library, the table that
// it calls back through, and the one thread for what may be slow (init, warm-up, update, fini). All
// other entries run on the data plane's threads, called by the links. Refuses to know sessions.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "channel/bodies.h"
#include "host/native_engine.h"
#include "host/outcome.h"
#include "host/resource_table.h"
#include "loader/wrapper.h"

namespace loader::server {

class InlineLink;

class InlineEngine : public std::enable_shared_from_this<InlineEngine> {
 public:
  explicit InlineEngine(std::unique_ptr<host::NativeEngine> loaded);
  InlineEngine(const InlineEngine&) = delete;
  InlineEngine& operator=(const InlineEngine&) = delete;

  // ---- before serve()
  // One for each shard, in their order.
  void add_link(std::shared_ptr<InlineLink> link);
  // An entry has not returned for as long as the call timeout: nothing on that shard moves.
  // Called on the engine's thread.
  void on_stuck(std::function<void(uint32_t shard, int64_t elapsed_ns)> report);

  // ---- the engine's own thread
  // Runs what is posted; after finish(), fini. Unloads the library when nothing uses it any more.
  void serve();
  // `operation` becomes kWarmUp where that is what failed.
  host::Outcome init(const channel::InitBody& body, channel::Operation& operation);
  host::Outcome update(const channel::InitBody& body);
  host::Outcome check_health();
  // `frame` has one item.
  host::Outcome load_resource(uint32_t id, const std::vector<uint8_t>& frame);
  host::Outcome unload_resource(uint32_t id);
  host::Identity identity() const { return engine_->identity(); }

  // ---- any thread
  void post(std::function<void()> job);
  // Every link is closed. `done` follows fini, unless abandon() came first.
  void finish(std::function<void()> done);
  // Nobody listens any more.
  void abandon();
  // A buffer of the engine's is on its way to a client, or back: fini waits for it.
  void lend_buffer();
  void return_buffer();
  host::ResourceTable& resources() { return resources_; }

  // ---- the data plane's threads, while a link is open
  host::NativeEngine& code() { return *engine_; }
  bool takes_resources() const { return takes_resources_; }
  // Held around each entry: where `threads` is less than the number of shards, one call at a time.
  std::unique_lock<std::mutex> take_turn() {
    return is_one_at_a_time_ ? std::unique_lock(turn_) : std::unique_lock<std::mutex>();
  }

 private:
  void build_table();
  InlineLink* link_of(loader_handle_t handle) const;
  void report_stuck();

  std::unique_ptr<host::NativeEngine> engine_;
  loader_host_t table_{};
  std::vector<std::shared_ptr<InlineLink>> links_;
  bool is_one_at_a_time_ = false;  // set by init, before the first call; as the next
  bool takes_resources_ = false;
  host::ResourceTable resources_;
  std::mutex turn_;

  std::mutex mutex_;  // everything below
  std::condition_variable wake_;
  std::deque<std::function<void()>> jobs_;
  std::function<void()> done_;
  std::function<void(uint32_t, int64_t)> on_stuck_;
  int64_t call_timeout_ns_ = channel::kNoDeadline;
  int64_t reported_ns_ = 0;  // the last entry that was reported
  uint64_t lent_buffers_ = 0;
  bool is_finishing_ = false;
  bool is_initialised_ = false;
};

}  // namespace loader::server
