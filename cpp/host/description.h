// Reads the properties a wrapper declares in its describe() JSON. Checks the whole text's form,
// keeps only the booleans the host needs; refuses to judge the rest.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace loader::host {

struct Properties {
  bool is_non_blocking = false;
  bool is_deterministic = false;
  bool has_fixed_slots = false;
};

// Nothing, and `error`, when `json` is not one JSON object.
std::optional<Properties> read_properties(std::string_view json, std::string& error);

// `text` as a JSON string, quotes included.
std::string quoted(std::string_view text);
void append_quoted(std::string& out, std::string_view text);

}  // namespace loader::host
