// What entries of an engine receive, made from the bodies of records. Views: they live as long as
// the body. Knows wrapper.h and the bodies; no sessions, no channels.
#pragma once

#include <string_view>
#include <vector>

#include "channel/bodies.h"
#include "loader/wrapper.h"

namespace loader::host {

inline loader_string_t string_of(std::string_view text) {
  return {text.data(), text.size()};
}

inline loader_config_t config_of(const channel::InitBody& body) {
  loader_config_t config{};
  config.struct_size = sizeof config;
  config.engine = string_of(body.engine);
  config.version = string_of(body.version);
  config.directory = string_of(body.directory);
  config.json = string_of(body.json);
  config.slots = body.slots;
  config.threads = body.threads;
  return config;
}

// What create and exec see of their caller. Reused: no allocation once grown.
class OpenArguments {
 public:
  const loader_open_t& fill(const channel::OpenBody& body) {
    copy(body.parameters, parameters_);
    copy(body.metadata, metadata_);
    open_ = {};
    open_.struct_size = sizeof open_;
    open_.parameter_count = static_cast<uint32_t>(parameters_.size());
    open_.parameters = parameters_.data();
    open_.metadata = metadata_.data();
    open_.metadata_count = static_cast<uint32_t>(metadata_.size());
    open_.session_id = string_of(body.session_id);
    return open_;
  }

 private:
  static void copy(const std::vector<channel::PairView>& from, std::vector<loader_pair_t>& to) {
    to.clear();
    for (const auto& pair : from) to.push_back({string_of(pair.key), string_of(pair.value)});
  }

  std::vector<loader_pair_t> parameters_;
  std::vector<loader_pair_t> metadata_;
  loader_open_t open_{};
};

}  // namespace loader::host
