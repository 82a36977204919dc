// What all shards and the control plane's side share. Knows no mechanism; server.cpp builds it.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "grpc/health.h"
#include "server/authorizer.h"
#include "server/engine.h"
#include "server/event_queue.h"
#include "server/options.h"
#include "session/ports.h"

namespace loader::server {

class ShardContext;
class AdminDesk;

struct Plane {
  ServerOptions options;
  EventQueue events;
  grpc::Health health;
  std::shared_ptr<const Authorizer> authorizer = std::make_shared<LoopbackAuthorizer>();
  std::vector<std::unique_ptr<ShardContext>> shards;
  std::atomic<bool> is_draining{false};
  std::atomic<int64_t> aiges_sessions{0};  // of all shards: a drain leaves them their connections
  std::string node_id;  // eight hexadecimal digits: makes session ids unique in the service

  // A name is served by its routed engines; those beside them say nothing about it.
  void note_health(const EngineShared& engine) {
    if (!engine.is_routed) return;
    bool is_serving = engine.ready_instances > 0 && !is_draining;
    health.set(engine.name, is_serving ? grpc::Serving::kServing : grpc::Serving::kNotServing);
  }

  std::string session_id(session::SessionId id) const;
  // 0: not an id of this process.
  session::SessionId parse_session_id(const std::string& text) const;
};

}  // namespace loader::server
