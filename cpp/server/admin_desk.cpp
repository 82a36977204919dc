#include "server/admin_desk.h"

namespace loader::server {

class AdminCall final : public grpc::CallHandler {
 public:
  AdminCall(AdminDesk& desk, grpc::Call& call, std::string method, bool is_stream)
      : desk_(desk),
        call_(call),
        method_(std::move(method)),
        is_stream_(is_stream),
        id_(uint64_t{desk.shard_} << 48 | ++desk.last_) {
    desk_.open_.emplace(id_, this);
  }
  ~AdminCall() override { desk_.open_.erase(id_); }

  void on_message(grpc::Message& message) override {
    desk_.plane_.events.push(Event("admin_call")
                                 .add("call_id", static_cast<int64_t>(id_))
                                 .add("method", method_)
                                 .add("request", Blob{std::string(message.bytes())})
                                 .add("stream", is_stream_)
                                 .add("peer", call_.peer().address));
    if (is_stream_) return;
    timer_.on_fire([this] {
      finish({ErrorCode::INTERNAL, "the control plane did not answer in time", 0, {}});
    });
    timer_.set(desk_.loop_,
               desk_.loop_.now_ns() + desk_.plane_.options.admin_timeout_ms * 1'000'000);
  }

  void on_cancel(grpc::CancelReason) override {
    desk_.plane_.events.push(Event("admin_cancelled").add("call_id", static_cast<int64_t>(id_)));
    finish({});
  }

  void answer(const std::string& payload) {
    if (is_over_) return;
    call_.send_message(payload);
    if (!is_stream_) finish({});
  }

  void finish(const ErrorReport& error) {
    if (is_over_) return;
    is_over_ = true;
    timer_.cancel();
    desk_.open_.erase(id_);
    call_.finish(to_status(error));
  }

 private:
  AdminDesk& desk_;
  grpc::Call& call_;
  const std::string method_;
  const bool is_stream_;
  const uint64_t id_;
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

void AdminDesk::answer(uint64_t call, const std::string& payload) {
  auto found = open_.find(call);
  if (found != open_.end()) found->second->answer(payload);
}

void AdminDesk::finish(uint64_t call, const ErrorReport& error) {
  auto found = open_.find(call);
  if (found != open_.end()) found->second->finish(error);
}

}  // namespace loader::server
