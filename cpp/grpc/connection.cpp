#include "grpc/connection.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "grpc/server_impl.h"

namespace loader::grpc {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
constexpr int kReadsPerRound = 4;

const uint8_t* bytes(const char* text) {
  return reinterpret_cast<const uint8_t*>(text);
}

}  // namespace

Connection::Connection(ServerImpl& server, int fd, std::shared_ptr<const TlsContext> tls, Peer peer,
                       std::string counted_address)
    : server_(server),
      transport_(fd, std::move(tls)),
      peer_(std::move(peer)),
      counted_address_(std::move(counted_address)),
      police_(server.options()),
      timer_([this] { on_timer(); }) {}

Connection::~Connection() {
  if (session_ != nullptr) nghttp2_session_del(session_);
}

void Connection::start() {
  int64_t now = EventLoop::clock_ns();
  accepted_ns_ = last_received_ns_ = idle_since_ns_ = now;
  if (int64_t age_ms = server_.options().max_connection_age_ms; age_ms > 0)
    age_limit_ns_ = now + age_ms * kMs / 10 * 9 + server_.jitter(age_ms * kMs / 5);
  server_.loop().watch(transport_.fd(), EPOLLIN, this);
  on_timer();
  survive([this] { finish_handshake(); });
}

// ---------------------------------------------------------------- reading

bool Connection::finish_handshake() {
  if (state_ != State::kHandshake) return true;
  Transport::Io io = transport_.handshake();
  if (io == Transport::Io::kAgain) {
    watch_for(transport_.wants_write());
    return false;
  }
  if (io != Transport::Io::kDone) {
    server_.stats().connections_misbehaved++;
    server_.log("TLS handshake with " + peer_.address +
                " failed: " + transport_.handshake_failure());
    close();
    return false;
  }
  state_ = State::kOpen;
  ready_ns_ = server_.loop().now_ns();
  peer_.tls_identity = transport_.peer_identity();
  session_ = server_.new_session(this);
  mark_dirty();
  on_timer();
  return true;
}

void Connection::on_events(uint32_t events) {
  survive([&] { take_events(events); });
}

