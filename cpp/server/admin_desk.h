// AdminService of one shard: each call becomes an "admin_call" event for the control plane, which
// answers later, or never: then the call ends by itself. Knows no administration.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

#include "grpc/router.h"
#include "loop/event_loop.h"
#include "server/error_table.h"
#include "server/plane.h"

namespace loader::server {

class AdminCall;

class AdminDesk {
 public:
  AdminDesk(uint32_t shard, EventLoop& loop, Plane& plane)
      : shard_(shard), loop_(loop), plane_(plane) {}

  grpc::Method method(std::string name, bool is_stream);
  static uint32_t shard_of(uint64_t call) { return static_cast<uint32_t>(call >> 48); }

  // One message: the answer of a unary call, or the next of a stream.
  void answer(uint64_t call, const std::string& payload);
  // The end of a stream when no error is set.
  void finish(uint64_t call, const ErrorReport& error);

 private:
  friend class AdminCall;
  const uint32_t shard_;
  EventLoop& loop_;
  Plane& plane_;
  uint64_t last_ = 0;
  std::unordered_map<uint64_t, AdminCall*> open_;
};

}  // namespace loader::server
