// What the control plane may set, with defaults. Plain data; knows no mechanism.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "grpc/options.h"

namespace loader::server {

struct ServerOptions {
  uint32_t shards = 1;
  grpc::Options grpc;
  int64_t busy_poll_us = 0;
  uint64_t arena_bytes = 64ull << 20;          // each direction of each channel
  uint64_t inline_payload_bytes = 16384;       // above it a payload travels through the arena
  uint64_t exec_response_bytes = 64ull << 20;  // all results of one Exec
  int64_t admin_timeout_ms = 30'000;           // an admin call the control plane never answers
};

// What AIGES clients are told and allowed.
struct AigesOptions {
  std::string address = "127.0.0.1:0";   // IPv4:PORT that handles carry: clients dial it
  std::vector<std::string> header_pass;  // headers that become parameters; `sid` always does
  int64_t session_ttl_ms = 15'000;       // without a call
};

enum class Isolation { kProcess, kInline };

struct EngineOptions {
  uint32_t slots = 1;  // of each instance
  uint32_t threads = 1;
  int64_t admission_wait_ms = 1'000;
  uint32_t queue_limit = 1'024;
  int64_t call_timeout_ms = 30'000;
  int64_t create_timeout_ms = 30'000;
  int64_t destroy_timeout_ms = 10'000;
  int64_t init_timeout_ms = 300'000;
  int64_t host_timeout_ms = 10'000;
  int64_t hang_grace_ms = 5'000;
  int64_t idle_timeout_ms = 0;  // 0: never
  uint64_t session_window_bytes = 64 << 10;
  uint32_t session_window_records = 256;
  Isolation isolation = Isolation::kProcess;
  std::string language;   // "python" or "native", for Describe and logs
  std::string directory;  // absolute path of the wrapper's folder
  std::string entry;      // file inside it: wrapper.py, wrapper.so
  std::string config_json = "{}";
  // An instance that takes resources waits, between init and its first session, for
  // open_instance(): somebody gives it those there are.
  bool awaits_resources = false;
  std::string declaration_json;  // what Describe says before an instance is ready
};

// One version of an engine that gets new sessions.
struct RouteTarget {
  uint32_t engine = 0;
  std::string version;  // filled in by the server
  uint32_t weight = 100;
  std::vector<std::pair<std::string, std::string>> labels;
  std::vector<std::pair<std::string, std::string>> capabilities;
};

// What changes in one step for sessions opened later.
struct Changes {
  std::map<uint32_t, EngineOptions> options;               // by engine
  std::map<std::string, std::vector<RouteTarget>> routes;  // by name; empty: no longer served
  std::map<std::string, int64_t> hold;                     // by name: milliseconds to wait
};

}  // namespace loader::server