void Connection::take_events(uint32_t events) {
  if (state_ == State::kClosed) return;
  if (state_ == State::kLingering) return discard_input();
  if (!finish_handshake()) return;
  bool may_read = (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 || transport_.wants_write();
  if (may_read) read_socket();
  if ((events & EPOLLOUT) != 0 || transport_.wants_read_to_write()) mark_dirty();
}

void Connection::read_socket() {
  std::span<uint8_t> buffer = server_.read_buffer();
  for (int i = 0; i < kReadsPerRound && state_ == State::kOpen; i++) {
    size_t got = 0;
    Transport::Io io = transport_.read(buffer.data(), buffer.size(), got);
    if (io == Transport::Io::kAgain) return;
    if (io != Transport::Io::kDone) return drop(CancelReason::kConnectionLost);
    last_received_ns_ = server_.loop().now_ns();
    ping_sent_ns_ = 0;
    server_.stats().bytes_received += got;
    if (!feed(buffer.data(), got)) return;
    if (got < buffer.size() && !transport_.has_pending()) return;
  }
  if (state_ == State::kOpen && transport_.has_pending()) server_.read_again(this);
}

bool Connection::feed(const uint8_t* data, size_t size) {
  if (is_condemned_) return true;  // read and forget
  mark_dirty();
  is_in_nghttp2_ = true;
  ssize_t n = nghttp2_session_mem_recv(session_, data, size);
  is_in_nghttp2_ = false;
  if (n == NGHTTP2_ERR_CALLBACK_FAILURE) return drop(CancelReason::kConnectionLost), false;
  if (n < 0) {
    if (n == NGHTTP2_ERR_BAD_CLIENT_MAGIC) answer_http1(data, size);
    misbehave(nghttp2_strerror(static_cast<int>(n)), NGHTTP2_NO_ERROR);
    return false;
  }
  if (header_since_ns_ != 0) arm(header_since_ns_ + server_.options().header_timeout_ms * kMs);
  return true;
}

void Connection::answer_http1(const uint8_t* data, size_t size) {
  static constexpr std::string_view kMethods[] = {"GET ",    "POST ",    "PUT ",  "HEAD ",
                                                  "DELETE ", "OPTIONS ", "PATCH "};
  std::string_view text(reinterpret_cast<const char*>(data), size);
  for (std::string_view method : kMethods) {
    if (!text.starts_with(method)) continue;
    out_.append(
        "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\n"
        "content-length: 29\r\n\r\nthis port speaks only HTTP/2\n");
    return;
  }
}

void Connection::discard_input() {
  std::span<uint8_t> buffer = server_.read_buffer();
  for (int i = 0; i < kReadsPerRound; i++) {
    size_t got = 0;
    Transport::Io io = transport_.read(buffer.data(), buffer.size(), got);
    if (io == Transport::Io::kAgain) return;
    if (io != Transport::Io::kDone) return close();
  }
}

// ---------------------------------------------------------------- writing

void Connection::mark_dirty() {
  if (is_dirty_ || state_ != State::kOpen) return;
  is_dirty_ = true;
  server_.add_dirty(this);
}

void Connection::flush() {
  survive([this] { send_frames(); });
}

void Connection::send_frames() {
  if (state_ != State::kOpen) return;
  server_.lend_storage(out_.storage());
  for (;;) {
    if (!pull_frames()) break;
    if (state_ != State::kOpen) return;
    if (out_.is_empty()) break;
    if (!write_socket()) return;
    if (!is_data_blocked_ && nghttp2_session_want_write(session_) == 0) break;
  }
  if (out_.is_empty()) {
    server_.take_storage(out_.storage());
    stalled_since_ns_ = 0;
    watch_for(false);
  }
  close_if_done();
}

// Moves frames from nghttp2 to the socket queue up to the limit. False: the session is broken.
bool Connection::pull_frames() {
  is_data_blocked_ = false;
  is_in_nghttp2_ = true;
  bool is_good = true;
  while (out_.size() < server_.options().max_unsent_bytes) {
    const uint8_t* data = nullptr;
    ssize_t n = nghttp2_session_mem_send(session_, &data);
    if (n == NGHTTP2_ERR_CALLBACK_FAILURE) {
      is_in_nghttp2_ = false;
      return drop(CancelReason::kConnectionLost), true;
    }
    if (n < 0) {
      is_condemned_ = true;
      is_good = !out_.is_empty();
    }
    if (n <= 0) break;
    out_.append({reinterpret_cast<const char*>(data), static_cast<size_t>(n)});
  }
  is_in_nghttp2_ = false;
  return is_good;
}

// False: the socket is full (or the connection is gone).
bool Connection::write_socket() {
  size_t before = out_.size();
  Transport::Io io = transport_.write(out_);
  server_.stats().bytes_sent += before - out_.size();
  if (io == Transport::Io::kDone) return true;
  if (io != Transport::Io::kAgain) {
    drop(CancelReason::kConnectionLost);
    return false;
  }
  if (stalled_since_ns_ == 0 || out_.size() < before) {
    stalled_since_ns_ = server_.loop().now_ns();
    arm(stalled_since_ns_ + server_.options().write_stall_timeout_ms * kMs);
  }
  watch_for(true);
  return false;
}

void Connection::watch_for(bool write) {
  bool wanted = write || transport_.wants_write();
  if (wanted == watches_write_) return;
  watches_write_ = wanted;
  server_.loop().rearm(transport_.fd(), EPOLLIN | (wanted ? EPOLLOUT : 0u), this);
}

void Connection::close_if_done() {
  if (state_ != State::kOpen || !out_.is_empty()) return;
  bool is_over =
      nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0;
  if (is_over || is_condemned_) linger();
}

// ---------------------------------------------------------------- ending

void Connection::close_streams(CancelReason reason) {
  std::vector<Stream*> open = streams_;
  for (Stream* stream : open) {
    if (stream->is_http_open()) {
      nghttp2_session_set_stream_user_data(session_, stream->stream_id(), nullptr);
      stream->on_closed(reason);
    }
    release_if_over(stream);
  }
  open_streams_ = 0;
}

// FIN, then read until the client's: closing with unread bytes would reset the connection and
// could destroy the status in flight.
void Connection::linger() {
  state_ = State::kLingering;
  close_streams(CancelReason::kConnectionLost);
  nghttp2_session_del(std::exchange(session_, nullptr));
  out_.clear();
  if (!server_.may_linger()) return close();
  server_.lingering_started();
  transport_.shutdown();
  watch_for(false);
  linger_until_ns_ = server_.loop().now_ns() + server_.options().linger_ms * kMs;
  arm(linger_until_ns_);
}

void Connection::drop(CancelReason reason) {
  if (state_ == State::kClosed) return;
  bool had_streams = state_ == State::kOpen;
  if (state_ == State::kLingering) server_.lingering_ended();
  state_ = State::kClosed;
  server_.loop().unwatch(transport_.fd(), this);
  timer_.cancel();
  transport_.close();
  out_.clear();
  if (had_streams) close_streams(reason);
  server_.connection_closed(this);
}

void Connection::close() {
  drop(CancelReason::kConnectionLost);
}

void Connection::misbehave(const char* what, uint32_t error_code) {
  if (is_condemned_) return;
  server_.stats().connections_misbehaved++;
  server_.log(std::string("closing ") + peer_.address + ": " + what);
  if (error_code != NGHTTP2_NO_ERROR)
    nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE,
                          nghttp2_session_get_last_proc_stream_id(session_), error_code,
                          bytes(what), std::strlen(what));
  is_condemned_ = true;
  mark_dirty();
}

