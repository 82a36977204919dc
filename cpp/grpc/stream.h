// One request stream: the library's half of a call. Parses messages in, queues messages out, keeps
// window, deadline and the one final status. Pooled by the server.
#pragma once

#include <memory>
#include <string>

#include "grpc/call.h"
#include "grpc/message_parser.h"
#include "grpc/out_buffer.h"
#include "grpc/request_head.h"
#include "grpc/router.h"
#include "loop/event_loop.h"

namespace loader::grpc {

class Connection;

class Stream final : public Call {
 public:
  Stream();

  // ---- life; driven by the connection
  void open(Connection* connection, int32_t stream_id, uint64_t call_id);
  RequestHead::Kept& kept() { return kept_; }
  // The header block is complete and nothing in it was refused.
  void dispatch(const Router::Route& route, const RequestHead& head, bool has_ended);
  // A trailers-only answer without a handler.
  void refuse(const Status& status);
  // An answer that is not gRPC: 405 or 415.
  void refuse_http(int http_status);
  void on_data(std::string_view bytes);
  void on_end_stream();
  // nghttp2 has forgotten the stream, or the connection is gone.
  void on_closed(CancelReason reason);
  // Ends the call from our side: status to the client, on_cancel() to the handler.
  void end_by_library(const Status& status, CancelReason reason);
  // At the end of a round that woke it: messages that waited, then on_writable().
  void on_woken();

  // What nghttp2's data provider asks for. Returns bytes or an NGHTTP2_ERR_*.
  ssize_t provide(uint8_t* to, size_t size, uint32_t* flags);
  void gather(size_t n, ByteSink& sink);
  size_t frame_size_wanted() const;

  Connection& connection() { return *connection_; }
  int32_t stream_id() const { return stream_id_; }
  bool is_http_open() const { return is_http_open_; }
  // Both halves are done: the object may go back to the pool.
  bool is_over() const {
    return !is_http_open_ && handler_ == nullptr && !is_counted_ && !is_buried && !is_waking;
  }
  // Marks of the server's lists this stream is on.
  bool is_buried = false;
  bool is_waking = false;
  bool has_live_handler() const { return is_counted_; }
  bool is_background() const { return route_ != nullptr && route_->method.is_background; }
  bool has_ended() const { return has_status_; }
  // Destroys the handler of a finished call.
  void destroy_handler() { handler_.reset(); }
  void recycle();

  // ---- Call
  std::string_view path() const override;
  std::string_view authority() const override { return kept_.authority; }
  std::string_view user_agent() const override { return kept_.user_agent; }
  const Metadata& metadata() const override { return kept_.metadata; }
  const Peer& peer() const override;
  int64_t deadline_ns() const override { return deadline_ns_; }
  Server& server() override;
  uint64_t id() const override { return call_id_; }
  bool send_headers(const Metadata& metadata) override;
  bool send_message(Parts parts, bool compress) override;
  bool send_message(Parts head, Payload payload, Parts tail) override;
  size_t queued_bytes() const override { return out_.size(); }
  void finish(const Status& status, const Metadata& trailers) override;
  void consume(size_t bytes) override;
  bool is_cancelled() const override { return is_cancelled_; }

 private:
  // A status that needs more than the static trailers of a bare OK.
  struct Ending {
    Status status;
    Metadata trailers;
  };

  bool start_handler();
  void parse(std::string_view bytes);
  bool must_wait() const;
  void parse_backlog();
  void end_of_request();
  bool judge_prefix();
  void deliver();
  bool inflate(std::string_view& body, std::string*& owned);
  void settle_window();
  template <class Function>
  void guarded(Function function);
  bool can_send() const { return !has_status_ && !is_cancelled_; }
  void queue_prefix(bool is_compressed, size_t size);
  void message_queued(size_t size);
  void submit_headers(const Metadata* metadata);
  void submit_trailers();
  void submit_trailers_only();
  void set_status(const Status& status, const Metadata* trailers);
  void notify_writable();
  void pump();
  void return_storage();
  void on_deadline();
  void give_up_messages();
  void cancel(CancelReason reason);
  void record_end(Code code);
  void release_count();

  Connection* connection_ = nullptr;
  const Router::Route* route_ = nullptr;
  CallHandlerPtr handler_;
  RequestHead::Kept kept_;
  MessageParser parser_;
  OutBuffer out_;
  std::unique_ptr<Ending> ending_;
  Timer deadline_;
  int64_t deadline_ns_ = 0;
  uint64_t call_id_ = 0;
  uint64_t received_ = 0;  // DATA bytes
  uint64_t returned_ = 0;  // of them, given back to the stream window
  uint64_t held_ = 0;      // by complete messages the handler has not consumed
  std::string backlog_;    // bytes behind a compressed message that waits for consume()
  uint32_t messages_in_ = 0;
  uint32_t messages_out_ = 0;
  int32_t stream_id_ = 0;
  Encoding encoding_ = Encoding::kIdentity;
  bool has_encoding_ : 1 = false;
  bool accepts_gzip_ : 1 = false;
  bool announced_gzip_ : 1 = false;
  bool is_http_open_ : 1 = false;
  bool is_half_closed_ : 1 = false;  // by the client
  bool is_waiting_ : 1 = false;      // a compressed message, see backlog_
  bool has_headers_ : 1 = false;     // submitted
  bool is_deferred_ : 1 = false;     // nghttp2 waits for resume_data
  bool has_status_ : 1 = false;      // decided; nothing more may be queued
  bool has_trailers_ : 1 = false;    // submitted
  bool is_finished_ : 1 = false;     // the handler called finish()
  bool is_cancelled_ : 1 = false;
  bool is_counted_ : 1 = false;  // as an open call
  bool is_late_ : 1 = false;     // the deadline passed with the status still queued
  bool was_full_ : 1 = false;    // owes an on_writable()
};

}  // namespace loader::grpc
