// What an AIGES client expects of results: keys, types and the attributes that every result
// carries; and results written by it as payloads of a LoaderOutput. Knows no sessions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "frame/frame_codec.h"
#include "server/aiges_wire.h"

namespace loader::server {

// The payloads of one answer, encoded.
struct AigesPackage {
  std::string payloads;
  AigesStatus status = AigesStatus::kBegin;  // of the last payload; kEnd where any is final
  std::vector<uint32_t> unset_at;            // where a status is that the engine left open
  uint64_t credit_bytes = 0;
  uint32_t credit_records = 0;

  bool is_final() const { return status == AigesStatus::kEnd || status == AigesStatus::kOnce; }
  // Nothing follows: what the engine left open is the end.
  void close();
};

class AigesContract {
 public:
  void set(const LoaderInput& input);
  // What is wrong with the result, in the words of AIGES, or nullptr. `is_once`: statuses and
  // numbers of a one-shot call.
  const char* append(const frame::FrameView& result, bool is_once, AigesPackage& out);

 private:
  struct Expected {
    size_t name_begin, name_size, attributes_begin, attributes_size;
    uint32_t type;
  };
  struct Count {
    std::string key;
    uint32_t last;
  };

  std::string_view name_of(const Expected& one) const {
    return std::string_view(bytes_).substr(one.name_begin, one.name_size);
  }
  std::string_view attributes_of(const Expected& one) const {
    return std::string_view(bytes_).substr(one.attributes_begin, one.attributes_size);
  }
  const Expected* find(std::string_view key) const;
  uint32_t next_number(std::string_view key);
  void append_meta(const frame::FrameView& result, const frame::ItemView& item,
                   const Expected* expected, uint32_t number, AigesStatus status);

  std::string bytes_;  // names, and attributes as encoded map entries
  std::vector<Expected> expected_;
  std::vector<Count> counts_;
  std::string meta_;  // scratch
};

}  // namespace loader::server
