// A session of an AIGES client: calls that carry its handle, one after the other, each with a
// package and back with what results there are. Knows the fields of that protocol which change from
// call to call; the rest comes as bytes.
#pragma once

#include <string>

#include "lanes.h"

namespace bench {

class XsfLane final : public Event {
 public:
  // `opening` is the request that creates the session, `package` a LoaderInput without sync_id.
  XsfLane(grpc::GenericStub& stub, grpc::CompletionQueue& queue, std::string path,
          std::string opening, std::string package, Tally& tally);
  void start() { send(opening_); }
  void done(bool is_ok) override;

 private:
  void send(const std::string& request);
  bool read_handle(const std::string& response);
  std::string next_request();

  grpc::GenericStub& stub_;
  grpc::CompletionQueue& queue_;
  const std::string path_, opening_, package_;
  Tally& tally_;
  std::string session_;  // the encoded Session of the answer to the opening
  uint32_t sync_id_ = 0;
  std::optional<grpc::ClientContext> context_;
  std::unique_ptr<grpc::GenericClientAsyncResponseReader> call_;
  grpc::ByteBuffer response_;
  grpc::Status status_;
  Clock::time_point sent_;
};

}  // namespace bench
