// Reads members of a flat JSON object and single JSON scalars: what small wrappers need of their
// configuration and parameters. Knows no nested values (they are skipped) and keeps nothing.
#pragma once

#include <cctype>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace flat_json {

inline size_t skip_space(std::string_view text, size_t at) {
  while (at < text.size() && std::isspace(static_cast<unsigned char>(text[at])) != 0) ++at;
  return at;
}

// The position behind the value that starts at `at`; npos when it does not end.
inline size_t skip_value(std::string_view text, size_t at) {
  int depth = 0;
  bool in_string = false;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (in_string) {
      if (c == '\\') ++at;
      if (c == '"') in_string = false;
      if (c == '"' && depth == 0) return at + 1;
      continue;
    }
    if (c == '"') in_string = true;
    if (c == '{' || c == '[') ++depth;
    if (depth == 0 && (c == ',' || c == '}')) return at;
    if ((c == '}' || c == ']') && --depth == 0) return at + 1;
  }
  return depth == 0 && !in_string ? at : std::string_view::npos;
}

// The raw text of a member's value, without the spaces around it.
inline std::optional<std::string_view> member(std::string_view object, std::string_view key) {
  size_t at = skip_space(object, 0);
  if (at >= object.size() || object[at] != '{') return std::nullopt;
  ++at;
  while ((at = skip_space(object, at)) < object.size() && object[at] == '"') {
    const size_t key_end = skip_value(object, at);
    if (key_end == std::string_view::npos) return std::nullopt;
    const std::string_view name = object.substr(at + 1, key_end - at - 2);
    at = skip_space(object, key_end);
    if (at >= object.size() || object[at] != ':') return std::nullopt;
    at = skip_space(object, at + 1);
    const size_t end = skip_value(object, at);
    if (end == std::string_view::npos) return std::nullopt;
    std::string_view value = object.substr(at, end - at);
    while (!value.empty() && std::isspace(static_cast<unsigned char>(value.back())) != 0) {
      value.remove_suffix(1);
    }
    if (name == key) return value;
    at = skip_space(object, end);
    if (at < object.size() && object[at] == ',') ++at;
  }
  return std::nullopt;
}

// A JSON string without its quotes; nothing when it is not one or holds \u escapes.
inline std::optional<std::string> to_string(std::string_view value) {
  if (value.size() < 2 || value.front() != '"' || value.back() != '"') return std::nullopt;
  std::string out;
  for (size_t i = 1; i + 1 < value.size(); ++i) {
    char c = value[i];
    if (c == '\\') {
      c = value[++i];
      if (c == 'n')
        c = '\n';
      else if (c == 't')
        c = '\t';
      else if (c != '"' && c != '\\' && c != '/')
        return std::nullopt;
    }
    out.push_back(c);
  }
  return out;
}

inline std::optional<int64_t> to_integer(std::string_view value) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size()) return std::nullopt;
  return number;
}

// `text` as a JSON string, quotes included.
inline std::string quote(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\')
      (out += '\\') += c;
    else if (byte < 0x20)
      ((out += "\\u00") += kHex[byte >> 4]) += kHex[byte & 15];
    else
      out += c;
  }
  return out += '"';
}

}  // namespace flat_json
