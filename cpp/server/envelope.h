// The messages around frames (proto/loader/v1/loader.proto), read and written in place. Views live
// as long as the bytes they were read from. Knows neither sessions nor engines; frames stay bytes
// here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/error_table.h"

namespace loader::server {

using TextPair = std::pair<std::string_view, std::string_view>;

struct TargetView {
  std::string_view engine;
  std::string_view version;
  std::string_view tenant;
  int32_t priority = 0;
  std::vector<TextPair> selector;
  std::vector<TextPair> labels;
  std::vector<TextPair> trace_context;
};

// ExecRequest, ExecStreamRequest and Open: they share target and parameters.
struct RequestView {
  TargetView target;
  std::vector<TextPair> parameters;
  std::string_view frame;  // empty: a request without items
  std::string_view resume_token;
  bool wants_acks = false;
  uint64_t unknown_fields = 0;

  // Reusable: keeps the vectors' room.
  void clear();
};

// Return what is wrong, or null.
const char* parse_exec(std::string_view bytes, RequestView& out);
const char* parse_open(std::string_view bytes, RequestView& out);

// One SessionRequest.
struct SessionRequestView {
  enum class Kind { kNone, kOpen, kFrame, kEnd, kAck, kCancel };
  Kind kind = Kind::kNone;
  std::string_view body;
};
const char* parse_session_request(std::string_view bytes, SessionRequestView& out);
uint64_t parse_ack(std::string_view body);

// Why and how a session or call ended.
struct FinalView {
  uint32_t reason = 0;
  const ErrorReport* error = nullptr;
  uint64_t frames_in = 0, bytes_in = 0, frames_out = 0, bytes_out = 0;
  double queue_s = 0, first_result_s = 0, duration_s = 0;
};
void append_final(std::string& out, const FinalView& final);

struct OpenedView {
  std::string_view session_id;
  std::string_view engine_version;
  uint64_t message_bytes = 0;
  uint64_t window_bytes = 0;
  double idle_timeout_s = 0;
};
void append_opened(std::string& out, const OpenedView& opened);

struct EngineDescriptionView {
  std::string_view name, version, state, declaration_json;
  uint32_t slots = 0;
  bool has_exec = false, has_sessions = false, has_resources = false;
};
void append_description(std::string& out, const EngineDescriptionView& engine);

}  // namespace loader::server
