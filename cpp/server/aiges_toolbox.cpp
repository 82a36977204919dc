#include "server/aiges_toolbox.h"

#include <string>
#include <string_view>

#include "server/shard_context.h"
#include "server/wire.h"

namespace loader::server {
namespace {

struct Licences {
  uint32_t all = 0, used = 0;
};

Licences licences_of(const EngineEntry& engine) {
  const session::SlotPoolState state = engine.shared->pool->state();
  return {state.slots, state.used};
}

bool is_serving(ShardContext& shard) {
  if (shard.plane().is_draining || shard.engines().empty()) return false;
  for (const auto& engine : shard.engines()) {
    if (engine->shared->is_routed && engine->shared->ready_instances == 0) return false;
  }
  return true;
}

std::string health(ShardContext& shard) {
  return is_serving(shard) ? "{\"status\":\"ok\"}" : "{\"status\":\"unavailable\"}";
}

// Names of engines and versions need no escaping.
std::string status(ShardContext& shard) {
  std::string out = "{\"status\":\"" + std::string(is_serving(shard) ? "ok" : "unavailable") +
                    "\",\"version\":\"" LOADER_VERSION "\",\"engines\":[";
  bool is_first = true;
  for (const auto& engine : shard.engines()) {
    const Licences licences = licences_of(*engine);
    out += std::string(std::exchange(is_first, false) ? "" : ",") + "{\"name\":\"" +
           engine->shared->name + "\",\"version\":\"" + engine->shared->version +
           "\",\"licences\":" + std::to_string(licences.all) +
           ",\"used\":" + std::to_string(licences.used) + "}";
  }
  return out + "]}";
}

std::string metrics(ShardContext& shard) {
  std::string out = "# TYPE concurrent_statistics gauge\n";
  for (const auto& engine : shard.engines()) {
    const Licences licences = licences_of(*engine);
    const std::string label = "{sub=\"ase\",name=\"" + engine->shared->name + "\",type=\"";
    out += "concurrent_statistics" + label + "max\"} " + std::to_string(licences.all) + "\n";
    out += "concurrent_statistics" + label + "used\"} " + std::to_string(licences.used) + "\n";
  }
  return out;
}

std::string_view query_of(std::string_view request) {
  WireReader in(request);
  std::string_view query;
  while (in.next()) {
    if (in.field() == 1 && in.is_bytes()) query = in.bytes();
  }
  return query;
}

// The value of "cmd" in a flat JSON object, which is all that is asked with.
std::string_view command_of(std::string_view query) {
  size_t at = query.find("\"cmd\"");
  if (at == std::string_view::npos) return {};
  at = query.find(':', at);
  if (at == std::string_view::npos) return {};
  at = query.find('"', at);
  if (at == std::string_view::npos) return {};
  const size_t end = query.find('"', at + 1);
  return end == std::string_view::npos ? std::string_view() : query.substr(at + 1, end - at - 1);
}

std::string run(ShardContext& shard, std::string_view command) {
  if (command == "status" || command == "query") return status(shard);
  if (command == "health") return health(shard);
  if (command == "metrics") return metrics(shard);
  return "{\"error\":\"unknown cmd; known are status, health, metrics, query\"}";
}

}  // namespace

void add_toolbox(grpc::Router& router, ShardContext& shard) {
  router.add_unary("/utils.ToolBox/cmdserver", [&shard](grpc::Call& call, grpc::Message& message) {
    const std::string_view command = command_of(query_of(message.bytes()));
    const bool is_text = command == "metrics";
    std::string response;
    append_bytes(
        response, 1,
        is_text ? "{\"Content-Type\":\"text/plain\"}" : "{\"Content-Type\":\"application/json\"}");
    append_bytes(response, 2, run(shard, command));
    call.send_message(response);
    call.finish();
  });
}

}  // namespace loader::server
