#include "server/routes.h"

#include <array>
#include <string_view>

#include "grpc/reflection.h"
#include "server/admin_desk.h"
#include "server/aiges_call.h"
#include "server/aiges_toolbox.h"
#include "server/call_front.h"
#include "server/wire.h"

namespace loader::server {

extern const std::string_view kLoaderDescriptors;
extern const std::string_view kAigesDescriptors;

namespace {

constexpr std::array<std::string_view, 10> kAdminMethods = {
    "ListEngines", "ListSessions", "GetStatistics", "Drain",          "Undrain",
    "KillSession", "ListRollouts", "LoadResource",  "UnloadResource", "ListResources"};

std::string_view state_of(const EngineEntry& engine) {
  uint32_t ready = engine.shared->ready_instances.load(std::memory_order_relaxed);
  uint32_t all = engine.shared->instances.load(std::memory_order_relaxed);
  if (ready == 0) return "starting";
  return ready < all ? "degraded" : "ready";
}

void append_engine(std::string& out, const EngineEntry& engine) {
  EngineDescriptionView view;
  view.name = engine.shared->name;
  view.version = engine.shared->version;
  view.state = state_of(engine);
  view.declaration_json = engine.facts.declaration_json;
  view.slots = engine.shared->pool->state().slots;
  view.has_exec = engine.facts.has_exec;
  view.has_sessions = engine.facts.has_sessions;
  view.has_resources = engine.facts.has_resources;
  std::string description;
  append_description(description, view);
  append_bytes(out, 1, description);
}

void describe(ShardContext& shard, grpc::Call& call, grpc::Message& message) {
  WireReader in(message.bytes());
  std::string_view wanted;
  while (in.next()) {
    if (in.field() == 1 && in.is_bytes()) wanted = in.bytes();
  }
  std::string response;
  for (const auto& engine : shard.engines()) {
    if (wanted.empty() || engine->shared->name == wanted) append_engine(response, *engine);
  }
  if (!wanted.empty() && response.empty()) {
    ErrorReport error{ErrorCode::UNKNOWN_ENGINE,
                      "no engine \"" + std::string(wanted.substr(0, 100)) + "\" is served here",
                      0,
                      {}};
    shard.count_refusal(error.code);
    return call.finish(to_status(error));
  }
  call.send_message(response);
  call.finish();
}

template <class Front>
grpc::Method method(ShardContext& shard, grpc::Cardinality cardinality) {
  grpc::Method out;
  out.cardinality = cardinality;
  out.factory = [&shard](grpc::Call& call) { return grpc::make_handler<Front>(shard, call); };
  out.is_auto_consume = cardinality != grpc::Cardinality::kBidi;
  return out;
}

}  // namespace

std::shared_ptr<const grpc::Router> make_router(ShardContext& shard) {
  grpc::Router router;
  const std::string loader = "/loader.v1.LoaderService/";
  router.add_unary(loader + "Describe", [&shard](grpc::Call& call, grpc::Message& message) {
    describe(shard, call, message);
  });
  router.add(loader + "Exec", method<ExecFront>(shard, grpc::Cardinality::kUnary));
  router.add(loader + "ExecStream",
             method<ExecStreamFront>(shard, grpc::Cardinality::kServerStream));
  router.add(loader + "Session", method<SessionFront>(shard, grpc::Cardinality::kBidi));
  router.add("/utils.XsfCall/call", method<AigesCall>(shard, grpc::Cardinality::kUnary));
  add_toolbox(router, shard);
  const std::string admin = "/loader.v1.AdminService/";
  for (std::string_view name : kAdminMethods) {
    router.add(admin + std::string(name), shard.admin().method(std::string(name), false));
  }
  router.add(admin + "WatchEvents", shard.admin().method("WatchEvents", true));
  shard.plane().health.add_to(router);
  grpc::add_reflection(router, {kLoaderDescriptors, kAigesDescriptors});
  return std::make_shared<const grpc::Router>(std::move(router));
}

}  // namespace loader::server
