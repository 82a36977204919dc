// What the shards share of an engine (one name and version) and of an instance. Each shard keeps
// its own copies of what the hot path reads; only the pool and the atomics here are touched by
// several threads. Knows neither transport nor threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "server/options.h"
#include "server/validate.h"
#include "session/shard.h"

namespace loader::server {

// What an instance told about its wrapper when it was ready.
struct EngineFacts {
  std::shared_ptr<const Schema> schema;
  std::string declaration_json;
  std::string wrapper_name, wrapper_version;
  bool has_exec = true;
  bool has_sessions = true;
  bool has_update = false;
  bool has_health = false;
  bool has_resources = false;
};

struct EngineShared {
  EngineShared(session::EngineId engine_id, std::string engine_name, std::string engine_version,
               EngineOptions engine_options, session::GrantSink& sink)
      : id(engine_id),
        name(std::move(engine_name)),
        version(std::move(engine_version)),
        pool(std::make_shared<session::SlotPool>(sink, engine_options.slots,
                                                 engine_options.queue_limit)),
        options_(std::move(engine_options)) {}

  EngineOptions options() const {
    std::lock_guard lock(mutex_);
    return options_;
  }
  void set_options(EngineOptions options) {
    std::lock_guard lock(mutex_);
    options_ = std::move(options);
  }

  const session::EngineId id;
  const std::string name;
  const std::string version;
  const std::shared_ptr<session::SlotPool> pool;
  std::atomic<uint32_t> ready_instances{0};
  std::atomic<uint32_t> instances{0};
  std::atomic<bool> is_routed{false};  // gets new sessions: health speaks of it

 private:
  mutable std::mutex mutex_;
  EngineOptions options_;
};

enum class InstanceState : uint8_t { kPrepared, kStarting, kReady, kStopping, kDead };

struct InstanceShared {
  session::InstanceId id = 0;
  std::shared_ptr<EngineShared> engine;
  uint32_t index = 0;
  bool is_inline = false;
  std::atomic<int> pid{0};
  std::atomic<InstanceState> state{InstanceState::kPrepared};
  // Set by whoever ends the instance first; the reason is theirs.
  std::atomic<bool> is_ending{false};
  // Counted among the engine's ready instances.
  std::atomic<bool> is_serving{false};
};

session::EngineOptions to_session_options(const EngineOptions& options);

}  // namespace loader::server
