// Server side TLS: a context made from PEM files or text. Hot swap is a new context.
#pragma once

#include <memory>
#include <string>

struct ssl_ctx_st;

namespace loader::grpc {

struct TlsConfig {
  std::string certificate_chain_pem;  // the text, leaf first
  std::string private_key_pem;
  std::string client_ca_pem;  // not empty: clients must show a certificate of this authority (mTLS)
};

class TlsContext {
 public:
  // Throws std::runtime_error that names the part at fault (never the key).
  static std::shared_ptr<const TlsContext> create(const TlsConfig& config);
  // The same from files.
  static std::shared_ptr<const TlsContext> load(const std::string& certificate_file,
                                                const std::string& key_file,
                                                const std::string& client_ca_file = {});
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;
  ssl_ctx_st* get() const { return context_; }

 private:
  explicit TlsContext(ssl_ctx_st* context) : context_(context) {}
  ssl_ctx_st* context_;
};

}  // namespace loader::grpc
