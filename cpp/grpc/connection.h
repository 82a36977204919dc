// One HTTP/2 connection: the nghttp2 session between a transport and its streams, with the rules
// that hold for the connection as a whole (timeouts, keepalive, floods, drain, lingering close).
// Stays in memory, closed, until the last handler of its streams has finished.
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstdint>
#include <exception>
#include <span>
#include <string>
#include <vector>

#include "grpc/police.h"
#include "grpc/request_head.h"
#include "grpc/stream.h"
#include "grpc/transport.h"
#include "loop/event_loop.h"

namespace loader::grpc {

class ServerImpl;

class Connection final : public EventSource {
 public:
  Connection(ServerImpl& server, int fd, std::shared_ptr<const TlsContext> tls, Peer peer,
             std::string counted_address);
  ~Connection() override;

  // ---- for the server
  void start();
  void flush();
  void read_more() {
    survive([this] { read_socket(); });
  }
  // Whatever one client sets off that nobody foresaw ends its connection, never the server.
  template <typename Work>
  void survive(Work work) {
    try {
      work();
    } catch (const std::exception& error) {
      fail(error.what());
    }
  }
  void start_drain(const char* reason);
  // Ends every call with UNAVAILABLE; the connection closes once that is sent.
  void end_calls();
  void drop(CancelReason reason);
  void release_if_over(Stream* stream);
  bool is_closed() const { return state_ == State::kClosed; }
  bool is_lingering() const { return state_ == State::kLingering; }
  bool is_dead() const { return is_closed() && streams_.empty(); }
  const std::string& counted_address() const { return counted_address_; }
  void set_dirty(bool is_dirty) { is_dirty_ = is_dirty; }
  void set_reading(bool is_reading) { is_reading_ = is_reading; }
  static void install(nghttp2_session_callbacks* callbacks);

  // ---- for its streams
  ServerImpl& server() { return server_; }
  const Peer& peer() const { return peer_; }
  bool is_tls() const { return transport_.is_tls(); }
  void mark_dirty();
  bool may_start_call() const;
  void call_started();
  void call_ended();
  void message_completed();
  uint32_t message_limit(const Method& method) const;
  void submit_response(Stream& stream, std::span<const nghttp2_nv> head,
                       const nghttp2_data_provider* provider);
  void submit_trailers(Stream& stream, std::span<const nghttp2_nv> trailers);
  void resume(Stream& stream);
  void reset(Stream& stream, uint32_t error_code);
  void give_back(Stream& stream, size_t bytes);
  void set_stream_window(Stream& stream, uint32_t bytes);
  void note_drained(Stream& stream, bool was_full);
  // For the log; what threw inside nghttp2 ends the connection.
  void note_failure(const char* what) noexcept;

  void on_events(uint32_t events) override;

 private:
  enum class State { kHandshake, kOpen, kLingering, kClosed };
  struct Callbacks;

  // reading
  bool finish_handshake();
  void take_events(uint32_t events);
  void read_socket();
  bool feed(const uint8_t* data, size_t size);
  void discard_input();
  // writing
  void send_frames();
  bool pull_frames();
  bool write_socket();
  void close_if_done();
  void watch_for(bool write);
  // ending
  void linger();
  void close();
  void close_streams(CancelReason reason);
  void misbehave(const char* what, uint32_t error_code);
  void fail(const char* what);
  void answer_http1(const uint8_t* data, size_t size);
  // time
  void arm(int64_t deadline_ns);
  void on_timer();
  void check_clocks();
  void check_setup(int64_t now);
  void check_keepalive(int64_t now);
  void check_age(int64_t now);
  void consider(int64_t deadline_ns) { next_ns_ = std::min(next_ns_, deadline_ns); }
  void finish_drain();
  void end_background_calls();
  // callbacks
  Stream* stream_of(int32_t stream_id);
  void begin_request(int32_t stream_id);
  void request_complete(Stream* stream, bool has_ended);
  void frame_received(const nghttp2_frame& frame);
  void frame_sent(const nghttp2_frame& frame);
  void stream_closed(int32_t stream_id, uint32_t error_code);
  void idle_frame();

  ServerImpl& server_;
  Transport transport_;
  Peer peer_;
  std::string counted_address_;
  nghttp2_session* session_ = nullptr;
  State state_ = State::kHandshake;
  SocketQueue out_;
  std::vector<Stream*> streams_;
  RequestHead head_;
  Police police_;
  Timer timer_;
  int64_t next_ns_ = 0;
  int32_t header_stream_ = 0;  // whose header block is open
  uint32_t open_streams_ = 0;  // in nghttp2
  uint32_t live_calls_ = 0;    // handlers not finished
  int64_t accepted_ns_ = 0;
  int64_t ready_ns_ = 0;  // handshake done
  int64_t last_received_ns_ = 0;
  int64_t ping_sent_ns_ = 0;  // 0: no keepalive ping outstanding
  int64_t idle_since_ns_ = 0;
  int64_t stalled_since_ns_ = 0;  // 0: nothing waits for the socket
  int64_t header_since_ns_ = 0;   // 0: no header block is open
  int64_t drain_since_ns_ = 0;    // 0: not draining
  int64_t age_limit_ns_ = 0;
  int64_t linger_until_ns_ = 0;
  bool is_dirty_ = false;
  bool is_reading_ = false;
  bool watches_write_ = false;
  bool has_settings_ = false;      // the client's
  bool has_settings_ack_ = false;  // of ours
  bool is_draining_ = false;
  bool has_final_goaway_ = false;
  bool is_condemned_ = false;     // flush what is there, then close
  bool is_data_blocked_ = false;  // send_data said WOULDBLOCK
  bool is_in_nghttp2_ = false;
};

}  // namespace loader::grpc
