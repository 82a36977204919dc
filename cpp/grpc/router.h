// From path to method. Built once, then read only; shards may share one if its factories may be
// called from several threads.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "grpc/call.h"

namespace loader::grpc {

enum class Cardinality { kUnary, kClientStream, kServerStream, kBidi };

struct Method {
  // Makes the handler of one call. The request headers are complete and authorised; send_headers(),
  // send_message() and finish() may be used at once. Returns null only after finish().
  using Factory = std::function<CallHandlerPtr(Call&)>;

  Cardinality cardinality = Cardinality::kUnary;
  Factory factory;
  // The library hands window back when on_message() returns. For handlers that keep nothing.
  bool is_auto_consume = true;
  // Does not hold up a drain: ended with UNAVAILABLE when only such calls are left (health Watch,
  // reflection).
  bool is_background = false;
  // The response headers announce gzip when the client accepts it. Needed only where headers leave
  // before the first message; a first message sent with `compress` announces it by itself.
  bool may_compress = false;
  // 0: Options::stream_window_bytes.
  uint32_t stream_window_bytes = 0;
  // 0: Options::max_message_bytes.
  uint32_t max_message_bytes = 0;
};

class Router {
 public:
  // `path` is "/package.Service/Method". Throws std::invalid_argument if malformed or taken.
  void add(std::string path, Method method);
  // A unary method as a function that answers (send_message, finish) before it returns.
  void add_unary(std::string path, std::function<void(Call&, Message&)> on_message);

  struct Route {
    std::string path;
    Method method;
  };
  // Null when unknown. Routes live as long as the router.
  const Route* find(std::string_view path) const;
  bool has_service(std::string_view service) const;
  // Fully qualified names, in the order added.
  const std::vector<std::string>& services() const { return services_; }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
  };
  std::unordered_map<std::string, Route, Hash, std::equal_to<>> routes_;
  std::vector<std::string> services_;
};

}  // namespace loader::grpc
