// Checks requests against what an engine declares (`describe` JSON): inputs by type, element type,
// shape and presence; parameters by type, range, choice, presence, with defaults filled in.
// A compiled schema is immutable and shared by the shards. Knows neither transport nor sessions.
//
// Declaration: {"inputs":  [{"key": "audio", "type": "tensor", "data_type": "fp32",
//                            "shape": [1, -1], "required": true}],
//               "outputs": [...],
//               "parameters": [{"name": "rate", "type": "integer", "minimum": 8000,
//                               "maximum": 48000, "enum": [8000, 16000], "default": 16000,
//                               "required": false}],
//               "properties": {"non_blocking": false, ...}}
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "frame/frame_codec.h"

namespace loader::server {

// A tensor's bytes must be what its shape and type say, declared or not.
std::optional<std::string> check_tensor_size(const frame::FrameView& frame,
                                             const frame::ItemView& item);

using Parameter = std::pair<std::string_view, std::string_view>;

class Schema {
 public:
  // An empty text declares nothing and accepts everything. Throws std::invalid_argument with the
  // place at fault.
  static std::shared_ptr<const Schema> parse(const std::string& declaration_json);

  // What is wrong, or nothing. Appends declared defaults that the caller left out to `parameters`;
  // their views live as long as the schema.
  // `resource_ids` needs no declaration where the engine takes resources.
  std::optional<std::string> check_parameters(std::vector<Parameter>& parameters,
                                              bool takes_resources = false) const;
  // `is_whole` is an exec's only frame: required inputs must be in it. In a session each frame may
  // carry some of them.
  std::optional<std::string> check_frame(const frame::FrameView& frame, bool is_whole) const;

  // ---- for clients of other protocols, whose values are texts and whose types are few
  bool takes_parameter(std::string_view name) const;
  // `value` is as it stands what the engine declares: an integer, a number, true or false.
  bool takes_plain(std::string_view name, std::string_view value) const;
  // Gives the item the declared type where the client's protocol has no word for it.
  void adapt(frame::ItemView& item) const;
  // check_frame() for texts in any encoding.
  std::optional<std::string> check_inputs(const frame::FrameView& frame, bool is_whole) const;

  bool checks_inputs() const { return !inputs_.empty(); }
  bool is_non_blocking() const { return is_non_blocking_; }
  bool is_slots_fixed() const { return is_slots_fixed_; }
  bool has_exec() const { return has_exec_; }
  bool has_sessions() const { return has_sessions_; }

  struct Input {
    std::string key;
    uint32_t type = 0;                                            // LOADER_ITEM_*; 0: any
    uint32_t data_type = 0;                                       // LOADER_TYPE_*; 0: any
    std::optional<std::vector<int64_t>> shape;                    // -1: any extent
    std::vector<std::pair<std::string, std::string>> attributes;  // where given, must be equal
    bool is_required = false;
  };
  enum class Kind { kAny, kInteger, kNumber, kString, kBoolean };
  struct ParameterRule {
    std::string name;
    Kind kind = Kind::kAny;
    std::optional<double> minimum, maximum;
    std::vector<std::string> choices;  // canonical JSON text
    std::vector<double> number_choices;
    std::string default_json;  // empty: none
    bool is_required = false;
  };

 private:
  const Input* input(std::string_view key) const;
  const ParameterRule* rule(std::string_view name) const;

  std::vector<Input> inputs_;
  std::vector<ParameterRule> parameters_;
  bool is_non_blocking_ = false;
  bool is_slots_fixed_ = false;
  bool has_exec_ = true;
  bool has_sessions_ = true;
};

}  // namespace loader::server
