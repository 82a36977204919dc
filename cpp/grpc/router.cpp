#include "grpc/router.h"

#include <stdexcept>

namespace loader::grpc {
namespace {

// "/package.Service/Method" -> "package.Service"; empty when malformed.
std::string_view service_of(std::string_view path) {
  if (path.size() < 4 || path[0] != '/') return {};
  size_t slash = path.find('/', 1);
  if (slash == std::string_view::npos || slash + 1 == path.size()) return {};
  if (path.find('/', slash + 1) != std::string_view::npos) return {};
  return path.substr(1, slash - 1);
}

class FunctionHandler final : public CallHandler {
 public:
  using Function = std::function<void(Call&, Message&)>;
  FunctionHandler(Call& call, std::shared_ptr<const Function> function)
      : call_(call), function_(std::move(function)) {}

  void on_message(Message& message) override { (*function_)(call_, message); }
  void on_cancel(CancelReason) override { call_.finish(); }

 private:
  Call& call_;
  std::shared_ptr<const Function> function_;
};

}  // namespace

void Router::add(std::string path, Method method) {
  std::string service(service_of(path));
  if (service.empty()) throw std::invalid_argument("not a gRPC path: '" + path + "'");
  if (!method.factory) throw std::invalid_argument("no factory for " + path);
  if (!has_service(service)) services_.push_back(std::move(service));
  Route route{path, std::move(method)};
  if (!routes_.emplace(path, std::move(route)).second)
    throw std::invalid_argument("path added twice: " + path);
}

void Router::add_unary(std::string path, std::function<void(Call&, Message&)> on_message) {
  auto shared = std::make_shared<const FunctionHandler::Function>(std::move(on_message));
  Method method;
  method.factory = [shared](Call& call) { return make_handler<FunctionHandler>(call, shared); };
  add(std::move(path), std::move(method));
}

const Router::Route* Router::find(std::string_view path) const {
  auto it = routes_.find(path);
  return it == routes_.end() ? nullptr : &it->second;
}

bool Router::has_service(std::string_view service) const {
  for (const std::string& s : services_)
    if (s == service) return true;
  return false;
}

}  // namespace loader::grpc
