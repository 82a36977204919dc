// AdminService of one shard: each call becomes an "admin_call" event for the control plane, which
// answers later, or never: then the call ends by itself. Other faces may ask the same. Knows no
// administration.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

#include "grpc/router.h"
#include "loop/event_loop.h"
#include "server/error_table.h"
#include "server/plane.h"

namespace loader::server {

// Who waits for an answer of the control plane.
class AdminAsker {
 public:
  // The answer, or the next of a stream.
  virtual void answer(const std::string& payload) = 0;
  // The end: of a stream, where no error is set.
  virtual void finish(const ErrorReport& error) = 0;

 protected:
  ~AdminAsker() = default;
};

class AdminDesk {
 public:
  AdminDesk(uint32_t shard, EventLoop& loop, Plane& plane)
      : shard_(shard), loop_(loop), plane_(plane) {}

  grpc::Method method(std::string name, bool is_stream);
  static uint32_t shard_of(uint64_t call) { return static_cast<uint32_t>(call >> 48); }

  // The call's number; `asker` has to leave() before it goes. `path` is a method of AdminService.
  uint64_t ask(AdminAsker& asker, const std::string& path, std::string request, bool is_stream,
               const std::string& peer, int64_t deadline_ns);
  void leave(uint64_t call) { open_.erase(call); }

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
  std::unordered_map<uint64_t, AdminAsker*> open_;
};

}  // namespace loader::server
