// One accepted socket, plain or TLS, without blocking. Knows bytes only.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "grpc/socket_queue.h"
#include "grpc/tls.h"

struct ssl_st;

namespace loader::grpc {

class Transport {
 public:
  enum class Io { kDone, kAgain, kClosed, kFailed };

  // Owns `fd`. `tls` null: plain.
  Transport(int fd, std::shared_ptr<const TlsContext> tls);
  ~Transport();
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  int fd() const { return fd_; }
  bool is_tls() const { return tls_ != nullptr; }
  // TLS only; kDone also when there is nothing to do. kFailed when the client did not agree on h2.
  Io handshake();
  // Why handshake() gave kFailed or kClosed.
  const char* handshake_failure() const { return handshake_failure_; }
  // First URI or DNS name of the client's verified certificate.
  std::string peer_identity() const;

  Io read(uint8_t* to, size_t size, size_t& got);
  // Writes what the socket takes off the front of `queue`. kDone: the queue is empty.
  Io write(SocketQueue& queue);
  // After read() stopped early: TLS holds bytes that epoll cannot see.
  bool has_pending() const;
  // The last TLS operation must wait for the socket to be writable although nothing is queued.
  bool wants_write() const { return read_wants_write_; }
  bool wants_read_to_write() const { return write_wants_read_; }
  // Closes the socket at once; nothing else may be called after it.
  void close();
  // Says goodbye: close_notify where there is TLS, then FIN.
  void shutdown();

 private:
  Io write_plain(SocketQueue& queue);
  Io write_tls(SocketQueue& queue);
  Io tls_verdict(int rc, bool& wants_other, bool is_read);
  void note_handshake_failure();

  int fd_;
  std::shared_ptr<const TlsContext> tls_;
  ssl_st* ssl_ = nullptr;
  bool is_handshaken_ = false;
  const char* handshake_failure_ = "";
  bool is_broken_ = false;  // after a fatal TLS error the object is not touched again
  bool read_wants_write_ = false;
  bool write_wants_read_ = false;
};

}  // namespace loader::grpc
