#include "server/admission.h"

#include "server/open_blob.h"

namespace loader::server {
namespace {

ErrorReport invalid(std::string message) {
  return {ErrorCode::INVALID_ARGUMENT, std::move(message), 0, {}};
}

std::string quoted(std::string_view text) {
  constexpr size_t kLimit = 100;
  std::string out = "\"";
  out.append(text.substr(0, kLimit));
  return out + (text.size() > kLimit ? "...\"" : "\"");
}

std::string text_of(const std::vector<TextPair>& pairs) {
  std::string text;
  for (const auto& [key, value] : pairs) {
    text += (text.empty() ? "" : ", ") + std::string(key.substr(0, 50)) + "=" + quoted(value);
  }
  return text;
}

std::string names_of(const ShardContext& shard) {
  std::string names;
  for (const auto& entry : shard.engines()) {
    names += (names.empty() ? "" : ", ") + entry->shared->name + " " + entry->shared->version;
  }
  return names.empty() ? "none" : names;
}

}  // namespace

std::span<const uint8_t> Admission::blob() const {
  return {reinterpret_cast<const uint8_t*>(blob_.data()), blob_.size()};
}

std::optional<ErrorReport> Admission::choose_engine() {
  const TargetView& target = request_.target;
  if (target.engine.empty() && target.selector.empty()) {
    return invalid("target.engine is empty; name the engine, or ask Describe for the list");
  }
  std::string why;
  uint32_t id = shard_.routes().choose(target, why);
  engine_ = id == 0 ? nullptr : shard_.find_engine(id);
  if (engine_ != nullptr) return std::nullopt;
  // At the end of the loader engines go before their names are forgotten: another node has them.
  if (shard_.core().is_draining()) {
    return ErrorReport{
        ErrorCode::DRAINING, std::string(error_row(ErrorCode::DRAINING).text), 0, {}};
  }
  std::string wanted =
      target.engine.empty() ? "that announces " + text_of(target.selector) : quoted(target.engine);
  if (!target.version.empty()) wanted += " version " + quoted(target.version);
  if (!why.empty())
    return ErrorReport{ErrorCode::UNKNOWN_ENGINE, "engine " + wanted + ": " + why, 0, {}};
  return ErrorReport{ErrorCode::UNKNOWN_ENGINE,
                     "no engine " + wanted + " is served here; served are: " + names_of(shard_),
                     0,
                     {}};
}

std::optional<ErrorReport> Admission::check_parameters() {
  auto wrong =
      engine_->facts.schema->check_parameters(request_.parameters, engine_->facts.has_resources);
  if (!wrong) return std::nullopt;
  engine_->invalid_requests++;
  return invalid("engine " + engine_->shared->name + ": " + *wrong);
}

std::optional<ErrorReport> Admission::admit(const Caller& caller, bool is_exec) {
  if (auto error = choose(caller, is_exec)) return error;
  return complete();
}

std::optional<ErrorReport> Admission::choose(const Caller& caller, bool is_exec) {
  if (auto error = choose_engine()) return error;
  ErrorReport forbidden = shard_.plane().authorizer->allow(caller.peer, caller.metadata,
                                                           caller.path, engine_->shared->name);
  if (forbidden.is_set()) return forbidden;
  bool has_power = is_exec ? engine_->facts.has_exec : engine_->facts.has_sessions;
  if (!has_power) {
    return ErrorReport{ErrorCode::UNSUPPORTED,
                       "engine " + engine_->shared->name +
                           (is_exec ? " has no one-shot calls; open a session"
                                    : " has no sessions; use Exec or ExecStream"),
                       0,
                       {}};
  }
  return std::nullopt;
}

std::optional<ErrorReport> Admission::complete() {
  engine_->unknown_fields += request_.unknown_fields;
  if (auto error = check_parameters()) return error;
  metadata_ = request_.target.labels;
  for (const TextPair& pair : request_.target.trace_context) metadata_.push_back(pair);
  if (!request_.target.tenant.empty()) metadata_.emplace_back("tenant", request_.target.tenant);
  blob_.clear();
  append_open_blob(blob_, request_.parameters, metadata_);
  return std::nullopt;
}

std::optional<ErrorReport> Admission::check_frame(EngineEntry& engine, std::string_view bytes,
                                                  bool is_whole, std::span<const uint8_t>& out) {
  out = {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
  frame_.clear();
  frame::Fault fault = frame::decode_frame(out, frame::Origin::kClient, frame_);
  if (fault != frame::Fault::kNone) {
    engine.invalid_requests++;
    return invalid(std::string("the frame is not valid: ") + frame::describe(fault));
  }
  if (auto wrong = engine.facts.schema->check_frame(frame_, is_whole)) {
    engine.invalid_requests++;
    return invalid("engine " + engine.shared->name + ": " + *wrong);
  }
  if (frame_.unknown_fields != 0) engine.unknown_fields += frame_.unknown_fields;
  if (frame_.needs_rewrite) {
    rewritten_.clear();
    frame::append_frame(frame_, rewritten_);
    out = {reinterpret_cast<const uint8_t*>(rewritten_.data()), rewritten_.size()};
  }
  return std::nullopt;
}

}  // namespace loader::server
