// Personal resources (loader.resources/1): load and unload as calls on the instance, and the rule
// that none is unloaded under a session or call that named it.
#include "host/resources.h"

#include <utility>

#include "host/runtime_impl.h"

namespace loader::host {

using channel::Operation;

namespace {

using SharedBlock = std::shared_ptr<InputBlock>;

std::string name_of(const char* verb, uint32_t id) {
  return std::string(verb) + " of resource " + std::to_string(id);
}

}  // namespace

Outcome give_resource(Engine& engine, uint32_t id, InputBlock& block,
                      std::span<const uint8_t> bytes) {
  thread_local FrameScratch scratch;
  const frame::Fault fault = scratch.fill(block, bytes);
  if (fault != frame::Fault::kNone || scratch.frame().item_count != 1) {
    scratch.release_rest();
    return {LOADER_ERROR_ARGUMENT, "a resource is a frame of one item", 0};
  }
  ErrorRoom room;
  const loader_status_t status = engine.load_resource(id, scratch.frame().items[0], room.error());
  scratch.release_rest();
  return room.outcome(status);
}

bool HostRuntime::Impl::on_load_resource(Link& link, channel::RecordView& record) {
  channel::ResourceBody body;
  channel::Bytes rest;
  if (!decode(record.body, body, rest)) return fault("a LOAD RESOURCE record is malformed");
  std::vector<channel::Payload> payloads;
  if (!take_payloads(link, record, nullptr, payloads)) return false;
  const SharedBlock block(InputBlock::create(record.body, std::move(payloads),
                                             std::make_shared<std::atomic<int64_t>>(0)));
  if (resources_.begin_load(body.id)) {
    submit(JobKind::kCall,
           [this, &link, wire = record.handle, block] { run_load(link, wire, *block); });
  } else {
    complete(link, record.handle, Operation::kLoadResource,
             {LOADER_ERROR_UNAVAILABLE, "the number is being unloaded", 0});
  }
  return true;
}

void HostRuntime::Impl::run_load(Link& link, uint64_t wire, InputBlock& block) {
  channel::ResourceBody body;
  channel::Bytes rest;
  static_cast<void>(decode(block.body(), body, rest));  // it was checked when it came in
  ResourceTable::Job next;
  const bool was_called =
      run_errand({link, wire, Operation::kLoadResource, name_of("the load", body.id)}, [&] {
        Outcome outcome = give_resource(engine_, body.id, block, rest);
        next = resources_.end_load(body.id, outcome.status == LOADER_OK);
        return outcome;
      });
  if (!was_called) next = resources_.end_load(body.id, false);
  if (next) next();
}

bool HostRuntime::Impl::on_unload_resource(Link& link, const channel::RecordView& record) {
  channel::ResourceBody body;
  channel::Bytes rest;
  if (!decode(record.body, body, rest) || !rest.empty())
    return fault("an UNLOAD RESOURCE record is malformed");
  const auto unload = [this, &link, wire = record.handle, id = body.id] {
    submit(JobKind::kCall, [this, &link, wire, id] { run_unload(link, wire, id); });
  };
  ResourceTable::Job now;
  if (!resources_.leave(body.id, unload, now)) {
    complete(link, record.handle, Operation::kUnloadResource,
             unknown_resource("resource " + std::to_string(body.id) + " is not loaded"));
  } else if (now) {
    now();
  }
  return true;
}

void HostRuntime::Impl::run_unload(Link& link, uint64_t wire, uint32_t id) {
  run_errand({link, wire, Operation::kUnloadResource, name_of("the unload", id)}, [&] {
    Outcome outcome;
    if (resources_.holds(id)) {
      ErrorRoom room;
      outcome = room.outcome(engine_.unload_resource(id, room.error()));
    }
    resources_.remove(id);
    return outcome;
  });
}

// Before the engine sees a session or call: what it names is loaded, and stays until it has ended.
Outcome HostRuntime::Impl::use_resources(HostSession& session, const PendingOperation& operation) {
  thread_local channel::OpenBody open;
  open.clear();
  channel::Bytes rest;
  if (!decode(operation.block->body(), open, rest)) return {};  // told by the call itself
  std::vector<uint32_t> used;
  Outcome outcome = resources_.use(open.parameters, used);
  std::lock_guard lock(session.mutex);
  session.resources = std::move(used);
  return outcome;
}

void HostRuntime::Impl::release_resources(HostSession& session) {
  std::vector<uint32_t> ids;
  {
    std::lock_guard lock(session.mutex);
    ids.swap(session.resources);
  }
  if (ids.empty()) return;
  for (const ResourceTable::Job& job : resources_.release(ids)) job();
}

}  // namespace loader::host
