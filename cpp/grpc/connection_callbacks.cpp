// What nghttp2 calls while it reads and writes frames. Nothing here calls mem_send, mem_recv or
// session_del.
#include <algorithm>
#include <cstring>
#include <exception>

#include "grpc/connection.h"
#include "grpc/server_impl.h"

namespace loader::grpc {
namespace {

constexpr size_t kTinyUpdate = 1 << 10;
constexpr int32_t kLastStreamId = 0x60000000;  // 75 % of what there are

std::string_view view(const uint8_t* p, size_t n) {
  return {reinterpret_cast<const char*>(p), n};
}

}  // namespace

struct Connection::Callbacks {
  static Connection* self(void* user) { return static_cast<Connection*>(user); }

  // Work in, NGHTTP2_ERR_CALLBACK_FAILURE out where it throws: no exception passes C code.
  template <typename Work>
  static int guarded(void* user, Work work) noexcept {
    try {
      return work();
    } catch (const std::exception& error) {
      self(user)->note_failure(error.what());
    } catch (...) {
      self(user)->note_failure("no std::exception");
    }
    return NGHTTP2_ERR_CALLBACK_FAILURE;
  }

  static int begin_frame(nghttp2_session*, const nghttp2_frame_hd* hd, void* user) {
    bool is_empty_data =
        hd->type == NGHTTP2_DATA && hd->length == 0 && (hd->flags & NGHTTP2_FLAG_END_STREAM) == 0;
    bool is_unknown = hd->type > NGHTTP2_CONTINUATION;
    if (is_empty_data || is_unknown || hd->type == NGHTTP2_PRIORITY) self(user)->idle_frame();
    return 0;
  }

  static int begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    Connection* c = self(user);
    c->header_since_ns_ = c->server_.loop().now_ns();
    c->header_stream_ = frame->hd.stream_id;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST || c->state_ != State::kOpen) return 0;
    return guarded(user, [&] { return c->begin_request(frame->hd.stream_id), 0; });
  }

  static int header(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name,
                    size_t name_size, const uint8_t* value, size_t value_size, uint8_t,
                    void* user) {
    Connection* c = self(user);
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST || c->state_ != State::kOpen) return 0;
    return guarded(user, [&] {
      c->head_.add(view(name, name_size), view(value, value_size), c->server_.options());
      return 0;
    });
  }

  static int data(nghttp2_session* session, uint8_t, int32_t id, const uint8_t* data, size_t size,
                  void* user) {
    Connection* c = self(user);
    nghttp2_session_consume_connection(session, size);
    c->police_.on_progress();
    Stream* stream = c->stream_of(id);
    if (stream == nullptr) return 0;
    return guarded(user, [&] { return stream->on_data(view(data, size)), 0; });
  }

  static int frame_recv(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    return guarded(user, [&] { return self(user)->frame_received(*frame), 0; });
  }

  static int invalid_frame(nghttp2_session*, const nghttp2_frame* frame, int error, void* user) {
    Connection* c = self(user);
    if (frame->hd.type == NGHTTP2_HEADERS) c->header_since_ns_ = 0;
    return guarded(user, [&] {
      c->server_.log("invalid frame from " + c->peer_.address + ": " + nghttp2_strerror(error));
      return 0;
    });
  }

  static int frame_send(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    return guarded(user, [&] { return self(user)->frame_sent(*frame), 0; });
  }

  static int frame_not_send(nghttp2_session* session, const nghttp2_frame* frame, int error,
                            void*) {
    bool is_hopeless = error != NGHTTP2_ERR_STREAM_CLOSING && error != NGHTTP2_ERR_STREAM_CLOSED &&
                       error != NGHTTP2_ERR_SESSION_CLOSING;
    if (frame->hd.type == NGHTTP2_HEADERS && is_hopeless)
      nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                NGHTTP2_INTERNAL_ERROR);
    return 0;
  }

  static int stream_close(nghttp2_session*, int32_t id, uint32_t error, void* user) {
    return guarded(user, [&] { return self(user)->stream_closed(id, error), 0; });
  }

  static int send_data(nghttp2_session*, nghttp2_frame* frame, const uint8_t* head, size_t size,
                       nghttp2_data_source* source, void* user) {
    Connection* c = self(user);
    if (c->out_.size() >= c->server_.options().max_unsent_bytes) {
      c->is_data_blocked_ = true;
      return NGHTTP2_ERR_WOULDBLOCK;
    }
    return guarded(user, [&] {
      c->out_.append(view(head, 9));
      size_t pad = frame->data.padlen;
      if (pad > 0) c->out_.append(std::string(1, static_cast<char>(pad - 1)));
      static_cast<Stream*>(source->ptr)->gather(size, c->out_);
      if (pad > 1) c->out_.append(std::string(pad - 1, '\0'));
      return 0;
    });
  }

  static ssize_t read_length(nghttp2_session* session, uint8_t, int32_t id, int32_t, int32_t,
                             uint32_t max_frame, void*) {
    auto* stream = static_cast<Stream*>(nghttp2_session_get_stream_user_data(session, id));
    size_t wanted = stream == nullptr ? 16384 : stream->frame_size_wanted();
    return static_cast<ssize_t>(std::min<size_t>(wanted, max_frame));
  }

  static int unpack_extension(nghttp2_session*, void**, const nghttp2_frame_hd*, void*) {
    return NGHTTP2_ERR_CANCEL;
  }
};

