#include "server/shard_context.h"

#include <algorithm>

#include "loader/wrapper.h"
#include "server/admission.h"
#include "server/aiges_call.h"
#include "server/aiges_desk.h"
#include "server/routes.h"

namespace loader::server {

session::EngineOptions to_session_options(const EngineOptions& options) {
  constexpr int64_t kMillisecond = 1'000'000;
  session::EngineOptions out;
  out.admission_wait_ns = options.admission_wait_ms * kMillisecond;
  out.call_timeout_ns = options.call_timeout_ms * kMillisecond;
  out.create_timeout_ns = options.create_timeout_ms * kMillisecond;
  out.destroy_timeout_ns = options.destroy_timeout_ms * kMillisecond;
  out.hang_grace_ns = options.hang_grace_ms * kMillisecond;
  out.idle_timeout_ns = options.idle_timeout_ms * kMillisecond;
  out.window_bytes = options.session_window_bytes;
  out.window_records = options.session_window_records;
  out.queue_bytes = options.session_window_bytes;
  return out;
}

ShardContext::ShardContext(uint32_t index, Plane& plane)
    : index_(index),
      plane_(plane),
      core_(index, *this),
      timer_([this] { core_.advance(loop_.now_ns()); }),
      drain_timer_([this] { drain_server_if_due(); }),
      admin_(index, loop_, plane),
      routes_(loop_),
      before_([this] { before_grpc(); }),
      after_([this] { after_grpc(); }) {
  admission_ = std::make_unique<Admission>(*this);
  aiges_ = std::make_unique<AigesDesk>(*this, std::clamp<uint32_t>(plane.options.shards, 1, 255));
  aiges_hops_ = std::make_unique<AigesHops>(*this);
  loop_.set_busy_poll_us(plane.options.busy_poll_us);
  loop_.add_hook(&before_);
  grpc::Hooks hooks;
  hooks.authorize = [this](const grpc::Call& call) {
    ErrorReport forbidden = plane_.authorizer->allow(call.peer(), call.metadata(), call.path(), {});
    if (forbidden.is_set()) count_refusal(forbidden.code);
    return to_status(forbidden);
  };
  hooks.details_of = details_of;
  hooks.log = [this](const std::string& line) {
    plane_.events.push_lossy(
        Event("log").add("level", int64_t{30}).add("engine", std::string()).add("text", line));
  };
  server_ = std::make_unique<grpc::Server>(loop_, make_router(*this), plane.options.grpc,
                                           std::move(hooks));
  loop_.add_hook(&after_);
}

ShardContext::~ShardContext() {
  stop();
  // Handlers let go of their sessions while the core still stands.
  server_.reset();
  for (auto& [id, link] : links_) link->close(LOADER_REASON_LOADER_GONE);
  loop_.remove_hook(&before_);
  loop_.remove_hook(&after_);
}

void ShardContext::start() {
  is_running_ = true;
  thread_ = std::thread([this] { loop_.run(); });
}

void ShardContext::stop() {
  if (!is_running_) return;
  call([this] { server_->close_now(); });
  loop_.stop();
  thread_.join();
  is_running_ = false;
}

void ShardContext::call(const std::function<void()>& work) {
  if (!is_running_ || loop_.is_loop_thread()) return work();
  std::promise<void> done;
  loop_.post([&] {
    try {
      work();
      done.set_value();
    } catch (...) {
      done.set_exception(std::current_exception());
    }
  });
  done.get_future().get();
}

// ---- rounds

void ShardContext::post_grant(const session::Grant& grant) {
  if (loop_.is_loop_thread()) {
    grants_.push_back(grant);
    return;
  }
  loop_.post([this, grant] {
    core_.set_now(loop_.now_ns());
    core_.on_slot_granted(grant);
  });
}

void ShardContext::run_grants() {
  while (!grants_.empty()) {
    granting_.swap(grants_);
    for (const session::Grant& grant : granting_) core_.on_slot_granted(grant);
    granting_.clear();
  }
}

void ShardContext::flush_links() {
  flushing_.swap(dirty_);
  for (session::InstanceId instance : flushing_) {
    if (InstanceLink* link = find_link(instance)) link->flush();
  }
  flushing_.clear();
}

void ShardContext::before_grpc() {
  core_.set_now(loop_.now_ns());
  run_grants();
  aiges_->flush();
  flush_links();
  if (aiges_->is_flush_due()) aiges_->flush();
  arm_timer();
}

// What the gRPC server's own end of round brought about: calls that became writable, payloads let
// go.
void ShardContext::after_grpc() {
  flush_links();
  if (!grants_.empty() || !dirty_.empty() || aiges_->is_flush_due()) loop_.post([] {});
  arm_timer();
}

void ShardContext::arm_timer() {
  int64_t next = core_.next_deadline_ns();
  if (next == session::kNever) {
    timer_.cancel();
  } else if (!timer_.is_set() || timer_.deadline_ns() != next) {
    timer_.set(loop_, next);
  }
}

// ---- engines

void ShardContext::add_engine(std::shared_ptr<EngineShared> engine, const EngineOptions& options,
                              const EngineFacts& facts) {
  auto entry = std::make_unique<EngineEntry>();
  entry->shared = std::move(engine);
  entry->options = options;
  entry->facts = facts;
  core_.add_engine(entry->shared->id, entry->shared->pool, to_session_options(options));
  engines_.push_back(std::move(entry));
}

void ShardContext::update_engine(session::EngineId id, const EngineOptions& options) {
  EngineEntry* entry = find_engine(id);
  if (entry == nullptr) return;
  entry->options = options;
  core_.update_engine(id, to_session_options(options));
}

void ShardContext::set_facts(session::EngineId id, const EngineFacts& facts) {
  if (EngineEntry* entry = find_engine(id)) entry->facts = facts;
}

void ShardContext::remove_engine(session::EngineId id) {
  EngineEntry* entry = find_engine(id);
  if (entry == nullptr) return;
  std::erase_if(engines_, [&](const auto& one) { return one.get() == entry; });
  core_.remove_engine(id);
}

void ShardContext::apply(const Changes& changes) {
  core_.set_now(loop_.now_ns());
  for (const auto& [id, options] : changes.options) update_engine(id, options);
  for (const auto& [name, targets] : changes.routes) routes_.set(name, targets);
  for (const auto& [name, wait_ms] : changes.hold) routes_.hold(name, wait_ms * 1'000'000);
  routes_.release();
}

EngineEntry* ShardContext::find_engine(session::EngineId id) {
  for (const auto& entry : engines_) {
    if (entry->shared->id == id) return entry.get();
  }
  return nullptr;
}

// ---- links

InstanceLink& ShardContext::add_link(std::shared_ptr<InstanceLink> link) {
  session::InstanceId instance = link->instance();
  return *links_.insert_or_assign(instance, std::move(link)).first->second;
}

InstanceLink* ShardContext::find_link(session::InstanceId instance) {
  auto found = links_.find(instance);
  return found == links_.end() ? nullptr : found->second.get();
}

void ShardContext::drop_link(session::InstanceId instance) {
  links_.erase(instance);
}

// ---- from the core

void ShardContext::on_instance_hung(session::InstanceId instance, session::SessionId session) {
  if (on_hung) on_hung(instance, session);
}

void ShardContext::on_kill_instance(session::InstanceId instance) {
  if (on_kill) on_kill(instance);
}

void ShardContext::drain(int64_t deadline_ns) {
  core_.set_now(loop_.now_ns());
  is_server_drained_ = false;
  core_.drain(deadline_ns);
  drain_deadline_ns_ = deadline_ns;
  drain_timer_.set(loop_, deadline_ns);
  drain_server_if_due();
}

// A session of an AIGES client is a call now and then: without connections it could not end.
void ShardContext::drain_server_if_due() {
  const bool is_deadline = drain_deadline_ns_ <= loop_.now_ns();
  if (drain_deadline_ns_ == session::kNever || (plane_.aiges_sessions > 0 && !is_deadline)) return;
  drain_timer_.cancel();
  // Calls that the core closes at the deadline still get their final message out.
  constexpr int64_t kGraceNs = 1'000'000'000;
  server_->drain(std::exchange(drain_deadline_ns_, session::kNever) + kGraceNs, [this] {
    is_server_drained_ = true;
    note_drained();
  });
}

void ShardContext::refuse_sessions(int64_t deadline_ns) {
  core_.set_now(loop_.now_ns());
  is_server_drained_ = true;
  core_.drain(deadline_ns);
}

void ShardContext::undrain() {
  is_server_drained_ = is_core_drained_ = false;
  drain_deadline_ns_ = session::kNever;
  core_.undrain();
}

void ShardContext::on_drained() {
  is_core_drained_ = true;
  note_drained();
}

void ShardContext::note_drained() {
  if (is_core_drained_ && is_server_drained_ && on_drained_fully) on_drained_fully(index_);
}

}  // namespace loader::server
