#include "grpc/socket_queue.h"

#include <algorithm>

namespace loader::grpc {
namespace {
constexpr size_t kCompactFrom = 256 << 10;
}

void SocketQueue::append(std::string_view bytes, const SharedPayload& keep) {
  refs_.push_back({bytes_.size(), bytes, keep});
  size_ += bytes.size();
}

int SocketQueue::vectors(iovec* to, int max) const {
  int n = 0;
  size_t at = offset_;
  auto put = [&](const char* p, size_t size) {
    if (size > 0 && n < max) to[n++] = {const_cast<char*>(p), size};
  };
  for (const Ref& ref : refs_) {
    if (n == max) return n;
    put(bytes_.data() + at, ref.at - at);
    put(ref.bytes.data(), ref.bytes.size());
    at = ref.at;
  }
  put(bytes_.data() + at, bytes_.size() - at);
  return n;
}

std::string_view SocketQueue::front() const {
  if (!refs_.empty() && refs_.front().at == offset_) return refs_.front().bytes;
  size_t end = refs_.empty() ? bytes_.size() : refs_.front().at;
  return std::string_view(bytes_).substr(offset_, end - offset_);
}

void SocketQueue::pop(size_t n) {
  size_ -= n;
  size_t gone = 0;
  while (n > 0) {
    size_t until = gone < refs_.size() ? refs_[gone].at : bytes_.size();
    size_t step = std::min(n, until - offset_);
    offset_ += step;
    n -= step;
    if (n == 0 || gone == refs_.size()) break;
    std::string_view& rest = refs_[gone].bytes;
    step = std::min(n, rest.size());
    rest.remove_prefix(step);
    n -= step;
    if (rest.empty()) gone++;
  }
  if (gone > 0) refs_.erase(refs_.begin(), refs_.begin() + static_cast<ptrdiff_t>(gone));
  if (size_ == 0) {
    clear();
  } else if (offset_ >= kCompactFrom && offset_ >= bytes_.size() / 2) {
    bytes_.erase(0, offset_);
    for (Ref& ref : refs_) ref.at -= offset_;
    offset_ = 0;
  }
}

void SocketQueue::clear() {
  bytes_.clear();
  refs_.clear();
  offset_ = size_ = 0;
}

}  // namespace loader::grpc
