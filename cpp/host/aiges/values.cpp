#include "host/aiges/values.h"

#include <array>
#include <charconv>
#include <stdexcept>

#include "host/description.h"

namespace loader::host::aiges {

namespace {

void append_utf8(std::string& out, uint32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xc0 | code >> 6);
    out += static_cast<char>(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xe0 | code >> 12);
    out += static_cast<char>(0x80 | (code >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (code & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | code >> 18);
    out += static_cast<char>(0x80 | (code >> 12 & 0x3f));
    out += static_cast<char>(0x80 | (code >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (code & 0x3f));
  }
}

// Four hexadecimal digits at `at`; 0xfffd where there are none.
uint32_t code_at(std::string_view text, size_t at) {
  uint32_t code = 0xfffd;
  if (at + 4 <= text.size()) std::from_chars(text.data() + at, text.data() + at + 4, code, 16);
  return code;
}

// The escape whose letter is at `at`; moves `at` to its last byte.
void append_escape(std::string& out, std::string_view text, size_t& at) {
  constexpr std::string_view kLetters = "bfnrt";
  constexpr std::string_view kBytes = "\b\f\n\r\t";
  const char letter = text[at];
  if (letter != 'u') {
    const size_t known = kLetters.find(letter);
    out += known == std::string_view::npos ? letter : kBytes[known];
    return;
  }
  uint32_t code = code_at(text, at + 1);
  at += 4;
  const bool is_pair = code >= 0xd800 && code < 0xdc00 && text.substr(at + 1, 2) == "\\u";
  if (is_pair) {
    const uint32_t low = code_at(text, at + 3);
    if (low >= 0xdc00 && low < 0xe000) {
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
      at += 6;
    }
  }
  append_utf8(out, code >= 0xd800 && code < 0xe000 ? 0xfffd : code);
}

std::string unquoted(std::string_view json) {
  std::string out;
  const size_t end = json.size() < 2 ? 0 : json.size() - 1;
  for (size_t at = 1; at < end; ++at) {
    if (json[at] != '\\') {
      out += json[at];
    } else if (++at < end) {
      append_escape(out, json, at);
    }
  }
  return out;
}

// As Go writes a float with 'f' and the fewest digits; whole numbers stay as they are.
std::string number_text(std::string_view json) {
  if (json.find_first_of(".eE") == std::string_view::npos) return std::string(json);
  double value = 0;
  const auto read = std::from_chars(json.data(), json.data() + json.size(), value);
  std::array<char, 400> room{};
  const auto written =
      std::to_chars(room.data(), room.data() + room.size(), value, std::chars_format::fixed);
  if (read.ec != std::errc() || written.ec != std::errc()) return std::string(json);
  return {room.data(), written.ptr};
}

bool read_switch(const std::string& key, std::string_view json) {
  if (json == "true") return true;
  if (json == "false") return false;
  throw std::invalid_argument("config.aiges." + key + " is " + std::string(json) +
                              ": write true or false");
}

void read_setting(Settings& settings, const std::string& key, std::string_view json) {
  if (key == "async_mode") {
    settings.is_async = read_switch(key, json);
  } else if (key == "real_time_result") {
    settings.reads_while_writing = read_switch(key, json);
  } else if (key == "debug_info") {
    settings.tells_debug_info = read_switch(key, json);
  } else {
    throw std::invalid_argument("config.aiges." + key +
                                " is unknown: known are async_mode, real_time_result, debug_info");
  }
}

Settings read_settings(std::string_view json) {
  Settings settings;
  std::string error;
  const VisitMember read = [&](std::string_view key, std::string_view value) {
    read_setting(settings, unquoted(key), value);
  };
  if (!read_members(json, read, error))
    throw std::invalid_argument("config.aiges is " + std::string(json) +
                                ": write it as {async_mode: false, real_time_result: true}");
  return settings;
}

}  // namespace

std::string text_of(std::string_view json) {
  if (json.empty() || json == "null") return {};
  if (json.front() == '"') return unquoted(json);
  const bool is_number = json.front() == '-' || (json.front() >= '0' && json.front() <= '9');
  return is_number ? number_text(json) : std::string(json);
}

Config read_config(std::string_view json) {
  Config config;
  if (json.empty()) return config;
  std::string error;
  const VisitMember take = [&](std::string_view written, std::string_view value) {
    const std::string key = unquoted(written);
    if (key == "aiges") {
      config.settings = read_settings(value);
      return;
    }
    if (value.empty() || value == "null" || value.front() == '{' || value.front() == '[')
      throw std::invalid_argument(
          "config." + key + " is " + std::string(value.substr(0, 40)) +
          ": an AIGES library takes texts, numbers and true or false: write "
          "nested keys as one, such as \"a.b\"");
    config.pairs.emplace_back(key, text_of(value));
  };
  if (!read_members(json, take, error))
    throw std::invalid_argument("`config` is not an object (" + error + "): write keys and values");
  return config;
}

}  // namespace loader::host::aiges
