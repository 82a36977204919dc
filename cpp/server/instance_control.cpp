#include "server/instance_control.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "loader/wrapper.h"
#include "server/host_link.h"
#include "server/inline_engine.h"
#include "server/inline_link.h"

namespace loader::server {
namespace {

constexpr int64_t kMillisecond = 1'000'000;
constexpr int64_t kStopPollNs = 5 * kMillisecond;
constexpr int64_t kClosingGraceNs = 2'000 * kMillisecond;
constexpr int64_t kExitReportNs = 1'000 * kMillisecond;
constexpr int64_t kLeavingNs = 2'000 * kMillisecond;

int open_pidfd(int pid) {
  return static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
}

}  // namespace

// One shard's view of the instance: what concerns the instance goes to its control, on shard 0
// where the clocks live.
class InstanceControl::Seat : public LinkOwner {
 public:
  Seat(InstanceControl& control, ShardContext& shard) : control_(control), shard_(shard) {}
  ShardContext& shard() { return shard_; }

  void on_link_hello(InstanceLink&, const channel::Hello& hello) override {
    control_.on_hello(hello, shard_.index());
  }
  void on_link_ready(InstanceLink&, const channel::ReadyBody& ready) override {
    if (is_first()) control_.on_ready(ready);
  }
  void on_link_completion(InstanceLink&, uint64_t call,
                          const channel::CompletionBody& completion) override {
    if (is_first()) control_.on_completion(call, completion);
  }
  void on_link_pong(InstanceLink&, uint64_t nonce) override {
    if (is_first()) control_.on_pong(nonce);
  }
  void on_link_log(InstanceLink&, uint64_t handle, const channel::LogBody& log) override {
    if (!control_.log_limit_.take(log.text.size(), EventLoop::clock_ns())) return;
    push(Event("log")
             .add("level", int64_t{log.level})
             .add("text", std::string(log.text))
             .add("session", name_of(handle)));
  }
  void on_link_meter(InstanceLink&, uint64_t handle, const channel::MeterBody& meter) override {
    push(Event("meter")
             .add("unit", std::string(meter.unit))
             .add("amount", meter.amount)
             .add("session", name_of(handle)));
  }
  void on_link_trace(InstanceLink&, uint64_t handle, const channel::TraceBody& trace) override {
    push(Event("trace")
             .add("key", std::string(trace.key))
             .add("value", std::string(trace.value))
             .add("session", name_of(handle)));
  }
  void on_link_lost(InstanceLink&, bool is_corrupt, const std::string& why) override {
    if (!is_corrupt && control_.is_leaving_) return control_.await_exit();
    Ending ending;
    ending.error = is_corrupt ? ErrorCode::CHANNEL_CORRUPT : ErrorCode::ENGINE_DIED;
    ending.message = is_corrupt ? "the engine's host sent " + why + "; it was stopped" : why;
    control_.end(ending);
  }
  void on_link_dirty(InstanceLink& link) override { shard_.mark_dirty(link); }
  std::string session_id(session::SessionId id) const override {
    return control_.plane_.session_id(id);
  }

 private:
  bool is_first() const { return shard_.index() == 0; }
  std::string name_of(uint64_t handle) const {
    return handle == 0 ? std::string() : control_.plane_.session_id(handle);
  }
  void push(Event event) {
    const InstanceShared& shared = *control_.shared_;
    event.add("engine", shared.engine->name).add("version", shared.engine->version);
    event.add("instance", static_cast<int64_t>(shared.id));
    control_.plane_.events.push_lossy(std::move(event));
  }

