#include "grpc/listener.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>

#include "grpc/server_impl.h"

namespace loader::grpc {
namespace {

constexpr int kBacklog = 1024;
constexpr int kAcceptsPerRound = 64;
constexpr int64_t kPause_ns = 100'000'000;

struct Socket {  // closes unless released
  int fd;
  explicit Socket(int f) : fd(f) {}
  Socket(Socket&& o) noexcept : fd(std::exchange(o.fd, -1)) {}
  Socket& operator=(Socket&&) = delete;
  ~Socket() {
    if (fd >= 0) ::close(fd);
  }
  int release() { return std::exchange(fd, -1); }
};

[[noreturn]] void fail(const std::string& address) {
  throw std::system_error(errno, std::generic_category(), "cannot listen on " + address);
}

std::string unix_path_of(const std::string& address) {
  if (!address.starts_with("unix:")) return {};
  std::string path = address.substr(5);
  if (path.starts_with("//")) path.erase(0, 2);
  if (path.empty()) throw std::invalid_argument("no path in listen address " + address);
  return path;
}

// A socket file nobody listens on is left over from a process that died.
void remove_stale(const sockaddr_un& name) {
  Socket probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  int rc = ::connect(probe.fd, reinterpret_cast<const sockaddr*>(&name), sizeof name);
  if (rc != 0 && errno == ECONNREFUSED) ::unlink(name.sun_path);
}

Socket listen_unix(const std::string& path, const std::string& address) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (path.size() >= sizeof name.sun_path)
    throw std::invalid_argument("path too long in listen address " + address);
  std::memcpy(name.sun_path, path.data(), path.size());
  remove_stale(name);
  Socket s(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (s.fd < 0 || ::bind(s.fd, reinterpret_cast<sockaddr*>(&name), sizeof name) != 0 ||
      ::listen(s.fd, kBacklog) != 0)
    fail(address);
  return s;
}

void set(const Socket& s, int level, int option, int value) {
  ::setsockopt(s.fd, level, option, &value, sizeof value);
}

// With SO_REUSEPORT from the start a second loader would take half of the first one's connections.
// Set after bind(), the option lets only those in who set it before and belong to us.
Socket listen_tcp(const addrinfo& info, const std::string& address, bool shares_port) {
  Socket s(::socket(info.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (s.fd < 0) fail(address);
  set(s, SOL_SOCKET, SO_REUSEADDR, 1);
  set(s, SOL_SOCKET, SO_REUSEPORT, shares_port ? 1 : 0);
  if (info.ai_family == AF_INET6) {
    auto* v6 = reinterpret_cast<const sockaddr_in6*>(info.ai_addr);
    int only = IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr) ? 0 : 1;
    set(s, IPPROTO_IPV6, IPV6_V6ONLY, only);
  }
  if (::bind(s.fd, info.ai_addr, info.ai_addrlen) != 0) fail(address);
  set(s, SOL_SOCKET, SO_REUSEPORT, 1);
  if (::listen(s.fd, kBacklog) != 0) fail(address);
  return s;
}

struct HostPort {
  std::string host, port;
};

HostPort split(const std::string& address) {
  size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon + 1 == address.size())
    throw std::invalid_argument("listen address without a port: " + address);
  HostPort r{address.substr(0, colon), address.substr(colon + 1)};
  if (r.port.find_first_not_of("0123456789") != std::string::npos || r.port.size() > 5 ||
      std::stoi(r.port) > 65535)
    throw std::invalid_argument("bad port in listen address " + address);
  if (r.host.size() >= 2 && r.host.front() == '[' && r.host.back() == ']')
    r.host = r.host.substr(1, r.host.size() - 2);
  return r;
}

struct FreeInfo {
  void operator()(addrinfo* p) const { freeaddrinfo(p); }
};

std::unique_ptr<addrinfo, FreeInfo> resolve(const HostPort& at, const std::string& address) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  int rc = getaddrinfo(at.host.empty() ? nullptr : at.host.c_str(), at.port.c_str(), &hints, &list);
  if (rc != 0)
    throw std::invalid_argument("cannot resolve listen address " + address + ": " +
                                gai_strerror(rc));
  return std::unique_ptr<addrinfo, FreeInfo>(list);
}

Peer peer_of(const sockaddr_storage& from, int tag, bool is_tls) {
  Peer peer;
  peer.listener_tag = tag;
  peer.is_tls = is_tls;
  char text[INET6_ADDRSTRLEN] = "";
  if (from.ss_family == AF_INET) {
    auto& v4 = reinterpret_cast<const sockaddr_in&>(from);
    inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
    peer.address = std::string(text) + ":" + std::to_string(ntohs(v4.sin_port));
    peer.is_loopback = ntohl(v4.sin_addr.s_addr) >> 24 == 127;
  } else if (from.ss_family == AF_INET6) {
    auto& v6 = reinterpret_cast<const sockaddr_in6&>(from);
    inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    peer.address = "[" + std::string(text) + "]:" + std::to_string(ntohs(v6.sin6_port));
    bool is_mapped = IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr) && v6.sin6_addr.s6_addr[12] == 127;
    peer.is_loopback = IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr) || is_mapped;
  } else {
    peer.address = "unix:";
    peer.is_loopback = peer.is_unix = true;
  }
  return peer;
}

}  // namespace

