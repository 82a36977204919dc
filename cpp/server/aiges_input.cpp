#include "server/aiges_input.h"

#include <algorithm>

#include "host/description.h"
#include "loader/wrapper.h"

namespace loader::server {
namespace {

uint32_t item_type_of(uint32_t data_type) {
  static constexpr uint32_t kTypes[] = {LOADER_ITEM_TEXT, LOADER_ITEM_AUDIO, LOADER_ITEM_IMAGE,
                                        LOADER_ITEM_VIDEO};
  if (data_type < std::size(kTypes)) return kTypes[data_type];
  return LOADER_ITEM_BYTES;
}

bool is_said(const std::vector<TextPair>& pairs, std::string_view key) {
  return std::any_of(pairs.begin(), pairs.end(), [&](auto& pair) { return pair.first == key; });
}

}  // namespace

AigesStatus AigesInput::status_of(std::span<const TextPair> attributes) {
  for (const TextPair& pair : attributes) {
    if (pair.first != "status") continue;
    const bool is_known = pair.second.size() == 1 && pair.second[0] >= '0' && pair.second[0] <= '3';
    return is_known ? static_cast<AigesStatus>(pair.second[0] - '0') : AigesStatus::kBegin;
  }
  return AigesStatus::kBegin;
}

void AigesInput::add_item(const AigesPayload& payload, bool is_whole) {
  const std::span<const TextPair> attributes = input_.attributes_of(payload.meta);
  frame::ItemView& item =
      frame_.add_item(payload.meta.name,
                      {reinterpret_cast<const uint8_t*>(payload.data.data()), payload.data.size()});
  item.type = item_type_of(payload.meta.data_type);
  const bool is_silent =
      is_whole && !std::any_of(attributes.begin(), attributes.end(),
                               [](auto& pair) { return pair.first == "status"; });
  const AigesStatus status = is_silent ? AigesStatus::kOnce : status_of(attributes);
  item.status = LOADER_STATUS_BEGIN + static_cast<uint32_t>(status);
  for (const TextPair& pair : attributes) frame_.add_attribute(pair.first, pair.second);
}

std::optional<AigesError> AigesInput::make_frame(const Schema* schema, bool is_whole,
                                                 std::span<const uint8_t>& out) {
  frame_.clear();
  for (size_t i = 0; i < input_.payloads.size(); i++) {
    const AigesPayload& payload = input_.payloads[i];
    if (!payload.has_meta || payload.meta.name.empty()) {
      return AigesError{kAigesInvalid, "payload " + std::to_string(i) + " has no meta.name"};
    }
    add_item(payload, is_whole);
    if (schema != nullptr) schema->adapt(frame_.items.back());
  }
  if (schema != nullptr && schema->checks_inputs()) {
    if (auto wrong = schema->check_inputs(frame_, is_whole))
      return AigesError{kAigesInvalid, *wrong};
  }
  encoded_.clear();
  frame::append_frame(frame_, encoded_);
  out = {reinterpret_cast<const uint8_t*>(encoded_.data()), encoded_.size()};
  return std::nullopt;
}

void AigesInput::add_parameter(const Schema& schema, std::string_view name, std::string_view value,
                               bool is_asked_for) {
  if (!is_asked_for && !schema.takes_parameter(name)) return;
  const size_t begin = json_.size();
  if (schema.takes_plain(name, value)) {
    json_.append(value);
  } else {
    host::append_quoted(json_, value);
  }
  places_.push_back({name, begin, json_.size() - begin});
}

void AigesInput::make_parameters(const Schema& schema, std::span<const std::string> header_pass,
                                 std::vector<TextPair>& out) {
  json_.clear();
  places_.clear();
  auto is_passed = [&](std::string_view name) {
    return is_said(input_.headers, name) &&
           std::find(header_pass.begin(), header_pass.end(), name) != header_pass.end();
  };
  std::string_view sid = input_.header("sid");
  for (const TextPair& pair : input_.params) {
    if (pair.first == "sid") {
      if (sid.empty()) sid = pair.second;
    } else if (!is_passed(pair.first)) {
      add_parameter(schema, pair.first, pair.second, true);
    }
  }
  for (const TextPair& pair : input_.headers) {
    if (pair.first != "sid" && is_passed(pair.first)) {
      add_parameter(schema, pair.first, pair.second, false);
    }
  }
  add_parameter(schema, "sid", sid, false);
  for (const Place& one : places_) {
    out.emplace_back(one.name, std::string_view(json_).substr(one.begin, one.size));
  }
}

}  // namespace loader::server
