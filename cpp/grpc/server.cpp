#include "grpc/server.h"

#include "grpc/server_impl.h"

namespace loader::grpc {

Server::Server(EventLoop& loop, std::shared_ptr<const Router> router, Options options, Hooks hooks)
    : impl_(std::make_unique<ServerImpl>(*this, loop, std::move(router), options,
                                         std::move(hooks))) {}
Server::~Server() = default;

uint16_t Server::listen(const std::string& address, ListenOptions options) {
  return impl_->listen(address, std::move(options));
}
void Server::set_tls(const std::shared_ptr<const TlsContext>& tls) {
  impl_->set_tls(tls);
}
void Server::stop_accepting() {
  impl_->stop_accepting();
}
void Server::drain(int64_t deadline_ns, std::function<void()> on_drained) {
  impl_->drain(deadline_ns, std::move(on_drained));
}
void Server::close_now() {
  impl_->close_now(CancelReason::kServerClosing);
}
bool Server::is_draining() const {
  return impl_->is_draining();
}
const ServerStats& Server::stats() const {
  return impl_->stats();
}
const Options& Server::options() const {
  return impl_->options();
}
EventLoop& Server::loop() {
  return impl_->loop();
}
const Router& Server::router() const {
  return impl_->router();
}

std::string Message::take() {
  return owned_ != nullptr ? std::move(*owned_) : std::string(bytes_);
}

}  // namespace loader::grpc
