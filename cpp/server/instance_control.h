// The life of one instance on the data plane: hello, init, ready, pings, stop, death. Owns the
// links of every shard; its clocks and the process's descriptor live on shard 0. Spawns and
// restarts nothing: the control plane does, on the events this sends.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "channel/endpoint.h"
#include "channel/lifeline.h"
#include "loader/errors.h"
#include "loop/event_loop.h"
#include "server/engine.h"
#include "server/instance_link.h"
#include "server/log_limit.h"
#include "server/shard_context.h"

namespace loader::server {

class InlineEngine;

// How an instance ended, for its sessions and for the event.
struct Ending {
  ErrorCode error = ErrorCode::ENGINE_DIED;
  uint32_t reason = 0;  // LOADER_REASON_*; 0: host_died
  std::string message;
};

class InstanceControl : public std::enable_shared_from_this<InstanceControl>, private EventSource {
 public:
  InstanceControl(Plane& plane, std::shared_ptr<InstanceShared> shared,
                  std::function<void(session::InstanceId)> on_gone);
  ~InstanceControl() override;
  InstanceControl(const InstanceControl&) = delete;
  InstanceControl& operator=(const InstanceControl&) = delete;

  const InstanceShared& shared() const { return *shared_; }

  // ---- the control plane's thread
  // Creates the channels; the descriptors for the host stay open until attach() or the end.
  void prepare();
  const std::vector<channel::HostDescriptors>& host_descriptors() const { return descriptors_; }
  int host_lifeline() const { return lifeline_.host_end.get(); }
  void attach(int pid);
  // An instance in this process is being loaded: INIT's time runs.
  void begin_inline();

  // ---- any thread
  // The library is loaded and never blocks: it gets links of its own. False: the end was faster.
  bool attach_inline(const std::shared_ptr<InlineEngine>& engine);
  // It may block: it gets channels like a host's. Empty: the end was faster.
  std::vector<channel::HostDescriptors> attach_own_threads();
  // Sessions still open at the timeout get `event`.
  void stop(double timeout_s, session::Event event);
  void update(const std::string& config_json);
  // An event "instance_resource" with the same number tells how it ended. `frame` has one item.
  void load_resource(uint64_t call, uint32_t id, std::string frame);
  void unload_resource(uint64_t call, uint32_t id);
  // It has all its resources: see EngineOptions::awaits_resources.
  void open();
  // Ends its sessions, kills its process group, tells the control plane. The first one counts.
  void end(const Ending& ending);
  void on_hung(session::SessionId session);
  // The data plane is going: an engine whose fini still runs tells nobody.
  void abandon();

 private:
  class Seat;  // one shard's LinkOwner

  void start_links(std::vector<std::shared_ptr<InstanceLink>> links);
  void start_on_first_shard();
  void arm_init_timer();
  void on_events(uint32_t events) override;

  void on_hello(const channel::Hello& hello, uint32_t shard);
  void on_ready(const channel::ReadyBody& ready);
  void on_completion(uint64_t call, const channel::CompletionBody& completion);
  void on_initialised();
  void begin_health();
  void tell_resource(uint64_t call, const channel::CompletionBody& completion);
  void on_health(const channel::CompletionBody& completion);
  void on_pong(uint64_t nonce);

  void open_for_work();
  void take_work();
  void set_serving(bool is_serving);
  void ping();
  bool is_unanswered(int64_t now_ns);
  void ask_health();
  void tidy_arenas();
  void report_dropped_log();
  void continue_stop();
  void close_sessions();
  void await_exit();
  void on_stuck(uint32_t shard, int64_t elapsed_ns);
  void end_on_shard(ShardContext& shard, const Ending& ending);
  void await_fini();
  void clear_clocks();
  void report_end();
  void push(const char* kind, const std::string& message, ErrorCode error = ErrorCode::kNone);
  void kill_group();
  void note_exit_status();
  channel::InitBody init_body(const EngineOptions& options) const;
  channel::Hello my_hello(uint32_t shard) const;
  InstanceLink* first_link();
  EventLoop& loop();

  Plane& plane_;
  const std::shared_ptr<InstanceShared> shared_;
  const std::function<void(session::InstanceId)> on_gone_;
  std::vector<std::unique_ptr<Seat>> seats_;
  std::vector<channel::Endpoint> endpoints_;
  std::vector<channel::HostDescriptors> descriptors_;
  channel::LifelinePipe lifeline_;
  // Held while links are made, so that an end finds all of them or none is made any more.
  std::mutex attach_mutex_;
  std::shared_ptr<InlineEngine> engine_;  // of an instance that runs on the data plane's threads

  // Shard 0's thread from here on.
  channel::UniqueFd pidfd_;
  Timer init_timer_, ping_timer_, stop_timer_, exit_timer_;
  EngineOptions options_;
  EngineFacts facts_;
  int64_t started_ns_ = 0;
  int64_t unanswered_ns_ = 0;  // since when a ping waits for its pong; 0: none does
  int64_t last_ping_ns_ = 0;
  int64_t next_ping_ns_ = 0;
  int64_t stop_deadline_ns_ = 0;
  session::Event stop_event_ = session::Event::kDrainDeadline;
  enum class Stopping { kNo, kWaiting, kClosing, kFini } stopping_ = Stopping::kNo;
  bool was_ready_ = false;
  bool awaits_resources_ = false;
  bool is_health_asked_ = false;
  bool is_healthy_ = true;
  const char* stage_ = "init";  // of the start, where it failed
  bool is_reported_ = false;
  bool is_hung_ = false;
  int exit_code_ = 0;    // CLD_EXITED's
  int exit_signal_ = 0;  // CLD_KILLED's
  Ending ending_;
  // Any thread.
  LogLimit log_limit_;
  std::atomic<bool> is_leaving_{false};   // fini was sent to a process, which will exit
  std::atomic<uint32_t> shards_left_{0};  // that have not let go of it; the end is told at none
  std::atomic<uint32_t> ports_left_{0};
};

}  // namespace loader::server
