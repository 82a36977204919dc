#include "server/server.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <stdexcept>

#include "frame/frame_codec.h"
#include "loader/wrapper.h"
#include "server/aiges_desk.h"
#include "server/inline_host.h"
#include "server/instance_control.h"
#include "server/plane.h"
#include "server/shard_context.h"
#include "server/statistics.h"

namespace loader::server {
namespace {

constexpr auto kStopPatience = std::chrono::seconds(3);

std::string random_node_id() {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::random_device device;
  std::string id;
  for (int i = 0; i < 8; i++) id.push_back(kDigits[device() & 15]);
  return id;
}

}  // namespace

class ServerImpl : public session::GrantSink {
 public:
  explicit ServerImpl(ServerOptions options) {
    plane_.options = options;
    // The allocator of an arena halves and halves again.
    plane_.options.arena_bytes = std::bit_ceil(std::max<uint64_t>(options.arena_bytes, 1 << 20));
    plane_.node_id = random_node_id();
    uint32_t count = std::clamp<uint32_t>(options.shards, 1, 255);
    for (uint32_t i = 0; i < count; i++) {
      plane_.shards.push_back(std::make_unique<ShardContext>(i, plane_));
    }
    for (auto& shard : plane_.shards) listen_to(*shard);
  }

  ~ServerImpl() override { stop(); }

  void post_grant(const session::Grant& grant) override {
    plane_.shards[session::shard_of(grant.session)]->post_grant(grant);
  }

  void start() {
    if (is_running_) return;
    is_running_ = true;
    for (auto& shard : plane_.shards) shard->start();
  }

  void stop() {
    if (!is_running_) return;
    close_now();
    std::unique_lock lock(mutex_);
    auto instances = instances_;
    lock.unlock();
    for (auto& [id, instance] : instances) {
      if (instance->shared().state == InstanceState::kPrepared) {
        forget(id);
      } else {
        instance->end({ErrorCode::DRAINING, LOADER_REASON_LOADER_GONE, "the loader stopped"});
      }
    }
    instances.clear();
    lock.lock();
    gone_.wait_for(lock, kStopPatience, [&] { return instances_.empty(); });
    for (auto& [id, instance] : instances_) instance->abandon();
    lock.unlock();
    for (auto& shard : plane_.shards) shard->stop();
    is_running_ = false;
  }

  std::string listen(const std::string& address, const std::string& tag,
                     std::shared_ptr<const grpc::TlsContext> tls) {
    if (tag != "public" && tag != "admin") {
      throw std::invalid_argument("listener tag is \"" + tag + "\"; use public or admin");
    }
    grpc::ListenOptions options;
    options.tag = tag == "admin" ? kAdminListener : kPublicListener;
    options.tls = std::move(tls);
    std::string bound = address;
    bool is_unix = address.starts_with("unix:");
    for (auto& shard : plane_.shards) {
      uint16_t port = 0;
      shard->call([&] { port = shard->server().listen(bound, options); });
      if (is_unix) break;  // one socket file, one listener
      options.shares_port = true;
      bound = address.substr(0, address.rfind(':') + 1) + std::to_string(port);
    }
    if (tag == "public" && !is_unix) announce_to_aiges(bound);
    return bound;
  }

  void set_tls(const std::shared_ptr<const grpc::TlsContext>& tls) {
    for (auto& shard : plane_.shards) {
      shard->call([&] { shard->server().set_tls(tls); });
    }
  }

  // Until set_aiges() says something else: what was bound, or loopback behind every address.
  void announce_to_aiges(const std::string& bound) {
    const size_t colon = bound.rfind(':');
    const std::string host = bound.substr(0, colon);
    const bool is_any = host == "0.0.0.0" || host.starts_with('[');
    AigesOptions options;
    options.address = (is_any ? "127.0.0.1" : host) + bound.substr(colon);
    set_aiges(options);
  }

  void set_aiges(const AigesOptions& options) {
    for (auto& shard : plane_.shards) {
      shard->call([&] { shard->aiges().set_options(options); });
    }
  }

  // ---- engines