std::vector<std::unique_ptr<Listener>> Listener::open(ServerImpl& server,
                                                      const std::string& address,
                                                      const ListenOptions& options) {
  std::vector<std::unique_ptr<Listener>> opened;
  auto add = [&](Socket socket, std::string path) {
    opened.emplace_back(
        new Listener(server, socket.release(), options.tag, options.tls, std::move(path)));
  };
  if (std::string path = unix_path_of(address); !path.empty()) {
    add(listen_unix(path, address), path);
    return opened;
  }
  HostPort at = split(address);
  auto list = resolve(at, address);
  for (addrinfo* info = list.get(); info != nullptr; info = info->ai_next) {
    if (!opened.empty()) {  // a name with several addresses: the same port on each
      auto* v4 =
          reinterpret_cast<sockaddr_in*>(info->ai_addr);  // sin_port stands where sin6_port does
      v4->sin_port = htons(opened.front()->port());
      if (at.host.empty()) break;
    }
    add(listen_tcp(*info, address, options.shares_port), {});
  }
  return opened;
}

Listener::Listener(ServerImpl& server, int fd, int tag, std::shared_ptr<const TlsContext> tls,
                   std::string unix_path)
    : server_(server),
      fd_(fd),
      tag_(tag),
      tls_(std::move(tls)),
      unix_path_(std::move(unix_path)),
      resume_([this] { watch(); }) {
  watch();
}

Listener::~Listener() {
  if (is_watched_) server_.loop().unwatch(fd_, this);
  ::close(fd_);
  if (!unix_path_.empty()) ::unlink(unix_path_.c_str());
}

void Listener::watch() {
  is_watched_ = true;
  server_.loop().watch(fd_, EPOLLIN, this);
}

// Out of descriptors: level-triggered epoll would spin until one is free.
void Listener::pause() {
  is_watched_ = false;
  server_.loop().unwatch(fd_, this);
  resume_.set(server_.loop(), EventLoop::clock_ns() + kPause_ns);
}

uint16_t Listener::port() const {
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  ::getsockname(fd_, reinterpret_cast<sockaddr*>(&name), &size);
  if (name.ss_family == AF_UNIX) return 0;
  return ntohs(reinterpret_cast<sockaddr_in&>(name).sin_port);
}

void Listener::on_events(uint32_t) {
  for (int i = 0; i < kAcceptsPerRound; i++) {
    sockaddr_storage from{};
    socklen_t size = sizeof from;
    int fd =
        ::accept4(fd_, reinterpret_cast<sockaddr*>(&from), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) pause();
      if (errno == ECONNABORTED || errno == EINTR) continue;
      return;
    }
    if (from.ss_family != AF_UNIX) {
      int on = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      auto timeout_ms = static_cast<unsigned>(server_.options().keepalive_timeout_ms);
      if (server_.options().keepalive_time_ms > 0)
        ::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms);
    }
    server_.accepted(fd, peer_of(from, tag_, tls_ != nullptr), tls_);
  }
}

}  // namespace loader::grpc
