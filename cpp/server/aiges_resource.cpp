#include "server/aiges_resource.h"

#include <charconv>
#include <optional>
#include <utility>

#include "server/aiges_desk.h"
#include "server/wire.h"

namespace loader::server {
namespace {

constexpr const char* kLoad = "/loader.v1.AdminService/LoadResource";
constexpr const char* kUnload = "/loader.v1.AdminService/UnloadResource";
constexpr std::string_view kNames[] = {"resource_id", "res_id"};

std::string_view id_text(const LoaderInput& input) {
  for (std::string_view name : kNames) {
    for (const TextPair& pair : input.params) {
      if (pair.first == name) return pair.second;
    }
  }
  return {};
}

// 0: none is given. Nothing: that is no number.
std::optional<uint32_t> id_of(const LoaderInput& input) {
  const std::string_view text = id_text(input);
  uint32_t id = 0;
  if (text.empty()) return id;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  const bool is_number = error == std::errc() && end == text.data() + text.size() && id != 0;
  return is_number ? std::optional(id) : std::nullopt;
}

// LoadResourceRequest.
std::string load_request(std::string_view engine, uint32_t id, const LoaderInput& input) {
  const AigesPayload& payload = input.payloads.front();
  std::string out;
  append_bytes(out, 1, engine);
  append_number(out, 2, id);
  append_bytes(out, 3, payload.meta.name);
  append_bytes(out, 4, payload.data);
  for (const TextPair& pair : input.attributes_of(payload.meta)) {
    std::string entry;
    append_bytes(entry, 1, pair.first);
    append_bytes(entry, 2, pair.second);
    append_bytes(out, 5, entry);
  }
  return out;
}

// UnloadResourceRequest.
std::string unload_request(std::string_view engine, uint32_t id) {
  std::string out;
  append_bytes(out, 1, engine);
  append_number(out, 2, id);
  return out;
}

// Field 1 of both responses: the number of a load, or whether an unload waits.
uint64_t first_number(std::string_view response) {
  uint64_t number = 0;
  WireReader in(response);
  while (in.next()) {
    if (in.field() == 1 && in.is_number()) number = in.number();
  }
  return number;
}

// A protocol.Payload as field 5 of a LoaderOutput: the number as text, its state as an attribute.
std::string payload_of(std::string_view id, std::string_view state) {
  std::string pair, meta, payload, out;
  append_bytes(pair, 1, "state");
  append_bytes(pair, 2, state);
  append_bytes(meta, 1, kNames[0]);
  append_bytes(meta, 3, pair);
  append_bytes(payload, 1, meta);
  append_bytes(payload, 2, id);
  append_bytes(out, 5, payload);
  return out;
}

ErrorReport invalid(std::string text) {
  return {ErrorCode::INVALID_ARGUMENT, std::move(text), 0, {}};
}

}  // namespace

AigesResource::AigesResource(AigesDesk& desk, std::string handle, std::string service_id,
                             bool is_load, AigesAsker& asker)
    : desk_(desk),
      handle_(std::move(handle)),
      service_id_(std::move(service_id)),
      is_load_(is_load),
      asker_(&asker) {
  asker.place = this;
}

AigesResource::~AigesResource() {
  desk_.shard().admin().leave(call_);
}

bool AigesResource::is_said(const LoaderInput& input, bool is_load) {
  return is_load ? !input.payloads.empty() : !id_text(input).empty();
}

// It changes the engine for everybody: allowed as AdminService is.
void AigesResource::start(const LoaderInput& input, std::string_view engine,
                          const AigesCallerView& caller, int64_t by_ns, int64_t latest_ns) {
  const char* path = is_load_ ? kLoad : kUnload;
  const ErrorReport forbidden =
      desk_.shard().plane().authorizer->allow(caller.peer, caller.metadata, path, engine);
  if (forbidden.is_set()) return finish(forbidden);
  const std::optional<uint32_t> id = id_of(input);
  if (!id) {
    return finish(invalid("resource_id is \"" + std::string(id_text(input).substr(0, 40)) +
                          "\"; give the number of a resource, from 1 on, in params"));
  }
  if (!is_load_) id_ = std::to_string(*id);
  timer_.on_fire([this] {
    finish({ErrorCode::INTERNAL, "the control plane did not answer in time", 0, {}});
  });
  timer_.set(desk_.shard().loop(), latest_ns);
  call_ = desk_.shard().admin().ask(
      *this, path, is_load_ ? load_request(engine, *id, input) : unload_request(engine, *id), false,
      caller.peer.address, by_ns);
}

void AigesResource::answer(const std::string& payload) {
  AigesAsker* asker = std::exchange(asker_, nullptr);
  if (asker == nullptr) return;
  timer_.cancel();
  asker->place = nullptr;
  const uint64_t number = first_number(payload);
  const std::string said = is_load_      ? payload_of(std::to_string(number), "loaded")
                           : number != 0 ? payload_of(id_, "unloading")
                                         : payload_of(id_, "unloaded");
  desk_.answer(*asker, handle_, {service_id_, 0, {}, AigesStatus::kOnce}, said);
  desk_.mark_over();
}

void AigesResource::finish(const ErrorReport& error) {
  AigesAsker* asker = std::exchange(asker_, nullptr);
  if (asker == nullptr) return;
  timer_.cancel();
  asker->place = nullptr;
  // What the engine said is told as it said it; an AIGES engine has its number in it already.
  const bool is_engines = error.engine_code != 0;
  const uint32_t code =
      is_engines ? static_cast<uint32_t>(error.engine_code) : static_cast<uint32_t>(error.code);
  AigesError out{is_load_ ? kAigesLoadResource : kAigesUnloadResource,
                 is_engines ? error.engine_message : error.message};
  if (out.text.find(";code=") == std::string::npos) out.text += ";code=" + std::to_string(code);
  desk_.answer_error(*asker, handle_, service_id_, out);
  desk_.mark_over();
}

// The resource is loaded, or unloaded, all the same.
void AigesResource::leave(AigesAsker&) {
  asker_ = nullptr;
  timer_.cancel();
  desk_.mark_over();
}

}  // namespace loader::server
