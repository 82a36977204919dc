#include "grpc/stream.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "grpc/connection.h"
#include "grpc/response_head.h"
#include "grpc/server_impl.h"

namespace loader::grpc {
namespace {

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
constexpr size_t kSmallFrame = 16 << 10;
constexpr size_t kLargeFrame = 64 << 10;
constexpr int64_t kMs = 1'000'000;
constexpr int64_t kLateGrace_ns = 10 * kMs;

ssize_t read_provider(nghttp2_session*, int32_t, uint8_t* to, size_t size, uint32_t* flags,
                      nghttp2_data_source* source, void*) {
  auto* stream = static_cast<Stream*>(source->ptr);
  try {
    return stream->provide(to, size, flags);
  } catch (const std::exception& error) {
    stream->connection().note_failure(error.what());
    return NGHTTP2_ERR_CALLBACK_FAILURE;
  }
}

bool is_single_reply(Cardinality c) {
  return c == Cardinality::kUnary || c == Cardinality::kClientStream;
}

bool is_single_request(Cardinality c) {
  return c == Cardinality::kUnary || c == Cardinality::kServerStream;
}

Code code_of(CancelReason reason) {
  switch (reason) {
    case CancelReason::kDeadline:
      return Code::kDeadlineExceeded;
    case CancelReason::kDrain:
    case CancelReason::kServerClosing:
      return Code::kUnavailable;
    case CancelReason::kProtocol:
      return Code::kInternal;
    default:
      return Code::kCancelled;
  }
}

void check_sendable(const Metadata& metadata) {
  for (Metadata::Entry e : metadata)
    if (!Metadata::is_sendable(e.key, e.value))
      throw std::invalid_argument("metadata may not be sent: '" + std::string(e.key) + "'");
}

}  // namespace

Stream::Stream() : deadline_([this] { connection_->survive([this] { on_deadline(); }); }) {}

void Stream::open(Connection* connection, int32_t stream_id, uint64_t call_id) {
  connection_ = connection;
  stream_id_ = stream_id;
  call_id_ = call_id;
  deadline_ns_ = kNever;
  is_http_open_ = true;
}

void Stream::recycle() {
  deadline_.cancel();
  kept_.clear();
  parser_.reset();
  out_.clear();
  return_storage();
  ending_.reset();
  connection_ = nullptr;
  route_ = nullptr;
  received_ = returned_ = held_ = 0;
  std::string().swap(backlog_);
  is_waiting_ = false;
  messages_in_ = messages_out_ = 0;
  has_encoding_ = accepts_gzip_ = announced_gzip_ = is_half_closed_ = has_headers_ = false;
  is_deferred_ = has_status_ = has_trailers_ = is_finished_ = is_cancelled_ = was_full_ = false;
  is_late_ = false;
}

std::string_view Stream::path() const {
  return route_ != nullptr ? std::string_view(route_->path) : std::string_view();
}

const Peer& Stream::peer() const {
  return connection_->peer();
}

Server& Stream::server() {
  return connection_->server().facade();
}

// ---------------------------------------------------------------- request

void Stream::dispatch(const Router::Route& route, const RequestHead& head, bool has_ended) {
  ServerImpl& server = connection_->server();
  route_ = &route;
  encoding_ = head.encoding();
  has_encoding_ = head.has_encoding();
  accepts_gzip_ = head.accepts_gzip();
  int64_t timeout_ns = head.timeout_ns();
  if (int64_t cap_ms = server.options().max_deadline_ms; cap_ms > 0)
    timeout_ns = std::min(timeout_ns, cap_ms * kMs);
  int64_t now = server.loop().now_ns();
  deadline_ns_ = timeout_ns > kNever - now ? kNever : now + timeout_ns;
  if (server.hooks().authorize) {
    Status verdict = server.hooks().authorize(*this);
    if (!verdict.is_ok()) return refuse(verdict);
  }
  if (!connection_->may_start_call())
    return refuse({Code::kResourceExhausted, "too many concurrent calls on this connection"});
  if (timeout_ns <= 0) return refuse({Code::kDeadlineExceeded, "deadline exceeded on arrival"});
  if (has_ended && is_single_request(route.method.cardinality))
    return refuse({Code::kInternal, "the request has no message"});
  if (start_handler() && has_ended) on_end_stream();
}

bool Stream::start_handler() {
  ServerImpl& server = connection_->server();
  const Method& method = route_->method;
  is_counted_ = true;
  connection_->call_started();
  server.stats().calls++;
  if (method.stream_window_bytes != 0)
    connection_->set_stream_window(*this, method.stream_window_bytes);
  if (deadline_ns_ != kNever) deadline_.set(server.loop(), deadline_ns_);
  guarded([&] { handler_ = method.factory(*this); });
  if (handler_ == nullptr && !is_finished_)
    finish({Code::kInternal, "the method made no handler"}, {});
  if (is_finished_) return false;
  bool may_wait_for_headers = !is_single_request(method.cardinality);
  if (may_wait_for_headers && !has_headers_) send_headers({});
  return true;
}

void Stream::on_data(std::string_view bytes) {
  if (has_status_ || route_ == nullptr) return;
  received_ += bytes.size();
  if (is_waiting_) {
    backlog_.append(bytes);
  } else {
    parse(bytes);
  }
}

void Stream::parse(std::string_view bytes) {
  while (!has_status_ && !is_cancelled_ && !is_waiting_) {
    MessageParser::Step step = parser_.next(bytes);
    if (step == MessageParser::Step::kNeedMore) break;
    if (step == MessageParser::Step::kMessage) {
      deliver();
    } else if (judge_prefix() && must_wait()) {
      is_waiting_ = true;
      backlog_.assign(bytes);
    }
  }
  if (!has_status_ && !is_cancelled_) settle_window();
}

// A few bytes may inflate to a whole message: while the handler holds a window's worth, the next
// one stays compressed.
bool Stream::must_wait() const {
  if (parser_.flag() == 0) return false;
  uint32_t window = route_->method.stream_window_bytes;
  return held_ >= (window != 0 ? window : connection_->server().options().stream_window_bytes);
}

void Stream::parse_backlog() {
  if (!is_waiting_ || must_wait()) return;
  is_waiting_ = false;
  std::string bytes = std::exchange(backlog_, {});
  parse(bytes);
  if (is_half_closed_ && !is_waiting_) end_of_request();
}

bool Stream::judge_prefix() {
  auto refused = [&](Code code, std::string text) {
    end_by_library({code, std::move(text)}, CancelReason::kProtocol);
    return false;
  };
  const Method& method = route_->method;
  uint32_t limit = connection_->message_limit(method);
  if (parser_.flag() > 1)
    return refused(Code::kInternal, "bad message flag " + std::to_string(parser_.flag()));
  if (parser_.flag() == 1 && !has_encoding_)
    return refused(Code::kInternal, "compressed message without grpc-encoding");
  if (parser_.size() > limit)
    return refused(Code::kResourceExhausted, "message of " + std::to_string(parser_.size()) +
                                                 " bytes exceeds the limit of " +
                                                 std::to_string(limit));
  if (is_single_request(method.cardinality) && messages_in_ == 1)
    return refused(Code::kInternal, "second message on a method that takes one");
  return true;
}

bool Stream::inflate(std::string_view& body, std::string*& owned) {
  ServerImpl& server = connection_->server();
  uint32_t limit = connection_->message_limit(route_->method);
  std::string& scratch = server.inflated();
  Gzip::Result result = server.gzip().inflate(body, limit, scratch);
  if (result == Gzip::Result::kOk) {
    body = scratch;
    owned = &scratch;
    return true;
  }
  Status status(Code::kInternal, "compressed message is corrupt");
  if (result == Gzip::Result::kTrailing) status.message = "bytes after the compressed message";
  if (result == Gzip::Result::kTooLarge)
    status = {Code::kResourceExhausted,
              "message inflates past the limit of " + std::to_string(limit)};
  end_by_library(status, CancelReason::kProtocol);
  return false;
}

void Stream::deliver() {
  std::string_view body = parser_.body();
  std::string* owned = parser_.assembled();
  bool was_compressed = parser_.flag() == 1;
  if (was_compressed && !inflate(body, owned)) return;
  messages_in_++;
  connection_->message_completed();
  size_t window = std::max(size_t{parser_.size()}, body.size()) + 5;
  if (!route_->method.is_auto_consume) held_ += window;
  Message message(body, owned, was_compressed, window);
  guarded([&] { handler_->on_message(message); });
  if (was_compressed) connection_->server().trim_inflated();
}

// What is received and neither waits nor is held by a complete message goes back at once, so that a
// message larger than the window can be assembled; what was lent to that message is owed before any
// more.
void Stream::settle_window() {
  uint64_t kept = held_ + backlog_.size() + returned_;
  if (is_half_closed_ || received_ <= kept || !is_http_open_) return;
  size_t due = received_ - kept;
  returned_ += due;
  connection_->give_back(*this, due);
}

void Stream::consume(size_t bytes) {
  if (connection_ == nullptr) return;
  held_ -= std::min<uint64_t>(bytes, held_);
  if (has_status_ || is_cancelled_) return;
  settle_window();
  if (is_waiting_) connection_->server().wake(this);
}

void Stream::on_end_stream() {
  is_half_closed_ = true;
  if (!is_waiting_) end_of_request();
}

void Stream::end_of_request() {
  if (has_status_ || is_cancelled_ || route_ == nullptr) return;
  if (!parser_.is_between_messages())
    return end_by_library({Code::kInternal, "incomplete message"}, CancelReason::kProtocol);
  if (messages_in_ == 0 && is_single_request(route_->method.cardinality))
    return end_by_library({Code::kInternal, "the request has no message"}, CancelReason::kProtocol);
  guarded([&] { handler_->on_half_close(); });
}

template <class Function>
void Stream::guarded(Function function) {
  try {
    function();
  } catch (const std::exception& e) {
    connection_->server().log("handler of " + std::string(path()) + " threw: " + e.what());
    if (!is_finished_) finish({Code::kUnknown, "the handler failed"}, {});
  } catch (...) {
    if (!is_finished_) finish({Code::kUnknown, "the handler failed"}, {});
  }
}

// ---------------------------------------------------------------- response

bool Stream::send_headers(const Metadata& metadata) {
  if (!can_send() || has_headers_) return false;
  check_sendable(metadata);
  submit_headers(&metadata);
  connection_->mark_dirty();
  return true;
}

void Stream::submit_headers(const Metadata* metadata) {
  announced_gzip_ =
      announced_gzip_ || (accepts_gzip_ && route_ != nullptr && route_->method.may_compress);
  has_headers_ = true;
  nghttp2_data_provider provider{};
  provider.source.ptr = this;
  provider.read_callback = read_provider;
  is_deferred_ = false;
  ResponseHead head(connection_->server().scratch());
  connection_->submit_response(*this, head.headers(announced_gzip_, metadata), &provider);
}

void Stream::queue_prefix(bool is_compressed, size_t size) {
  if (size > std::numeric_limits<uint32_t>::max()) throw std::length_error("message above 4 GiB");
  if (out_.storage().capacity() < 64 && out_.is_empty())
    connection_->server().lend_storage(out_.storage());
  auto n = static_cast<uint32_t>(size);
  const char prefix[5] = {static_cast<char>(is_compressed), static_cast<char>(n >> 24),
                          static_cast<char>(n >> 16), static_cast<char>(n >> 8),
                          static_cast<char>(n)};
  out_.add({prefix, 5});
}

bool Stream::send_message(Parts parts, bool compress) {
  if (!can_send()) return false;
  if (compress && accepts_gzip_ && (announced_gzip_ || !has_headers_)) {
    announced_gzip_ = true;
    std::string& packed = connection_->server().deflated();
    packed.clear();
    connection_->server().gzip().deflate(parts, packed);
    queue_prefix(true, packed.size());
    out_.add(packed);
    message_queued(packed.size());
    return true;
  }
  size_t size = 0;
  for (std::string_view part : parts) size += part.size();
  queue_prefix(false, size);
  for (std::string_view part : parts) out_.add(part);
  message_queued(size);
  return true;
}

bool Stream::send_message(Parts head, Payload payload, Parts tail) {
  if (!can_send()) return false;
  size_t size = payload.size();
  for (std::string_view part : head) size += part.size();
  for (std::string_view part : tail) size += part.size();
  queue_prefix(false, size);
  for (std::string_view part : head) out_.add(part);
  if (payload.size() > 0) out_.add(SharedPayload(std::move(payload)));
  for (std::string_view part : tail) out_.add(part);
  message_queued(size);
  return true;
}

void Stream::message_queued(size_t size) {
  out_.commit(size + 5);
  messages_out_++;
  connection_->server().stats().messages_sent++;
  if (out_.size() >= connection_->server().options().send_window_bytes) was_full_ = true;
  pump();
}

void Stream::pump() {
  if (!is_http_open_) return;
  if (!has_headers_) {
    submit_headers(nullptr);
  } else if (is_deferred_) {
    is_deferred_ = false;
    connection_->resume(*this);
  }
  connection_->mark_dirty();
}

ssize_t Stream::provide(uint8_t* to, size_t size, uint32_t* flags) {
  size_t n = std::min(size, out_.size());
  bool by_reference = n > 0 && !connection_->is_tls() && out_.has_payload_within(n);
  if (by_reference) {
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    out_.promise(n);
  } else if (n > 0) {
    out_.copy_to(to, n);
  }
  bool is_empty = by_reference ? n == out_.size() : out_.is_empty();
  if (!by_reference) {
    if (is_empty) return_storage();
    connection_->note_drained(*this, was_full_);
  }
  if (is_empty && has_status_) {
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    submit_trailers();
    return static_cast<ssize_t>(n);
  }
  if (n > 0) return static_cast<ssize_t>(n);
  is_deferred_ = true;
  return NGHTTP2_ERR_DEFERRED;
}

void Stream::gather(size_t n, ByteSink& sink) {
  out_.gather(n, sink);
  if (out_.is_empty()) return_storage();
  connection_->note_drained(*this, was_full_);
}

size_t Stream::frame_size_wanted() const {
  return out_.size() > kLargeFrame ? kLargeFrame : kSmallFrame;
}

void Stream::return_storage() {
  if (connection_ != nullptr && out_.is_empty() && out_.storage().capacity() >= 64)
    connection_->server().take_storage(out_.storage());
}

void Stream::on_woken() {
  if (can_send()) parse_backlog();
  notify_writable();
}

void Stream::notify_writable() {
  if (!was_full_ || !can_send()) return;
  if (out_.size() > connection_->server().options().send_window_bytes / 2) return;
  was_full_ = false;
  guarded([&] { handler_->on_writable(); });
}

// ---------------------------------------------------------------- the end

void Stream::set_status(const Status& status, const Metadata* trailers) {
  has_status_ = true;
  bool has_trailers = trailers != nullptr && !trailers->is_empty();
  if (status.is_ok() && status.message.empty() && status.details.empty() && !has_trailers) return;
  ending_ = std::make_unique<Ending>();
  ending_->status = status;
  const Hooks& hooks = connection_->server().hooks();
  if (hooks.details_of && !status.is_ok() && status.details.empty())
    ending_->status.details = hooks.details_of(status);
  if (has_trailers) ending_->trailers = *trailers;
}

void Stream::submit_trailers() {
  if (has_trailers_) return;
  has_trailers_ = true;
  ResponseHead head(connection_->server().scratch());
  connection_->submit_trailers(*this, ending_ == nullptr
                                          ? head.ok_trailers()
                                          : head.trailers(ending_->status, ending_->trailers));
}

void Stream::submit_trailers_only() {
  has_headers_ = has_trailers_ = true;
  static const Metadata kNone;
  static const Status kOk;
  ResponseHead head(connection_->server().scratch());
  const Status& status = ending_ == nullptr ? kOk : ending_->status;
  const Metadata& trailers = ending_ == nullptr ? kNone : ending_->trailers;
  connection_->submit_response(*this, head.trailers_only(status, trailers), nullptr);
  connection_->mark_dirty();
}

void Stream::refuse(const Status& status) {
  set_status(status, nullptr);
  submit_trailers_only();
}

void Stream::refuse_http(int http_status) {
  has_status_ = has_headers_ = has_trailers_ = true;
  ResponseHead head(connection_->server().scratch());
  connection_->submit_response(*this, head.http_refusal(http_status), nullptr);
  connection_->mark_dirty();
}

void Stream::finish(const Status& status, const Metadata& trailers) {
  if (is_finished_) return;
  if (!has_status_ && !is_cancelled_) {
    check_sendable(trailers);
    bool lacks_reply =
        status.is_ok() && is_single_reply(route_->method.cardinality) && messages_out_ != 1;
    Status outcome = lacks_reply
                         ? Status(Code::kInternal, "the method must answer exactly one message")
                         : status;
    record_end(outcome.code);
    set_status(outcome, lacks_reply ? nullptr : &trailers);
    if (has_headers_ || !out_.is_empty()) {
      pump();
    } else if (is_http_open_) {
      submit_trailers_only();
    }
  }
  is_finished_ = true;
  release_count();
  connection_->server().bury(this);
}

void Stream::end_by_library(const Status& status, CancelReason reason) {
  if (has_status_ || is_cancelled_) return;
  out_.drop_whole_messages();
  if (handler_ != nullptr) guarded([&] { handler_->on_ending(status, reason); });
  if (has_status_) return;
  record_end(status.code);
  if (out_.is_inside_message() && reason != CancelReason::kProtocol) {
    has_status_ = true;
    connection_->reset(*this, NGHTTP2_CANCEL);
  } else {
    set_status(status, nullptr);
    if (has_headers_) {
      pump();
    } else {
      submit_trailers_only();
    }
  }
  cancel(reason);
}

void Stream::on_deadline() {
  if (!has_status_)
    end_by_library({Code::kDeadlineExceeded, "deadline exceeded"}, CancelReason::kDeadline);
  if (has_trailers_ || !is_http_open_) return;
  if (is_late_) return give_up_messages();
  // Decided but not yet sent. What has not left a moment later waits for a client that does not
  // read.
  is_late_ = true;
  deadline_.set(connection_->server().loop(), EventLoop::clock_ns() + kLateGrace_ns);
}

// The status needs no window; the messages before it do, and HTTP/2 would wait for it.
void Stream::give_up_messages() {
  out_.drop_whole_messages();
  if (!out_.is_empty()) return connection_->reset(*this, NGHTTP2_CANCEL);
  submit_trailers();
  connection_->mark_dirty();
}

void Stream::on_closed(CancelReason reason) {
  is_http_open_ = false;
  deadline_.cancel();
  if (!has_status_ && is_counted_) {
    bool is_late = reason == CancelReason::kClientReset &&
                   connection_->server().loop().now_ns() >= deadline_ns_;
    record_end(code_of(is_late ? CancelReason::kDeadline : reason));
    cancel(reason);
  }
  out_.clear();
  return_storage();
}

void Stream::cancel(CancelReason reason) {
  if (is_cancelled_ || is_finished_ || handler_ == nullptr) return;
  is_cancelled_ = true;
  parser_.reset();
  std::string().swap(backlog_);
  guarded([&] { handler_->on_cancel(reason); });
}

void Stream::record_end(Code code) {
  if (!is_counted_) return;
  ServerImpl& server = connection_->server();
  auto i = static_cast<size_t>(code);
  server.stats().calls_by_code[i <= 16 ? i : 2]++;
  if (server.hooks().on_call_end) server.hooks().on_call_end(*this, code);
}

void Stream::release_count() {
  if (!is_counted_) return;
  is_counted_ = false;
  connection_->call_ended();
}

}  // namespace loader::grpc
