// The data plane behind one object: shards, listeners, engines, instances, events, statistics.
// The control plane (Python's loader._core, or loader-dev) calls it from any one thread at a time;
// nothing here waits for the control plane. Knows no Python.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "grpc/tls.h"
#include "server/error_table.h"
#include "server/event_queue.h"
#include "server/options.h"

namespace loader::server {

// What a new host process needs: descriptors it inherits under the same numbers, and its arguments.
// The descriptors are the core's; it closes its copies in attach_instance().
struct InstanceSeed {
  uint64_t instance = 0;
  std::vector<int> fds;
  std::vector<std::string> arguments;
};

// A personal resource, as an engine gets it.
struct Resource {
  std::string_view key, data;
  std::vector<std::pair<std::string_view, std::string_view>> attributes;
};

struct SessionInfo {
  std::string session_id, engine, version, state, peer;
  uint64_t frames_in = 0, bytes_in = 0, frames_out = 0, bytes_out = 0;
  double queue_s = 0, first_result_s = 0, duration_s = 0;
};

struct HistogramSnapshot {
  std::vector<double> bounds;
  std::vector<uint64_t> buckets;  // one more than bounds; not cumulative
  double sum = 0;
};

struct EngineStatistics {
  uint32_t engine = 0;  // 0: of those that have ended
  std::string name, version;
  std::vector<std::pair<std::string, uint64_t>> counters;
  std::vector<std::pair<std::string, HistogramSnapshot>> histograms;
  std::vector<std::pair<std::string, uint64_t>> closed;  // by reason
};

struct InstanceStatistics {
  uint64_t instance = 0;
  uint32_t engine_id = 0;
  std::string engine, version, state;
  uint32_t index = 0;
  int pid = 0;
  uint32_t slots = 0, slots_used = 0;
  uint64_t channel_bytes_queued = 0, arena_bytes_used = 0, arena_bytes = 0;
};

struct Statistics {
  std::vector<std::pair<std::string, uint64_t>> counters;
  std::vector<std::pair<std::string, uint64_t>> refusals;  // by the error's name
  std::vector<EngineStatistics> engines;
  std::vector<InstanceStatistics> instances;
};

class ServerImpl;

class Server {
 public:
  explicit Server(ServerOptions options);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Starts the shards' threads. stop() ends every session, kills every host and joins.
  void start();
  void stop();
  // The bound "HOST:PORT". `tag` is "public" or "admin". Every shard listens on the same port.
  std::string listen(const std::string& address, const std::string& tag,
                     std::shared_ptr<const grpc::TlsContext> tls = nullptr);
  // New connections of the listeners that encrypt use `tls`; live ones keep theirs.
  void set_tls(const std::shared_ptr<const grpc::TlsContext>& tls);

  // What AIGES clients see; for sessions opened later, and the time to live of those open.
  void set_aiges(const AigesOptions& options);

  // The engine's id. Several of one name and version may exist: a new one beside the old. It gets
  // sessions once a route leads to it. The others throw std::invalid_argument for an unknown id.
  uint32_t add_engine(const std::string& name, const std::string& version, EngineOptions options);
  void remove_engine(uint32_t engine);
  EngineOptions engine_options(uint32_t engine) const;
  // Takes effect on each shard in one turn, for sessions opened later; returns when it has.
  void apply(Changes changes);

  InstanceSeed prepare_instance(uint32_t engine, uint32_t index);
  void attach_instance(uint64_t instance, int pid);
  // Forgets a prepared instance whose process could not be started.
  void abandon_instance(uint64_t instance);
  uint64_t start_inline(uint32_t engine, uint32_t index, const std::string& path);
  // No new work; waits for open sessions up to the timeout, closes the rest with `reason` (drain or
  // replaced), then FINI, then the process is killed.
  void stop_instance(uint64_t instance, double timeout_s, const std::string& reason);
  void kill_instance(uint64_t instance, const std::string& reason);
  // Sends the new configuration to a ready instance; an "instance_updated" event follows.
  void update_instance(uint64_t instance, const std::string& config_json);
  // An instance whose engine awaits_resources has them all now.
  void open_instance(uint64_t instance);
  // Events "instance_resource" with the number of the call follow, unless the instance ends first.
  void load_resource(uint64_t instance, uint64_t call, uint32_t id, const Resource& resource);
  void unload_resource(uint64_t instance, uint64_t call, uint32_t id);

  int event_fd() const;
  std::vector<Event> take_events();
  void answer_admin(uint64_t call, std::string payload);
  void refuse_admin(uint64_t call, const ErrorReport& error);

  void set_serving(const std::string& name, bool is_serving);
  // Refuses new work; sessions still open after `timeout_s` close with reason drain; a "drained"
  // event follows when none is left. With `stay` connections go on, and undrain() ends it.
  void drain(double timeout_s, bool stay = false);
  void undrain();
  void close_now();

  Statistics statistics() const;
  std::vector<SessionInfo> sessions(const std::string& engine) const;
  bool kill_session(const std::string& session_id, const std::string& message);

 private:
  std::unique_ptr<ServerImpl> impl_;
};

}  // namespace loader::server
