// What concerns the whole instance: init with warm-up, update, health.
#include <utility>

#include "host/arguments.h"
#include "host/runtime_impl.h"
#include "loader/errors.h"

namespace loader::host {

using channel::Operation;
using channel::RecordType;

namespace {

std::vector<uint8_t> copy_of(std::span<const uint8_t> bytes) {
  return {bytes.begin(), bytes.end()};
}

}  // namespace

bool HostRuntime::Impl::on_init(Link& link, const channel::RecordView& record) {
  channel::InitBody body;
  if (!decode(record.body, body)) return fault("an INIT record is malformed");
  {
    std::lock_guard lock(state_mutex_);
    if (stage_ != Stage::kLoaded) return fault("a second INIT record");
    stage_ = Stage::kInitialising;
  }
  dispatcher_.set_threads(body.threads, engine_.wants_main_thread());
  dispatcher_.set_handover_us(body.handover_us);
  submit(JobKind::kMain, [this, &link, bytes = copy_of(record.body)] { run_init(link, bytes); });
  return true;
}

void HostRuntime::Impl::run_init(Link& link, const std::vector<uint8_t>& bytes) {
  channel::InitBody body;
  static_cast<void>(decode(bytes, body));  // it was checked when it came in
  Operation operation = Operation::kInit;
  const Outcome outcome = init_engine(body, operation);
  if (outcome.status != LOADER_OK) {
    complete(link, 0, operation, outcome);
    return leave(kExitInitFailed);
  }
  hung_clock_.start(body.call_timeout_ns);
  const Identity identity = engine_.identity();
  takes_resources_ = (identity.flags & channel::kHasResources) != 0;
  {
    std::lock_guard lock(state_mutex_);
    stage_ = Stage::kReady;
    is_serving_.store(!is_shutting_down_, std::memory_order_release);
  }
  send_ready(link, identity);
  complete(link, 0, Operation::kInit, outcome);
  finish_shutdown();
}

Outcome HostRuntime::Impl::init_engine(const channel::InitBody& body, Operation& operation) {
  ErrorRoom room;
  loader_status_t status = engine_.load(body.directory, body.entry, room.error());
  Outcome outcome = room.outcome(status);
  outcome.error_code = static_cast<uint16_t>(ErrorCode::BAD_WRAPPER);
  if (status != LOADER_OK) return outcome;
  ErrorRoom init_room;
  status = engine_.init(face_, config_of(body), init_room.error());
  outcome = init_room.outcome(status);
  outcome.error_code = static_cast<uint16_t>(ErrorCode::INIT_FAILED);
  if (status != LOADER_OK) return outcome;
  ErrorRoom warm_room;
  status = engine_.warm_up(warm_room.error());
  outcome = warm_room.outcome(status);
  if (status == LOADER_OK) return outcome;
  operation = Operation::kWarmUp;
  outcome.error_code = static_cast<uint16_t>(ErrorCode::INIT_FAILED);
  engine_.fini();
  return outcome;
}

void HostRuntime::Impl::send_ready(Link& link, const Identity& identity) {
  channel::ReadyBody body;
  body.flags = identity.flags;
  body.abi_major = identity.abi_major;
  body.abi_minor = identity.abi_minor;
  body.name = identity.name;
  body.version = identity.version;
  body.describe_json = identity.describe_json;
  link.send_body(RecordType::kReady, 0, body);
}

bool HostRuntime::Impl::on_update(Link& link, const channel::RecordView& record) {
  channel::InitBody body;
  if (!decode(record.body, body)) return fault("an UPDATE record is malformed");
  submit(JobKind::kMain, [this, &link, wire = record.handle, bytes = copy_of(record.body)] {
    run_update(link, wire, bytes);
  });
  return true;
}

void HostRuntime::Impl::run_update(Link& link, uint64_t wire, const std::vector<uint8_t>& bytes) {
  channel::InitBody body;
  static_cast<void>(decode(bytes, body));
  if (!is_serving_.load(std::memory_order_acquire))
    return complete(link, wire, Operation::kUpdate, kNotServing);
  ErrorRoom room;
  const loader_status_t status = engine_.update(config_of(body), room.error());
  complete(link, wire, Operation::kUpdate, room.outcome(status));
}

bool HostRuntime::Impl::on_health(Link& link, const channel::RecordView& record) {
  submit(JobKind::kCall, [this, &link, wire = record.handle] { run_health(link, wire); });
  return true;
}

void HostRuntime::Impl::run_health(Link& link, uint64_t wire) {
  run_errand({link, wire, Operation::kHealth, "the health check"}, [this] {
    ErrorRoom room;
    return room.outcome(engine_.health(room.error()));
  });
}

// ---- calls on the instance

bool HostRuntime::Impl::run_errand(Errand errand, const std::function<Outcome()>& call) {
  std::unique_lock lock(state_mutex_);
  if (stage_ != Stage::kReady || is_shutting_down_) {
    lock.unlock();
    complete(errand.link, errand.wire, errand.operation, kNotServing);
    return false;
  }
  const auto place = errands_.insert(errands_.end(), std::move(errand));
  lock.unlock();
  const Outcome outcome = call();
  lock.lock();
  const bool is_late = std::exchange(place->is_answered, true);
  lock.unlock();
  if (!is_late) complete(place->link, place->wire, place->operation, outcome);
  lock.lock();
  errands_.erase(place);
  lock.unlock();
  finish_shutdown();
  return true;
}

// On the clock's thread: these are calls, and the limit of calls is theirs.
void HostRuntime::Impl::report_hung_errands(int64_t now_ns) {
  const int64_t limit_ns = hung_clock_.limit_ns();
  if (limit_ns == channel::kNoDeadline) return;
  std::lock_guard lock(state_mutex_);
  for (Errand& errand : errands_) {
    if (now_ns - errand.since_ns <= limit_ns || std::exchange(errand.is_answered, true)) continue;
    complete(
        errand.link, errand.wire, errand.operation,
        {LOADER_ERROR_INTERNAL,
         errand.what + " did not return within " + std::to_string(limit_ns / 1'000'000) + " ms",
         static_cast<uint16_t>(ErrorCode::CALL_HUNG)});
  }
}

}  // namespace loader::host
