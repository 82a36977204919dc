#include "server/inline_engine.h"

#include <chrono>
#include <cstring>
#include <utility>

#include "host/arguments.h"
#include "host/input.h"
#include "host/resources.h"
#include "loader/errors.h"
#include "loop/event_loop.h"
#include "server/inline_link.h"
#include "session/ports.h"

namespace loader::server {
namespace {

constexpr auto kLookPeriod = std::chrono::seconds(1);

InlineEngine& engine_of(void* host) {
  return *static_cast<InlineEngine*>(host);
}

std::string_view text_of(const char* text, uint64_t size) {
  return text == nullptr ? std::string_view() : std::string_view(text, size);
}

std::string_view text_of(const char* text) {
  return text_of(text, text == nullptr ? 0 : std::strlen(text));
}

// Nothing passes the border but a status.
template <typename Call>
loader_status_t guarded(InlineLink* link, Call&& call) noexcept {
  if (link == nullptr) return LOADER_ERROR_CLOSED;
  try {
    return call(*link);
  } catch (...) {
    return LOADER_ERROR_MEMORY;
  }
}

host::Outcome failed(host::Outcome outcome, ErrorCode code) {
  outcome.error_code = static_cast<uint16_t>(code);
  return outcome;
}

}  // namespace

InlineEngine::InlineEngine(std::unique_ptr<host::NativeEngine> loaded)
    : engine_(std::move(loaded)) {
  build_table();
}

void InlineEngine::add_link(std::shared_ptr<InlineLink> link) {
  links_.push_back(std::move(link));
}

void InlineEngine::on_stuck(std::function<void(uint32_t, int64_t)> report) {
  on_stuck_ = std::move(report);
}

// ---- the engine's own thread

void InlineEngine::serve() {
  const auto self = shared_from_this();
  std::unique_lock lock(mutex_);
  while (!is_finishing_ || !jobs_.empty()) {
    if (jobs_.empty()) {
      wake_.wait_for(lock, kLookPeriod);
      report_stuck();
      continue;
    }
    const auto job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
    lock.lock();
  }
  wake_.wait(lock, [this] { return lent_buffers_ == 0; });
  lock.unlock();
  if (is_initialised_) engine_->fini();
  engine_.reset();
  links_.clear();
  lock.lock();
  // Under the lock: after abandon() there is nobody left to tell.
  if (done_) done_();
  done_ = nullptr;
}

host::Outcome InlineEngine::init(const channel::InitBody& body, channel::Operation& operation) {
  is_one_at_a_time_ = body.threads < links_.size();
  host::ErrorRoom room;
  host::Outcome outcome = room.outcome(engine_->init(table_, host::config_of(body), room.error()));
  if (outcome.status != LOADER_OK) return failed(std::move(outcome), ErrorCode::INIT_FAILED);
  host::ErrorRoom warm_room;
  outcome = warm_room.outcome(engine_->warm_up(warm_room.error()));
  if (outcome.status != LOADER_OK) {
    engine_->fini();
    operation = channel::Operation::kWarmUp;
    return failed(std::move(outcome), ErrorCode::INIT_FAILED);
  }
  is_initialised_ = true;
  takes_resources_ = (engine_->identity().flags & channel::kHasResources) != 0;
  std::lock_guard lock(mutex_);
  call_timeout_ns_ = body.call_timeout_ns;
  return outcome;
}

host::Outcome InlineEngine::update(const channel::InitBody& body) {
  host::ErrorRoom room;
  if (!is_initialised_) return {LOADER_ERROR_UNAVAILABLE, "the engine is not initialised"};
  return room.outcome(engine_->update(host::config_of(body), room.error()));
}

host::Outcome InlineEngine::check_health() {
  host::ErrorRoom room;
  if (!is_initialised_) return {LOADER_ERROR_UNAVAILABLE, "the engine is not initialised"};
  const auto turn = take_turn();
  return room.outcome(engine_->health(room.error()));
}

host::Outcome InlineEngine::load_resource(uint32_t id, const std::vector<uint8_t>& frame) {
  if (!is_initialised_) return {LOADER_ERROR_UNAVAILABLE, "the engine is not initialised"};
  if (!resources_.begin_load(id)) {
    return {LOADER_ERROR_UNAVAILABLE, "the number is being unloaded", 0};
  }
  const auto block = host::InputBlock::create(frame, {}, nullptr);
  host::Outcome outcome;
  {
    const auto turn = take_turn();
    outcome = host::give_resource(*engine_, id, *block, block->body());
  }
  if (const auto unload = resources_.end_load(id, outcome.status == LOADER_OK)) unload();
  return outcome;
}

host::Outcome InlineEngine::unload_resource(uint32_t id) {
  host::Outcome outcome;
  if (resources_.holds(id)) {
    host::ErrorRoom room;
    const auto turn = take_turn();
    outcome = room.outcome(engine_->unload_resource(id, room.error()));
  }
  resources_.remove(id);
  return outcome;
}

void InlineEngine::report_stuck() {
  if (call_timeout_ns_ == channel::kNoDeadline || !on_stuck_ || is_finishing_) return;
  const int64_t now = EventLoop::clock_ns();
  for (size_t i = 0; i < links_.size(); ++i) {
    const int64_t since = links_[i]->entered_ns();
    if (since == 0 || since == reported_ns_ || now - since < call_timeout_ns_) continue;
    reported_ns_ = since;
    on_stuck_(static_cast<uint32_t>(i), now - since);
  }
}

// ---- any thread

void InlineEngine::post(std::function<void()> job) {
  std::lock_guard lock(mutex_);
  if (is_finishing_) return;
  jobs_.push_back(std::move(job));
  wake_.notify_one();
}

void InlineEngine::finish(std::function<void()> done) {
  std::lock_guard lock(mutex_);
  done_ = std::move(done);
  is_finishing_ = true;
  wake_.notify_one();
}

void InlineEngine::abandon() {
  std::lock_guard lock(mutex_);
  done_ = nullptr;
  on_stuck_ = nullptr;
}

void InlineEngine::lend_buffer() {
  std::lock_guard lock(mutex_);
  ++lent_buffers_;
}

void InlineEngine::return_buffer() {
  std::lock_guard lock(mutex_);
  --lent_buffers_;
  wake_.notify_one();
}

// ---- the table

InlineLink* InlineEngine::link_of(loader_handle_t handle) const {
  const uint32_t shard = session::shard_of(handle);
  return shard < links_.size() ? links_[shard].get() : nullptr;
}

void InlineEngine::build_table() {
  table_.abi_major = LOADER_ABI_MAJOR;
  table_.abi_minor = LOADER_ABI_MINOR;
  table_.struct_size = sizeof table_;
  table_.host = this;
  table_.emit = [](void* host, loader_handle_t handle, loader_frame_t* frame, uint32_t flags) {
    return guarded(engine_of(host).link_of(handle),
                   [&](InlineLink& link) { return link.emit(handle, frame, flags); });
  };
  table_.alloc_result = [](void* host, loader_handle_t handle, uint64_t size, loader_buffer_t* out,
                           uint8_t** writable) {
    return guarded(engine_of(host).link_of(handle), [&](InlineLink& link) {
      return link.alloc_result(handle, size, out, writable);
    });
  };
  table_.finish = [](void* host, loader_handle_t call, loader_status_t status, const char* message,
                     uint64_t message_size) {
    return guarded(engine_of(host).link_of(call), [&](InlineLink& link) {
      return link.finish(call, status, text_of(message, message_size));
    });
  };
  table_.log = [](void* host, loader_handle_t handle, int32_t level, const char* text,
                  uint64_t size) {
    InlineLink* link = engine_of(host).link_of(handle);
    if (link != nullptr && text != nullptr) link->log(handle, level, {text, size});
  };
  table_.meter = [](void* host, loader_handle_t handle, const char* unit, double amount) {
    InlineLink* link = engine_of(host).link_of(handle);
    if (link != nullptr) link->meter(handle, text_of(unit), amount);
  };
  table_.trace = [](void* host, loader_handle_t handle, const char* key, const char* value) {
    InlineLink* link = engine_of(host).link_of(handle);
    if (link != nullptr) link->trace(handle, text_of(key), text_of(value));
  };
  table_.deadline = [](void* host, loader_handle_t handle) {
    InlineLink* link = engine_of(host).link_of(handle);
    return link == nullptr ? int64_t{0} : link->deadline(handle);
  };
  table_.is_cancelled = [](void* host, loader_handle_t handle) -> int32_t {
    InlineLink* link = engine_of(host).link_of(handle);
    return link == nullptr || link->is_cancelled(handle) ? 1 : 0;
  };
  table_.get_extension = [](void*, const char*) -> const void* { return nullptr; };
  table_.fail = [](void* host, loader_handle_t handle, loader_status_t status, const char* message,
                   uint64_t message_size) {
    return guarded(engine_of(host).link_of(handle), [&](InlineLink& link) {
      return link.fail(handle, status, text_of(message, message_size));
    });
  };
}

}  // namespace loader::server