  InstanceControl& control_;
  ShardContext& shard_;
};

InstanceControl::InstanceControl(Plane& plane, std::shared_ptr<InstanceShared> shared,
                                 std::function<void(session::InstanceId)> on_gone)
    : plane_(plane), shared_(std::move(shared)), on_gone_(std::move(on_gone)) {
  for (auto& shard : plane_.shards) seats_.push_back(std::make_unique<Seat>(*this, *shard));
  shards_left_ = static_cast<uint32_t>(seats_.size());
}

InstanceControl::~InstanceControl() {
  abandon();
}

void InstanceControl::abandon() {
  std::lock_guard lock(attach_mutex_);
  if (engine_) engine_->abandon();
}

EventLoop& InstanceControl::loop() {
  return plane_.shards[0]->loop();
}

InstanceLink* InstanceControl::first_link() {
  return plane_.shards[0]->find_link(shared_->id);
}

void InstanceControl::prepare() {
  for (size_t i = 0; i < seats_.size(); i++) {
    auto [endpoint, descriptors] = channel::create_channel(plane_.options.arena_bytes);
    endpoints_.push_back(std::move(endpoint));
    descriptors_.push_back(std::move(descriptors));
  }
  if (!shared_->is_inline) lifeline_ = channel::create_lifeline();
}

channel::Hello InstanceControl::my_hello(uint32_t shard) const {
  channel::Hello hello;
  hello.shard = shard;
  hello.shard_count = static_cast<uint32_t>(seats_.size());
  hello.pid = static_cast<uint32_t>(getpid());
  hello.language = channel::Language::kLoader;
  hello.package_version = LOADER_VERSION;
  hello.runtime = "loader";
  return hello;
}

channel::InitBody InstanceControl::init_body(const EngineOptions& options) const {
  channel::InitBody body;
  body.engine = shared_->engine->name;
  body.version = shared_->engine->version;
  body.directory = options.directory;
  body.entry = options.entry;
  body.json = options.config_json;
  body.slots = options.slots;
  body.threads = options.threads;
  if (options.call_timeout_ms > 0) body.call_timeout_ns = options.call_timeout_ms * kMillisecond;
  return body;
}

void InstanceControl::attach(int pid) {
  shared_->pid = pid;
  shared_->state = InstanceState::kStarting;
  descriptors_.clear();
  lifeline_.host_end.reset();
  std::vector<std::shared_ptr<InstanceLink>> links;
  for (size_t i = 0; i < seats_.size(); i++) {
    ShardContext& shard = seats_[i]->shard();
    links.push_back(std::make_shared<HostLink>(shared_->id, shard.loop(), shard.core(), *seats_[i],
                                               std::move(endpoints_[i]), plane_.options));
  }
  endpoints_.clear();
  start_links(std::move(links));
}

void InstanceControl::begin_inline() {
  shared_->state = InstanceState::kStarting;
  plane_.shards[0]->post([self = shared_from_this()] {
    self->started_ns_ = self->loop().now_ns();
    self->options_ = self->shared_->engine->options();
    self->arm_init_timer();
  });
}

bool InstanceControl::attach_inline(const std::shared_ptr<InlineEngine>& engine) {
  std::lock_guard lock(attach_mutex_);
  if (shared_->is_ending) return false;
  engine_ = engine;
  engine_->on_stuck([this](uint32_t shard, int64_t elapsed_ns) { on_stuck(shard, elapsed_ns); });
  std::vector<std::shared_ptr<InstanceLink>> links;
  for (size_t i = 0; i < seats_.size(); i++) {
    ShardContext& shard = seats_[i]->shard();
    auto link = std::make_shared<InlineLink>(shared_->id, static_cast<uint32_t>(i), shard.loop(),
                                             shard.core(), *seats_[i], *engine);
    engine->add_link(link);
    links.push_back(std::move(link));
  }
  start_links(std::move(links));
  return true;
}

std::vector<channel::HostDescriptors> InstanceControl::attach_own_threads() {
  std::lock_guard lock(attach_mutex_);
  if (shared_->is_ending) return {};
  prepare();
  std::vector<channel::HostDescriptors> descriptors = std::move(descriptors_);
  attach(0);
  return descriptors;
}

// The first shard last: it sends INIT, and open_for_work() must find a link on every shard behind
// this one's post.
void InstanceControl::start_links(std::vector<std::shared_ptr<InstanceLink>> links) {
  for (size_t i = seats_.size(); i-- > 0;) {
    ShardContext& shard = seats_[i]->shard();
    shard.post([self = shared_from_this(), link = std::move(links[i]), i, &shard] {
      if (self->shared_->is_ending) return;
      shard.add_link(link).start(self->my_hello(static_cast<uint32_t>(i)));
      if (i == 0) self->start_on_first_shard();
    });
  }
}

void InstanceControl::start_on_first_shard() {
  started_ns_ = loop().now_ns();
  options_ = shared_->engine->options();
  if (!shared_->is_inline) {
    pidfd_.reset(open_pidfd(shared_->pid));
    if (!pidfd_) {
      return end({ErrorCode::ENGINE_DIED, 0, "the engine's process is gone already"});
    }
    loop().watch(pidfd_.get(), EPOLLIN, this);
  }
  first_link()->send_init(channel::RecordType::kInit, init_body(options_));
  arm_init_timer();
}

void InstanceControl::arm_init_timer() {
  if (options_.init_timeout_ms <= 0 || shared_->is_ending) return;
  init_timer_.on_fire([this] {
    end({ErrorCode::INIT_FAILED, 0,
         "init did not finish in init_timeout_ms = " + std::to_string(options_.init_timeout_ms)});
  });
  init_timer_.set(loop(), started_ns_ + options_.init_timeout_ms * kMillisecond);
}

// ---- records

void InstanceControl::on_hello(const channel::Hello& hello, uint32_t shard) {
  auto refusal = channel::refuse_hello(my_hello(shard), hello);
  if (refusal) end({ErrorCode::BAD_WRAPPER, 0, *refusal});
}

void InstanceControl::on_ready(const channel::ReadyBody& ready) {
  if (was_ready_) return;  // said again: other shards read the facts
  facts_.declaration_json = std::string(ready.describe_json);
  facts_.wrapper_name = std::string(ready.name);
  facts_.wrapper_version = std::string(ready.version);
  facts_.has_exec = (ready.flags & channel::kHasExec) != 0;
  facts_.has_sessions = (ready.flags & channel::kHasSessions) != 0;
  facts_.has_update = (ready.flags & channel::kHasUpdate) != 0;
  facts_.has_health = (ready.flags & channel::kHasHealth) != 0;
  facts_.has_resources = (ready.flags & channel::kHasResources) != 0;
  try {
    facts_.schema = Schema::parse(facts_.declaration_json);
  } catch (const std::invalid_argument& error) {
    end({ErrorCode::BAD_WRAPPER, 0, error.what()});
  }
}

void InstanceControl::on_completion(uint64_t call, const channel::CompletionBody& completion) {
  std::string message(completion.message);
  if (completion.operation == channel::Operation::kUpdate) {
    bool is_good = completion.status == LOADER_OK;
    return push(is_good ? "instance_updated" : "instance_update_failed", message,
                is_good ? ErrorCode::kNone : ErrorCode::BAD_CONFIG);
  }
  if (completion.operation == channel::Operation::kHealth) return on_health(completion);
  if (completion.operation == channel::Operation::kLoadResource ||
      completion.operation == channel::Operation::kUnloadResource) {
    return tell_resource(call, completion);
  }
  if (was_ready_) return;
  if (completion.status != LOADER_OK) {
    if (completion.operation == channel::Operation::kWarmUp) stage_ = "warm_up";
    auto code = completion.error_code == 0 ? ErrorCode::INIT_FAILED
                                           : static_cast<ErrorCode>(completion.error_code);
    return end({code, 0,
                message.empty() ? "init returned " + std::to_string(completion.status) : message});
  }
  if (!facts_.schema) facts_.schema = Schema::parse("");
  on_initialised();
}

// What follows is within INIT's time.
void InstanceControl::on_initialised() {
  awaits_resources_ = facts_.has_resources && options_.awaits_resources;
  if (!awaits_resources_) return begin_health();
  stage_ = "resources";
  push("instance_initialised", {});
}

void InstanceControl::open() {
  plane_.shards[0]->post([self = shared_from_this()] {
    const bool is_awaited = std::exchange(self->awaits_resources_, false);
    if (is_awaited && !self->shared_->is_ending) self->begin_health();
  });
}

void InstanceControl::begin_health() {
  if (!facts_.has_health) return open_for_work();
  stage_ = "health";
  ask_health();
}

// No session before the first good answer; a bad one later ends the taking of new work, and the
// control plane replaces the instance.
void InstanceControl::on_health(const channel::CompletionBody& completion) {
  const bool was_asked = std::exchange(is_health_asked_, false);
  const bool is_good = completion.status == LOADER_OK;
  if (!was_asked || stopping_ != Stopping::kNo || shared_->is_ending) return;
  if (is_good) {
    if (!was_ready_) open_for_work();
    return;
  }
  std::string message(completion.message);
  if (message.empty()) message = "the health check returned " + std::to_string(completion.status);
  if (!was_ready_) return end({ErrorCode::INIT_FAILED, 0, message});
  if (!is_healthy_) return;
  is_healthy_ = false;
  shared_->engine->pool->set_accepting(shared_->id, false);
  set_serving(false);
  push("instance_unhealthy", message, ErrorCode::ENGINE_UNAVAILABLE);
}

void InstanceControl::on_pong(uint64_t nonce) {
  const bool is_last = nonce == static_cast<uint64_t>(last_ping_ns_);
  unanswered_ns_ = is_last ? 0 : loop().now_ns();
}

// Any shard's thread. Whoever comes last finds the truth: end_on_shard() says it once more.
void InstanceControl::set_serving(bool is_serving) {
  if (shared_->is_serving.exchange(is_serving) == is_serving) return;
  if (is_serving) {
    shared_->engine->ready_instances++;
  } else {
    shared_->engine->ready_instances--;
  }
  plane_.note_health(shared_->engine->name);
}

// Every shard knows the port before the pool hands out the first slot.
void InstanceControl::open_for_work() {
  was_ready_ = true;
  init_timer_.cancel();
  ports_left_ = static_cast<uint32_t>(seats_.size());
  for (auto& seat : seats_) {
    ShardContext& shard = seat->shard();
    shard.post([self = shared_from_this(), facts = facts_, &shard] {
      if (self->shared_->is_ending) return;
      InstanceLink* link = shard.find_link(self->shared_->id);
      if (link == nullptr) return;
      shard.set_facts(self->shared_->engine->id, facts);
      shard.core().add_port(self->shared_->id, self->shared_->engine->id, *link);
      if (self->ports_left_.fetch_sub(1) != 1) return;
      self->plane_.shards[0]->post([self] { self->take_work(); });
    });
  }
}

// Unless it was told fini meanwhile.
void InstanceControl::take_work() {
  if (shared_->is_ending || stopping_ == Stopping::kFini) return;
  if (stopping_ == Stopping::kNo) shared_->state = InstanceState::kReady;
  set_serving(true);
  shared_->engine->pool->add_instance(shared_->id);
  push("instance_ready", {});
  ping_timer_.on_fire([this] { ping(); });
  next_ping_ns_ = loop().now_ns();
  ping();
}

// Only time in which this thread ran counts: a loader that was stopped itself has heard nobody.
bool InstanceControl::is_unanswered(int64_t now_ns) {
  const int64_t timeout = options_.host_timeout_ms * kMillisecond;
  const bool was_late = now_ns - next_ping_ns_ > timeout / 2;
  if (was_late && unanswered_ns_ != 0) unanswered_ns_ = now_ns;
  return unanswered_ns_ != 0 && now_ns - unanswered_ns_ > timeout;
}

void InstanceControl::ask_health() {
  InstanceLink* link = first_link();
  if (link == nullptr || is_health_asked_ || !facts_.has_health) return;
  is_health_asked_ = true;
  link->send_health();
}

void InstanceControl::ping() {
  InstanceLink* link = first_link();
  int64_t timeout = options_.host_timeout_ms * kMillisecond;
  if (link == nullptr || timeout <= 0) return;
  tidy_arenas();
  report_dropped_log();
  int64_t now = loop().now_ns();
  if (is_unanswered(now) && !is_hung_ && !shared_->is_inline) {
    is_hung_ = true;
    push("host_hung", "no answer to pings for " + std::to_string(options_.host_timeout_ms) + " ms",
         ErrorCode::CALL_HUNG);
    for (auto& seat : seats_) {
      ShardContext& shard = seat->shard();
      shard.post([self = shared_from_this(), &shard] {
        shard.core().set_now(shard.loop().now_ns());
        shard.core().on_instance_hung(self->shared_->id);
      });
    }
    return;
  }
  last_ping_ns_ = now;
  if (unanswered_ns_ == 0) unanswered_ns_ = now;
  link->send_ping(static_cast<uint64_t>(now));
  if (stopping_ == Stopping::kNo) ask_health();
  next_ping_ns_ = now + std::clamp(timeout / 4, 100 * kMillisecond, 2'500 * kMillisecond);
  ping_timer_.set(loop(), next_ping_ns_);
}

void InstanceControl::report_dropped_log() {
  const uint64_t bytes = log_limit_.take_dropped();
  if (bytes == 0) return;
  plane_.events.push(Event("log_dropped")
                         .add("instance", static_cast<int64_t>(shared_->id))
                         .add("engine_id", static_cast<int64_t>(shared_->engine->id))
                         .add("index", static_cast<int64_t>(shared_->index))
                         .add("dropped_bytes", static_cast<int64_t>(bytes)));
}

void InstanceControl::tidy_arenas() {
  for (auto& seat : seats_) {
    ShardContext& shard = seat->shard();
    auto tidy = [self = shared_from_this(), &shard] {
      if (InstanceLink* link = shard.find_link(self->shared_->id)) link->tidy_arena();
    };
    if (shard.index() == 0) {
      tidy();
    } else {
      shard.post(tidy);
    }
  }
}

void InstanceControl::on_hung(session::SessionId session) {
  shared_->engine->pool->set_accepting(shared_->id, false);
  push("host_hung", "a call of session " + plane_.session_id(session) + " hangs",
       ErrorCode::CALL_HUNG);
}

void InstanceControl::update(const std::string& config_json) {
  plane_.shards[0]->post([self = shared_from_this(), config_json] {
    InstanceLink* link = self->first_link();
    if (link == nullptr) return;
    self->options_ = self->shared_->engine->options();
    self->options_.config_json = config_json;
    link->send_init(channel::RecordType::kUpdate, self->init_body(self->options_));
  });
}

void InstanceControl::load_resource(uint64_t call, uint32_t id, std::string frame) {
  plane_.shards[0]->post([self = shared_from_this(), call, id, frame = std::move(frame)] {
    InstanceLink* link = self->first_link();
    if (link == nullptr) return;  // the event of its end says the rest
    const auto* bytes = reinterpret_cast<const uint8_t*>(frame.data());
    link->send_load_resource(call, id, {bytes, frame.size()});
  });
}

void InstanceControl::unload_resource(uint64_t call, uint32_t id) {
  plane_.shards[0]->post([self = shared_from_this(), call, id] {
    if (InstanceLink* link = self->first_link()) link->send_unload_resource(call, id);
  });
}

void InstanceControl::tell_resource(uint64_t call, const channel::CompletionBody& completion) {
  const auto error = static_cast<ErrorCode>(completion.error_code);
  Event event("instance_resource");
  event.add("instance", static_cast<int64_t>(shared_->id))
      .add("call", static_cast<int64_t>(call))
      .add("status", static_cast<int64_t>(completion.status))
      .add("message", std::string(completion.message))
      .add("code", static_cast<int64_t>(error));
  plane_.events.push(std::move(event));
}

// On the engine's thread. Nothing on that shard can be told, but the others and the operator can.
void InstanceControl::on_stuck(uint32_t shard, int64_t elapsed_ns) {
  shared_->engine->pool->set_accepting(shared_->id, false);
  push("host_hung",
       "a call into this inline engine has held shard " + std::to_string(shard) +
           " of the data plane for " + std::to_string(elapsed_ns / kMillisecond) +
           " ms; it declares non_blocking but blocks: set isolation: process",
       ErrorCode::CALL_HUNG);
}

// ---- stop

void InstanceControl::stop(double timeout_s, session::Event event) {
  plane_.shards[0]->post([self = shared_from_this(), timeout_s, event] {
    if (self->shared_->is_ending || self->stopping_ != Stopping::kNo) return;
    self->stopping_ = Stopping::kWaiting;
    self->stop_event_ = event;
    self->shared_->state = InstanceState::kStopping;
    self->stop_deadline_ns_ =
        self->loop().now_ns() + static_cast<int64_t>(std::min(timeout_s, 1e6) * 1e9);
    self->stop_timer_.on_fire([control = self.get()] { control->continue_stop(); });
    self->continue_stop();
  });
}

void InstanceControl::close_sessions() {
  for (auto& seat : seats_) {
    ShardContext& shard = seat->shard();
    shard.post([self = shared_from_this(), &shard] {
      shard.core().set_now(shard.loop().now_ns());
      shard.core().close_instance(self->shared_->id, self->stop_event_);
    });
  }
}

void InstanceControl::continue_stop() {
  int64_t now = loop().now_ns();
  session::SlotPool& pool = *shared_->engine->pool;
  // Those that were in the queue before the route went elsewhere still get their slots here.
  bool is_awaited = stopping_ == Stopping::kWaiting && now < stop_deadline_ns_ &&
                    stop_event_ == session::Event::kReplaced && pool.state().waiting > 0;
  if (!is_awaited) pool.set_accepting(shared_->id, false);
  bool is_idle = !is_awaited && pool.used(shared_->id) == 0;
  if (stopping_ == Stopping::kFini) {
    return end({ErrorCode::ENGINE_DIED, LOADER_REASON_REPLACED, "stopped; fini took too long"});
  }
  if (is_idle || (stopping_ == Stopping::kClosing && now >= stop_deadline_ns_)) {
    stopping_ = Stopping::kFini;
    InstanceLink* link = first_link();
    if (link == nullptr) {
      return end({ErrorCode::ENGINE_DIED, LOADER_REASON_REPLACED, "stopped while it was loaded"});
    }
    is_leaving_ = !shared_->is_inline;
    link->send_fini(LOADER_REASON_REPLACED);
    stop_timer_.set(loop(), now + options_.destroy_timeout_ms * kMillisecond + kClosingGraceNs);
    return;
  }
  if (stopping_ == Stopping::kWaiting && now >= stop_deadline_ns_) {
    stopping_ = Stopping::kClosing;
    stop_deadline_ns_ = now + kClosingGraceNs;
    close_sessions();
  }
  stop_timer_.set(loop(), now + kStopPollNs);
}

// A host that was told fini closes its channel and then exits: killed in between, it would look
// like a crash. One that stays is killed all the same.
void InstanceControl::await_exit() {
  plane_.shards[0]->post([self = shared_from_this()] {
    if (self->shared_->is_ending) return;
    int64_t latest = self->loop().now_ns() + kLeavingNs;
    self->stop_timer_.set(self->loop(), std::min(latest, self->stop_timer_.deadline_ns()));
  });
}

// ---- the end

void InstanceControl::on_events(uint32_t) {
  note_exit_status();
  loop().unwatch(pidfd_.get(), this);
  pidfd_.reset();
  // A process that forked keeps the channel open; one that did not has sent its last records.
  std::string how = exit_signal_ != 0 ? "was killed by signal " + std::to_string(exit_signal_)
                                      : "exited with code " + std::to_string(exit_code_);
  // A refusal of init that lies in the channel says more than the exit that followed it.
  if (InstanceLink* link = was_ready_ || shared_->is_ending ? nullptr : first_link()) link->drain();
  if (shared_->is_ending) return report_end();
  end({ErrorCode::ENGINE_DIED, 0, "the engine's process " + how});
  report_end();
}

void InstanceControl::note_exit_status() {
  siginfo_t info{};
  if (waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd_.get()), &info,
             WEXITED | WNOHANG | WNOWAIT) != 0) {
    return;
  }
  if (info.si_code == CLD_EXITED) exit_code_ = info.si_status;
  if (info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED) exit_signal_ = info.si_status;
}

