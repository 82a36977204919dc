// JSON as far as the host has to do with it: the members of an object, the properties a wrapper
// declares in its describe(), and a text as a string. Checks the whole text's form, keeps only what
// is asked for; refuses to judge the rest.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace loader::host {

struct Properties {
  bool is_non_blocking = false;
  bool is_deterministic = false;
  bool has_fixed_slots = false;
};

// Key and value as they are written.
using VisitMember = std::function<void(std::string_view key, std::string_view value)>;

// Calls `visit` for each member of the object, in order. False, and `error`, when `json` is not one
// JSON object.
bool read_members(std::string_view json, const VisitMember& visit, std::string& error);

// Nothing, and `error`, when `json` is not one JSON object.
std::optional<Properties> read_properties(std::string_view json, std::string& error);

// `text` as a JSON string, quotes included.
std::string quoted(std::string_view text);
void append_quoted(std::string& out, std::string_view text);

}  // namespace loader::host