void Connection::install(nghttp2_session_callbacks* c) {
  nghttp2_session_callbacks_set_on_begin_frame_callback(c, Callbacks::begin_frame);
  nghttp2_session_callbacks_set_on_begin_headers_callback(c, Callbacks::begin_headers);
  nghttp2_session_callbacks_set_on_header_callback(c, Callbacks::header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, Callbacks::data);
  nghttp2_session_callbacks_set_on_frame_recv_callback(c, Callbacks::frame_recv);
  nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(c, Callbacks::invalid_frame);
  nghttp2_session_callbacks_set_on_frame_send_callback(c, Callbacks::frame_send);
  nghttp2_session_callbacks_set_on_frame_not_send_callback(c, Callbacks::frame_not_send);
  nghttp2_session_callbacks_set_on_stream_close_callback(c, Callbacks::stream_close);
  nghttp2_session_callbacks_set_send_data_callback(c, Callbacks::send_data);
  nghttp2_session_callbacks_set_data_source_read_length_callback(c, Callbacks::read_length);
  nghttp2_session_callbacks_set_unpack_extension_callback(c, Callbacks::unpack_extension);
}

Stream* Connection::stream_of(int32_t stream_id) {
  return static_cast<Stream*>(nghttp2_session_get_stream_user_data(session_, stream_id));
}

void Connection::begin_request(int32_t stream_id) {
  Stream* stream = server_.take_stream();
  stream->open(this, stream_id, server_.next_call_id());
  streams_.push_back(stream);
  open_streams_++;
  if (stream_id > kLastStreamId) start_drain("stream ids run out");
  nghttp2_session_set_stream_user_data(session_, stream_id, stream);
  head_.start(&stream->kept());
}

void Connection::request_complete(Stream* stream, bool has_ended) {
  nghttp2_extpri fair{3, 1};
  nghttp2_session_change_extpri_stream_priority(session_, stream->stream_id(), &fair, 1);
  if (int http = head_.http_refusal()) return stream->refuse_http(http);
  Status verdict = head_.judge();
  if (!verdict.is_ok()) return stream->refuse(verdict);
  const Router::Route* route = server_.router().find(head_.path());
  if (route == nullptr) return stream->refuse(server_.unknown_path(head_.path()));
  stream->dispatch(*route, head_, has_ended);
}