void InstanceControl::kill_group() {
  int pid = shared_->pid;
  if (pid <= 1) return;
  if (kill(-pid, SIGKILL) != 0 && errno == ESRCH) kill(pid, SIGKILL);
}

void InstanceControl::end(const Ending& ending) {
  {
    std::lock_guard lock(attach_mutex_);
    if (shared_->is_ending.exchange(true)) return;
  }
  kill_group();
  shared_->state = InstanceState::kDead;
  shared_->engine->pool->retire_instance(shared_->id);
  set_serving(false);
  for (auto& seat : seats_) {
    ShardContext& shard = seat->shard();
    // Posted even on its own thread: the link that noticed is still on the stack.
    shard.post([self = shared_from_this(), ending, &shard] { self->end_on_shard(shard, ending); });
  }
}

void InstanceControl::end_on_shard(ShardContext& shard, const Ending& ending) {
  if (shard.index() == 0) {
    ending_ = ending;
    clear_clocks();
  }
  shard.core().set_now(shard.loop().now_ns());
  if (InstanceLink* link = shard.find_link(shared_->id)) {
    if (ending.error == ErrorCode::ENGINE_DIED) link->drain();
    const uint32_t host_died = LOADER_REASON_HOST_DIED;
    link->close(static_cast<int32_t>(ending.reason != 0 ? ending.reason : host_died));
  }
  session::Cause cause;
  cause.reason = ending.reason;
  cause.error = ending.error;
  cause.message = ending.message;
  shard.core().on_host_died(shared_->id, cause);
  shard.drop_link(shared_->id);
  if (shards_left_.fetch_sub(1) != 1) return;
  // Once more, behind a take_work() that the first shard was in the middle of.
  shared_->state = InstanceState::kDead;
  shared_->engine->pool->retire_instance(shared_->id);
  set_serving(false);
  plane_.shards[0]->post([self = shared_from_this()] { self->await_fini(); });
}