  uint32_t add_engine(const std::string& name, const std::string& version, EngineOptions options) {
    EngineFacts facts;
    facts.declaration_json = options.declaration_json;
    facts.schema = Schema::parse(options.declaration_json);
    std::shared_ptr<EngineShared> engine;
    {
      std::lock_guard lock(mutex_);
      engine = std::make_shared<EngineShared>(++last_engine_, name, version, options, *this);
      engines_.emplace(engine->id, engine);
    }
    for (auto& shard : plane_.shards) {
      shard->call([&] { shard->add_engine(engine, options, facts); });
    }
    return engine->id;
  }

  void remove_engine(uint32_t id) {
    auto engine = find_engine(id);
    engine->is_routed = false;
    for (auto& shard : plane_.shards) {
      shard->call([&] {
        shard->core().set_now(shard->loop().now_ns());
        // Of those that still wait for a slot nobody else knows.
        shard->core().close_engine(id, session::Event::kReplaced);
        retired_.add(read_statistics(*shard), engine->id);
        shard->remove_engine(id);
      });
    }
    std::lock_guard lock(mutex_);
    engines_.erase(id);
  }

  EngineOptions engine_options(uint32_t id) const { return find_engine(id)->options(); }

  void apply(Changes changes) {
    for (const auto& [id, options] : changes.options) {
      auto engine = find_engine(id);
      engine->set_options(options);
      engine->pool->set_slots_per_instance(options.slots);
      engine->pool->set_queue_limit(options.queue_limit);
    }
    for (auto& [name, targets] : changes.routes) {
      for (RouteTarget& target : targets) target.version = find_engine(target.engine)->version;
    }
    for (auto& shard : plane_.shards) {
      shard->call([&] { shard->apply(changes); });
    }
    note_routes(changes);
  }

  // ---- instances

  std::shared_ptr<InstanceControl> make_instance(uint32_t engine, uint32_t index, bool is_inline) {
    auto shared = std::make_shared<InstanceShared>();
    shared->engine = find_engine(engine);
    shared->index = index;
    shared->is_inline = is_inline;
    shared->engine->instances++;
    std::lock_guard lock(mutex_);
    shared->id = ++last_instance_;
    auto control = std::make_shared<InstanceControl>(
        plane_, shared, [this](session::InstanceId id) { forget(id); });
    instances_.emplace(shared->id, control);
    return control;
  }

  InstanceSeed prepare_instance(uint32_t engine, uint32_t index) {
    auto control = make_instance(engine, index, false);
    InstanceSeed seed;
    seed.instance = control->shared().id;
    try {
      control->prepare();
    } catch (...) {
      forget(control->shared().id);
      throw;
    }
    for (const channel::HostDescriptors& one : control->host_descriptors()) {
      seed.arguments.push_back("--channel");
      seed.arguments.push_back(std::to_string(one.socket.get()) + "," +
                               std::to_string(one.arena_in.get()) + "," +
                               std::to_string(one.arena_out.get()));
      for (int fd : {one.socket.get(), one.arena_in.get(), one.arena_out.get()}) {
        seed.fds.push_back(fd);
      }
    }
    seed.arguments.push_back("--lifeline");
    seed.arguments.push_back(std::to_string(control->host_lifeline()));
    seed.fds.push_back(control->host_lifeline());
    return seed;
  }

  void attach_instance(uint64_t instance, int pid) { find_instance(instance)->attach(pid); }
  void abandon_instance(uint64_t instance) { forget(static_cast<session::InstanceId>(instance)); }

  uint64_t start_inline(uint32_t id, uint32_t index, const std::string& path) {
    auto engine = find_engine(id);
    EngineOptions options = engine->options();
    size_t slash = path.rfind('/');
    if (!path.empty() && slash != std::string::npos) {
      options.directory = path.substr(0, slash);
      options.entry = path.substr(slash + 1);
      engine->set_options(options);
    }
    auto control = make_instance(id, index, true);
    start_inline_host(control);
    return control->shared().id;
  }

  void stop_instance(uint64_t instance, double timeout_s, const std::string& reason) {
    if (reason != "drain" && reason != "replaced") {
      throw std::invalid_argument("reason is \"" + reason + "\"; use drain or replaced");
    }
    auto event = reason == "drain" ? session::Event::kDrainDeadline : session::Event::kReplaced;
    if (auto control = try_instance(instance)) control->stop(timeout_s, event);
  }

