#include "server/aiges_desk.h"

#include <algorithm>
#include <chrono>

#include "server/admission.h"
#include "server/aiges_once.h"
#include "server/aiges_resource.h"
#include "server/aiges_stream.h"
#include "server/result_writer.h"

namespace loader::server {
namespace {

// An answer leaves so long before the client's own deadline: as late as may be where it is an
// error, with time for a busy client where it only says that there is nothing yet.
constexpr int64_t kErrorMarginNs = 10'000'000;
constexpr int64_t kEmptyMarginNs = 100'000'000;
constexpr size_t kMostHeld = 1024;
// Input of all sessions of this shard that waits for engines.
constexpr size_t kMostKeptBytes = 256u << 20;
constexpr size_t kDead = SIZE_MAX;

constexpr std::array<std::string_view, 3> kSilentOperations = {"AILBType", "AIHotword", "AIDetect"};

int64_t unix_seconds() {
  using namespace std::chrono;
  return duration_cast<seconds>(system_clock::now().time_since_epoch()).count();
}

uint64_t hash_of(std::string_view handle) {
  return std::hash<std::string_view>{}(handle) | 1;  // 0: no handle
}

AigesError refusal_of(const ErrorReport& error, bool is_once) {
  return to_aiges_error(error, is_once ? session::Kind::kExec : session::Kind::kSession);
}

}  // namespace

// A call whose engine is being replaced in place: taken again when the new one serves.
class AigesDesk::Held final : public HeldOpen, public AigesPlace {
 public:
  Held(AigesDesk& desk, std::string_view bytes, const AigesCallerView& caller, AigesAsker& asker)
      : desk_(desk), bytes_(bytes), caller_(caller.keep()), asker_(&asker) {
    asker.place = this;
  }
  ~Held() { desk_.shard_.routes().leave(*this); }

  void leave(AigesAsker&) override { asker_ = nullptr; }
  void on_released() override {
    AigesAsker* asker = std::exchange(asker_, nullptr);
    if (asker == nullptr) return;
    asker->place = nullptr;
    XsfRequest request;
    parse_xsf_request(bytes_, request);
    const AigesCallerView caller{caller_.peer, caller_.metadata, caller_.path, caller_.deadline_ns};
    desk_.take(request, bytes_, caller, *asker);
  }
  void on_hold_refused(const ErrorReport& error) override {
    AigesAsker* asker = std::exchange(asker_, nullptr);
    if (asker == nullptr) return;
    asker->place = nullptr;
    XsfRequest request;
    parse_xsf_request(bytes_, request);
    desk_.input_.parse(request.body);
    desk_.refuse(*asker, request.handle, error);
  }
  bool is_over() const { return asker_ == nullptr; }

