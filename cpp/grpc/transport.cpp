#include "grpc/transport.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace loader::grpc {
namespace {

constexpr int kVectors = 64;
constexpr size_t kRecord = 16 << 10;

std::string name_of(const GENERAL_NAMES* names, int type) {
  for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    if (name->type != type) continue;
    const ASN1_IA5STRING* text = name->d.ia5;
    std::string value(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                      static_cast<size_t>(ASN1_STRING_length(text)));
    if (value.find('\0') == std::string::npos) return value;
  }
  return {};
}

}  // namespace

Transport::Transport(int fd, std::shared_ptr<const TlsContext> tls)
    : fd_(fd), tls_(std::move(tls)) {
  if (tls_ == nullptr) return;
  ssl_ = SSL_new(tls_->get());
  if (ssl_ == nullptr || SSL_set_fd(ssl_, fd) != 1) {
    is_broken_ = true;
    return;
  }
  SSL_set_accept_state(ssl_);
}

Transport::~Transport() {
  close();
}

void Transport::close() {
  is_broken_ = true;
  if (ssl_ != nullptr) SSL_free(std::exchange(ssl_, nullptr));
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Transport::Io Transport::tls_verdict(int rc, bool& wants_other, bool is_read) {
  int error = SSL_get_error(ssl_, rc);
  wants_other = error == (is_read ? SSL_ERROR_WANT_WRITE : SSL_ERROR_WANT_READ);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return Io::kAgain;
  if (error == SSL_ERROR_ZERO_RETURN) return Io::kClosed;
  is_broken_ = true;
  return Io::kFailed;
}

// Before SSL_get_error(), which leaves OpenSSL's queue as it is. The texts are OpenSSL's constants.
void Transport::note_handshake_failure() {
  unsigned long error = ERR_peek_last_error();
  int code = error == 0 ? 0 : ERR_GET_REASON(error);
  const char* text = error == 0 ? nullptr : ERR_reason_error_string(error);
  if (code == SSL_R_HTTP_REQUEST || code == SSL_R_WRONG_VERSION_NUMBER)
    text = "the client does not speak TLS";
  handshake_failure_ = text == nullptr ? "the client closed the connection" : text;
}

Transport::Io Transport::handshake() {
  if (is_broken_) return Io::kFailed;
  if (ssl_ == nullptr || is_handshaken_) return Io::kDone;
  ERR_clear_error();
  int rc = SSL_do_handshake(ssl_);
  if (rc != 1) {
    note_handshake_failure();
    return tls_verdict(rc, read_wants_write_, true);
  }
  read_wants_write_ = false;
  const unsigned char* protocol = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl_, &protocol, &size);
  if (std::string_view(reinterpret_cast<const char*>(protocol), size) != "h2") {
    handshake_failure_ = "the client did not offer h2 by ALPN";
    return Io::kFailed;
  }
  is_handshaken_ = true;
  return Io::kDone;
}

std::string Transport::peer_identity() const {
  if (ssl_ == nullptr || SSL_get_verify_result(ssl_) != X509_V_OK) return {};
  X509* certificate = SSL_get1_peer_certificate(ssl_);
  if (certificate == nullptr) return {};
  std::string identity;
  auto* names = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  if (names != nullptr) {
    identity = name_of(names, GEN_URI);
    if (identity.empty()) identity = name_of(names, GEN_DNS);
    GENERAL_NAMES_free(names);
  }
  X509_free(certificate);
  return identity;
}

Transport::Io Transport::read(uint8_t* to, size_t size, size_t& got) {
  got = 0;
  if (is_broken_) return Io::kFailed;
  if (ssl_ == nullptr) {
    ssize_t n = ::recv(fd_, to, size, 0);
    if (n > 0) return got = static_cast<size_t>(n), Io::kDone;
    if (n == 0) return Io::kClosed;
    return errno == EAGAIN || errno == EINTR ? Io::kAgain : Io::kFailed;
  }
  ERR_clear_error();
  while (got < size) {
    int rc = SSL_read(ssl_, to + got, static_cast<int>(std::min<size_t>(size - got, INT_MAX)));
    if (rc <= 0) {
      Io verdict = tls_verdict(rc, read_wants_write_, true);
      return got > 0 && !is_broken_ ? Io::kDone : verdict;
    }
    got += static_cast<size_t>(rc);
  }
  read_wants_write_ = false;
  return Io::kDone;
}

bool Transport::has_pending() const {
  return ssl_ != nullptr && !is_broken_ && SSL_has_pending(ssl_) == 1;
}

Transport::Io Transport::write(SocketQueue& queue) {
  if (is_broken_) return Io::kFailed;
  return ssl_ == nullptr ? write_plain(queue) : write_tls(queue);
}

Transport::Io Transport::write_plain(SocketQueue& queue) {
  while (!queue.is_empty()) {
    iovec vectors[kVectors];
    msghdr message{};
    message.msg_iov = vectors;
    message.msg_iovlen = static_cast<size_t>(queue.vectors(vectors, kVectors));
    ssize_t n = ::sendmsg(fd_, &message, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN ? Io::kAgain : Io::kFailed;
    queue.pop(static_cast<size_t>(n));
  }
  return Io::kDone;
}

Transport::Io Transport::write_tls(SocketQueue& queue) {
  while (!queue.is_empty()) {
    std::string_view bytes = queue.front().substr(0, kRecord);
    ERR_clear_error();
    int rc = SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size()));
    if (rc <= 0) return tls_verdict(rc, write_wants_read_, false);
    write_wants_read_ = false;
    queue.pop(static_cast<size_t>(rc));
  }
  return Io::kDone;
}

void Transport::shutdown() {
  if (ssl_ != nullptr && is_handshaken_ && !is_broken_) {
    ERR_clear_error();
    if (SSL_shutdown(ssl_) < 0) is_broken_ = true;
  }
  ::shutdown(fd_, SHUT_WR);
}

}  // namespace loader::grpc