  void kill_instance(uint64_t instance, const std::string& reason) {
    auto control = try_instance(instance);
    if (!control) return;
    Ending ending{ErrorCode::ENGINE_DIED, 0, reason};
    if (reason == "memory_limit") {
      ending.error = ErrorCode::MEMORY_LIMIT;
      ending.message = error_row(ErrorCode::MEMORY_LIMIT).text;
    } else if (reason == "hung") {
      ending.error = ErrorCode::CALL_HUNG;
      ending.reason = LOADER_REASON_CALL_HUNG;
    }
    control->end(ending);
  }

  void update_instance(uint64_t instance, const std::string& config_json) {
    find_instance(instance)->update(config_json);
  }

  void open_instance(uint64_t instance) {
    if (auto control = try_instance(instance)) control->open();
  }

  void load_resource(uint64_t instance, uint64_t call, uint32_t id, const Resource& resource) {
    const auto control = find_instance(instance);
    frame::FrameView view;
    const auto* data = reinterpret_cast<const uint8_t*>(resource.data.data());
    view.add_item(resource.key, {data, resource.data.size()});
    for (const auto& [key, value] : resource.attributes) view.add_attribute(key, value);
    std::string encoded;
    frame::append_frame(view, encoded);
    control->load_resource(call, id, std::move(encoded));
  }

  void unload_resource(uint64_t instance, uint64_t call, uint32_t id) {
    find_instance(instance)->unload_resource(call, id);
  }

  // ---- control

  Plane& plane() { return plane_; }

  void answer_admin(uint64_t call, std::string payload) {
    ShardContext& shard = *plane_.shards.at(AdminDesk::shard_of(call));
    shard.post(
        [&shard, call, payload = std::move(payload)] { shard.admin().answer(call, payload); });
  }
  void refuse_admin(uint64_t call, const ErrorReport& error) {
    ShardContext& shard = *plane_.shards.at(AdminDesk::shard_of(call));
    shard.post([&shard, call, error] { shard.admin().finish(call, error); });
  }

  void drain(double timeout_s, bool stay) {
    plane_.health.set("", grpc::Serving::kNotServing);
    const auto everyone = static_cast<uint32_t>(plane_.shards.size());
    {
      std::lock_guard lock(mutex_);
      draining_.insert(everyone);  // until every shard has begun
      plane_.is_draining = true;
    }
    plane_.note_health();
    auto wait_ns = static_cast<int64_t>(std::clamp(timeout_s, 0.0, 1e6) * 1e9);
    int64_t deadline = EventLoop::clock_ns() + wait_ns;
    for (auto& shard : plane_.shards) {
      // Waited for: who was told of the drain meets no shard that still takes work.
      shard->call([this, one = shard.get(), deadline, stay] {
        await_drain(one->index());
        stay ? one->refuse_sessions(deadline) : one->drain(deadline);
      });
    }
    note_drained(everyone);
  }

  void undrain() {
    plane_.is_draining = false;
    for (auto& shard : plane_.shards) shard->call([&] { shard->undrain(); });
    std::lock_guard lock(mutex_);
    draining_.clear();
    plane_.note_health();
  }

  void close_now() {
    for (auto& shard : plane_.shards) {
      shard->call([one = shard.get()] {
        one->core().set_now(one->loop().now_ns());
        one->core().close_all(session::Event::kDrainDeadline);
        one->server().close_now();
      });
    }
  }

  Statistics statistics() {
    Statistics out;
    out.counters.emplace_back("shards", plane_.shards.size());
    out.counters.emplace_back("events_dropped", plane_.events.dropped());
    {
      std::lock_guard lock(mutex_);
      for (const auto& [id, control] : instances_) {
        out.instances.push_back(instance_row(control->shared()));
      }
      for (const auto& [id, engine] : engines_) out.engines.push_back(engine_row(*engine));
    }
    sums_.add_to(out, plane_.shards);
    retired_.add_to(out);
    return out;
  }