 private:
  AigesDesk& desk_;
  const std::string bytes_;
  const AigesCaller caller_;
  AigesAsker* asker_;
};

AigesDesk::AigesDesk(ShardContext& shard, uint32_t shard_count)
    : shard_(shard), handles_(shard.index(), shard_count) {
  set_options({});
}

AigesDesk::~AigesDesk() = default;

void AigesDesk::set_options(const AigesOptions& options) {
  options_ = options;
  handles_.set_address(options.address);
  sess_ = peer_entry(handles_.address());
}

// ---- operations

void AigesDesk::take(const XsfRequest& request, std::string_view bytes,
                     const AigesCallerView& caller, AigesAsker& asker) {
  core().set_now(now_ns());
  if (request.op == "AIIn") return take_input(request, bytes, caller, asker);
  if (request.op == "AIOut") return poll(request, caller, asker);
  if (request.op == "AIExcp") return abort(request, asker);
  if (request.op == "AILoad" || request.op == "AIUnLoad") {
    return take_resource(request, caller, asker);
  }
  const std::string handle = own_or_new(request.handle);
  if (request.op == "ping") {
    head_.clear();
    append_xsf_empty(head_, handle, asker.trace, sess_);
    const std::string_view parts[] = {head_};
    return asker.answer(parts);
  }
  if (std::find(kSilentOperations.begin(), kSilentOperations.end(), request.op) !=
      kSilentOperations.end()) {
    return answer(asker, handle, {}, {});
  }
  shard_.count_refusal(ErrorCode::INVALID_ARGUMENT);
  answer_error(asker, handle, {},
               {kAigesInvalidOp, "invalid op \"" + std::string(request.op.substr(0, 100)) +
                                     "\"; known are AIIn, AIOut, AIExcp, AILBType, AIHotword, "
                                     "AIDetect, AILoad, AIUnLoad, ping"});
}

void AigesDesk::take_input(const XsfRequest& request, std::string_view bytes,
                           const AigesCallerView& caller, AigesAsker& asker) {
  AigesStream* stream = find(request.handle);
  if (request.is_first) {
    if (stream == nullptr) return create(request, bytes, caller, asker);
    return answer_error(asker, request.handle, {},
                        {kAigesNoLicence,
                         "service license not enough: a session with this "
                         "handle is open"});
  }
  if (stream == nullptr) return answer_unknown(asker, request.handle);
  if (const char* wrong = input_.parse(request.body)) {
    return stream->refuse_input({kAigesUnmarshal, wrong}, asker);
  }
  stream->take_input(request.body, answer_by(request, caller), asker);
}

void AigesDesk::poll(const XsfRequest& request, const AigesCallerView& caller, AigesAsker& asker) {
  AigesStream* stream = find(request.handle);
  if (stream == nullptr) return answer_unknown(asker, request.handle);
  stream->poll(answer_by(request, caller), asker);
}

void AigesDesk::abort(const XsfRequest& request, AigesAsker& asker) {
  AigesStream* stream = find(request.handle);
  if (stream == nullptr) return answer_unknown(asker, request.handle);
  stream->abort();
  answer(asker, request.handle, {}, {});
}

// ---- personal resources

AigesDesk::Taking AigesDesk::takes_resources(std::string_view engine) const {
  bool is_ready = !shard_.routes().is_known(engine);
  for (const auto& one : shard_.engines()) {
    if (one->shared->name != engine) continue;
    if (one->facts.has_resources) return Taking::kYes;
    is_ready = is_ready || one->shared->ready_instances > 0;
  }
  return is_ready ? Taking::kNo : Taking::kUnknown;
}

// An engine that takes none, or a call that names none, is answered as AIGES does: accepted,
// without effect.
void AigesDesk::take_resource(const XsfRequest& request, const AigesCallerView& caller,
                              AigesAsker& asker) {
  std::string handle = own_or_new(request.handle);
  if (input_.parse(request.body) != nullptr) return answer(asker, handle, {}, {});
  std::string_view engine = input_.view().service_id;
  if (!shard_.routes().is_known(engine)) engine = only_engine();
  const bool is_load = request.op == "AILoad";
  const Taking taking = takes_resources(engine);
  if (taking == Taking::kNo || !AigesResource::is_said(input_.view(), is_load)) {
    return answer(asker, handle, {}, {});
  }
  int64_t latest_ns = now_ns() + shard_.plane().options.admin_timeout_ms * 1'000'000;
  if (caller.deadline_ns != INT64_MAX) {
    latest_ns = std::min(latest_ns, caller.deadline_ns - kErrorMarginNs);
  }
  const int64_t by_ns = is_load ? latest_ns : std::min(latest_ns, answer_by(request, caller));
  resources_.push_back(std::make_unique<AigesResource>(
      *this, std::move(handle), std::string(input_.view().service_id), is_load, asker));
  resources_.back()->start(input_.view(), engine, caller, by_ns, latest_ns);
}

// ---- new sessions and calls

void AigesDesk::create(const XsfRequest& request, std::string_view bytes,
                       const AigesCallerView& caller, AigesAsker& asker) {
  std::string handle = own_or_new(request.handle);
  if (const char* wrong = input_.parse(request.body)) {
    shard_.count_refusal(ErrorCode::INVALID_ARGUMENT);
    return answer_error(asker, handle, {}, {kAigesUnmarshal, wrong});
  }
  if (const AigesError error = check_first(); error.is_set()) {
    shard_.count_refusal(ErrorCode::INVALID_ARGUMENT);
    return answer_error(asker, handle, input_.view().service_id, error);
  }
  if (hold(request, bytes, caller, asker)) return;
  session::OpenRequest out;
  if (auto error = admit(caller, out)) return refuse(asker, handle, *error);
  if (input_.view().is_once) {
    return open_once(request, std::move(out), std::move(handle), caller, asker);
  }
  open_stream(request, std::move(out), std::move(handle), caller, asker);
}

AigesError AigesDesk::check_first() const {
  const LoaderInput& input = input_.view();
  if (!input.has_known_state) {
    return {kAigesInvalidMode, "invalid session mode: state is 0 (STREAM) or 1 (ONCE)"};
  }
  if (input.is_once && input.payloads.empty()) {
    return {kAigesInvalidData, "invalid data: a one-shot call without payload"};
  }
  return {};
}

// The one name that is served, or held; empty: there are several, or none.
std::string_view AigesDesk::only_engine() const {
  std::string_view only;
  for (const auto& engine : shard_.engines()) {
    if (!engine->shared->is_routed || engine->shared->name == only) continue;
    if (!only.empty()) return {};
    only = engine->shared->name;
  }
  return only;
}

// True: the call waits for its engine, or was refused.
bool AigesDesk::hold(const XsfRequest& request, std::string_view bytes,
                     const AigesCallerView& caller, AigesAsker& asker) {
  Admission& admission = shard_.admission();
  admission.request().clear();
  const LoaderInput& input = input_.view();
  std::string_view& engine = admission.request().target.engine;
  engine = input.service_id;
  if (!shard_.routes().is_known(engine)) {
    const std::string_view only = only_engine();
    if (!only.empty()) engine = only;
  }
  const std::string* name = admission.held_name();
  if (name == nullptr) return false;
  auto held = std::make_unique<Held>(*this, bytes, caller, asker);
  const bool is_waiting =
      held_.size() < kMostHeld && shard_.routes().wait(*name, *held, answer_by(request, caller));
  if (is_waiting) {
    held_.push_back(std::move(held));
  } else {
    asker.place = nullptr;
    refuse(asker, request.handle,
           {ErrorCode::QUEUE_FULL, "too many calls wait for engine " + *name, 0, {}});
  }
  return true;
}

std::optional<ErrorReport> AigesDesk::admit(const AigesCallerView& caller,
                                            session::OpenRequest& out) {
  Admission& admission = shard_.admission();
  const bool is_once = input_.view().is_once;
  if (admission.request().target.engine.empty()) {
    std::string served;
    for (const auto& engine : shard_.engines()) {
      served += (served.empty() ? "" : ", ") + engine->shared->name;
    }
    return ErrorReport{ErrorCode::INVALID_ARGUMENT,
                       "serviceId is empty; name one of the engines served here: " + served,
                       0,
                       {}};
  }
  const Caller who{caller.peer, caller.metadata, caller.path};
  if (auto error = admission.choose(who, is_once)) return error;
  input_.make_parameters(*admission.engine().facts.schema, options_.header_pass,
                         admission.request().parameters);
  if (auto error = admission.complete()) return error;
  out.engine = admission.engine().shared->id;
  out.body = admission.blob();
  out.admission_wait_ns = kAigesSlotWaitNs;
  return std::nullopt;
}

void AigesDesk::open_once(const XsfRequest& request, session::OpenRequest out, std::string handle,
                          const AigesCallerView& caller, AigesAsker& asker) {
  const Schema* schema = shard_.admission().engine().facts.schema.get();
  if (auto wrong = input_.make_frame(schema, true, out.request.body)) {
    shard_.admission().engine().invalid_requests++;
    return answer_error(asker, handle, input_.view().service_id, *wrong);
  }
  out.deadline_ns = answer_by(request, caller, kErrorMarginNs);
  own(std::make_unique<AigesOnce>(*this, std::move(handle), input_.view(), caller.peer.address,
                                  asker))
      .start(out);
}

void AigesDesk::open_stream(const XsfRequest& request, session::OpenRequest out, std::string handle,
                            const AigesCallerView& caller, AigesAsker& asker) {
  AigesStream& stream = own(std::make_unique<AigesStream>(*this, std::move(handle), input_.view(),
                                                          caller.peer.address, out.engine));
  streams_.emplace(stream.handle(), &stream);
  shard_.plane().aiges_sessions++;
  stream.start(out, request.body, asker);
}

// ---- answers

void AigesDesk::answer(AigesAsker& asker, std::string_view handle, const LoaderOutputHead& head,
                       std::string_view payloads) {
  head_.clear();
  append_xsf_head(head_, head, payloads.size(), handle, asker.trace, sess_);
  const std::string_view parts[] = {head_, payloads};
  asker.answer(parts);
}

void AigesDesk::answer_error(AigesAsker& asker, std::string_view handle,
                             std::string_view service_id, const AigesError& error) {
  // A client looks at the handle before it looks at the error.
  if (handle.empty()) {
    return answer_error(asker, handles_.make(unix_seconds()), service_id, error);
  }
  // Errors live in the LoaderOutput; only this one is told twice, so that clients try another node.
  const bool is_retried = error.code == kAigesNoLicence;
  head_.clear();
  append_xsf_head(head_, {service_id, error.code, error.text, AigesStatus::kEnd}, 0, handle,
                  asker.trace, sess_, is_retried ? std::string_view(error.text) : "");
  const std::string_view parts[] = {head_};
  asker.answer(parts);
}

// A call that never became a session.
void AigesDesk::refuse(AigesAsker& asker, std::string_view handle, const ErrorReport& error) {
  shard_.count_refusal(error.code);
  const bool is_forbidden =
      error.code == ErrorCode::UNAUTHENTICATED || error.code == ErrorCode::PERMISSION_DENIED;
  if (is_forbidden) return asker.refuse(to_status(error));
  answer_error(asker, handle, input_.view().service_id, refusal_of(error, input_.view().is_once));
}

void AigesDesk::answer_unknown(AigesAsker& asker, std::string_view handle) {
  if (was_released(handle)) {
    return answer_error(asker, handle, {}, {kAigesInactive, "the session has ended"});
  }
  shard_.count_refusal(ErrorCode::UNKNOWN_SESSION);
  answer_error(asker, handle, {}, {kAigesInvalidHandle, "invalid handle: no session has it"});
}

const frame::FrameView* AigesDesk::read_result(const session::MessageView& result) {
  return decode_result(result, frame_) ? &frame_ : nullptr;
}

// ---- books

AigesStream* AigesDesk::find(std::string_view handle) const {
  auto found = streams_.find(handle);
  return found == streams_.end() ? nullptr : found->second;
}

std::string AigesDesk::own_or_new(std::string_view handle) {
  return handle.empty() ? handles_.make(unix_seconds()) : std::string(handle);
}

int64_t AigesDesk::answer_by(const XsfRequest& request, const AigesCallerView& caller) const {
  return answer_by(request, caller, kEmptyMarginNs);
}

int64_t AigesDesk::answer_by(const XsfRequest& request, const AigesCallerView& caller,
                             int64_t margin_ns) const {
  const int64_t by_wish = now_ns() + request.wait_ms * 1'000'000;
  if (caller.deadline_ns == INT64_MAX) return by_wish;
  // A short deadline has a short margin.
  margin_ns = std::min(margin_ns, (caller.deadline_ns - now_ns()) / 10);
  return std::min(by_wish, caller.deadline_ns - margin_ns);
}

bool AigesDesk::has_room_for(size_t bytes) const {
  return kept_bytes_ + bytes <= kMostKeptBytes;
}

bool AigesDesk::was_released(std::string_view handle) const {
  return std::find(released_.begin(), released_.end(), hash_of(handle)) != released_.end();
}

void AigesDesk::note_released(std::string_view handle) {
  released_[released_at_] = hash_of(handle);
  released_at_ = (released_at_ + 1) % released_.size();
}

void AigesDesk::forget(AigesStream& stream) {
  streams_.erase(streams_.find(stream.handle()));
  note_released(stream.handle());
  Plane& plane = shard_.plane();
  if (--plane.aiges_sessions > 0 || !plane.is_draining) return;
  for (auto& shard : plane.shards) {
    shard->post([one = shard.get()] { one->drain_server_if_due(); });
  }
}

template <class Front>
Front& AigesDesk::own(std::unique_ptr<Front> front) {
  Front& owned = *front;
  owned.index = fronts_.size();
  fronts_.push_back(std::move(front));
  return owned;
}

// It may be one of those that call: it goes at the end of the round.
void AigesDesk::retire(AigesFront& front) {
  if (front.index == kDead) return;
  const size_t index = std::exchange(front.index, kDead);
  dead_.push_back(std::move(fronts_[index]));
  if (index + 1 < fronts_.size()) {
    fronts_[index] = std::move(fronts_.back());
    fronts_[index]->index = index;
  }
  fronts_.pop_back();
}

void AigesDesk::flush() {
  while (!ready_.empty()) {
    flushing_.swap(ready_);
    for (AigesStream* stream : flushing_) stream->flush();
    flushing_.clear();
  }
  dead_.clear();
  if (!held_.empty()) std::erase_if(held_, [](auto& one) { return one->is_over(); });
  if (std::exchange(is_one_over_, false)) {
    std::erase_if(resources_, [](auto& one) { return one->is_over(); });
  }
}

}  // namespace loader::server
