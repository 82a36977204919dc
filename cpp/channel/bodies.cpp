// Encoding and decoding of record bodies, one pair of functions for each struct of bodies.h.
#include "channel/bodies.h"

#include "channel/little_endian.h"

namespace loader::channel {

namespace {

constexpr size_t kCompletionHead = 8;

size_t pairs_size(const std::vector<PairView>& pairs) {
  size_t size = sizeof(uint32_t);
  for (const PairView& pair : pairs) size += text_size(pair.key) + text_size(pair.value);
  return size;
}

uint8_t* put_pairs(const std::vector<PairView>& pairs, uint8_t* out) {
  out = put(static_cast<uint32_t>(pairs.size()), out);
  for (const PairView& pair : pairs) out = put_text(pair.value, put_text(pair.key, out));
  return out;
}

// The count is not believed: memory grows only as pairs are really there.
void get_pairs(Reader& reader, std::vector<PairView>& pairs) {
  uint32_t count = 0;
  reader.get(count);
  pairs.clear();
  for (uint32_t i = 0; i < count && reader.ok(); ++i) {
    PairView pair;
    reader.get_text(pair.key).get_text(pair.value);
    if (reader.ok()) pairs.push_back(pair);
  }
}

bool is_operation(Operation operation) {
  return operation >= Operation::kInit && operation <= Operation::kUnloadResource;
}

}  // namespace

void OpenBody::clear() {
  session_id = {};
  deadline_ns = kNoDeadline;
  window_records = 0;
  window_bytes = 0;
  parameters.clear();
  metadata.clear();
}

// ---- init, update

size_t size_of(const InitBody& body) {
  return text_size(body.engine) + text_size(body.version) + text_size(body.directory) +
         text_size(body.entry) + text_size(body.json) + 3 * sizeof(uint32_t) + sizeof(int64_t) +
         pairs_size(body.options);
}

uint8_t* write(const InitBody& body, uint8_t* out) {
  for (const std::string_view text :
       {body.engine, body.version, body.directory, body.entry, body.json}) {
    out = put_text(text, out);
  }
  out = put(body.handover_us, put(body.threads, put(body.slots, out)));
  return put_pairs(body.options, put(body.call_timeout_ns, out));
}

bool decode(Bytes bytes, InitBody& out) {
  Reader reader(bytes);
  reader.get_text(out.engine).get_text(out.version).get_text(out.directory).get_text(out.entry);
  reader.get_text(out.json).get(out.slots).get(out.threads).get(out.handover_us);
  reader.get(out.call_timeout_ns);
  get_pairs(reader, out.options);
  return reader.ok_at_end();
}

// ---- create, exec

size_t size_of(const OpenBody& body) {
  return text_size(body.session_id) + sizeof(int64_t) + sizeof(uint32_t) + sizeof(uint64_t) +
         pairs_size(body.parameters) + pairs_size(body.metadata);
}

uint8_t* write(const OpenBody& body, uint8_t* out) {
  out = put(body.deadline_ns, put_text(body.session_id, out));
  out = put(body.window_bytes, put(body.window_records, out));
  return put_pairs(body.metadata, put_pairs(body.parameters, out));
}

bool decode(Bytes bytes, OpenBody& out, Bytes& rest) {
  Reader reader(bytes);
  reader.get_text(out.session_id).get(out.deadline_ns);
  reader.get(out.window_records).get(out.window_bytes);
  get_pairs(reader, out.parameters);
  get_pairs(reader, out.metadata);
  rest = reader.left();
  return reader.ok();
}

// ---- reason, credit, ping, release, arena

size_t size_of(const ReasonBody&) {
  return sizeof(int32_t);
}
uint8_t* write(const ReasonBody& body, uint8_t* out) {
  return put(body.reason, out);
}
bool decode(Bytes bytes, ReasonBody& out) {
  const bool is_whole = Reader(bytes).get(out.reason).ok_at_end();
  return is_whole && out.reason >= LOADER_REASON_UNSPECIFIED &&
         out.reason <= LOADER_REASON_PROTOCOL;
}

size_t size_of(const CreditBody&) {
  return sizeof(uint32_t) + sizeof(uint64_t);
}
uint8_t* write(const CreditBody& body, uint8_t* out) {
  return put(body.bytes, put(body.records, out));
}
bool decode(Bytes bytes, CreditBody& out) {
  return Reader(bytes).get(out.records).get(out.bytes).ok_at_end();
}

size_t size_of(const PingBody&) {
  return sizeof(uint64_t);
}
uint8_t* write(const PingBody& body, uint8_t* out) {
  return put(body.nonce, out);
}
bool decode(Bytes bytes, PingBody& out) {
  return Reader(bytes).get(out.nonce).ok_at_end();
}

size_t size_of(const ReleaseBody& body) {
  return body.blocks.size() * sizeof(uint32_t);
}
uint8_t* write(const ReleaseBody& body, uint8_t* out) {
  for (const uint32_t block : body.blocks) out = put(block, out);
  return out;
}
bool decode(Bytes bytes, ReleaseBody& out) {
  out.blocks.clear();
  if (bytes.size() % sizeof(uint32_t) != 0) return false;
  for (size_t at = 0; at < bytes.size(); at += sizeof(uint32_t)) {
    out.blocks.push_back(get_at<uint32_t>(bytes.data() + at));
  }
  return true;
}

size_t size_of(const ArenaBody&) {
  return sizeof(uint64_t);
}
uint8_t* write(const ArenaBody& body, uint8_t* out) {
  return put(body.size, out);
}
bool decode(Bytes bytes, ArenaBody& out) {
  return Reader(bytes).get(out.size).ok_at_end();
}

// ---- resources

size_t size_of(const ResourceBody&) {
  return sizeof(uint32_t);
}
uint8_t* write(const ResourceBody& body, uint8_t* out) {
  return put(body.id, out);
}
bool decode(Bytes bytes, ResourceBody& out, Bytes& rest) {
  Reader reader(bytes);
  reader.get(out.id);
  rest = reader.left();
  return reader.ok();
}

// ---- completion: the hot one; the text is simply the rest

size_t size_of(const CompletionBody& body) {
  return kCompletionHead + body.message.size();
}

uint8_t* write(const CompletionBody& body, uint8_t* out) {
  out = put(body.error_code, put(uint8_t{0}, put(body.operation, out)));
  out = put(body.status, out);
  if (!body.message.empty()) std::memcpy(out, body.message.data(), body.message.size());
  return out + body.message.size();
}

bool decode(Bytes bytes, CompletionBody& out) {
  uint8_t reserved = 0;
  Reader reader(bytes);
  reader.get(out.operation).get(reserved).get(out.error_code).get(out.status);
  const Bytes text = reader.left();
  out.message = {reinterpret_cast<const char*>(text.data()), text.size()};
  return reader.ok() && is_operation(out.operation);
}

// ---- ready, log, meter, trace, hung, failure

size_t size_of(const ReadyBody& body) {
  return 3 * sizeof(uint32_t) + text_size(body.name) + text_size(body.version) +
         text_size(body.describe_json);
}
uint8_t* write(const ReadyBody& body, uint8_t* out) {
  out = put(body.abi_minor, put(body.abi_major, put(body.flags, out)));
  return put_text(body.describe_json, put_text(body.version, put_text(body.name, out)));
}
bool decode(Bytes bytes, ReadyBody& out) {
  Reader reader(bytes);
  reader.get(out.flags).get(out.abi_major).get(out.abi_minor);
  return reader.get_text(out.name).get_text(out.version).get_text(out.describe_json).ok_at_end();
}

size_t size_of(const LogBody& body) {
  return sizeof(int32_t) + text_size(body.text);
}
uint8_t* write(const LogBody& body, uint8_t* out) {
  return put_text(body.text, put(body.level, out));
}
bool decode(Bytes bytes, LogBody& out) {
  return Reader(bytes).get(out.level).get_text(out.text).ok_at_end();
}

size_t size_of(const MeterBody& body) {
  return sizeof(double) + text_size(body.unit);
}
uint8_t* write(const MeterBody& body, uint8_t* out) {
  return put_text(body.unit, put(body.amount, out));
}
bool decode(Bytes bytes, MeterBody& out) {
  return Reader(bytes).get(out.amount).get_text(out.unit).ok_at_end();
}

size_t size_of(const TraceBody& body) {
  return text_size(body.key) + text_size(body.value);
}
uint8_t* write(const TraceBody& body, uint8_t* out) {
  return put_text(body.value, put_text(body.key, out));
}
bool decode(Bytes bytes, TraceBody& out) {
  return Reader(bytes).get_text(out.key).get_text(out.value).ok_at_end();
}

size_t size_of(const HungBody&) {
  return sizeof(Operation) + sizeof(int64_t);
}
uint8_t* write(const HungBody& body, uint8_t* out) {
  return put(body.elapsed_ns, put(body.operation, out));
}
bool decode(Bytes bytes, HungBody& out) {
  const bool is_whole = Reader(bytes).get(out.operation).get(out.elapsed_ns).ok_at_end();
  return is_whole && is_operation(out.operation);
}

size_t size_of(const FailureBody& body) {
  return sizeof(int32_t) + text_size(body.message);
}
uint8_t* write(const FailureBody& body, uint8_t* out) {
  return put_text(body.message, put(body.status, out));
}
bool decode(Bytes bytes, FailureBody& out) {
  return Reader(bytes).get(out.status).get_text(out.message).ok_at_end() && out.status != 0;
}

}  // namespace loader::channel