// Waits a moment for the process's status, which says more than the end of its channel; and for
// the fini of an engine in this process.
void InstanceControl::await_fini() {
  int64_t patience = kExitReportNs;
  if (engine_) {
    patience = options_.destroy_timeout_ms * kMillisecond + kClosingGraceNs;
    engine_->finish([self = weak_from_this(), &shard = *plane_.shards[0]] {
      shard.post([self] {
        if (auto control = self.lock()) control->report_end();
      });
    });
  } else if (!pidfd_) {
    return report_end();
  }
  exit_timer_.on_fire([this] { report_end(); });
  exit_timer_.set(loop(), loop().now_ns() + patience);
}

void InstanceControl::clear_clocks() {
  init_timer_.cancel();
  ping_timer_.cancel();
  stop_timer_.cancel();
}

void InstanceControl::report_end() {
  if (is_reported_ || shards_left_ != 0) return;
  is_reported_ = true;
  report_dropped_log();
  auto self = shared_from_this();
  exit_timer_.cancel();
  if (pidfd_) {
    loop().unwatch(pidfd_.get(), this);
    pidfd_.reset();
  }
  const char* kind = stopping_ != Stopping::kNo ? "instance_stopped"
                     : was_ready_               ? "host_died"
                                                : "instance_failed";
  push(kind, ending_.message, ending_.error);
  on_gone_(shared_->id);
}