  std::vector<SessionInfo> sessions(const std::string& engine) const {
    std::vector<SessionInfo> out;
    auto read = [engine](ShardContext& shard) { return read_sessions(shard, engine); };
    for (auto& some : ask_shards(plane_.shards, read)) {
      if (some) out.insert(out.end(), some->begin(), some->end());
    }
    std::sort(out.begin(), out.end(), [](const SessionInfo& a, const SessionInfo& b) {
      return a.duration_s > b.duration_s;
    });
    return out;
  }

  bool kill_session(const std::string& session_id, const std::string& message) {
    session::SessionId id = plane_.parse_session_id(session_id);
    if (id == 0 || session::shard_of(id) >= plane_.shards.size()) return false;
    ShardContext& shard = *plane_.shards[session::shard_of(id)];
    bool is_found = false;
    shard.call([&] {
      shard.core().set_now(shard.loop().now_ns());
      is_found = shard.core().kick(id, message);
    });
    return is_found;
  }

 private:
  void listen_to(ShardContext& shard) {
    shard.on_hung = [this](session::InstanceId instance, session::SessionId session) {
      if (auto control = try_instance(instance)) control->on_hung(session);
    };
    shard.on_kill = [this](session::InstanceId instance) {
      if (auto control = try_instance(instance)) {
        control->end({ErrorCode::CALL_HUNG, LOADER_REASON_CALL_HUNG,
                      "a call into the engine hung and its host was stopped"});
      }
    };
    shard.on_drained_fully = [this](uint32_t index) { note_drained(index); };
  }

  void await_drain(uint32_t shard) {
    std::lock_guard lock(mutex_);
    draining_.insert(shard);
  }

  void note_drained(uint32_t shard) {
    std::lock_guard lock(mutex_);
    if (draining_.erase(shard) > 0 && draining_.empty()) plane_.events.push(Event("drained"));
  }

  static InstanceStatistics instance_row(const InstanceShared& shared) {
    static constexpr const char* kStates[] = {"starting", "starting", "ready", "draining",
                                              "stopped"};
    InstanceStatistics row;
    row.instance = shared.id;
    row.engine_id = shared.engine->id;
    row.engine = shared.engine->name;
    row.version = shared.engine->version;
    row.state = kStates[static_cast<size_t>(shared.state.load())];
    row.index = shared.index;
    row.pid = shared.pid;
    row.slots = shared.engine->options().slots;
    row.slots_used = shared.engine->pool->used(shared.id);
    return row;
  }

  void forget(session::InstanceId id) {
    std::shared_ptr<InstanceControl> last;
    std::lock_guard lock(mutex_);
    auto found = instances_.find(id);
    if (found == instances_.end()) return;
    found->second->shared().engine->instances--;
    last = std::move(found->second);
    instances_.erase(found);
    gone_.notify_all();
  }

  // Health speaks of names: of those that are routed.
  void note_routes(const Changes& changes) {
    std::lock_guard lock(mutex_);
    for (const auto& [name, targets] : changes.routes) {
      Plane::Engines routed;
      for (auto& [id, engine] : engines_) {
        if (engine->name != name) continue;
        engine->is_routed = std::any_of(targets.begin(), targets.end(),
                                        [id = id](const auto& one) { return one.engine == id; });
        if (engine->is_routed) routed.push_back(engine);
      }
      plane_.set_routed(name, std::move(routed));
    }
  }

  std::shared_ptr<EngineShared> find_engine(uint32_t id) const {
    std::lock_guard lock(mutex_);
    auto found = engines_.find(id);
    if (found != engines_.end()) return found->second;
    throw std::invalid_argument("no engine " + std::to_string(id) + "; add_engine comes first");
  }

  std::shared_ptr<InstanceControl> try_instance(uint64_t id) const {
    std::lock_guard lock(mutex_);
    auto found = instances_.find(static_cast<session::InstanceId>(id));
    return found == instances_.end() ? nullptr : found->second;
  }

  std::shared_ptr<InstanceControl> find_instance(uint64_t id) const {
    if (auto control = try_instance(id)) return control;
    throw std::invalid_argument("no instance " + std::to_string(id) + ", or it has ended");
  }

