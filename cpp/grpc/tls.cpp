#include "grpc/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <vector>

namespace loader::grpc {
namespace {

// OpenSSL's own word for what went wrong, which never holds a byte of the file.
std::string reason() {
  unsigned long error = ERR_peek_last_error();
  const char* text = error == 0 ? nullptr : ERR_reason_error_string(error);
  ERR_clear_error();
  return text == nullptr ? "unknown reason" : text;
}

[[noreturn]] void fail(const std::string& file, const std::string& what, const std::string& cure) {
  throw std::runtime_error(file + ": " + what + ": " + cure);
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

constexpr size_t kMostPemBytes = 1 << 20;

struct FreeFile {
  void operator()(std::FILE* p) const { std::fclose(p); }
};

struct Pem {
  std::string file, text;

  Bio open() const { return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }
};

Pem read_pem(const std::string& path) {
  static constexpr char kCure[] = "give a PEM file that the loader may read";
  std::unique_ptr<std::FILE, FreeFile> file(std::fopen(path.c_str(), "re"));
  if (!file) fail(path, std::strerror(errno), kCure);
  Pem pem{path, {}};
  char piece[4096];
  while (size_t got = std::fread(piece, 1, sizeof piece, file.get())) {
    pem.text.append(piece, got);
    if (pem.text.size() > kMostPemBytes) fail(path, "is over 1 MiB large", kCure);
  }
  if (std::ferror(file.get()) != 0) fail(path, std::strerror(errno), kCure);
  return pem;
}

// Every certificate of the file; a broken one is an error, text around them is not.
std::vector<Certificate> certificates_in(const Pem& pem) {
  Bio bio = pem.open();
  std::vector<Certificate> found;
  while (X509* one = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    found.emplace_back(one);
  }
  bool is_at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  if (found.empty() || !is_at_end) {
    fail(pem.file,
         "certificate " + std::to_string(found.size() + 1) + " cannot be read: " + reason(),
         "give PEM certificates, each between -----BEGIN CERTIFICATE----- and its END line");
  }
  ERR_clear_error();
  return found;
}

void use_chain(SSL_CTX* context, const Pem& pem) {
  std::vector<Certificate> chain = certificates_in(pem);
  bool is_good = SSL_CTX_use_certificate(context, chain[0].get()) == 1;
  for (size_t i = 1; is_good && i < chain.size(); i++) {
    is_good = SSL_CTX_add1_chain_cert(context, chain[i].get()) == 1;
  }
  if (!is_good) fail(pem.file, "is refused: " + reason(), "give the chain, leaf first");
}

// OpenSSL would ask the terminal, and a service would wait for ever.
int no_passphrase(char*, int, int, void*) {
  return -1;
}

void use_key(SSL_CTX* context, const Pem& pem, const Pem& certificate) {
  Bio bio = pem.open();
  std::unique_ptr<EVP_PKEY, FreeKey> key(
      PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  if (!key) {
    fail(pem.file, "no private key can be read from it: " + reason(),
         "give a PEM private key without a passphrase (openssl pkey removes one)");
  }
  if (X509_check_private_key(SSL_CTX_get0_certificate(context), key.get()) != 1) {
    fail(pem.file, "this private key does not belong to the certificate in " + certificate.file,
         "give the key that the certificate was made with (" + reason() + ")");
  }
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1) {
    fail(pem.file, "is refused: " + reason(), "give an RSA or EC private key");
  }
}

void require_clients(SSL_CTX* context, const Pem& pem) {
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  for (const Certificate& authority : certificates_in(pem)) {
    if (X509_STORE_add_cert(store, authority.get()) != 1) {
      fail(pem.file, "is refused: " + reason(), "give certificates of authorities");
    }
    SSL_CTX_add_client_CA(context, authority.get());
  }
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

}  // namespace

std::shared_ptr<const TlsContext> TlsContext::load(const TlsFiles& files) {
  std::unique_ptr<SSL_CTX, FreeContext> context(SSL_CTX_new(TLS_server_method()));
  SSL_CTX* c = context.get();
  if (c == nullptr) fail("OpenSSL", "no context: " + reason(), "check its installation");
  SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
  if (SSL_CTX_set_cipher_list(c, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1) {
    fail("OpenSSL", "no cipher is left: " + reason(), "check its installation");
  }
  SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                             SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                          SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_num_tickets(c, 0);
  static constexpr unsigned char kSessionContext[] = "engine-loader";
  SSL_CTX_set_session_id_context(c, kSessionContext, sizeof kSessionContext - 1);
  SSL_CTX_set_alpn_select_cb(c, choose_h2, nullptr);
  Pem certificate = read_pem(files.certificate);
  use_chain(c, certificate);
  use_key(c, read_pem(files.key), certificate);
  if (!files.client_ca.empty()) require_clients(c, read_pem(files.client_ca));
  return std::shared_ptr<const TlsContext>(new TlsContext(context.release()));
}

TlsContext::~TlsContext() {
  SSL_CTX_free(context_);
}

}  // namespace loader::grpc
