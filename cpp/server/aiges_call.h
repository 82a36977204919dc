// The gRPC method /utils.XsfCall/call: takes each call to the shard whose session it means, and the
// answer back. Knows no operation.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>

#include "grpc/call.h"
#include "server/aiges_front.h"

namespace loader::server {

// What one shard knows of calls that come in on one shard and are answered by another, on either
// side of the hop.
class AigesHops final : public AigesPlace {
 public:
  explicit AigesHops(ShardContext& shard);
  ~AigesHops();
  AigesHops(const AigesHops&) = delete;
  AigesHops& operator=(const AigesHops&) = delete;

  // Where the connection is: the asker waits here for what the other shard answers.
  void send(AigesAsker& asker, uint32_t shard, std::string bytes, AigesCaller caller);
  void leave(AigesAsker& asker) override;

 private:
  class Guest;
  using Key = std::pair<uint32_t, uint64_t>;  // where the call came in, and its number there
  struct Away {
    AigesAsker* asker;
    uint32_t shard;
  };

  void take(Key key, const std::string& bytes, const AigesCaller& caller);
  void drop(Key key);
  void arrive(uint64_t number, const std::string& bytes, const grpc::Status& status);

  ShardContext& shard_;
  uint64_t last_number_ = 0;
  std::unordered_map<uint64_t, Away> away_;
  std::map<Key, std::unique_ptr<Guest>> guests_;
};

class AigesCall final : public grpc::CallHandler, private AigesAsker {
 public:
  AigesCall(ShardContext& shard, grpc::Call& call) : shard_(shard), call_(&call) {}
  ~AigesCall() override;

 private:
  void on_message(grpc::Message& message) override;
  void on_cancel(grpc::CancelReason reason) override;
  void answer(grpc::Parts parts) override;
  void refuse(const grpc::Status& status) override;

  ShardContext& shard_;
  grpc::Call* call_;  // null once finished
};

}  // namespace loader::server
