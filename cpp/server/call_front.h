// The gRPC face of sessions: each call is a front of one session of the core. CallFront holds what
// Exec, ExecStream and Session share. Knows no engines and no channels.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "grpc/call.h"
#include "server/admission.h"
#include "server/envelope.h"
#include "server/shard_context.h"
#include "session/ports.h"

namespace loader::server {

class CallFront : public grpc::CallHandler,
                  public session::Front,
                  public PeerSource,
                  private HeldOpen {
 public:
  std::string peer_address() const override;

 protected:
  CallFront(ShardContext& shard, grpc::Call& call) : shard_(shard), call_(&call) {}
  ~CallFront() override;
  CallFront(const CallFront&) = delete;
  CallFront& operator=(const CallFront&) = delete;

  void on_ending(const grpc::Status& status, grpc::CancelReason reason) override;
  void on_cancel(grpc::CancelReason reason) override;
  void on_writable() override;
  void on_input_credit(session::SessionId id, uint64_t window_bytes) override;
  void on_final(session::SessionId id, const session::FinalView& final) final;

  // Sends the last message, where the method has one, before the status. Not called for a call
  // that is cancelled.
  virtual void send_final(const FinalView& final) = 0;

  // True: the request waits for a route, and admit_held() follows; or it was refused.
  bool is_held(const Admission& admission);
  virtual void admit_held() = 0;
  // Opens what an ExecRequest asks for; kept in `held` while it waits for a route.
  void take_exec(std::string_view bytes, std::string& held);

  // Ends a call that never became a session.
  void refuse(const ErrorReport& error);
  void open(const session::OpenRequest& request);
  // Sends one result as field `field`, and returns its credit once the connection takes it.
  void send_result(session::SessionId id, uint32_t field, const session::MessageView& result);
  void reject_result(session::SessionId id);
  bool is_over() const { return is_over_; }
  bool is_waiting() const { return is_waiting_; }  // for a route

  ShardContext& shard_;
  grpc::Call* call_;  // null once finished
  session::SessionId id_ = 0;

 private:
  void finish(const ErrorReport& error);
  void on_released() override;
  void on_hold_refused(const ErrorReport& error) override;
  void leave_hold();

  bool is_over_ = false;
  bool is_waiting_ = false;  // for a route
  uint64_t withheld_bytes_ = 0;
  uint32_t withheld_records_ = 0;
};

// Unary: results are kept until the final.
class ExecFront final : public CallFront {
 public:
  ExecFront(ShardContext& shard, grpc::Call& call) : CallFront(shard, call) {}
  ~ExecFront() override;

 private:
  void on_message(grpc::Message& message) override;
  void on_opened(session::SessionId) override {}
  void on_result(session::SessionId id, const session::MessageView& result) override;
  void send_final(const FinalView& final) override;

  void admit_held() override;
  bool keep(const session::MessageView& result);
  bool flatten();
  void drop_kept();

  std::string held_request_;
  std::string response_;
  // The only result so far, unflattened because its payload is large.
  std::string kept_body_;
  std::vector<session::PayloadView> kept_payloads_;
};

class ExecStreamFront final : public CallFront {
 public:
  ExecStreamFront(ShardContext& shard, grpc::Call& call) : CallFront(shard, call) {}

 private:
  void on_message(grpc::Message& message) override;
  void on_opened(session::SessionId) override {}
  void on_result(session::SessionId id, const session::MessageView& result) override;
  void send_final(const FinalView& final) override;
  void admit_held() override;

  std::string held_request_;
};

class SessionFront final : public CallFront {
 public:
  SessionFront(ShardContext& shard, grpc::Call& call) : CallFront(shard, call) {}

 private:
  void on_message(grpc::Message& message) override;
  void on_half_close() override;
  void on_opened(session::SessionId id) override;
  void on_result(session::SessionId id, const session::MessageView& result) override;
  void on_input_credit(session::SessionId id, uint64_t window_bytes) override;
  void on_processed(session::SessionId id, uint64_t frame_count) override;
  void on_writable() override;
  void send_final(const FinalView& final) override;
  void admit_held() override { take_waiting(); }

  void send_ack();
  void take_open(std::string_view body);
  void take_control(const SessionRequestView& request);
  // False: it has to wait; the caller keeps it.
  bool take_frame(std::string_view body, uint64_t window_bytes);
  void take_waiting();
  void end_input();
  void break_off(ErrorCode code, const std::string& message);

  enum class Stage : uint8_t { kNew, kOpen, kEnded };
  struct Waiting {
    std::string message;  // a whole SessionRequest
    uint64_t window_bytes;
  };
  Stage stage_ = Stage::kNew;
  bool wants_acks_ = false;
  uint64_t unsent_ack_ = 0;  // frames processed, not yet told; 0: none
  bool is_taking_ = false;
  bool has_half_closed_ = false;
  session::EngineId engine_id_ = 0;
  std::deque<Waiting> waiting_;
};

}  // namespace loader::server