// From inside nghttp2, which no exception may pass.
void Connection::note_failure(const char* what) noexcept {
  try {
    server_.stats().connections_misbehaved++;
    server_.log("closing " + peer_.address + ": what could not be handled: " + what);
  } catch (...) {  // no memory for the line: the connection ends all the same
  }
}

void Connection::fail(const char* what) {
  note_failure(what);
  is_in_nghttp2_ = false;
  close();
}

void Connection::release_if_over(Stream* stream) {
  if (!stream->is_over()) return;
  auto it = std::find(streams_.begin(), streams_.end(), stream);
  if (it == streams_.end()) return;
  *it = streams_.back();
  streams_.pop_back();
  server_.return_stream(stream);
  if (is_dead()) server_.connection_dead(this);
}

// ---------------------------------------------------------------- drain

void Connection::start_drain(const char* reason) {
  if (is_draining_ || state_ == State::kClosed) return;
  is_draining_ = true;
  drain_since_ns_ = server_.loop().now_ns();
  if (state_ == State::kHandshake) return close();
  if (state_ != State::kOpen) return;
  server_.log(std::string("draining ") + peer_.address + ": " + reason);
  nghttp2_submit_shutdown_notice(session_);
  arm(drain_since_ns_ + server_.options().drain_ping_timeout_ms * kMs);
  if (!has_settings_) return close();  // it never spoke: nothing can be in flight
  mark_dirty();
}

void Connection::finish_drain() {
  has_final_goaway_ = true;
  static constexpr char kReason[] = "server is draining";
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE,
                        nghttp2_session_get_last_proc_stream_id(session_), NGHTTP2_NO_ERROR,
                        bytes(kReason), sizeof kReason - 1);
  mark_dirty();
  end_background_calls();
}

void Connection::end_background_calls() {
  if (!has_final_goaway_) return;
  for (Stream* stream : streams_)
    if (!stream->is_background() && !stream->has_ended() && stream->is_http_open()) return;
  end_calls();
}

void Connection::end_calls() {
  if (state_ != State::kOpen) return;
  if (is_draining_ && !has_final_goaway_) {
    finish_drain();
    if (state_ != State::kOpen) return;
  }
  std::vector<Stream*> open = streams_;
  for (Stream* stream : open)
    if (stream->is_http_open())
      stream->end_by_library({Code::kUnavailable, "the server is shutting down"},
                             CancelReason::kDrain);
}

// ---------------------------------------------------------------- for streams

bool Connection::may_start_call() const {
  return live_calls_ < server_.options().max_concurrent_streams;
}

void Connection::call_started() {
  live_calls_++;
  server_.stats().open_calls++;
}

void Connection::call_ended() {
  live_calls_--;
  server_.stats().open_calls--;
  if (is_draining_ && state_ == State::kOpen) end_background_calls();
}

void Connection::message_completed() {
  police_.on_message_completed();
  server_.stats().messages_received++;
}

uint32_t Connection::message_limit(const Method& method) const {
  return method.max_message_bytes != 0 ? method.max_message_bytes
                                       : server_.options().max_message_bytes;
}

void Connection::submit_response(Stream& stream, std::span<const nghttp2_nv> head,
                                 const nghttp2_data_provider* provider) {
  if (state_ == State::kOpen)
    nghttp2_submit_response(session_, stream.stream_id(), head.data(), head.size(), provider);
}

void Connection::submit_trailers(Stream& stream, std::span<const nghttp2_nv> trailers) {
  nghttp2_submit_trailer(session_, stream.stream_id(), trailers.data(), trailers.size());
}

void Connection::resume(Stream& stream) {
  if (state_ == State::kOpen) nghttp2_session_resume_data(session_, stream.stream_id());
}

void Connection::reset(Stream& stream, uint32_t error_code) {
  if (state_ != State::kOpen) return;
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream.stream_id(), error_code);
  mark_dirty();
}

