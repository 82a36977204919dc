// One listening socket: accepts and hands the descriptors on. Knows no HTTP.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "grpc/call.h"
#include "grpc/tls.h"
#include "loop/event_loop.h"

namespace loader::grpc {

class ServerImpl;
struct ListenOptions;

class Listener final : public EventSource {
 public:
  // Throws std::system_error or std::invalid_argument naming the address.
  static std::vector<std::unique_ptr<Listener>> open(ServerImpl& server, const std::string& address,
                                                     const ListenOptions& options);
  ~Listener() override;

  uint16_t port() const;
  int tag() const { return tag_; }
  bool is_encrypted() const { return tls_ != nullptr; }
  void set_tls(std::shared_ptr<const TlsContext> tls) { tls_ = std::move(tls); }
  void on_events(uint32_t events) override;

 private:
  Listener(ServerImpl& server, int fd, int tag, std::shared_ptr<const TlsContext> tls,
           std::string unix_path);
  void watch();
  void pause();

  ServerImpl& server_;
  int fd_;
  int tag_;
  std::shared_ptr<const TlsContext> tls_;
  std::string unix_path_;
  Timer resume_;
  bool is_watched_ = false;
};

}  // namespace loader::grpc
