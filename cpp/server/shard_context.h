// One shard: a thread with its event loop, gRPC server, session core and links to engine hosts.
// Wires them together and keeps the shard's table of engines. Everything but post(), call() and the
// thread's start and stop belongs to the shard's thread.
#pragma once

#include <functional>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "grpc/server.h"
#include "loop/event_loop.h"
#include "server/admin_desk.h"
#include "server/engine.h"
#include "server/instance_link.h"
#include "server/plane.h"
#include "server/result_writer.h"
#include "server/route_table.h"
#include "session/shard.h"

namespace loader::server {

class Admission;
class AigesDesk;
class AigesHops;

// A shard's own view of an engine.
struct EngineEntry {
  std::shared_ptr<EngineShared> shared;
  EngineOptions options;
  EngineFacts facts;  // schema never null
  uint64_t unknown_fields = 0;
  uint64_t invalid_requests = 0;
};

struct PeerSource {
  virtual ~PeerSource() = default;
  virtual std::string peer_address() const = 0;
};

class ShardContext : private session::ShardEvents {
 public:
  ShardContext(uint32_t index, Plane& plane);
  ~ShardContext();
  ShardContext(const ShardContext&) = delete;
  ShardContext& operator=(const ShardContext&) = delete;

  void start();
  // Ends every call, kills nothing; joins.
  void stop();
  void post(std::function<void()> work) { loop_.post(std::move(work)); }
  // Runs `work` on the shard's thread and waits; directly where the thread does not run.
  void call(const std::function<void()>& work);
  void post_grant(const session::Grant& grant);

  bool is_running() const { return is_running_; }

  uint32_t index() const { return index_; }
  Plane& plane() { return plane_; }
  EventLoop& loop() { return loop_; }
  session::Shard& core() { return core_; }
  grpc::Server& server() { return *server_; }
  ResultWriter& writer() { return writer_; }
  AdminDesk& admin() { return admin_; }
  Admission& admission() { return *admission_; }
  RouteTable& routes() { return routes_; }
  AigesDesk& aiges() { return *aiges_; }
  AigesHops& aiges_hops() { return *aiges_hops_; }

  // ---- engines
  void add_engine(std::shared_ptr<EngineShared> engine, const EngineOptions& options,
                  const EngineFacts& facts);
  void update_engine(session::EngineId id, const EngineOptions& options);
  void set_facts(session::EngineId id, const EngineFacts& facts);
  void remove_engine(session::EngineId id);
  // All of it in one turn of the loop.
  void apply(const Changes& changes);
  EngineEntry* find_engine(session::EngineId id);
  const std::vector<std::unique_ptr<EngineEntry>>& engines() const { return engines_; }

  // ---- links
  InstanceLink& add_link(std::shared_ptr<InstanceLink> link);
  InstanceLink* find_link(session::InstanceId instance);
  void drop_link(session::InstanceId instance);
  const auto& links() const { return links_; }
  void mark_dirty(InstanceLink& link) { dirty_.push_back(link.instance()); }

  // Calls that never became a session or exec.
  void count_refusal(ErrorCode error) { refusals_[error]++; }
  const std::map<ErrorCode, uint64_t>& refusals() const { return refusals_; }

  void drain(int64_t deadline_ns);
  // Refuses new sessions and lets connections be; until undrain().
  void refuse_sessions(int64_t deadline_ns);
  void undrain();
  // The last of the sessions that a drain leaves their connections has ended.
  void drain_server_if_due();
  std::function<void(session::InstanceId, session::SessionId)> on_hung;
  std::function<void(session::InstanceId)> on_kill;
  std::function<void(uint32_t shard)> on_drained_fully;

 private:
  class Hook : public RoundHook {
   public:
    explicit Hook(std::function<void()> run) : run_(std::move(run)) {}
    void on_round_end() override { run_(); }

   private:
    std::function<void()> run_;
  };

  void on_instance_hung(session::InstanceId instance, session::SessionId session) override;
  void on_kill_instance(session::InstanceId instance) override;
  void on_drained() override;
  void before_grpc();
  void after_grpc();
  void flush_links();
  void run_grants();
  void arm_timer();
  void note_drained();

  const uint32_t index_;
  Plane& plane_;
  EventLoop loop_;
  session::Shard core_;
  std::vector<std::unique_ptr<EngineEntry>> engines_;
  std::unordered_map<session::InstanceId, std::shared_ptr<InstanceLink>> links_;
  std::vector<session::InstanceId> dirty_, flushing_;
  std::vector<session::Grant> grants_, granting_;
  std::map<ErrorCode, uint64_t> refusals_;
  Timer timer_, drain_timer_;
  int64_t drain_deadline_ns_ = session::kNever;  // of a drain whose connections still stay
  AdminDesk admin_;
  RouteTable routes_;
  ResultWriter writer_;
  std::unique_ptr<Admission> admission_;
  std::unique_ptr<AigesDesk> aiges_;
  std::unique_ptr<AigesHops> aiges_hops_;
  Hook before_;
  Hook after_;
  std::unique_ptr<grpc::Server> server_;
  std::thread thread_;
  bool is_running_ = false;
  bool is_core_drained_ = false;
  bool is_server_drained_ = false;
};

}  // namespace loader::server