void Connection::give_back(Stream& stream, size_t bytes) {
  if (state_ != State::kOpen) return;
  nghttp2_session_consume_stream(session_, stream.stream_id(), bytes);
  mark_dirty();
}

void Connection::set_stream_window(Stream& stream, uint32_t bytes) {
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, stream.stream_id(),
                                        static_cast<int32_t>(bytes));
}

void Connection::note_drained(Stream& stream, bool was_full) {
  if (was_full) server_.wake(&stream);
}

// ---------------------------------------------------------------- time

void Connection::arm(int64_t deadline_ns) {
  if (!timer_.is_set() || deadline_ns < timer_.deadline_ns())
    timer_.set(server_.loop(), deadline_ns);
}

void Connection::on_timer() {
  survive([this] { check_clocks(); });
}

// Fires at the earliest of the deadlines known when it was set; later ones are found by looking
// again. So the hot path never touches the timer.
void Connection::check_clocks() {
  int64_t now = EventLoop::clock_ns();
  next_ns_ = kNever;
  if (state_ == State::kLingering) {
    if (now >= linger_until_ns_) return close();
    consider(linger_until_ns_);
  } else {
    check_setup(now);
    if (state_ == State::kOpen) check_keepalive(now);
    if (state_ == State::kOpen) check_age(now);
  }
  if (state_ != State::kClosed && next_ns_ != kNever) arm(next_ns_);
}

void Connection::check_setup(int64_t now) {
  const Options& o = server_.options();
  bool is_late = false;
  const char* what = "";
  auto test = [&](bool applies, int64_t since, int64_t limit_ms, const char* name) {
    if (!applies) return;
    int64_t deadline = since + limit_ms * kMs;
    if (now < deadline) return consider(deadline);
    is_late = true;
    what = name;
  };
  test(state_ == State::kHandshake, accepted_ns_, o.tls_handshake_timeout_ms, "TLS handshake");
  test(state_ == State::kOpen && !has_settings_, ready_ns_, o.preface_timeout_ms, "preface");
  test(header_since_ns_ != 0, header_since_ns_, o.header_timeout_ms, "header block");
  test(stalled_since_ns_ != 0, stalled_since_ns_, o.write_stall_timeout_ms, "write stall");
  if (is_late) {
    server_.stats().connections_misbehaved++;
    server_.log("closing " + peer_.address + ": timeout of " + what);
    return close();
  }
  test(state_ == State::kOpen && !has_settings_ack_, ready_ns_, o.settings_ack_timeout_ms, "ack");
  if (is_late && !is_condemned_) misbehave("settings_timeout", NGHTTP2_SETTINGS_TIMEOUT);
}

void Connection::check_keepalive(int64_t now) {
  const Options& o = server_.options();
  if (o.keepalive_time_ms == 0) return;
  if (ping_sent_ns_ != 0) {
    int64_t deadline = ping_sent_ns_ + o.keepalive_timeout_ms * kMs;
    if (now >= deadline) {
      server_.log("closing " + peer_.address + ": keepalive ping unanswered");
      return close();
    }
    return consider(deadline);
  }
  int64_t due = last_received_ns_ + o.keepalive_time_ms * kMs;
  if (now < due) return consider(due);
  ping_sent_ns_ = now;
  nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, bytes("keepaliv"));
  mark_dirty();
  consider(now + o.keepalive_timeout_ms * kMs);
}

void Connection::check_age(int64_t now) {
  const Options& o = server_.options();
  if (age_limit_ns_ != 0 && !is_draining_) {
    if (now >= age_limit_ns_)
      start_drain("max_age");
    else
      consider(age_limit_ns_);
  }
  if (o.max_connection_idle_ms > 0 && open_streams_ == 0 && !is_draining_) {
    int64_t due = idle_since_ns_ + o.max_connection_idle_ms * kMs;
    if (now >= due)
      start_drain("max_idle");
    else
      consider(due);
  } else if (o.max_connection_idle_ms > 0) {
    consider(now + o.max_connection_idle_ms * kMs);
  }
  if (!is_draining_ || state_ != State::kOpen) return;
  if (!has_final_goaway_) {
    int64_t due = drain_since_ns_ + o.drain_ping_timeout_ms * kMs;
    if (now >= due)
      finish_drain();
    else
      consider(due);
  }
  if (age_limit_ns_ != 0 && o.max_connection_age_grace_ms > 0) {
    int64_t due = drain_since_ns_ + o.max_connection_age_grace_ms * kMs;
    if (now >= due)
      end_calls();
    else
      consider(due);
  }
}

}  // namespace loader::grpc
