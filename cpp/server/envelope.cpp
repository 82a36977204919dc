#include "server/envelope.h"

#include <bit>
#include <cstring>

#include "frame/frame_codec.h"
#include "server/wire.h"

namespace loader::server {
namespace {

using frame::is_utf8;

constexpr const char* kMalformed = "the message is not valid protobuf of the declared type";
constexpr const char* kTooMany = "a map of the message has more than 256 entries";
constexpr const char* kNotUtf8 = "a name or value of the message is not UTF-8";

bool parse_pair(std::string_view bytes, TextPair& out) {
  WireReader in(bytes);
  while (in.next()) {
    if (in.field() == 1 && in.is_bytes()) out.first = in.bytes();
    if (in.field() == 2 && in.is_bytes()) out.second = in.bytes();
  }
  return in.is_ok() && is_utf8(out.first) && is_utf8(out.second);
}

// Each entry is compared with those before it: few, or the data plane stands still.
constexpr size_t kMaxPairs = 256;

// The last of equal keys wins, as in any protobuf map. What is wrong, or nullptr.
const char* add_pair(std::vector<TextPair>& pairs, std::string_view bytes) {
  TextPair pair;
  if (!parse_pair(bytes, pair)) return kNotUtf8;
  for (TextPair& known : pairs) {
    if (known.first == pair.first) return known.second = pair.second, nullptr;
  }
  if (pairs.size() == kMaxPairs) return kTooMany;
  pairs.push_back(pair);
  return nullptr;
}

const char* parse_target(std::string_view bytes, TargetView& out, uint64_t& unknown) {
  WireReader in(bytes);
  while (in.next()) {
    const char* wrong = nullptr;
    if (in.field() == 1 && in.is_bytes()) {
      out.engine = in.bytes();
    } else if (in.field() == 2 && in.is_bytes()) {
      out.version = in.bytes();
    } else if (in.field() == 3 && in.is_bytes()) {
      wrong = add_pair(out.selector, in.bytes());
    } else if (in.field() == 4 && in.is_bytes()) {
      wrong = add_pair(out.labels, in.bytes());
    } else if (in.field() == 5 && in.is_number()) {
      out.priority = static_cast<int32_t>(in.number());
    } else if (in.field() == 6 && in.is_bytes()) {
      out.tenant = in.bytes();
    } else if (in.field() == 7 && in.is_bytes()) {
      wrong = add_pair(out.trace_context, in.bytes());
    } else {
      unknown++;
    }
    if (wrong != nullptr) return wrong;
  }
  if (!in.is_ok()) return kMalformed;
  return is_utf8(out.engine) && is_utf8(out.version) && is_utf8(out.tenant) ? nullptr : kNotUtf8;
}

void append_double(std::string& out, uint32_t field, double value) {
  if (value == 0) return;
  append_varint(out, static_cast<uint64_t>(field) << 3 | 1);
  auto bits = std::bit_cast<uint64_t>(value);
  char raw[8];
  std::memcpy(raw, &bits, sizeof raw);
  out.append(raw, sizeof raw);
}

void append_count(std::string& out, uint32_t field, uint64_t value) {
  if (value != 0) append_number(out, field, value);
}

void append_text(std::string& out, uint32_t field, std::string_view text) {
  if (!text.empty()) append_bytes(out, field, text);
}

}  // namespace

void RequestView::clear() {
  target.engine = target.version = target.tenant = {};
  target.priority = 0;
  target.selector.clear();
  target.labels.clear();
  target.trace_context.clear();
  parameters.clear();
  frame = resume_token = {};
  wants_acks = false;
  unknown_fields = 0;
}

const char* parse_exec(std::string_view bytes, RequestView& out) {
  WireReader in(bytes);
  bool has_frame = false;
  while (in.next()) {
    const char* wrong = nullptr;
    if (in.field() == 1 && in.is_bytes()) {
      wrong = parse_target(in.bytes(), out.target, out.unknown_fields);
    } else if (in.field() == 2 && in.is_bytes()) {
      wrong = add_pair(out.parameters, in.bytes());
    } else if (in.field() == 3 && in.is_bytes()) {
      wrong = has_frame ? "the message has two frames; send one" : nullptr;
      has_frame = true;
      out.frame = in.bytes();
    } else {
      out.unknown_fields++;
    }
    if (wrong != nullptr) return wrong;
  }
  return in.is_ok() ? nullptr : kMalformed;
}

const char* parse_open(std::string_view bytes, RequestView& out) {
  WireReader in(bytes);
  while (in.next()) {
    const char* wrong = nullptr;
    if (in.field() == 1 && in.is_bytes()) {
      wrong = parse_target(in.bytes(), out.target, out.unknown_fields);
    } else if (in.field() == 2 && in.is_bytes()) {
      wrong = add_pair(out.parameters, in.bytes());
    } else if (in.field() == 3 && in.is_bytes()) {
      out.resume_token = in.bytes();
    } else if (in.field() == 5 && in.is_number()) {
      out.wants_acks = in.number() != 0;
    } else if (in.field() != 4) {
      out.unknown_fields++;
    }
    if (wrong != nullptr) return wrong;
  }
  return in.is_ok() ? nullptr : kMalformed;
}

const char* parse_session_request(std::string_view bytes, SessionRequestView& out) {
  WireReader in(bytes);
  while (in.next()) {
    if (in.field() < 1 || in.field() > 5 || !in.is_bytes()) continue;
    out.kind = static_cast<SessionRequestView::Kind>(in.field());
    out.body = in.bytes();
  }
  return in.is_ok() ? nullptr : kMalformed;
}

uint64_t parse_ack(std::string_view body) {
  WireReader in(body);
  uint64_t seq = 0;
  while (in.next()) {
    if (in.field() == 1 && in.is_number()) seq = in.number();
  }
  return seq;
}

void append_final(std::string& out, const FinalView& final) {
  append_count(out, 1, final.reason);
  if (final.error != nullptr && final.error->is_set()) {
    append_bytes(out, 2, encode_error(*final.error));
  }
  std::string statistics;
  append_count(statistics, 1, final.frames_in);
  append_count(statistics, 2, final.bytes_in);
  append_count(statistics, 3, final.frames_out);
  append_count(statistics, 4, final.bytes_out);
  append_double(statistics, 5, final.queue_s);
  append_double(statistics, 6, final.first_result_s);
  append_double(statistics, 7, final.duration_s);
  append_bytes(out, 3, statistics);
}

void append_opened(std::string& out, const OpenedView& opened) {
  append_text(out, 1, opened.session_id);
  append_text(out, 2, opened.engine_version);
  std::string limits;
  append_count(limits, 1, opened.message_bytes);
  append_count(limits, 2, opened.window_bytes);
  append_double(limits, 3, opened.idle_timeout_s);
  append_bytes(out, 3, limits);
}

void append_description(std::string& out, const EngineDescriptionView& engine) {
  append_text(out, 1, engine.name);
  append_text(out, 2, engine.version);
  append_text(out, 3, engine.state);
  append_text(out, 4, engine.declaration_json);
  append_count(out, 5, engine.slots);
  append_count(out, 6, engine.has_exec ? 1 : 0);
  append_count(out, 7, engine.has_sessions ? 1 : 0);
  append_count(out, 8, engine.has_resources ? 1 : 0);
}

}  // namespace loader::server
