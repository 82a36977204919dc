// How a call ended, and the room an entry gets for its error text. Knows wrapper.h only.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "frame/frame_codec.h"
#include "loader/wrapper.h"

namespace loader::host {

struct Outcome {
  loader_status_t status = LOADER_OK;
  std::string message;
  uint16_t error_code = 0;  // of errors.def; 0: follows from the operation and the status
};

// The wrapper's own numbers, and those of ours that say how something failed.
inline bool is_error(loader_status_t status) {
  return status > 0 || (status <= LOADER_ERROR_CLOSED && status >= LOADER_ERROR_UNAVAILABLE);
}

// Without the half character that a cut may have left at the end.
inline std::string_view whole_text(std::string_view text) {
  for (size_t cut = 0; cut < std::min<size_t>(text.size(), 4); ++cut)
    if (frame::is_utf8(text.substr(0, text.size() - cut))) return text.substr(0, text.size() - cut);
  return text;
}

// Text of a wrapper as it may leave the host: UTF-8, bounded.
inline std::string clean_text(std::string_view text) {
  constexpr size_t kMaxTextBytes = 64 * 1024;
  std::string out(whole_text(text.substr(0, kMaxTextBytes)));
  if (frame::is_utf8(out)) return out;
  for (char& byte : out)
    if (static_cast<unsigned char>(byte) >= 0x80) byte = '?';
  return out;
}

class ErrorRoom {
 public:
  ErrorRoom() : error_{sizeof(loader_error_t), sizeof(text_), 0, 0, text_.data()} {}
  ErrorRoom(const ErrorRoom&) = delete;
  ErrorRoom& operator=(const ErrorRoom&) = delete;
  loader_error_t& error() { return error_; }
  // The wrapper may have changed every member: only our own room is read.
  Outcome outcome(loader_status_t status) const {
    if (status == LOADER_OK) return {};
    const size_t size = std::min<size_t>(error_.size, text_.size());
    const std::string_view text(text_.data(), size);
    return {status, clean_text(text.substr(0, text.find('\0'))), 0};
  }

 private:
  std::array<char, 2048> text_{};  // cleared: a wrapper may claim more than it wrote
  loader_error_t error_;
};

}  // namespace loader::host
