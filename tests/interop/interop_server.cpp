// The server side of the gRPC interop cases, on our library, with switches for the tests of limits.
//
//   interop-server [--listen ADDRESS]... [--tls CERT KEY [CLIENT_CA]] [--set NAME=VALUE]...
//
// --tls applies to the --listen that follow. Prints one line "listening PORT..." when ready, then
// one line for each cancelled call ("cancelled PATH REASON") and, on SIGUSR1, its counters.
// SIGTERM drains; SIGINT closes at once.
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "grpc/health.h"
#include "grpc/reflection.h"
#include "grpc/server.h"
#include "grpc/testing/test.pb.h"

namespace {

using namespace loader;
using namespace loader::grpc;
namespace t = ::grpc::testing;

constexpr unsigned char kDescriptor[] = {
#include "test_descriptor.inc"
};
constexpr const char* kInitial = "x-grpc-test-echo-initial";
constexpr const char* kTrailing = "x-grpc-test-echo-trailing-bin";

const char* name_of(CancelReason reason) {
  switch (reason) {
    case CancelReason::kClientReset:
      return "client_reset";
    case CancelReason::kConnectionLost:
      return "connection_lost";
    case CancelReason::kDeadline:
      return "deadline";
    case CancelReason::kProtocol:
      return "protocol";
    case CancelReason::kDrain:
      return "drain";
    case CancelReason::kServerClosing:
      return "server_closing";
  }
  return "?";
}

void say(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

Status status_of(const t::EchoStatus& echo) {
  return {static_cast<Code>(echo.code()), echo.message()};
}

const Status kUnparsable{Code::kInternal, "the request is not a valid protobuf message"};
const Status kNotCompressed{Code::kInvalidArgument, "compressed flag is not as expected"};

// What every test handler shares: echoed metadata, and the line about its cancellation.
class TestHandler : public CallHandler {
 public:
  explicit TestHandler(Call& call) : call_(call) {
    for (Metadata::Entry e : call.metadata())
      if (e.key == kTrailing || e.key.starts_with("x-trail-")) trailers_.add(e.key, e.value);
    Metadata initial;
    for (Metadata::Entry e : call.metadata())
      if (e.key == kInitial || e.key.starts_with("x-echo-")) initial.add(e.key, e.value);
    if (!initial.is_empty()) call.send_headers(initial);
  }
  void on_cancel(CancelReason reason) override {
    say("cancelled " + std::string(call_.path()) + " " + name_of(reason));
    call_.finish();
  }

 protected:
  template <class M>
  bool parse(const Message& message, M& into) {
    std::string_view b = message.bytes();
    if (into.ParseFromArray(b.data(), static_cast<int>(b.size()))) return true;
    call_.finish(kUnparsable);
    return false;
  }
  void end(const Status& status = {}) { call_.finish(status, trailers_); }
  void reply(const google::protobuf::MessageLite& m, bool compress = false) {
    call_.send_message(m.SerializeAsString(), compress);
  }

  Call& call_;
  Metadata trailers_;
};

class EmptyCall final : public TestHandler {
 public:
  using TestHandler::TestHandler;
  void on_message(Message& message) override {
    t::Empty request;
    if (!parse(message, request)) return;
    reply(t::Empty());
    end();
  }
};

class UnaryCall final : public TestHandler {
 public:
  using TestHandler::TestHandler;
  void on_message(Message& message) override {
    t::SimpleRequest request;
    if (!parse(message, request)) return;
    if (request.has_expect_compressed() &&
        request.expect_compressed().value() != message.was_compressed())
      return end(kNotCompressed);
    if (request.has_response_status() && request.response_status().code() != 0)
      return end(status_of(request.response_status()));
    t::SimpleResponse response;
    response.mutable_payload()->set_body(std::string(size_t(request.response_size()), '\0'));
    reply(response, request.response_compressed().value());
    end();
  }
};

class InputCall final : public TestHandler {
 public:
  using TestHandler::TestHandler;
  void on_message(Message& message) override {
    t::StreamingInputCallRequest request;
    if (!parse(message, request)) return;
    if (request.has_expect_compressed() &&
        request.expect_compressed().value() != message.was_compressed())
      return end(kNotCompressed);
    total_ += request.payload().body().size();
    call_.consume(message.window_bytes());
  }
  void on_half_close() override {
    t::StreamingInputCallResponse response;
    response.set_aggregated_payload_size(static_cast<int32_t>(total_));
    reply(response);
    end();
  }

 private:
  size_t total_ = 0;
};

// StreamingOutputCall, FullDuplexCall and, with `waits`, HalfDuplexCall: one reply for each
// response parameter, in order, each after its interval; requests wait their turn unconsumed.
class OutputCall final : public TestHandler {
 public:
  OutputCall(Call& call, bool waits)
      : TestHandler(call), waits_(waits), timer_([this] { send_due(); }) {}

  void on_message(Message& message) override {
    t::StreamingOutputCallRequest request;
    if (!parse(message, request)) return;
    queue_.push_back({std::move(request), message.window_bytes()});
    if (!waits_) advance();
  }
  void on_half_close() override {
    has_ended_ = true;
    advance();
  }
  void on_writable() override { advance(); }
  void on_cancel(CancelReason reason) override {
    timer_.cancel();
    TestHandler::on_cancel(reason);
  }

 private:
  struct Item {
    t::StreamingOutputCallRequest request;
    size_t window;
  };

  void advance() {
    while (!is_over_ && !timer_.is_set()) {
      if (queue_.empty()) {
        if (has_ended_) finish_with({});
        return;
      }
      Item& item = queue_.front();
      if (item.request.has_response_status() && item.request.response_status().code() != 0)
        return finish_with(status_of(item.request.response_status()));
      if (next_ == item.request.response_parameters_size()) {
        call_.consume(item.window);
        queue_.pop_front();
        next_ = 0;
        continue;
      }
      if (call_.queued_bytes() >= call_.server().options().send_window_bytes) return;
      int interval_us = item.request.response_parameters(next_).interval_us();
      if (interval_us > 0) return wait(interval_us);
      send_one();
    }
  }
  void wait(int interval_us) {
    timer_.set(call_.server().loop(), EventLoop::clock_ns() + interval_us * 1000LL);
  }
  void send_due() {
    send_one();
    advance();
  }
  void send_one() {
    const auto& wanted = queue_.front().request.response_parameters(next_++);
    t::StreamingOutputCallResponse response;
    response.mutable_payload()->set_body(std::string(size_t(wanted.size()), '\0'));
    reply(response, wanted.compressed().value());
  }
  void finish_with(const Status& status) {
    is_over_ = true;
    end(status);
  }

  bool waits_;
  bool has_ended_ = false;
  bool is_over_ = false;
  std::deque<Item> queue_;
  int next_ = 0;
  Timer timer_;
};

// Raw echo for benchmarks: no protobuf, bytes in, bytes out.
class RawStream final : public CallHandler {
 public:
  explicit RawStream(Call& call) : call_(call) {}
  void on_message(Message& message) override { call_.send_message(message.bytes()); }
  void on_half_close() override { call_.finish(); }
  void on_cancel(CancelReason) override { call_.finish(); }

 private:
  Call& call_;
};

// Echoes by reference: exercises the zero-copy path. Head and tail frame the payload.
class PayloadStream final : public CallHandler {
 public:
  explicit PayloadStream(Call& call) : call_(call) {}
  void on_message(Message& message) override {
    auto* bytes = new std::string(message.take());
    std::string_view head = "<", tail = ">";
    Payload payload(
        bytes->data(), bytes->size(),
        [](void* p, uint64_t) { delete static_cast<std::string*>(p); }, bytes);
    call_.send_message(Parts(&head, 1), std::move(payload), Parts(&tail, 1));
  }
  void on_half_close() override { call_.finish(); }
  void on_cancel(CancelReason) override { call_.finish(); }

 private:
  Call& call_;
};

// Keeps messages and consumes nothing until the client half-closes.
class Hoarder final : public CallHandler {
 public:
  explicit Hoarder(Call& call) : call_(call) {}
  void on_message(Message& message) override {
    held_ += message.window_bytes();
    kept_.push_back(message.take());
  }
  void on_half_close() override {
    call_.send_message(std::to_string(held_));
    call_.finish();
  }
  void on_cancel(CancelReason) override { call_.finish(); }

 private:
  Call& call_;
  size_t held_ = 0;
  std::vector<std::string> kept_;
};

// Answers with more response headers than one header block may hold.
class Babbler final : public CallHandler {
 public:
  explicit Babbler(Call& call) : call_(call) {
    Metadata metadata;
    for (int i = 0; i < 20; i++) metadata.add("x-large", std::string(4000, 'x'));
    call.send_headers(metadata);
  }
  void on_message(Message&) override {}
  void on_cancel(CancelReason reason) override {
    say("cancelled " + std::string(call_.path()) + " " + name_of(reason));
    call_.finish();
  }

 private:
  Call& call_;
};

// Never finishes by itself; finishing after a cancel takes `--hold-ms`.
int64_t hold_ms = 0;
class Holder final : public CallHandler {
 public:
  explicit Holder(Call& call) : call_(call), timer_([this] { call_.finish(); }) {}
  void on_message(Message&) override {}
  void on_cancel(CancelReason reason) override {
    say("cancelled " + std::string(call_.path()) + " " + name_of(reason));
    if (hold_ms == 0) return call_.finish();
    timer_.set(call_.server().loop(), EventLoop::clock_ns() + hold_ms * 1'000'000);
  }

 private:
  Call& call_;
  Timer timer_;
};

class Thrower final : public CallHandler {
 public:
  explicit Thrower(Call& call) : call_(call) {}
  void on_message(Message&) override { throw std::runtime_error("boom"); }
  void on_cancel(CancelReason) override { call_.finish(); }

 private:
  Call& call_;
};

// Finishes a unary call with OK and no message, which the library must not let pass.
class Mute final : public CallHandler {
 public:
  explicit Mute(Call& call) : call_(call) {}
  void on_message(Message&) override { call_.finish(); }
  void on_cancel(CancelReason) override { call_.finish(); }

 private:
  Call& call_;
};

template <class H, class... Args>
Method method(Cardinality cardinality, Args... args) {
  Method m;
  m.cardinality = cardinality;
  m.factory = [args...](Call& call) { return make_handler<H>(call, args...); };
  return m;
}

Method manual(Method m) {
  m.is_auto_consume = false;
  m.may_compress = true;
  return m;
}

void add_test_service(Router& router) {
  const std::string service = "/grpc.testing.TestService/";
  using enum Cardinality;
  router.add(service + "EmptyCall", method<EmptyCall>(kUnary));
  router.add(service + "UnaryCall", method<UnaryCall>(kUnary));
  router.add(service + "StreamingInputCall", manual(method<InputCall>(kClientStream)));
  router.add(service + "StreamingOutputCall", manual(method<OutputCall>(kServerStream, false)));
  router.add(service + "FullDuplexCall", manual(method<OutputCall>(kBidi, false)));
  router.add(service + "HalfDuplexCall", manual(method<OutputCall>(kBidi, true)));
}

void add_raw_services(Router& router) {
  using enum Cardinality;
  router.add_unary("/bench.Echo/Unary", [](Call& call, Message& message) {
    call.send_message(message.bytes());
    call.finish();
  });
  router.add("/bench.Echo/Stream", method<RawStream>(kBidi));
  router.add("/bench.Echo/Payload", method<PayloadStream>(kBidi));
  Method hoard = method<Hoarder>(kBidi);
  hoard.is_auto_consume = false;
  router.add("/bench.Hostile/Hoard", hoard);
  router.add("/bench.Hostile/Hold", method<Holder>(kBidi));
  router.add("/bench.Hostile/HoldUnary", method<Holder>(kUnary));
  router.add("/bench.Hostile/Babble", method<Babbler>(kBidi));
  router.add("/bench.Hostile/Throw", method<Thrower>(kUnary));
  router.add("/bench.Hostile/Mute", method<Mute>(kUnary));
}

bool set_option(Options& o, const std::string& name, int64_t v) {
  auto u = static_cast<uint32_t>(v);
  const std::map<std::string, std::function<void()>> setters = {
      {"max_message_bytes", [&] { o.max_message_bytes = u; }},
      {"max_concurrent_streams", [&] { o.max_concurrent_streams = u; }},
      {"max_header_bytes", [&] { o.max_header_bytes = u; }},
      {"max_header_fields", [&] { o.max_header_fields = u; }},
      {"max_deadline_ms", [&] { o.max_deadline_ms = v; }},
      {"max_connections", [&] { o.max_connections = u; }},
      {"max_connections_per_address", [&] { o.max_connections_per_address = u; }},
      {"tls_handshake_timeout_ms", [&] { o.tls_handshake_timeout_ms = v; }},
      {"preface_timeout_ms", [&] { o.preface_timeout_ms = v; }},
      {"settings_ack_timeout_ms", [&] { o.settings_ack_timeout_ms = v; }},
      {"header_timeout_ms", [&] { o.header_timeout_ms = v; }},
      {"write_stall_timeout_ms", [&] { o.write_stall_timeout_ms = v; }},
      {"max_connection_idle_ms", [&] { o.max_connection_idle_ms = v; }},
      {"max_connection_age_ms", [&] { o.max_connection_age_ms = v; }},
      {"max_connection_age_grace_ms", [&] { o.max_connection_age_grace_ms = v; }},
      {"keepalive_time_ms", [&] { o.keepalive_time_ms = v; }},
      {"keepalive_timeout_ms", [&] { o.keepalive_timeout_ms = v; }},
      {"min_ping_interval_ms", [&] { o.min_ping_interval_ms = o.min_idle_ping_interval_ms = v; }},
      {"max_idle_frames", [&] { o.max_idle_frames = u; }},
      {"linger_ms", [&] { o.linger_ms = v; }},
      {"hold_ms", [&] { hold_ms = v; }},
  };
  auto it = setters.find(name);
  if (it == setters.end()) return false;
  it->second();
  return true;
}

struct Settings {
  struct Listen {
    std::string address;
    std::shared_ptr<const TlsContext> tls;
  };
  std::vector<Listen> listens;
  Options options;
  int64_t drain_ms = 5000;
};

[[noreturn]] void usage(const std::string& what) {
  std::fprintf(stderr, "interop-server: %s\n", what.c_str());
  std::exit(2);
}

Settings parse_arguments(std::vector<std::string> args) {
  Settings s;
  std::shared_ptr<const TlsContext> tls;
  for (size_t i = 0; i < args.size(); i++) {
    auto value = [&] { return ++i < args.size() ? args[i] : (usage("value missing"), ""); };
    if (args[i] == "--listen") {
      s.listens.push_back({value(), tls});
    } else if (args[i] == "--tls") {
      std::string certificate = value(), key = value(), authority;
      if (i + 1 < args.size() && !args[i + 1].starts_with("--")) authority = value();
      tls = TlsContext::load({certificate, key, authority});
    } else if (args[i] == "--drain-ms") {
      s.drain_ms = std::stoll(value());
    } else if (args[i] == "--set") {
      std::string pair = value();
      size_t eq = pair.find('=');
      if (eq == std::string::npos ||
          !set_option(s.options, pair.substr(0, eq), std::stoll(pair.substr(eq + 1))))
        usage("bad --set " + pair);
    } else {
      usage("unknown argument " + args[i]);
    }
  }
  return s;
}

void say_stats(const ServerStats& s) {
  char line[512];
  std::snprintf(
      line, sizeof line,
      "stats {\"open_connections\": %lu, \"open_calls\": %lu, \"connections\": %lu, "
      "\"refused\": %lu, \"misbehaved\": %lu, \"calls\": %lu, \"messages_received\": %lu, "
      "\"messages_sent\": %lu, \"bytes_received\": %lu, \"bytes_sent\": %lu}",
      s.open_connections, s.open_calls, s.connections, s.connections_refused,
      s.connections_misbehaved, s.calls, s.messages_received, s.messages_sent, s.bytes_received,
      s.bytes_sent);
  say(line);
}

// SIGTERM, SIGINT and SIGUSR1 as loop events.
class Signals final : public EventSource {
 public:
  Signals(EventLoop& loop, Server& server, Health& health, int64_t drain_ms)
      : loop_(loop), server_(server), health_(health), drain_ms_(drain_ms) {
    sigset_t set;
    sigemptyset(&set);
    for (int s : {SIGTERM, SIGINT, SIGUSR1, SIGUSR2}) sigaddset(&set, s);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    fd_ = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    loop.watch(fd_, EPOLLIN, this);
  }
  ~Signals() override {
    loop_.unwatch(fd_, this);
    ::close(fd_);
  }
  void on_events(uint32_t) override {
    signalfd_siginfo info;
    while (::read(fd_, &info, sizeof info) == sizeof info) act(static_cast<int>(info.ssi_signo));
  }

 private:
  void act(int signal) {
    if (signal == SIGUSR1) return say_stats(server_.stats());
    if (signal == SIGUSR2)
      return health_.set("flip", is_up_ ? Serving::kNotServing : Serving::kServing),
             void(is_up_ = !is_up_);
    if (signal == SIGINT) {
      server_.close_now();
      return loop_.stop();
    }
    health_.shutdown();
    server_.drain(EventLoop::clock_ns() + drain_ms_ * 1'000'000, [this] {
      say("drained");
      loop_.stop();
    });
  }
  EventLoop& loop_;
  Server& server_;
  Health& health_;
  int64_t drain_ms_;
  int fd_;
  bool is_up_ = false;
};

}  // namespace

int main(int argc, char** argv) {
  Settings settings = parse_arguments({argv + 1, argv + argc});
  if (settings.listens.empty()) settings.listens.push_back({"127.0.0.1:0", nullptr});
  EventLoop loop;
  Health health;
  health.set("grpc.testing.TestService", Serving::kServing);
  Router router;
  add_test_service(router);
  add_raw_services(router);
  health.add_to(router);
  add_reflection(router, {{reinterpret_cast<const char*>(kDescriptor), sizeof kDescriptor}});
  Hooks hooks;
  hooks.log = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
  hooks.authorize = [](const Call& call) {
    if (call.metadata().find("x-throw")) throw std::runtime_error("nobody foresaw this");
    auto token = call.metadata().find("x-deny");
    if (!token) return Status();
    return Status(*token == "who" ? Code::kUnauthenticated : Code::kPermissionDenied, "denied");
  };
  Server server(loop, std::make_shared<const Router>(std::move(router)), settings.options, hooks);
  std::string ready = "listening";
  for (auto& listen : settings.listens)
    ready += " " + std::to_string(server.listen(listen.address, {.tag = 0, .tls = listen.tls}));
  Signals signals(loop, server, health, settings.drain_ms);
  say(ready);
  loop.run();
}
