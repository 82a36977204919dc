// The messages of AIGES clients (packages utils and protocol, proto/foreign/aiges), read and
// written in place. Views live as long as the bytes they were read from. Knows no operation and no
// session.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/envelope.h"

namespace loader::server {

// utils.ReqData: what of it means anything.
struct XsfRequest {
  std::string_view op;
  std::string_view handle;
  std::string_view trace;
  std::string_view body;  // of the first DataMeta: a LoaderInput
  bool is_first = false;  // SeqNo "1"
  int64_t wait_ms = 0;    // what the client asked for, or the default
};

constexpr int64_t kAigesWaitMs = 500;

// False: not protobuf of that type.
bool parse_xsf_request(std::string_view bytes, XsfRequest& out);

// protocol.MetaDesc.
struct AigesMeta {
  std::string_view name;
  uint32_t data_type = 0;
  uint32_t attribute_begin = 0;  // into LoaderInput::attributes
  uint32_t attribute_count = 0;
};

struct AigesPayload {
  AigesMeta meta;
  bool has_meta = false;
  std::string_view data;
};

// protocol.LoaderInput. Reuse one for many: clear() keeps the memory.
struct LoaderInput {
  std::string_view service_id;
  bool is_once = false;
  bool has_known_state = true;
  int32_t sync_id = 0;
  std::vector<TextPair> headers;
  std::vector<TextPair> params;
  std::vector<AigesMeta> expect;
  std::vector<AigesPayload> payloads;
  std::vector<TextPair> attributes;  // of all metas

  void clear();
  std::span<const TextPair> attributes_of(const AigesMeta& meta) const {
    return {attributes.data() + meta.attribute_begin, meta.attribute_count};
  }
  std::string_view header(std::string_view key) const;
};

// What is wrong, or nullptr.
const char* parse_loader_input(std::string_view bytes, LoaderInput& out);

// protocol.RespStatus, and the attribute `status`.
enum class AigesStatus : uint8_t { kBegin = 0, kContinue = 1, kEnd = 2, kOnce = 3 };

// Everything of a LoaderOutput but its payloads.
struct LoaderOutputHead {
  std::string_view service_id;
  int32_t code = 0;
  std::string_view error;
  AigesStatus status = AigesStatus::kBegin;
};

// The bytes of a utils.ResData up to where the payloads follow, which are `payload_bytes` long.
// `sess` is the encoded map entry of utils.Session. `retry_text` not empty: ResData carries the
// code, too, and clients try another node.
void append_xsf_head(std::string& out, const LoaderOutputHead& output, size_t payload_bytes,
                     std::string_view handle, std::string_view trace, std::string_view sess,
                     std::string_view retry_text = {});
// A ResData without data.
void append_xsf_empty(std::string& out, std::string_view handle, std::string_view trace,
                      std::string_view sess);
// The map entry of utils.Session that names a peer.
std::string peer_entry(std::string_view address);

}  // namespace loader::server