void InstanceControl::push(const char* kind, const std::string& message, ErrorCode error) {
  Event event(kind);
  event.add("instance", static_cast<int64_t>(shared_->id))
      .add("engine_id", static_cast<int64_t>(shared_->engine->id))
      .add("engine", shared_->engine->name)
      .add("version", shared_->engine->version)
      .add("index", static_cast<int64_t>(shared_->index))
      .add("pid", static_cast<int64_t>(shared_->pid.load()))
      .add("message", message)
      .add("code", static_cast<int64_t>(error))
      .add("name", error == ErrorCode::kNone ? std::string() : std::string(error_row(error).name));
  if (is_reported_) {
    event.add("exit_code", static_cast<int64_t>(exit_code_))
        .add("exit_signal", static_cast<int64_t>(exit_signal_));
  }
  if (std::string_view(kind) == "instance_failed") {
    event.add("stage", error == ErrorCode::BAD_WRAPPER ? "load" : stage_);
  }
  if (std::string_view(kind) == "instance_ready") {
    event.add("declaration", facts_.declaration_json)
        .add("wrapper_name", facts_.wrapper_name)
        .add("wrapper_version", facts_.wrapper_version)
        .add("has_update", facts_.has_update)
        .add("has_exec", facts_.has_exec)
        .add("has_sessions", facts_.has_sessions)
        .add("has_resources", facts_.has_resources)
        .add("slots_fixed", facts_.schema && facts_.schema->is_slots_fixed())
        .add("ready_s", static_cast<double>(EventLoop::clock_ns() - started_ns_) / 1e9);
  }
  plane_.events.push(std::move(event));
}

}  // namespace loader::server
