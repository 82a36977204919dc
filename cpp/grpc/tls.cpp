#include "grpc/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include <fstream>
#include <sstream>
#include <stdexcept>

namespace loader::grpc {
namespace {

[[noreturn]] void fail(const std::string& what) {
  char text[256] = "";
  ERR_error_string_n(ERR_peek_last_error(), text, sizeof text);
  ERR_clear_error();
  throw std::runtime_error("TLS: " + what + ": " + text);
}

struct FreeBio {
  void operator()(BIO* p) const { BIO_free(p); }
};
struct FreeX509 {
  void operator()(X509* p) const { X509_free(p); }
};
struct FreeKey {
  void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
};
struct FreeContext {
  void operator()(SSL_CTX* p) const { SSL_CTX_free(p); }
};
using Bio = std::unique_ptr<BIO, FreeBio>;
using Certificate = std::unique_ptr<X509, FreeX509>;

Bio memory(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

Certificate next_certificate(BIO* bio) {
  return Certificate(PEM_read_bio_X509(bio, nullptr, nullptr, nullptr));
}

void use_chain(SSL_CTX* context, const std::string& pem) {
  Bio bio = memory(pem);
  Certificate leaf = next_certificate(bio.get());
  if (!leaf || SSL_CTX_use_certificate(context, leaf.get()) != 1) fail("certificate chain");
  while (Certificate link = next_certificate(bio.get())) {
    if (SSL_CTX_add0_chain_cert(context, link.get()) != 1) fail("certificate chain");
    link.release();
  }
  ERR_clear_error();  // the end of the text is reported as an error
}

void use_key(SSL_CTX* context, const std::string& pem) {
  Bio bio = memory(pem);
  std::unique_ptr<EVP_PKEY, FreeKey> key(
      PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
  if (!key || SSL_CTX_use_PrivateKey(context, key.get()) != 1) fail("private key");
  if (SSL_CTX_check_private_key(context) != 1) fail("private key does not match the certificate");
}

void require_clients(SSL_CTX* context, const std::string& pem) {
  Bio bio = memory(pem);
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  int count = 0;
  while (Certificate authority = next_certificate(bio.get())) {
    if (X509_STORE_add_cert(store, authority.get()) != 1) fail("client authority");
    SSL_CTX_add_client_CA(context, authority.get());
    count++;
  }
  if (count == 0) fail("client authority");
  ERR_clear_error();
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
}

int choose_h2(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
              unsigned in_size, void*) {
  for (unsigned i = 0; i + 1 <= in_size && i + 1 + in[i] <= in_size; i += 1 + in[i]) {
    if (in[i] == 2 && in[i + 1] == 'h' && in[i + 2] == '2') {
      *out = in + i + 1;
      *out_size = 2;
      return SSL_TLSEXT_ERR_OK;
    }
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) throw std::runtime_error("TLS: cannot read " + path);
  return text.str();
}

}  // namespace

std::shared_ptr<const TlsContext> TlsContext::create(const TlsConfig& config) {
  std::unique_ptr<SSL_CTX, FreeContext> context(SSL_CTX_new(TLS_server_method()));
  SSL_CTX* c = context.get();
  if (c == nullptr) fail("context");
  SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
  if (SSL_CTX_set_cipher_list(c, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1) fail("cipher list");
  SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                             SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                          SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_num_tickets(c, 0);
  static constexpr unsigned char kSessionContext[] = "engine-loader";
  SSL_CTX_set_session_id_context(c, kSessionContext, sizeof kSessionContext - 1);
  SSL_CTX_set_alpn_select_cb(c, choose_h2, nullptr);
  use_chain(c, config.certificate_chain_pem);
  use_key(c, config.private_key_pem);
  if (!config.client_ca_pem.empty()) require_clients(c, config.client_ca_pem);
  return std::shared_ptr<const TlsContext>(new TlsContext(context.release()));
}

std::shared_ptr<const TlsContext> TlsContext::load(const std::string& certificate_file,
                                                   const std::string& key_file,
                                                   const std::string& client_ca_file) {
  TlsConfig config{read_file(certificate_file), read_file(key_file), {}};
  if (!client_ca_file.empty()) config.client_ca_pem = read_file(client_ca_file);
  return create(config);
}

TlsContext::~TlsContext() {
  SSL_CTX_free(context_);
}

}  // namespace loader::grpc
