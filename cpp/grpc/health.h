// grpc.health.v1.Health as an ordinary handler. One table per process; each shard's watchers are
// told through their own loop.
#pragma once

#include <memory>
#include <string>

#include "grpc/router.h"
#include "loop/event_loop.h"

namespace loader::grpc {

enum class Serving { kUnknown = 0, kServing = 1, kNotServing = 2, kServiceUnknown = 3 };

class HealthTable;

class Health {
 public:
  // The whole server, "", starts as kServing.
  Health();
  ~Health();
  Health(const Health&) = delete;
  Health& operator=(const Health&) = delete;

  // Any thread. kServiceUnknown removes the name. Ignored after shutdown().
  void set(const std::string& service, Serving status);
  // All names become kNotServing, for good.
  void shutdown();

  // Adds Check, Watch and List. The table outlives this object as long as a call needs it. A
  // server's loop must run or be destroyed after the server: watchers are told by post().
  void add_to(Router& router);

 private:
  std::shared_ptr<HealthTable> table_;
};

}  // namespace loader::grpc
