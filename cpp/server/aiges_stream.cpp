#include "server/aiges_stream.h"

#include <algorithm>

#include "loader/wrapper.h"
#include "server/aiges_desk.h"
#include "session/table.h"

namespace loader::server {
namespace {

// Input that waits here, beyond what the core keeps for any session: clients may send all they have
// before they poll. From so many bytes on they are answered later.
constexpr size_t kMostKept = 500;
constexpr size_t kMostKeptBytes = 64u << 20;
constexpr size_t kManyKeptBytes = 1u << 20;
// Calls of one session that may wait at a time.
constexpr size_t kMostWaiting = 64;
// An open that has to wait for a slot is answered when it has one, or then.
constexpr int64_t kOpenAnswerNs = 2 * kAigesSlotWaitNs;

}  // namespace

AigesStream::AigesStream(AigesDesk& desk, std::string handle, const LoaderInput& input,
                         std::string peer, session::EngineId engine)
    : AigesFront(std::move(handle), input.service_id, std::move(peer)),
      desk_(desk),
      engine_id_(engine),
      timer_([this] { fire(); }),
      last_call_ns_(desk.now_ns()) {
  contract_.set(input);
  order_.begin(input.sync_id);
}

// ---- calls

void AigesStream::start(session::OpenRequest request, std::string_view bytes, AigesAsker& asker) {
  request.kind = session::Kind::kSession;
  request.front = this;
  const session::SessionId id = desk_.core().open(request);
  if (!is_final_) id_ = id;
  // Parameters were made from it; nothing else was read meanwhile.
  write(bytes);
  session::SessionInfo info;
  const bool is_queued =
      !is_final_ && desk_.core().find_session(id_, info) && info.state == session::State::kQueued;
  if (is_queued) return wait(asker, desk_.now_ns() + kOpenAnswerNs, Wants::kOpen);
  answer_open(asker);
}

void AigesStream::take_input(std::string_view bytes, int64_t answer_by_ns, AigesAsker& asker) {
  last_call_ns_ = desk_.now_ns();
  const bool has_room = has_room_for(bytes.size());
  switch (order_.place(desk_.input().view().sync_id, bytes, has_room, last_call_ns_)) {
    case AigesOrder::Place::kNext:
      write(bytes);
      write_next();
      break;
    case AigesOrder::Place::kFull:
      fail({kAigesInvalid, "the session's input is too far ahead of the package it waits for"},
           ErrorCode::INVALID_ARGUMENT);
      break;
    case AigesOrder::Place::kLater:
    case AigesOrder::Place::kPast:
      break;
  }
  note_kept();
  if (kept_bytes_ < kManyKeptBytes || has_output()) return answer(asker);
  wait(asker, answer_by_ns, Wants::kRoom);
}

void AigesStream::poll(int64_t answer_by_ns, AigesAsker& asker) {
  last_call_ns_ = desk_.now_ns();
  if (has_output()) return answer(asker);
  wait(asker, answer_by_ns, Wants::kOutput);
}

void AigesStream::abort() {
  answer_rest({kAigesInactive, "the session was ended by the client"});
  close({});
  release();
}

void AigesStream::refuse_input(AigesError error, AigesAsker& asker) {
  if (!error_.is_set()) fail(std::move(error), ErrorCode::INVALID_ARGUMENT);
  output_.clear();
  answer(asker);
}

// ---- who waits

bool AigesStream::is_due(const Waiting& waiting) const {
  if (has_output()) return true;
  if (waiting.wants == Wants::kRoom) return kept_bytes_ < kManyKeptBytes;
  return waiting.wants == Wants::kOpen && is_opened_;
}

void AigesStream::wait(AigesAsker& asker, int64_t answer_by_ns, Wants wants) {
  if (answer_by_ns <= desk_.now_ns() || waiting_.size() >= kMostWaiting) return answer(asker);
  asker.place = this;
  waiting_.push_back({&asker, answer_by_ns, wants});
  arm();
}

void AigesStream::leave(AigesAsker& asker) {
  std::erase_if(waiting_, [&](const Waiting& one) { return one.asker == &asker; });
  last_call_ns_ = desk_.now_ns();
  arm();
}

void AigesStream::flush() {
  is_ready_ = false;
  if (is_released_) return;
  if (is_output_ended_ && !is_input_ended_) end_input();
  if (!kept_.empty()) write_kept();
  while (!is_released_) {
    auto due = std::find_if(waiting_.begin(), waiting_.end(),
                            [this](const Waiting& one) { return is_due(one); });
    if (due == waiting_.end()) return;
    answer_waiting(due);
  }
}

void AigesStream::answer_waiting(std::vector<Waiting>::iterator at) {
  const Waiting waiting = *at;
  waiting_.erase(at);
  waiting.asker->place = nullptr;
  waiting.wants == Wants::kOpen ? answer_open(*waiting.asker) : answer(*waiting.asker);
}

// Clients look at the handle of this answer and at ResData, and at nothing else: results and what
// went wrong later are for the next call.
void AigesStream::answer_open(AigesAsker& asker) {
  if (error_.code == kAigesNoLicence) return answer(asker);
  last_call_ns_ = desk_.now_ns();
  desk_.answer(asker, handle_, {service_id_, 0, {}, AigesStatus::kBegin}, {});
  arm();
}

// What there is: a package, the end, or nothing.
void AigesStream::answer(AigesAsker& asker) {
  last_call_ns_ = desk_.now_ns();
  if (!output_.empty()) return answer_package(asker);
  if (error_.is_set()) {
    desk_.answer_error(asker, handle_, service_id_, error_);
    return release();
  }
  if (!is_final_) {
    desk_.answer(asker, handle_, {service_id_, 0, {}, AigesStatus::kBegin}, {});
    return arm();
  }
  desk_.answer(asker, handle_, {service_id_, 0, {}, AigesStatus::kEnd}, {});
  release();
}

void AigesStream::answer_package(AigesAsker& asker) {
  const AigesPackage package = std::move(output_.front());
  output_.pop_front();
  desk_.answer(asker, handle_, {service_id_, 0, {}, package.status}, package.payloads);
  if (id_ != 0) desk_.core().result_consumed(id_, package.credit_bytes);
  package.is_final() ? release() : arm();
}

void AigesStream::answer_rest(const AigesError& error) {
  const std::vector<Waiting> rest = std::move(waiting_);
  waiting_.clear();
  for (const Waiting& one : rest) {
    one.asker->place = nullptr;
    desk_.answer_error(*one.asker, handle_, service_id_, error);
  }
}

// ---- input

// The desk has parsed `bytes`, and their turn has come.
void AigesStream::write(std::string_view bytes) {
  if (is_final_ || error_.is_set() || is_input_ended_ || is_output_ended_) return;
  if (!kept_.empty() || !try_write()) keep_input(bytes);
}

// Kept packages whose turn has come.
void AigesStream::write_next() {
  while (auto next = order_.take_next(desk_.now_ns())) {
    if (desk_.input().parse(*next) == nullptr) write(*next);
  }
}

void AigesStream::keep_input(std::string_view bytes) {
  if (kept_.size() >= kMostKept || !has_room_for(bytes.size())) {
    return fail({kAigesInvalid, "the session's input is too far ahead of the engine"},
                ErrorCode::INVALID_ARGUMENT);
  }
  kept_bytes_ += bytes.size();
  kept_.emplace_back(bytes);
}

bool AigesStream::has_room_for(size_t bytes) const {
  return kept_bytes_ + order_.bytes() + bytes <= kMostKeptBytes && desk_.has_room_for(bytes);
}

// The desk counts what all sessions keep.
void AigesStream::note_kept() {
  const size_t kept = is_released_ ? 0 : kept_bytes_ + order_.bytes();
  desk_.note_kept(static_cast<ptrdiff_t>(kept) - static_cast<ptrdiff_t>(noted_bytes_));
  noted_bytes_ = kept;
}

// False: the core has no room.
bool AigesStream::try_write() {
  AigesInput& input = desk_.input();
  if (input.view().payloads.empty()) return true;
  EngineEntry* engine = desk_.shard().find_engine(engine_id_);
  session::MessageView view;
  const Schema* schema = engine == nullptr ? nullptr : engine->facts.schema.get();
  if (auto wrong = input.make_frame(schema, false, view.body)) {
    fail(std::move(*wrong), ErrorCode::INVALID_ARGUMENT);
    return true;
  }
  view.window_bytes = view.body.size();  // for the word that there is room again
  const session::FrameResult result = desk_.core().frame(id_, view);
  if (result.status == session::FrameStatus::kWouldBlock) return false;
  if (result.status == session::FrameStatus::kAccepted) note_ends();
  return true;
}

void AigesStream::write_kept() {
  while (!kept_.empty() && !error_.is_set() && !is_final_ && !is_input_ended_) {
    if (desk_.input().parse(kept_.front()) == nullptr && !try_write()) return note_kept();
    kept_bytes_ -= kept_.front().size();
    kept_.pop_front();
  }
  kept_.clear();
  kept_bytes_ = 0;
  note_kept();
}

// The session's input is over when every stream seen so far is.
void AigesStream::note_ends() {
  const LoaderInput& input = desk_.input().view();
  for (const AigesPayload& payload : input.payloads) {
    const AigesStatus status = AigesInput::status_of(input.attributes_of(payload.meta));
    auto found = std::find_if(streams_.begin(), streams_.end(),
                              [&](const Stream& one) { return one.name == payload.meta.name; });
    if (found == streams_.end()) {
      found = streams_.insert(found, {std::string(payload.meta.name), false});
    }
    found->has_ended |= status == AigesStatus::kEnd || status == AigesStatus::kOnce;
  }
  const bool is_over = std::all_of(streams_.begin(), streams_.end(),
                                   [](const Stream& one) { return one.has_ended; });
  if (is_over) end_input();
}

void AigesStream::end_input() {
  is_input_ended_ = true;
  if (id_ != 0) desk_.core().input_end(id_);
}

// ---- from the core

void AigesStream::mark_ready() {
  if (std::exchange(is_ready_, true)) return;
  desk_.mark_ready(*this);
}

void AigesStream::on_opened(session::SessionId id) {
  id_ = id;
  is_opened_ = true;
  if (!waiting_.empty()) mark_ready();
}

void AigesStream::on_result(session::SessionId id, const session::MessageView& result) {
  id_ = id;  // an engine of this process answers before open() has returned
  const uint64_t size = result.size_bytes();
  if (is_output_ended_ || is_released_ || error_.is_set()) {
    return desk_.core().result_consumed(id, size);
  }
  const frame::FrameView* frame = desk_.read_result(result);
  if (frame == nullptr) {
    return fail({kAigesInvalid, "the engine emitted something that is not a valid frame"},
                ErrorCode::BAD_RESULT);
  }
  AigesPackage package;
  if (const char* wrong = contract_.append(*frame, false, package)) {
    return fail({kAigesInvalid, wrong}, ErrorCode::BAD_RESULT);
  }
  if (frame->items.empty()) return desk_.core().result_consumed(id, size);
  package.credit_bytes = size;
  is_output_ended_ = package.is_final();
  output_.push_back(std::move(package));
  mark_ready();
}

void AigesStream::on_input_credit(session::SessionId, uint64_t) {
  if (!kept_.empty()) mark_ready();
}

void AigesStream::on_final(session::SessionId, const session::FinalView& final) {
  is_final_ = true;
  id_ = 0;
  if (is_released_) return desk_.retire(*this);
  if (!error_.is_set() && !is_output_ended_) {
    error_ = to_aiges_error(final.error, session::Kind::kSession);
    // Another node cannot go on with a session that was open here.
    if (error_.code == kAigesNoLicence && is_opened_) error_.code = kAigesSessionTimeout;
  }
  // The last result is the end, whatever the engine called it.
  if (!error_.is_set() && !output_.empty()) output_.back().close();
  mark_ready();
}

// ---- the end

void AigesStream::fail(AigesError error, ErrorCode code) {
  if (error_.is_set()) return;
  error_ = std::move(error);
  session::Cause cause;
  cause.reason =
      code == ErrorCode::BAD_RESULT ? LOADER_REASON_ENGINE_ERROR : LOADER_REASON_PROTOCOL;
  cause.error = code;
  cause.message = error_.text;
  close(cause);
  mark_ready();
}

void AigesStream::close(const session::Cause& cause) {
  if (id_ != 0) desk_.core().cancel(id_, cause);
}

// The handle is void. An engine that is not done is let go on to its end, its results unheard.
void AigesStream::release() {
  if (std::exchange(is_released_, true)) return;
  timer_.cancel();
  answer_rest({kAigesInactive, "the session has ended"});
  kept_.clear();
  note_kept();
  if (id_ != 0 && !is_input_ended_) end_input();
  for (const AigesPackage& package : output_) {
    if (id_ != 0) desk_.core().result_consumed(id_, package.credit_bytes);
  }
  output_.clear();
  desk_.forget(*this);
  if (is_final_) desk_.retire(*this);
}

// While calls wait the session is not forgotten.
void AigesStream::arm() {
  if (is_released_) return;
  int64_t next = order_.gap_deadline_ns();
  if (waiting_.empty()) next = std::min(next, last_call_ns_ + desk_.session_ttl_ns());
  for (const Waiting& one : waiting_) next = std::min(next, one.answer_by_ns);
  // A timer that fires early looks again: what only moves away costs nothing.
  if (!timer_.is_set() || timer_.deadline_ns() > next) timer_.set(desk_.shard().loop(), next);
}

void AigesStream::fire() {
  const int64_t now = desk_.now_ns();
  desk_.core().set_now(now);
  if (order_.gap_deadline_ns() <= now) {
    order_.skip_gap();
    write_next();
    note_kept();
  }
  while (!is_released_) {
    auto late = std::find_if(waiting_.begin(), waiting_.end(),
                             [&](const Waiting& one) { return one.answer_by_ns <= now; });
    if (late == waiting_.end()) break;
    answer_waiting(late);
  }
  if (is_released_) return;
  if (waiting_.empty() && last_call_ns_ + desk_.session_ttl_ns() <= now) {
    session::Cause cause;
    cause.reason = LOADER_REASON_IDLE_TIMEOUT;
    cause.error = ErrorCode::IDLE_TIMEOUT;
    close(cause);
    return release();
  }
  arm();
}

}  // namespace loader::server