  mutable std::mutex mutex_;
  std::condition_variable gone_;
  std::map<session::EngineId, std::shared_ptr<EngineShared>> engines_;
  // Links on the shards refer to these: they go after the shards.
  std::map<session::InstanceId, std::shared_ptr<InstanceControl>> instances_;
  session::EngineId last_engine_ = 0;
  session::InstanceId last_instance_ = 0;
  std::set<uint32_t> draining_;  // shards that have not ended the last drain asked for
  bool is_running_ = false;
  ShardSums sums_;
  RetiredSums retired_;
  Plane plane_;
};

Server::Server(ServerOptions options) : impl_(std::make_unique<ServerImpl>(std::move(options))) {}
Server::~Server() = default;

void Server::start() {
  impl_->start();
}
void Server::stop() {
  impl_->stop();
}
std::string Server::listen(const std::string& address, const std::string& tag,
                           std::shared_ptr<const grpc::TlsContext> tls) {
  return impl_->listen(address, tag, std::move(tls));
}
void Server::set_tls(const std::shared_ptr<const grpc::TlsContext>& tls) {
  impl_->set_tls(tls);
}
void Server::set_aiges(const AigesOptions& options) {
  impl_->set_aiges(options);
}
uint32_t Server::add_engine(const std::string& name, const std::string& version,
                            EngineOptions options) {
  return impl_->add_engine(name, version, std::move(options));
}
void Server::remove_engine(uint32_t engine) {
  impl_->remove_engine(engine);
}
EngineOptions Server::engine_options(uint32_t engine) const {
  return impl_->engine_options(engine);
}
void Server::apply(Changes changes) {
  impl_->apply(std::move(changes));
}
InstanceSeed Server::prepare_instance(uint32_t engine, uint32_t index) {
  return impl_->prepare_instance(engine, index);
}
void Server::attach_instance(uint64_t instance, int pid) {
  impl_->attach_instance(instance, pid);
}
void Server::abandon_instance(uint64_t instance) {
  impl_->abandon_instance(instance);
}
uint64_t Server::start_inline(uint32_t engine, uint32_t index, const std::string& path) {
  return impl_->start_inline(engine, index, path);
}
void Server::stop_instance(uint64_t instance, double timeout_s, const std::string& reason) {
  impl_->stop_instance(instance, timeout_s, reason);
}
void Server::kill_instance(uint64_t instance, const std::string& reason) {
  impl_->kill_instance(instance, reason);
}
void Server::update_instance(uint64_t instance, const std::string& config_json) {
  impl_->update_instance(instance, config_json);
}
void Server::open_instance(uint64_t instance) {
  impl_->open_instance(instance);
}
void Server::load_resource(uint64_t instance, uint64_t call, uint32_t id,
                           const Resource& resource) {
  impl_->load_resource(instance, call, id, resource);
}
void Server::unload_resource(uint64_t instance, uint64_t call, uint32_t id) {
  impl_->unload_resource(instance, call, id);
}
int Server::event_fd() const {
  return impl_->plane().events.fd();
}
std::vector<Event> Server::take_events() {
  return impl_->plane().events.take();
}
void Server::answer_admin(uint64_t call, std::string payload) {
  impl_->answer_admin(call, std::move(payload));
}
void Server::refuse_admin(uint64_t call, const ErrorReport& error) {
  impl_->refuse_admin(call, error);
}
void Server::set_serving(const std::string& name, bool is_serving) {
  impl_->plane().health.set(name,
                            is_serving ? grpc::Serving::kServing : grpc::Serving::kNotServing);
}
void Server::drain(double timeout_s, bool stay) {
  impl_->drain(timeout_s, stay);
}
void Server::undrain() {
  impl_->undrain();
}
void Server::close_now() {
  impl_->close_now();
}
Statistics Server::statistics() const {
  return impl_->statistics();
}
std::vector<SessionInfo> Server::sessions(const std::string& engine) const {
  return impl_->sessions(engine);
}
bool Server::kill_session(const std::string& session_id, const std::string& message) {
  return impl_->kill_session(session_id, message);
}

}  // namespace loader::server
