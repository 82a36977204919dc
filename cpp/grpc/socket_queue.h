// The bytes a connection has for its socket: copied bytes and references to payloads, in order.
#pragma once

#include <sys/uio.h>

#include <string>
#include <vector>

#include "grpc/out_buffer.h"

namespace loader::grpc {

class SocketQueue final : public ByteSink {
 public:
  void append(std::string_view bytes) override { bytes_.append(bytes), size_ += bytes.size(); }
  void append(std::string_view bytes, const SharedPayload& keep) override;

  size_t size() const { return size_; }
  bool is_empty() const { return size_ == 0; }
  // Fills at most `max` vectors from the front.
  int vectors(iovec* to, int max) const;
  // The contiguous bytes at the front (all of them where no payload was appended).
  std::string_view front() const;
  // Forgets `n` bytes the kernel has taken; payloads sent whole are released.
  void pop(size_t n);
  void clear();
  std::string& storage() { return bytes_; }

 private:
  struct Ref {
    size_t at;  // index in bytes_ before which it stands
    std::string_view bytes;
    SharedPayload keep;
  };
  std::string bytes_;
  size_t offset_ = 0;
  size_t size_ = 0;
  std::vector<Ref> refs_;
};

}  // namespace loader::grpc
