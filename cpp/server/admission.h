// From a parsed request to what the session core needs: the engine, checked parameters, the encoded
// open information, a checked frame. Knows no calls and sends nothing.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "frame/frame_codec.h"
#include "grpc/call.h"
#include "server/envelope.h"
#include "server/shard_context.h"

namespace loader::server {

// Who asks: what the authorizer wants to know.
struct Caller {
  const grpc::Peer& peer;
  const grpc::Metadata& metadata;
  std::string_view path;
};

// Scratch of one shard: one request at a time is on its way in.
class Admission {
 public:
  explicit Admission(ShardContext& shard) : shard_(shard) {}

  RequestView& request() { return request_; }
  // The name that request() asks for where it is held: RouteTable::wait() comes before admit().
  const std::string* held_name() const { return shard_.routes().held_name(request_.target); }
  // Chooses the engine of request(), asks the authorizer, checks and completes the parameters,
  // encodes them. What is wrong, or nothing.
  std::optional<ErrorReport> admit(const Caller& caller, bool is_exec);
  std::optional<ErrorReport> admit(const grpc::Call& call, bool is_exec) {
    return admit(Caller{call.peer(), call.metadata(), call.path()}, is_exec);
  }
  // The two halves of admit(): parameters of request() may depend on the engine.
  std::optional<ErrorReport> choose(const Caller& caller, bool is_exec);
  std::optional<ErrorReport> complete();
  EngineEntry& engine() const { return *engine_; }
  std::span<const uint8_t> blob() const;

  // Checks one frame; `out` views the bytes given, or a cleaned copy that lives until the next
  // frame.
  std::optional<ErrorReport> check_frame(EngineEntry& engine, std::string_view bytes, bool is_whole,
                                         std::span<const uint8_t>& out);

 private:
  std::optional<ErrorReport> choose_engine();
  std::optional<ErrorReport> check_parameters();

  ShardContext& shard_;
  RequestView request_;
  EngineEntry* engine_ = nullptr;
  std::vector<TextPair> metadata_;
  std::string blob_;
  frame::FrameView frame_;
  std::string rewritten_;
};

}  // namespace loader::server
