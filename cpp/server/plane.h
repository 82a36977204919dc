// What all shards and the control plane's side share. Knows no mechanism; server.cpp builds it.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
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
  using Engines = std::vector<std::shared_ptr<EngineShared>>;

  ServerOptions options;
  EventQueue events;
  grpc::Health health;
  std::shared_ptr<const Authorizer> authorizer = std::make_shared<LoopbackAuthorizer>();
  std::vector<std::unique_ptr<ShardContext>> shards;
  std::atomic<bool> is_draining{false};
  std::atomic<int64_t> aiges_sessions{0};  // of all shards: a drain leaves them their connections
  std::string node_id;  // eight hexadecimal digits: makes session ids unique in the service

  // A name is served by its routed engines; those beside them say nothing about it. None: the name
  // is unknown.
  void set_routed(const std::string& name, Engines engines);
  // Whether it is served, as it is now. Any thread: whoever changes something calls it afterwards.
  void note_health(const std::string& name);
  void note_health();

  std::string session_id(session::SessionId id) const;
  // 0: not an id of this process.
  session::SessionId parse_session_id(const std::string& text) const;

 private:
  void tell_health(const std::string& name, const Engines& engines);

  // Held while a name's health is looked up and told, so that the last word is the newest.
  std::mutex health_mutex_;
  std::map<std::string, Engines> routed_;
};

}  // namespace loader::server
