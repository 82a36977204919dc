// The two sides of a call of an AIGES client: who asks, and where he waits; and what the fronts of
// its sessions have in common. Knows no operation.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "grpc/call.h"
#include "server/aiges_wire.h"
#include "server/shard_context.h"
#include "session/ports.h"

namespace loader::server {

class AigesAsker;

// Where an asker waits for its answer.
class AigesPlace {
 public:
  // The asker goes: its call is over.
  virtual void leave(AigesAsker& asker) = 0;

 protected:
  ~AigesPlace() = default;
};

// One call. Gets exactly one of answer() and refuse(), unless it leaves; it may be gone when they
// return.
class AigesAsker {
 public:
  virtual void answer(grpc::Parts parts) = 0;
  virtual void refuse(const grpc::Status& status) = 0;

  // What its request said.
  std::string trace;
  // Kept by whoever lets it wait.
  AigesPlace* place = nullptr;
  uint64_t place_number = 0;

  void leave() {
    if (AigesPlace* left = std::exchange(place, nullptr)) left->leave(*this);
  }

 protected:
  ~AigesAsker() = default;
};

// Who calls, for keeps: what is asked of a call once its handler may be gone.
struct AigesCaller {
  grpc::Peer peer;
  grpc::Metadata metadata;
  std::string path;
  int64_t deadline_ns = INT64_MAX;
};

// The same, in place.
struct AigesCallerView {
  const grpc::Peer& peer;
  const grpc::Metadata& metadata;
  std::string_view path;
  int64_t deadline_ns;

  AigesCaller keep() const { return {peer, metadata, std::string(path), deadline_ns}; }
};

// A session or call of the core on behalf of an AIGES client. The desk owns it.
class AigesFront : public session::Front, public PeerSource, public AigesPlace {
 public:
  std::string peer_address() const override { return peer_; }
  void on_opened(session::SessionId) override {}
  void on_input_credit(session::SessionId, uint64_t) override {}

  size_t index = 0;  // the desk's

 protected:
  AigesFront(std::string handle, std::string_view service_id, std::string peer)
      : handle_(std::move(handle)), service_id_(service_id), peer_(std::move(peer)) {}

  const std::string handle_;
  const std::string service_id_;
  const std::string peer_;
};

}  // namespace loader::server
