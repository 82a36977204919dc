// JSON values as AIGES libraries take them: text. And the settings that the adapter takes out of an
// engine's `config`. Refuses to know wrappers and calls.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace loader::host::aiges {

using TextPairs = std::vector<std::pair<std::string, std::string>>;

// The key `aiges` of an engine's `config`.
struct Settings {
  bool is_async = false;            // async_mode: results come by callback
  bool reads_while_writing = true;  // real_time_result: else only after the last input
  bool tells_debug_info = false;    // debug_info: log wrapperDebugInfo before each destroy
};

struct Config {
  Settings settings;
  TextPairs pairs;  // for wrapperInit
};

// "en" gives en, 16000 16000, 2.50 2.5, 1e3 1000, true true, null nothing; lists and objects stay
// JSON. `json` is one valid value.
std::string text_of(std::string_view json);

// Throws std::invalid_argument with the key and the cure where a value has no text.
Config read_config(std::string_view json);

}  // namespace loader::host::aiges