void Connection::frame_received(const nghttp2_frame& frame) {
  if (state_ != State::kOpen) return;  // a handler has closed the server meanwhile
  bool has_ended = (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  int64_t now = server_.loop().now_ns();
  switch (frame.hd.type) {
    case NGHTTP2_DATA:
      if (!has_ended) break;
      if (Stream* stream = stream_of(frame.hd.stream_id)) stream->on_end_stream();
      break;
    case NGHTTP2_HEADERS:
      header_since_ns_ = 0;
      if (Stream* stream = stream_of(frame.hd.stream_id)) {
        if (frame.headers.cat == NGHTTP2_HCAT_REQUEST) {
          request_complete(stream, has_ended);
        } else if (has_ended) {
          stream->on_end_stream();
        }
      }
      break;
    case NGHTTP2_SETTINGS:
      if ((frame.hd.flags & NGHTTP2_FLAG_ACK) != 0) {
        has_settings_ack_ = true;
      } else {
        has_settings_ = true;
        if (!police_.on_settings(now)) misbehave("too_many_settings", NGHTTP2_ENHANCE_YOUR_CALM);
      }
      break;
    case NGHTTP2_PING:
      if ((frame.hd.flags & NGHTTP2_FLAG_ACK) != 0) {
        if (is_draining_ && !has_final_goaway_ &&
            std::memcmp(frame.ping.opaque_data, "draining", 8) == 0)
          finish_drain();
      } else if (!police_.on_ping(now, open_streams_ > 0)) {
        misbehave("too_many_pings", NGHTTP2_ENHANCE_YOUR_CALM);
      }
      break;
    case NGHTTP2_RST_STREAM:
      server_.stats().resets_received++;
      break;
    case NGHTTP2_WINDOW_UPDATE:
      if (static_cast<size_t>(frame.window_update.window_size_increment) < kTinyUpdate)
        idle_frame();
      break;
    default:
      break;
  }
}

void Connection::idle_frame() {
  if (!police_.on_idle_frame()) misbehave("too_many_idle_frames", NGHTTP2_ENHANCE_YOUR_CALM);
}

void Connection::frame_sent(const nghttp2_frame& frame) {
  switch (frame.hd.type) {
    case NGHTTP2_HEADERS:
      police_.on_progress();
      // The status is out while the client still sends: tell it to stop. Submitted any earlier,
      // the reset would overtake and destroy the status; any other code would hide it.
      if ((frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 &&
          nghttp2_session_get_stream_remote_close(session_, frame.hd.stream_id) == 0)
        nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, frame.hd.stream_id,
                                  NGHTTP2_NO_ERROR);
      break;
    case NGHTTP2_GOAWAY:
      // PINGs overtake everything queued; sent from here its answer proves the notice was read.
      if (is_draining_ && !has_final_goaway_ && !is_condemned_)
        nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE,
                            reinterpret_cast<const uint8_t*>("draining"));
      break;
    case NGHTTP2_DATA:
      if (frame.hd.length > 0) police_.on_data_sent();
      [[fallthrough]];
    case NGHTTP2_WINDOW_UPDATE:
      police_.on_progress();
      break;
    case NGHTTP2_RST_STREAM: {
      server_.stats().resets_sent++;
      uint32_t code = frame.rst_stream.error_code;
      // NO_ERROR follows a status and REFUSED_STREAM starts no work: neither is provoked.
      if (code != NGHTTP2_NO_ERROR && code != NGHTTP2_REFUSED_STREAM &&
          !police_.on_reset_sent(server_.loop().now_ns()))
        misbehave("too_many_resets", NGHTTP2_ENHANCE_YOUR_CALM);
      break;
    }
    default:
      break;
  }
}

void Connection::stream_closed(int32_t stream_id, uint32_t) {
  Stream* stream = stream_of(stream_id);
  if (stream == nullptr) return;
  if (stream_id == header_stream_) header_since_ns_ = 0;
  open_streams_--;
  nghttp2_session_set_stream_user_data(session_, stream_id, nullptr);
  stream->on_closed(CancelReason::kClientReset);
  if (open_streams_ == 0) idle_since_ns_ = server_.loop().now_ns();
  release_if_over(stream);
}

}  // namespace loader::grpc
