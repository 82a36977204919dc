#include "server/call_front.h"

#include "loader/wrapper.h"
#include "server/wire.h"

namespace loader::server {
namespace {

session::Cause cause_of(grpc::CancelReason reason) {
  session::Cause cause;
  switch (reason) {
    case grpc::CancelReason::kClientReset:
      cause.reason = LOADER_REASON_CLIENT_CANCEL;
      break;
    case grpc::CancelReason::kConnectionLost:
      cause.reason = LOADER_REASON_CLIENT_GONE;
      break;
    case grpc::CancelReason::kDeadline:
      cause.reason = LOADER_REASON_DEADLINE;
      cause.error = ErrorCode::DEADLINE_EXCEEDED;
      break;
    case grpc::CancelReason::kProtocol:
      cause.reason = LOADER_REASON_PROTOCOL;
      cause.error = ErrorCode::PROTOCOL_VIOLATION;
      break;
    case grpc::CancelReason::kDrain:
      cause.reason = LOADER_REASON_DRAIN;
      cause.error = ErrorCode::DRAINING;
      break;
    case grpc::CancelReason::kServerClosing:
      cause.reason = LOADER_REASON_LOADER_GONE;
      cause.error = ErrorCode::DRAINING;
      break;
  }
  return cause;
}

ErrorReport report_of(const session::SessionError& error) {
  if (error.code == ErrorCode::kNone) return {};
  std::string message(error.message);
  if (message.empty()) message = error.engine_message;  // an exception's type and text
  if (message.empty()) message = error_row(error.code).text;
  return {error.code, std::move(message), error.engine_code, std::string(error.engine_message)};
}

double seconds(int64_t ns) {
  return static_cast<double>(ns) / 1e9;
}

FinalView final_of(const session::FinalView& final, const ErrorReport& error) {
  const session::SessionStatistics& s = final.statistics;
  return {final.reason,          &error,      s.frames_in,         s.bytes_in,
          s.frames_out,          s.bytes_out, seconds(s.queue_ns), seconds(s.first_result_ns),
          seconds(s.duration_ns)};
}

std::string_view text_of(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

// ---- CallFront

CallFront::~CallFront() {
  leave_hold();
  // Only when the server itself is being destroyed: the call is gone, the session must follow.
  if (id_ == 0 || is_over_) return;
  call_ = nullptr;
  shard_.core().cancel(id_, cause_of(grpc::CancelReason::kServerClosing));
}

std::string CallFront::peer_address() const {
  return call_ == nullptr ? std::string() : call_->peer().address;
}

void CallFront::open(const session::OpenRequest& request) {
  session::SessionId id = shard_.core().open(request);
  if (!is_over_) id_ = id;
}

bool CallFront::is_held(const Admission& admission) {
  const std::string* name = admission.held_name();
  if (name == nullptr) return false;
  is_waiting_ = shard_.routes().wait(*name, *this, call_->deadline_ns());
  if (!is_waiting_)
    refuse({ErrorCode::QUEUE_FULL, "too many calls wait for engine " + *name, 0, {}});
  return true;
}

void CallFront::on_released() {
  is_waiting_ = false;
  admit_held();
}

void CallFront::on_hold_refused(const ErrorReport& error) {
  is_waiting_ = false;
  shard_.core().set_now(shard_.loop().now_ns());
  refuse(error);
}

void CallFront::leave_hold() {
  if (std::exchange(is_waiting_, false)) shard_.routes().leave(*this);
}

void CallFront::refuse(const ErrorReport& error) {
  if (is_over_) return;
  leave_hold();
  is_over_ = true;
  shard_.count_refusal(error.code);
  FinalView final;
  final.reason = session::reason_of_refusal(error.code);
  final.error = &error;
  if (!call_->is_cancelled()) send_final(final);
  finish(error);
}

void CallFront::finish(const ErrorReport& error) {
  grpc::Call* call = call_;
  call_ = nullptr;
  call->finish(to_status(error));
}

void CallFront::on_final(session::SessionId, const session::FinalView& final) {
  is_over_ = true;
  id_ = 0;
  if (call_ == nullptr) return;
  if (call_->is_cancelled()) return finish({});
  ErrorReport error = report_of(final.error);
  send_final(final_of(final, error));
  finish(error);
}

// The same end as one of ours: the client gets its final message and the details.
void CallFront::on_ending(const grpc::Status& status, grpc::CancelReason reason) {
  if (is_over_) return;
  shard_.core().set_now(shard_.loop().now_ns());
  ErrorCode error = error_of(status.code);
  if (id_ == 0) return refuse({error, status.message, 0, {}});
  session::Cause cause = cause_of(reason);
  cause.error = error;
  cause.message = status.message;
  shard_.core().cancel(id_, cause);
}

void CallFront::on_cancel(grpc::CancelReason reason) {
  if (is_over_) return;
  shard_.core().set_now(shard_.loop().now_ns());
  if (id_ != 0) return shard_.core().cancel(id_, cause_of(reason));
  leave_hold();
  is_over_ = true;
  finish({});
}

void CallFront::on_input_credit(session::SessionId, uint64_t window_bytes) {
  if (call_ != nullptr && window_bytes != 0) call_->consume(window_bytes);
}

void CallFront::send_result(session::SessionId id, uint32_t field,
                            const session::MessageView& result) {
  switch (shard_.writer().send(*call_, field, result)) {
    case ResultWriter::Outcome::kBadFrame:
      return reject_result(id);
    case ResultWriter::Outcome::kCallOver:
    case ResultWriter::Outcome::kSent:
      break;
  }
  if (call_->queued_bytes() < shard_.server().options().send_window_bytes) {
    return shard_.core().result_consumed(id, result.size_bytes());
  }
  withheld_bytes_ += result.size_bytes();
  withheld_records_++;
}

void CallFront::on_writable() {
  if (is_over_ || withheld_records_ == 0) return;
  shard_.core().set_now(shard_.loop().now_ns());
  uint64_t bytes = std::exchange(withheld_bytes_, 0);
  shard_.core().result_consumed(id_, bytes, std::exchange(withheld_records_, 0));
}

void CallFront::reject_result(session::SessionId id) {
  session::Cause cause;
  cause.reason = LOADER_REASON_ENGINE_ERROR;
  cause.error = ErrorCode::BAD_RESULT;
  cause.message = "the engine emitted something that is not a valid frame; see its log";
  shard_.core().cancel(id, cause);
}

// ---- Exec and ExecStream

namespace {

// What is wrong with the request that was parsed, or the request to open.
std::optional<ErrorReport> prepare_exec(ShardContext& shard, const grpc::Call& call,
                                        session::OpenRequest& out) {
  Admission& admission = shard.admission();
  if (auto error = admission.admit(call, true)) return error;
  EngineEntry& engine = admission.engine();
  std::span<const uint8_t> frame;
  if (auto error = admission.check_frame(engine, admission.request().frame, true, frame)) {
    return error;
  }
  out.kind = session::Kind::kExec;
  out.engine = engine.shared->id;
  out.priority = admission.request().target.priority;
  out.deadline_ns = call.deadline_ns();
  out.body = admission.blob();
  out.request.body = frame;
  return std::nullopt;
}

}  // namespace

// Both requests have the same layout.
void CallFront::take_exec(std::string_view bytes, std::string& held) {
  shard_.core().set_now(shard_.loop().now_ns());
  Admission& admission = shard_.admission();
  admission.request().clear();
  if (const char* wrong = parse_exec(bytes, admission.request())) {
    return refuse({ErrorCode::INVALID_ARGUMENT, wrong, 0, {}});
  }
  if (is_held(admission)) {
    if (held.empty()) held.assign(bytes);
    return;
  }
  session::OpenRequest request;
  if (auto error = prepare_exec(shard_, *call_, request)) return refuse(*error);
  request.front = this;
  open(request);
}

ExecFront::~ExecFront() {
  drop_kept();
}

void ExecFront::drop_kept() {
  for (const session::PayloadView& payload : kept_payloads_) payload.owner->release();
  kept_payloads_.clear();
}

void ExecFront::on_message(grpc::Message& message) {
  if (!is_over()) take_exec(message.bytes(), held_request_);
}

void ExecFront::admit_held() {
  take_exec(std::string(std::move(held_request_)), held_request_);
}

bool ExecFront::keep(const session::MessageView& result) {
  kept_body_.assign(text_of(result.body));
  for (const session::PayloadView& payload : result.payloads) {
    payload.owner->retain();
    kept_payloads_.push_back(payload);
  }
  return true;
}

bool ExecFront::flatten() {
  if (kept_payloads_.empty()) return true;
  std::span<const uint8_t> body(reinterpret_cast<const uint8_t*>(kept_body_.data()),
                                kept_body_.size());
  bool is_good = shard_.writer().append(response_, 1, {body, kept_payloads_, 0});
  drop_kept();
  return is_good;
}

void ExecFront::on_result(session::SessionId id, const session::MessageView& result) {
  bool is_first = response_.empty() && kept_payloads_.empty();
  bool is_good = is_first && !result.payloads.empty()
                     ? keep(result)
                     : flatten() && shard_.writer().append(response_, 1, result);
  if (!is_good) return reject_result(id);
  if (response_.size() > shard_.plane().options.exec_response_bytes) {
    session::Cause cause;
    cause.reason = LOADER_REASON_ENGINE_ERROR;
    cause.error = ErrorCode::MESSAGE_TOO_LARGE;
    cause.message = "the results of this call are too large for one message; use ExecStream";
    return shard_.core().cancel(id, cause);
  }
  shard_.core().result_consumed(id, result.size_bytes());
}

void ExecFront::send_final(const FinalView& final) {
  if (final.error->is_set()) return;
  if (kept_payloads_.empty()) {
    call_->send_message(response_);
    return;
  }
  std::span<const uint8_t> body(reinterpret_cast<const uint8_t*>(kept_body_.data()),
                                kept_body_.size());
  shard_.writer().send(*call_, 1, {body, kept_payloads_, 0});
  drop_kept();
}

void ExecStreamFront::on_message(grpc::Message& message) {
  if (!is_over()) take_exec(message.bytes(), held_request_);
}

void ExecStreamFront::admit_held() {
  take_exec(std::string(std::move(held_request_)), held_request_);
}

void ExecStreamFront::on_result(session::SessionId id, const session::MessageView& result) {
  send_result(id, 1, result);
}

void ExecStreamFront::send_final(const FinalView& final) {
  std::string body;
  append_final(body, final);
  call_->send_message({FieldHead(2, body.size()).bytes(), body});
}

// ---- Session

namespace {

bool is_cancel(std::string_view message) {
  SessionRequestView request;
  return parse_session_request(message, request) == nullptr &&
         request.kind == SessionRequestView::Kind::kCancel;
}

}  // namespace

void SessionFront::on_message(grpc::Message& message) {
  if (is_over()) return call_ == nullptr ? void() : call_->consume(message.window_bytes());
  shard_.core().set_now(shard_.loop().now_ns());
  uint64_t window = message.window_bytes();
  // A cancel overtakes what waits for the engine.
  if (!waiting_.empty() && !is_cancel(message.bytes())) {
    waiting_.push_back({message.take(), window});
    return;
  }
  SessionRequestView request;
  if (const char* wrong = parse_session_request(message.bytes(), request)) {
    return break_off(ErrorCode::INVALID_ARGUMENT, wrong);
  }
  if (request.kind == SessionRequestView::Kind::kFrame) {
    if (!take_frame(request.body, window)) waiting_.push_back({message.take(), window});
    return;
  }
  call_->consume(window);
  take_control(request);
}

void SessionFront::take_control(const SessionRequestView& request) {
  switch (request.kind) {
    case SessionRequestView::Kind::kOpen:
      return take_open(request.body);
    case SessionRequestView::Kind::kEnd:
      return end_input();
    case SessionRequestView::Kind::kCancel:
      if (id_ != 0) return shard_.core().cancel(id_);
      return refuse({ErrorCode::CANCELLED, "cancelled by the client before it was open", 0, {}});
    case SessionRequestView::Kind::kAck:
    case SessionRequestView::Kind::kFrame:
    case SessionRequestView::Kind::kNone:
      return;  // acks are optional; unknown members are ignored
  }
}

void SessionFront::take_open(std::string_view body) {
  if (stage_ != Stage::kNew) {
    return break_off(ErrorCode::PROTOCOL_VIOLATION,
                     "a second open came on this stream; open a new stream for a new session");
  }
  Admission& admission = shard_.admission();
  RequestView& request = admission.request();
  request.clear();
  if (const char* wrong = parse_open(body, request)) {
    return break_off(ErrorCode::INVALID_ARGUMENT, wrong);
  }
  if (!request.resume_token.empty()) {
    return break_off(ErrorCode::UNSUPPORTED,
                     "open.resume_token is not supported by this version; open a new session");
  }
  if (is_held(admission)) {
    // Comes again by take_waiting(); what follows it waits behind.
    std::string message(FieldHead(1, body.size()).bytes());
    waiting_.push_front({message.append(body), 0});
    return;
  }
  if (auto error = admission.admit(*call_, false)) return refuse(*error);
  stage_ = Stage::kOpen;
  wants_acks_ = request.wants_acks;
  engine_id_ = admission.engine().shared->id;
  session::OpenRequest out;
  out.kind = session::Kind::kSession;
  out.engine = engine_id_;
  out.priority = request.target.priority;
  out.deadline_ns = call_->deadline_ns();
  out.body = admission.blob();
  out.front = this;
  open(out);
}

bool SessionFront::take_frame(std::string_view body, uint64_t window_bytes) {
  if (stage_ != Stage::kOpen) {
    break_off(ErrorCode::PROTOCOL_VIOLATION, stage_ == Stage::kNew
                                                 ? "a frame came before open; send open first"
                                                 : "a frame came after end; open a new session");
    return true;
  }
  EngineEntry* engine = shard_.find_engine(engine_id_);
  session::MessageView view;
  view.window_bytes = window_bytes;
  view.body = {reinterpret_cast<const uint8_t*>(body.data()), body.size()};
  if (engine != nullptr) {
    if (auto error = shard_.admission().check_frame(*engine, body, false, view.body)) {
      break_off(error->code, error->message);
      return true;
    }
  }
  session::FrameResult result = shard_.core().frame(id_, view);
  switch (result.status) {
    case session::FrameStatus::kAccepted:
      return true;
    case session::FrameStatus::kWouldBlock:
      return false;
    case session::FrameStatus::kIgnored:
      if (call_ != nullptr) call_->consume(window_bytes);
      return true;
    case session::FrameStatus::kRefused:
      break_off(result.error, std::string(error_row(result.error).text));
      return true;
  }
  return true;
}

// Messages that had to wait for the engine, in order, until one has to wait again.
void SessionFront::take_waiting() {
  if (is_taking_) return;
  is_taking_ = true;
  while (!waiting_.empty() && !is_over() && !is_waiting()) {
    Waiting next = std::move(waiting_.front());
    waiting_.pop_front();
    SessionRequestView request;
    if (const char* wrong = parse_session_request(next.message, request)) {
      break_off(ErrorCode::INVALID_ARGUMENT, wrong);
      break;
    }
    if (request.kind != SessionRequestView::Kind::kFrame) {
      call_->consume(next.window_bytes);
      take_control(request);
    } else if (!take_frame(request.body, next.window_bytes)) {
      waiting_.push_front(std::move(next));
      break;
    }
  }
  is_taking_ = false;
  if (waiting_.empty() && has_half_closed_ && !is_over()) end_input();
}

void SessionFront::on_half_close() {
  if (is_over()) return;
  shard_.core().set_now(shard_.loop().now_ns());
  has_half_closed_ = true;
  if (waiting_.empty()) end_input();
}

void SessionFront::end_input() {
  if (stage_ == Stage::kNew) {
    return break_off(ErrorCode::PROTOCOL_VIOLATION,
                     "the stream ended before open; send open first");
  }
  if (stage_ == Stage::kEnded) return;
  stage_ = Stage::kEnded;
  shard_.core().input_end(id_);
}

void SessionFront::break_off(ErrorCode code, const std::string& message) {
  if (id_ == 0) return refuse({code, message, 0, {}});
  session::Cause cause;
  cause.reason = LOADER_REASON_PROTOCOL;
  cause.error = code;
  cause.message = message;
  shard_.core().cancel(id_, cause);
}

void SessionFront::on_opened(session::SessionId id) {
  id_ = id;
  EngineEntry* engine = shard_.find_engine(engine_id_);
  std::string session_id = shard_.plane().session_id(id);
  OpenedView opened;
  opened.session_id = session_id;
  opened.message_bytes = shard_.server().options().max_message_bytes;
  if (engine != nullptr) {
    opened.engine_version = engine->shared->version;
    opened.window_bytes = engine->options.session_window_bytes;
    opened.idle_timeout_s = static_cast<double>(engine->options.idle_timeout_ms) / 1e3;
  }
  std::string body;
  append_opened(body, opened);
  call_->send_message({FieldHead(1, body.size()).bytes(), body});
}

void SessionFront::on_result(session::SessionId id, const session::MessageView& result) {
  send_result(id, 2, result);
}

void SessionFront::on_input_credit(session::SessionId id, uint64_t window_bytes) {
  CallFront::on_input_credit(id, window_bytes);
  if (!waiting_.empty()) take_waiting();
}

void SessionFront::on_processed(session::SessionId, uint64_t frame_count) {
  if (!wants_acks_ || call_ == nullptr) return;
  unsent_ack_ = frame_count;
  // A client that does not read gets the newest ack later, not a queue of them.
  if (call_->queued_bytes() < shard_.server().options().send_window_bytes) send_ack();
}

void SessionFront::on_writable() {
  if (!is_over() && unsent_ack_ != 0) send_ack();
  CallFront::on_writable();
}

void SessionFront::send_ack() {
  std::string ack;
  append_number(ack, 1, std::exchange(unsent_ack_, 0));
  call_->send_message({FieldHead(3, ack.size()).bytes(), ack});
}

void SessionFront::send_final(const FinalView& final) {
  if (unsent_ack_ != 0) send_ack();
  std::string body;
  append_final(body, final);
  call_->send_message({FieldHead(5, body.size()).bytes(), body});
}

}  // namespace loader::server
