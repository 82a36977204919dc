#include "server/aiges_wire.h"

#include <algorithm>
#include <charconv>

#include "frame/frame_codec.h"
#include "server/wire.h"

namespace loader::server {
namespace {

// What a handler is given at most; each entry of a map is compared with those before it.
constexpr size_t kMostPairs = 256;
constexpr size_t kMostPayloads = 4096;
constexpr int64_t kLongestWaitMs = 3'600'000;

constexpr const char* kMalformed = "the data is not a serialised LoaderInput";
constexpr const char* kNotUtf8 = "a name or value is not UTF-8";
constexpr const char* kTooMany = "a map has more than 256 entries, or a package 4096 payloads";

TextPair read_pair(std::string_view bytes, bool& is_ok) {
  TextPair pair;
  WireReader in(bytes);
  while (in.next()) {
    if (in.field() == 1 && in.is_bytes()) pair.first = in.bytes();
    if (in.field() == 2 && in.is_bytes()) pair.second = in.bytes();
  }
  is_ok &= in.is_ok();
  return pair;
}

// The last of equal keys wins. `begin`: where the map's entries begin.
const char* add_pair(std::vector<TextPair>& pairs, size_t begin, std::string_view bytes) {
  bool is_ok = true;
  const TextPair pair = read_pair(bytes, is_ok);
  if (!is_ok) return kMalformed;
  if (!frame::is_utf8(pair.first) || !frame::is_utf8(pair.second)) return kNotUtf8;
  for (size_t i = begin; i < pairs.size(); i++) {
    if (pairs[i].first == pair.first) return pairs[i].second = pair.second, nullptr;
  }
  if (pairs.size() - begin >= kMostPairs) return kTooMany;
  pairs.push_back(pair);
  return nullptr;
}

// Not a number: the default.
int64_t wait_of(std::string_view text) {
  int64_t value = kAigesWaitMs;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return kAigesWaitMs;
  return std::clamp<int64_t>(value, 0, kLongestWaitMs);
}

bool read_session(std::string_view bytes, XsfRequest& out) {
  WireReader in(bytes);
  while (in.next()) {
    if (in.field() == 1 && in.is_bytes()) out.trace = in.bytes();
    if (in.field() == 2 && in.is_bytes()) out.handle = in.bytes();
  }
  return in.is_ok();
}

bool read_data(std::string_view bytes, XsfRequest& out) {
  WireReader in(bytes);
  while (in.next()) {
    if (in.field() == 1 && in.is_bytes()) out.body = in.bytes();
  }
  return in.is_ok();
}

bool read_param(std::string_view bytes, XsfRequest& out) {
  bool is_ok = true;
  const TextPair pair = read_pair(bytes, is_ok);
  if (pair.first == "SeqNo") out.is_first = pair.second == "1";
  if (pair.first == "waitTime") out.wait_ms = wait_of(pair.second);
  return is_ok;
}

const char* read_meta(std::string_view bytes, std::vector<TextPair>& attributes, AigesMeta& out) {
  WireReader in(bytes);
  const size_t begin = attributes.size();
  while (in.next()) {
    const char* wrong = nullptr;
    if (in.field() == 1 && in.is_bytes()) {
      out.name = in.bytes();
    } else if (in.field() == 2 && in.is_number()) {
      out.data_type = static_cast<uint32_t>(in.number());
    } else if (in.field() == 3 && in.is_bytes()) {
      wrong = add_pair(attributes, begin, in.bytes());
    }
    if (wrong != nullptr) return wrong;
  }
  out.attribute_begin = static_cast<uint32_t>(begin);
  out.attribute_count = static_cast<uint32_t>(attributes.size() - begin);
  if (!in.is_ok()) return kMalformed;
  return frame::is_utf8(out.name) ? nullptr : kNotUtf8;
}

const char* read_payload(std::string_view bytes, LoaderInput& out) {
  if (out.payloads.size() >= kMostPayloads) return kTooMany;
  AigesPayload& payload = out.payloads.emplace_back();
  WireReader in(bytes);
  while (in.next()) {
    if (in.field() == 2 && in.is_bytes()) payload.data = in.bytes();
    if (in.field() != 1 || !in.is_bytes()) continue;
    payload.has_meta = true;
    if (const char* wrong = read_meta(in.bytes(), out.attributes, payload.meta)) return wrong;
  }
  return in.is_ok() ? nullptr : kMalformed;
}

const char* read_expect(std::string_view bytes, LoaderInput& out) {
  if (out.expect.size() >= kMostPayloads) return kTooMany;
  return read_meta(bytes, out.attributes, out.expect.emplace_back());
}

const char* read_field(const WireReader& in, LoaderInput& out) {
  if (in.is_number()) {
    if (in.field() == 3) {
      out.is_once = in.number() == 1;
      out.has_known_state = in.number() <= 1;
    }
    if (in.field() == 8) out.sync_id = static_cast<int32_t>(in.number());
    return nullptr;
  }
  if (!in.is_bytes()) return nullptr;
  switch (in.field()) {
    case 1:
      out.service_id = in.bytes();
      return frame::is_utf8(out.service_id) ? nullptr : kNotUtf8;
    case 4:
      return add_pair(out.headers, 0, in.bytes());
    case 5:
      return add_pair(out.params, 0, in.bytes());
    case 6:
      return read_expect(in.bytes(), out);
    case 7:
      return read_payload(in.bytes(), out);
    default:
      return nullptr;
  }
}

size_t bytes_field_size(size_t size) {
  return 1 + varint_size(size) + size;
}

size_t text_size(std::string_view text) {
  return text.empty() ? 0 : bytes_field_size(text.size());
}

void append_text(std::string& out, uint32_t field, std::string_view text) {
  if (!text.empty()) append_bytes(out, field, text);
}

void append_session(std::string& out, std::string_view handle, std::string_view trace,
                    std::string_view sess) {
  out.append(FieldHead(3, text_size(trace) + text_size(handle) + sess.size()).bytes());
  append_text(out, 1, trace);
  append_text(out, 2, handle);
  out.append(sess);
}

// All AIGES codes are positive.
size_t number_size(uint32_t number) {
  return number == 0 ? 0 : 1 + varint_size(number);
}

}  // namespace

void LoaderInput::clear() {
  service_id = {};
  is_once = false;
  has_known_state = true;
  sync_id = 0;
  headers.clear();
  params.clear();
  expect.clear();
  payloads.clear();
  attributes.clear();
}

std::string_view LoaderInput::header(std::string_view key) const {
  for (const TextPair& pair : headers) {
    if (pair.first == key) return pair.second;
  }
  return {};
}

bool parse_xsf_request(std::string_view bytes, XsfRequest& out) {
  out = {};
  out.wait_ms = kAigesWaitMs;
  bool has_data = false;
  WireReader in(bytes);
  while (in.next()) {
    if (!in.is_bytes()) continue;
    bool is_ok = true;
    if (in.field() == 1) out.op = in.bytes();
    if (in.field() == 2) is_ok = read_session(in.bytes(), out);
    if (in.field() == 3) is_ok = read_param(in.bytes(), out);
    // Later ones mean nothing.
    if (in.field() == 4 && !std::exchange(has_data, true)) is_ok = read_data(in.bytes(), out);
    if (!is_ok) return false;
  }
  return in.is_ok() && frame::is_utf8(out.handle);
}

const char* parse_loader_input(std::string_view bytes, LoaderInput& out) {
  out.clear();
  WireReader in(bytes);
  while (in.next()) {
    if (const char* wrong = read_field(in, out)) return wrong;
  }
  return in.is_ok() ? nullptr : kMalformed;
}

// ---- answers

void append_xsf_head(std::string& out, const LoaderOutputHead& output, size_t payload_bytes,
                     std::string_view handle, std::string_view trace, std::string_view sess,
                     std::string_view retry_text) {
  if (!retry_text.empty()) {
    append_number(out, 1, static_cast<uint32_t>(output.code));
    append_bytes(out, 2, retry_text);
  }
  append_session(out, handle, trace, sess);
  const auto code = static_cast<uint32_t>(output.code);
  const auto status = static_cast<uint32_t>(output.status);
  const size_t size = text_size(output.service_id) + number_size(code) + text_size(output.error) +
                      number_size(status) + payload_bytes;
  out.append(FieldHead(5, bytes_field_size(size)).bytes());
  out.append(FieldHead(1, size).bytes());
  append_text(out, 1, output.service_id);
  if (code != 0) append_number(out, 2, code);
  append_text(out, 3, output.error);
  if (status != 0) append_number(out, 4, status);
}

void append_xsf_empty(std::string& out, std::string_view handle, std::string_view trace,
                      std::string_view sess) {
  append_session(out, handle, trace, sess);
}

std::string peer_entry(std::string_view address) {
  std::string pair, out;
  append_bytes(pair, 1, "PeerAddr");
  append_bytes(pair, 2, address);
  append_bytes(out, 3, pair);
  return out;
}

}  // namespace loader::server
