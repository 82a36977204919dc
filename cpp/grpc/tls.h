// Server side TLS: a context made from PEM files. Hot swap is a new context. Knows no sockets.
#pragma once

#include <memory>
#include <string>

struct ssl_ctx_st;

namespace loader::grpc {

struct TlsFiles {
  std::string certificate;  // the chain, leaf first
  std::string key;          // without a passphrase
  std::string client_ca;    // not empty: clients must show a certificate of this authority (mTLS)
};

class TlsContext {
 public:
  // Throws std::runtime_error: the file at fault, what is wrong with it, and what to give.
  static std::shared_ptr<const TlsContext> load(const TlsFiles& files);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;
  ssl_ctx_st* get() const { return context_; }

 private:
  explicit TlsContext(ssl_ctx_st* context) : context_(context) {}
  ssl_ctx_st* context_;
};

}  // namespace loader::grpc
