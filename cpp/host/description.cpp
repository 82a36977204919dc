#include "host/description.h"

#include <cctype>
#include <cstdio>

namespace loader::host {

namespace {

constexpr int kMaxDepth = 64;

// A recursive-descent check of JSON's form that tells the members of the outermost object.
class Scanner {
 public:
  Scanner(std::string_view text, const VisitMember& visit) : text_(text), visit_(visit) {}

  bool scan() {
    skip_space();
    if (at() != '{') return fail("it does not begin with {");
    if (!value(0)) return false;
    skip_space();
    return at_ == text_.size() || fail("something follows the object");
  }
  const std::string& error() const { return error_; }

 private:
  char at() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void skip_space() {
    while (at_ < text_.size() &&
           std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos)
      ++at_;
  }
  bool fail(const std::string& why) {
    if (error_.empty()) error_ = why + " (at byte " + std::to_string(at_) + ")";
    return false;
  }
  bool word(std::string_view expected) {
    if (text_.substr(at_, expected.size()) != expected) return fail("an unknown word");
    at_ += expected.size();
    return true;
  }
  bool value(int depth) {
    if (depth > kMaxDepth) return fail("it is nested too deeply");
    skip_space();
    switch (at()) {
      case '{':
        return object(depth);
      case '[':
        return array(depth);
      case '"':
        return string();
      case 't':
        return word("true");
      case 'f':
        return word("false");
      case 'n':
        return word("null");
      default:
        return number();
    }
  }
  bool object(int depth) {
    ++at_;
    skip_space();
    if (at() == '}') return ++at_, true;
    while (true) {
      skip_space();
      const size_t key = at_;
      if (!string()) return false;
      const size_t key_end = at_;
      skip_space();
      if (at() != ':') return fail("a colon is missing");
      ++at_;
      skip_space();
      const size_t begin = at_;
      if (!value(depth + 1)) return false;
      if (depth == 0) visit_(text_.substr(key, key_end - key), text_.substr(begin, at_ - begin));
      skip_space();
      if (at() == '}') return ++at_, true;
      if (at() != ',') return fail("a comma or } is missing");
      ++at_;
    }
  }
  bool array(int depth) {
    ++at_;
    skip_space();
    if (at() == ']') return ++at_, true;
    while (true) {
      if (!value(depth + 1)) return false;
      skip_space();
      if (at() == ']') return ++at_, true;
      if (at() != ',') return fail("a comma or ] is missing");
      ++at_;
    }
  }
  bool string() {
    if (at() != '"') return fail("a string is missing");
    for (++at_; at_ < text_.size(); ++at_) {
      const char byte = text_[at_];
      if (byte == '"') return ++at_, true;
      if (static_cast<unsigned char>(byte) < 0x20) return fail("a control character in a string");
      if (byte == '\\') ++at_;
    }
    return fail("a string does not end");
  }
  bool number() {
    const size_t begin = at_;
    while (at_ < text_.size() &&
           (std::isdigit(static_cast<unsigned char>(text_[at_])) != 0 ||
            std::string_view("+-.eE").find(text_[at_]) != std::string_view::npos))
      ++at_;
    return at_ != begin || fail("a value is missing");
  }

  std::string_view text_;
  const VisitMember& visit_;
  size_t at_ = 0;
  std::string error_;
};

}  // namespace

bool read_members(std::string_view json, const VisitMember& visit, std::string& error) {
  Scanner scanner(json, visit);
  const bool is_object = scanner.scan();
  error = scanner.error();
  return is_object;
}

std::optional<Properties> read_properties(std::string_view json, std::string& error) {
  Properties properties;
  const VisitMember note = [&](std::string_view key, std::string_view value) {
    if (value != "true") return;
    if (key == R"("non_blocking")") properties.is_non_blocking = true;
    if (key == R"("deterministic")") properties.is_deterministic = true;
    if (key == R"("slots_fixed")") properties.has_fixed_slots = true;
  };
  const VisitMember find = [&](std::string_view key, std::string_view value) {
    std::string other;  // properties that are no object declare nothing
    if (key == R"("properties")") read_members(value, note, other);
  };
  if (read_members(json, find, error)) return properties;
  return std::nullopt;
}

std::string quoted(std::string_view text) {
  std::string out;
  append_quoted(out, text);
  return out;
}

void append_quoted(std::string& out, std::string_view text) {
  static constexpr char kDigits[] = "0123456789abcdef";
  out.push_back('"');
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (byte < 0x20) {
      out.append("\\u00");
      out.push_back(kDigits[byte >> 4]);
      out.push_back(kDigits[byte & 15]);
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
}

}  // namespace loader::host
