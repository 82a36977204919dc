// The gRPC server of one event loop: listeners, connections, drain. All functions are for the loop
// thread (or before the loop runs). Knows nothing of what the handlers do.
//
//   Router router;
//   router.add("/pkg.Svc/Talk", {.cardinality = Cardinality::kBidi, .factory = ...});
//   Server server(loop, std::make_shared<const Router>(std::move(router)), Options{});
//   uint16_t port = server.listen("127.0.0.1:0");
//   loop.run();
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "grpc/call.h"
#include "grpc/options.h"
#include "grpc/router.h"
#include "grpc/tls.h"
#include "loop/event_loop.h"

namespace loader::grpc {

struct ListenOptions {
  int tag = 0;                            // shows up as Peer::listener_tag
  std::shared_ptr<const TlsContext> tls;  // null: plain text, HTTP/2 by prior knowledge
  // Another server of this process listens on that port: share it. Otherwise a port that anybody
  // listens on is taken.
  bool shares_port = false;
};

// Monotonic counters, except where named `open_`. Read on the loop thread.
struct ServerStats {
  uint64_t open_connections = 0;
  uint64_t open_calls = 0;  // until their handlers have finished
  uint64_t connections = 0;
  uint64_t connections_refused = 0;     // over a limit
  uint64_t connections_misbehaved = 0;  // closed for a flood, bad frames, bad TLS, a timeout
  uint64_t calls = 0;
  uint64_t calls_by_code[17] = {};
  uint64_t messages_received = 0, messages_sent = 0;
  uint64_t bytes_received = 0, bytes_sent = 0;  // on sockets, before TLS
  uint64_t resets_received = 0, resets_sent = 0;
};

struct Hooks {
  // Judges a call before its handler exists; anything but OK is the answer. Use kUnauthenticated
  // or kPermissionDenied. Also asked for health and reflection.
  std::function<Status(const Call&)> authorize;
  // Told once for each call that reached a method: its final code (kCancelled, or
  // kDeadlineExceeded, for calls the client gave up). The call is still readable.
  std::function<void(const Call&, Code)> on_call_end;
  // The details of a status that has none, as Status::details; empty to leave it so. Asked for each
  // status but OK: the library's own (unknown method, a limit, the deadline) and the handlers'.
  std::function<std::string(const Status&)> details_of;
  // One line for the operator about a misbehaving peer; rate-limited by the library.
  std::function<void(const std::string&)> log;
};

class ServerImpl;

class Server {
 public:
  // The loop and the router outlive the server. Throws std::system_error.
  Server(EventLoop& loop, std::shared_ptr<const Router> router, Options options = {},
         Hooks hooks = {});
  // Closes everything as close_now() and destroys every handler left.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // "HOST:PORT" (IPv4, IPv6 in brackets, or a name resolved once), "[::]:PORT" for both families,
  // "unix:/path" ("unix:///path" too; a stale socket file is replaced, and removed at the end).
  // Servers of several shards may listen on one port, see shares_port. Returns the bound port (0
  // for Unix). Throws std::system_error or std::invalid_argument naming the address.
  uint16_t listen(const std::string& address, ListenOptions options = {});
  // For the listeners that encrypt: new connections use `tls`, live ones keep theirs.
  void set_tls(const std::shared_ptr<const TlsContext>& tls);
  // Closes the listening sockets only.
  void stop_accepting();

  // Graceful end: stops accepting, GOAWAY twice, waits for calls until `deadline_ns` (monotonic),
  // then ends them with UNAVAILABLE. `on_drained` runs once no connection is left.
  void drain(int64_t deadline_ns, std::function<void()> on_drained = {});
  // Cancels every call (kServerClosing) and drops every connection without ceremony.
  void close_now();
  bool is_draining() const;

  const ServerStats& stats() const;
  const Options& options() const;
  EventLoop& loop();
  const Router& router() const;
  // Anything the application wants to find again from Call::server().
  void set_context(void* context) { context_ = context; }
  void* context() const { return context_; }

 private:
  std::unique_ptr<ServerImpl> impl_;
  void* context_ = nullptr;
};

}  // namespace loader::grpc
