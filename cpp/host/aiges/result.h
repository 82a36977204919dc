// A result list of an AIGES library as a frame of ours. Borrows the library's memory until own().
// Checks what can be checked of foreign memory; refuses to know who sends the frame and when.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "host/aiges/abi.h"
#include "loader/wrapper.h"

namespace loader::host::aiges {

// Descriptions of returned lists have a length, those of callbacks end in NUL.
enum class ValueEnd { kByLength, kByNul };

// What is said of one that the host refuses.
inline constexpr const char* kUnsendable = "the result cannot be sent: is it larger than 256 MiB?";

class ResultFrame {
 public:
  // `is_once` says what a status means that is none. Throws std::invalid_argument for a list that
  // cannot be right: data that is not there, no end.
  ResultFrame(const DataList* head, ValueEnd end, bool is_once);
  ResultFrame(const ResultFrame&) = delete;
  ResultFrame& operator=(const ResultFrame&) = delete;

  bool empty() const { return items_.empty(); }
  // A node is the last of its stream: so is the list of the session.
  bool is_final() const { return is_final_; }
  uint64_t size_bytes() const { return size_bytes_; }
  loader_frame_t& frame() { return frame_; }
  // From here on nothing of the library's memory is looked at.
  void own();

 private:
  void add(const DataList& node, ValueEnd end, bool is_once);
  void add_description(const ParamList* pair, ValueEnd end);
  loader_string_t clean(std::string_view text);
  loader_string_t copied(const loader_string_t& text);

  std::vector<loader_item_t> items_;
  std::vector<loader_pair_t> pairs_;
  std::deque<std::string> texts_;  // what is not the library's
  loader_frame_t frame_{};
  uint64_t size_bytes_ = 0;
  bool is_final_ = false;
};

}  // namespace loader::host::aiges
