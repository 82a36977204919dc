#include "grpc/message_parser.h"

#include <algorithm>
#include <cstring>

namespace loader::grpc {
namespace {
constexpr size_t kFirstStep = 64 << 10;  // a prefix alone buys no more memory than this

// Large buffers of messages that are done, for the next ones of this thread. A fresh megabyte costs
// more in page faults than in copying. At most kKept of kKeptBytes each stay.
class Spares {
 public:
  std::string take() {
    if (count_ == 0) return {};
    return std::move(buffers_[--count_]);
  }
  void give(std::string&& buffer) {
    if (count_ == kKept || buffer.capacity() <= kFirstStep || buffer.capacity() > kKeptBytes)
      return;
    buffer.clear();
    buffers_[count_++] = std::move(buffer);
  }

 private:
  static constexpr size_t kKept = 4;
  static constexpr size_t kKeptBytes = 2 << 20;
  std::string buffers_[kKept];
  size_t count_ = 0;
};

thread_local Spares spares;
}  // namespace

void MessageParser::reset() {
  spares.give(std::move(buffer_));
  std::string().swap(buffer_);
  body_ = {};
  have_ = 0;
  state_ = State::kPrefix;
}

MessageParser::Step MessageParser::next(std::string_view& input) {
  if (state_ == State::kDone) reset();
  return state_ == State::kPrefix ? collect_prefix(input) : collect_body(input);
}

MessageParser::Step MessageParser::collect_prefix(std::string_view& input) {
  size_t n = std::min(input.size(), sizeof prefix_ - have_);
  if (n > 0) std::memcpy(prefix_ + have_, input.data(), n);
  have_ = static_cast<uint8_t>(have_ + n);
  input.remove_prefix(n);
  if (have_ < sizeof prefix_) return Step::kNeedMore;
  size_ = uint32_t{prefix_[1]} << 24 | uint32_t{prefix_[2]} << 16 | uint32_t{prefix_[3]} << 8 |
          prefix_[4];
  have_ = 0;
  state_ = State::kBody;
  is_view_ = true;
  return Step::kPrefix;
}

MessageParser::Step MessageParser::collect_body(std::string_view& input) {
  if (is_view_ && input.size() >= size_) {
    body_ = input.substr(0, size_);
    input.remove_prefix(size_);
    state_ = State::kDone;
    return Step::kMessage;
  }
  if (input.empty()) return Step::kNeedMore;
  if (is_view_) {
    is_view_ = false;
    if (size_ > kFirstStep) buffer_ = spares.take();
    buffer_.reserve(std::min<size_t>(size_, kFirstStep));
  }
  size_t n = std::min<size_t>(input.size(), size_ - buffer_.size());
  buffer_.append(input.substr(0, n));
  input.remove_prefix(n);
  if (buffer_.size() < size_) return Step::kNeedMore;
  body_ = buffer_;
  state_ = State::kDone;
  return Step::kMessage;
}

}  // namespace loader::grpc
