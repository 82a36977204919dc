// The arguments by which the loader tells a host where its channels are.
#include <array>
#include <charconv>
#include <stdexcept>

#include "host/runtime.h"

namespace loader::host {

namespace {

int64_t number_of(const std::string& name, std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0)
    throw std::invalid_argument(name + ": '" + std::string(text) +
                                "' is not a number of 0 or more");
  return value;
}

ChannelDescriptors channel_of(const std::string& text) {
  std::array<int, 3> parts{};
  size_t begin = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const size_t end = i + 1 == parts.size() ? text.size() : text.find(',', begin);
    if (end == std::string::npos)
      throw std::invalid_argument("--channel: '" + text + "' is not SOCKET,ARENA_IN,ARENA_OUT");
    parts[i] =
        static_cast<int>(number_of("--channel", std::string_view(text).substr(begin, end - begin)));
    begin = end + 1;
  }
  return {parts[0], parts[1], parts[2]};
}

bool take(RuntimeOptions& options, const std::string& name, const std::string& value) {
  if (name == "--channel") {
    options.channels.push_back(channel_of(value));
  } else if (name == "--lifeline") {
    options.lifeline = static_cast<int>(number_of(name, value));
  } else if (name == "--handover-us") {
    options.handover_us = number_of(name, value);
  } else {
    return false;
  }
  return true;
}

bool is_ours(const std::string& name) {
  return name == "--channel" || name == "--lifeline" || name == "--handover-us";
}

}  // namespace

std::string package_version_of_build() {
  return LOADER_PACKAGE_VERSION;
}

RuntimeOptions parse_options(const std::vector<std::string>& arguments,
                             std::vector<std::string>* rest) {
  RuntimeOptions options;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    const size_t equals = argument.find('=');
    if (equals != std::string::npos &&
        take(options, argument.substr(0, equals), argument.substr(equals + 1)))
      continue;
    if (!is_ours(argument)) {
      if (rest != nullptr) rest->push_back(argument);
      continue;
    }
    if (i + 1 == arguments.size())
      throw std::invalid_argument(argument + " wants a value behind it");
    take(options, argument, arguments[++i]);
  }
  return options;
}

}  // namespace loader::host
