// Cuts a byte stream into gRPC messages: 1 flag byte, 4 length bytes, body. Knows no limits and no
// compression: its caller judges each prefix before any memory is spent on the body.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace loader::grpc {

class MessageParser {
 public:
  enum class Step {
    kNeedMore,  // the input is used up
    kPrefix,    // a prefix is complete: judge flag() and size(), then call next() again
    kMessage,   // body() is complete, valid until next() or the end of the input's life
  };

  // Takes bytes off the front of `input`.
  Step next(std::string_view& input);

  uint8_t flag() const { return prefix_[0]; }
  uint32_t size() const { return size_; }
  std::string_view body() const { return body_; }
  // The buffer behind body(), which may be moved from; null when body() is a view of the input.
  std::string* assembled() { return is_view_ ? nullptr : &buffer_; }
  // No byte of an unfinished message is held.
  bool is_between_messages() const { return state_ != State::kBody && have_ == 0; }
  void reset();

 private:
  enum class State : uint8_t { kPrefix, kBody, kDone };
  Step collect_prefix(std::string_view& input);
  Step collect_body(std::string_view& input);

  std::string buffer_;
  std::string_view body_;
  uint32_t size_ = 0;
  uint8_t prefix_[5] = {};
  uint8_t have_ = 0;  // bytes of the prefix
  State state_ = State::kPrefix;
  bool is_view_ = true;
};

}  // namespace loader::grpc
