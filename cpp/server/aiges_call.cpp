#include "server/aiges_call.h"

#include <algorithm>

#include "server/aiges_desk.h"
#include "server/aiges_handle.h"

namespace loader::server {
namespace {

// A client may print it into text and read it back: nothing in it may need escaping.
std::string_view echoed_trace(std::string_view trace) {
  constexpr size_t kLongest = 512;
  const bool is_plain = std::all_of(trace.begin(), trace.end(), [](char c) {
    return c >= ' ' && c <= '~' && c != '"' && c != '\\' && c != '\'';
  });
  return is_plain && trace.size() <= kLongest ? trace : std::string_view();
}

}  // namespace

// ---- AigesHops

// The asker on the shard that answers, in place of the call.
class AigesHops::Guest final : public AigesAsker {
 public:
  Guest(AigesHops& hops, Key key) : hops_(hops), key_(key) {}

  void answer(grpc::Parts parts) override {
    std::string bytes;
    for (std::string_view part : parts) bytes.append(part);
    tell(std::move(bytes), {});
  }
  void refuse(const grpc::Status& status) override { tell({}, status); }

 private:
  void tell(std::string bytes, const grpc::Status& status) {
    // At the end of all shards nobody listens, and the call's own may be gone.
    if (hops_.shard_.is_running()) post(std::move(bytes), status);
    hops_.guests_.erase(key_);  // and with it this
  }
  void post(std::string bytes, const grpc::Status& status) {
    ShardContext& home = *hops_.shard_.plane().shards[key_.first];
    home.post([&home, number = key_.second, bytes = std::move(bytes), status] {
      home.aiges_hops().arrive(number, bytes, status);
    });
  }

  AigesHops& hops_;
  const Key key_;
};

AigesHops::AigesHops(ShardContext& shard) : shard_(shard) {}
AigesHops::~AigesHops() = default;

void AigesHops::send(AigesAsker& asker, uint32_t shard, std::string bytes, AigesCaller caller) {
  const Key key{shard_.index(), ++last_number_};
  asker.place = this;
  asker.place_number = key.second;
  away_[key.second] = {&asker, shard};
  ShardContext& other = *shard_.plane().shards[shard];
  other.post([&other, key, bytes = std::move(bytes), caller = std::move(caller)] {
    other.aiges_hops().take(key, bytes, caller);
  });
}

void AigesHops::leave(AigesAsker& asker) {
  auto found = away_.find(asker.place_number);
  if (found == away_.end()) return;
  ShardContext& other = *shard_.plane().shards[found->second.shard];
  const Key key{shard_.index(), asker.place_number};
  away_.erase(found);
  // At the end of all shards nobody listens.
  if (!shard_.is_running()) return;
  other.post([&other, key] { other.aiges_hops().drop(key); });
}

void AigesHops::take(Key key, const std::string& bytes, const AigesCaller& caller) {
  XsfRequest request;
  if (!parse_xsf_request(bytes, request)) return;  // it was parsed where it came in
  Guest& guest = *guests_.emplace(key, std::make_unique<Guest>(*this, key)).first->second;
  guest.trace = echoed_trace(request.trace);
  shard_.aiges().take(request, bytes,
                      {caller.peer, caller.metadata, caller.path, caller.deadline_ns}, guest);
}

void AigesHops::drop(Key key) {
  auto found = guests_.find(key);
  if (found == guests_.end()) return;
  const std::unique_ptr<Guest> guest = std::move(found->second);
  guests_.erase(found);
  guest->leave();
}

void AigesHops::arrive(uint64_t number, const std::string& bytes, const grpc::Status& status) {
  auto found = away_.find(number);
  if (found == away_.end()) return;
  AigesAsker& asker = *found->second.asker;
  away_.erase(found);
  asker.place = nullptr;
  if (!status.is_ok()) return asker.refuse(status);
  const std::string_view parts[] = {bytes};
  asker.answer(parts);
}

// ---- AigesCall

AigesCall::~AigesCall() {
  AigesAsker::leave();
}

void AigesCall::on_message(grpc::Message& message) {
  if (call_ == nullptr) return;
  XsfRequest request;
  if (!parse_xsf_request(message.bytes(), request)) {
    shard_.count_refusal(ErrorCode::INVALID_ARGUMENT);
    return refuse(to_status(
        {ErrorCode::INVALID_ARGUMENT, "the message is not a serialised utils.ReqData", 0, {}}));
  }
  const auto count = static_cast<uint32_t>(shard_.plane().shards.size());
  const uint32_t owner =
      request.handle.empty() ? shard_.index() : aiges_shard_of(request.handle, count);
  const AigesCallerView caller{call_->peer(), call_->metadata(), call_->path(),
                               call_->deadline_ns()};
  if (owner != shard_.index()) {
    return shard_.aiges_hops().send(*this, owner, message.take(), caller.keep());
  }
  trace = echoed_trace(request.trace);
  shard_.aiges().take(request, message.bytes(), caller, *this);
}

void AigesCall::on_cancel(grpc::CancelReason) {
  if (call_ == nullptr) return;
  shard_.core().set_now(shard_.loop().now_ns());
  AigesAsker::leave();
  std::exchange(call_, nullptr)->finish();
}

void AigesCall::answer(grpc::Parts parts) {
  grpc::Call* call = std::exchange(call_, nullptr);
  if (call == nullptr) return;
  call->send_message(parts);
  call->finish();
}

void AigesCall::refuse(const grpc::Status& status) {
  if (grpc::Call* call = std::exchange(call_, nullptr)) call->finish(status);
}

}  // namespace loader::server
