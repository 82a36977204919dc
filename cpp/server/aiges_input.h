// From a LoaderInput to what the session core takes: a frame, and parameters as JSON texts. Scratch
// of one shard: one package at a time. Knows no sessions and no calls.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "frame/frame_codec.h"
#include "server/aiges_error.h"
#include "server/aiges_wire.h"
#include "server/validate.h"

namespace loader::server {

class AigesInput {
 public:
  // What is wrong, or nullptr. Views of view() live as long as `bytes`.
  const char* parse(std::string_view bytes) { return parse_loader_input(bytes, input_); }
  const LoaderInput& view() const { return input_; }

  // The payloads of view() as an encoded frame, which lives until the next one. `schema` may be
  // null; `is_whole` is the frame of a one-shot call.
  std::optional<AigesError> make_frame(const Schema* schema, bool is_whole,
                                       std::span<const uint8_t>& out);
  // What the wrapper gets: params, the headers named, and always `sid`. As the engine declares
  // them; the views live until the next call.
  void make_parameters(const Schema& schema, std::span<const std::string> header_pass,
                       std::vector<TextPair>& out);

  // The status that a payload says, as the attribute has it; absent: 0.
  static AigesStatus status_of(std::span<const TextPair> attributes);

 private:
  struct Place {
    std::string_view name;
    size_t begin, size;
  };

  void add_item(const AigesPayload& payload, bool is_whole);
  void add_parameter(const Schema& schema, std::string_view name, std::string_view value,
                     bool is_asked_for);

  LoaderInput input_;
  frame::FrameView frame_;
  std::string encoded_;
  std::string json_;
  std::vector<Place> places_;
};

}  // namespace loader::server
