#include "server/admin_desk.h"

#include <algorithm>

namespace loader::server {
namespace {

constexpr size_t kMostUnread = 1u << 20;  // of a stream whose client does not read

}  // namespace

class AdminCall final : public grpc::CallHandler, private AdminAsker {
 public:
  AdminCall(AdminDesk& desk, grpc::Call& call, std::string method, bool is_stream)
      : desk_(desk), call_(call), method_(std::move(method)), is_stream_(is_stream) {}
  ~AdminCall() override { desk_.leave(id_); }

  void on_message(grpc::Message& message) override {
    const int64_t latest_ns =
        desk_.loop_.now_ns() + desk_.plane_.options.admin_timeout_ms * 1'000'000;
    id_ = desk_.ask(*this, method_, std::string(message.bytes()), is_stream_, call_.peer().address,
                    std::min(call_.deadline_ns(), latest_ns));
    if (is_stream_) return;
    timer_.on_fire([this] {
      finish({ErrorCode::INTERNAL, "the control plane did not answer in time", 0, {}});
    });
    timer_.set(desk_.loop_, latest_ns);
  }

  void on_cancel(grpc::CancelReason) override { leave({}); }

  void answer(const std::string& payload) override {
    if (is_over_) return;
    if (call_.queued_bytes() > kMostUnread) {
      return leave({ErrorCode::QUEUE_FULL, "this client reads too slowly; watch again", 0, {}});
    }
    call_.send_message(payload);
    if (!is_stream_) finish({});
  }

  void finish(const ErrorReport& error) override {
    if (is_over_) return;
    is_over_ = true;
    timer_.cancel();
    desk_.leave(id_);
    call_.finish(to_status(error));
  }

 private:
  void leave(const ErrorReport& error) {
    desk_.plane_.events.push(Event("admin_cancelled").add("call_id", static_cast<int64_t>(id_)));
    finish(error);
  }

  AdminDesk& desk_;
  grpc::Call& call_;
  const std::string method_;
  const bool is_stream_;
  uint64_t id_ = 0;
  bool is_over_ = false;
  Timer timer_;
};

grpc::Method AdminDesk::method(std::string name, bool is_stream) {
  grpc::Method out;
  out.cardinality = is_stream ? grpc::Cardinality::kServerStream : grpc::Cardinality::kUnary;
  out.is_background = is_stream;
  out.factory = [this, name = std::move(name), is_stream](grpc::Call& call) {
    return grpc::make_handler<AdminCall>(*this, call, name, is_stream);
  };
  return out;
}

uint64_t AdminDesk::ask(AdminAsker& asker, const std::string& path, std::string request,
                        bool is_stream, const std::string& peer, int64_t deadline_ns) {
  const uint64_t call = uint64_t{shard_} << 48 | ++last_;
  open_.emplace(call, &asker);
  plane_.events.push(Event("admin_call")
                         .add("call_id", static_cast<int64_t>(call))
                         .add("method", path)
                         .add("request", Blob{std::move(request)})
                         .add("stream", is_stream)
                         .add("left_s", static_cast<double>(deadline_ns - loop_.now_ns()) / 1e9)
                         .add("peer", peer));
  return call;
}

void AdminDesk::answer(uint64_t call, const std::string& payload) {
  auto found = open_.find(call);
  if (found != open_.end()) found->second->answer(payload);
}

void AdminDesk::finish(uint64_t call, const ErrorReport& error) {
  auto found = open_.find(call);
  if (found != open_.end()) found->second->finish(error);
}

}  // namespace loader::server
