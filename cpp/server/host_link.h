// One engine instance as one shard sees it: the shard's end of its channel. Turns calls of the
// session core into records and records into calls of the core; moves large payloads into the
// arena. Knows nothing of when an instance starts or ends (host_watch.h) and nothing of gRPC.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "channel/bodies.h"
#include "channel/endpoint.h"
#include "frame/frame_codec.h"
#include "loop/event_loop.h"
#include "server/instance_link.h"
#include "server/options.h"
#include "session/shard.h"

namespace loader::server {

class HostLink final : public InstanceLink, public EventSource, private channel::RecordSink {
 public:
  HostLink(session::InstanceId instance, EventLoop& loop, session::Shard& core, LinkOwner& owner,
           channel::Endpoint endpoint, const ServerOptions& options);
  ~HostLink() override;
  HostLink(const HostLink&) = delete;
  HostLink& operator=(const HostLink&) = delete;

  // ---- InstanceLink
  void start(const channel::Hello& hello) override;
  void send_init(channel::RecordType type, const channel::InitBody& body) override;
  void send_ping(uint64_t nonce) override;
  void send_health() override;
  void send_load_resource(uint64_t call, uint32_t id, std::span<const uint8_t> frame) override;
  void send_unload_resource(uint64_t call, uint32_t id) override;
  void send_fini(int32_t reason) override;
  void flush() override;
  void drain() override;
  void close(int32_t reason) override;
  size_t queued_bytes() const override { return endpoint_.socket->queued_bytes(); }
  size_t arena_bytes_used() const override { return endpoint_.out->used_bytes(); }
  void tidy_arena() override;

  // ---- session::HostPort
  void send_create(session::Handle handle, const session::OpenView& open) override;
  void send_exec(session::Handle handle, const session::OpenView& open,
                 const session::MessageView& request) override;
  void send_write(session::Handle handle, const session::MessageView& frame) override;
  void send_end(session::Handle handle) override;
  void send_cancel(session::Handle handle, uint32_t reason) override;
  void send_destroy(session::Handle handle, uint32_t reason) override;
  void grant(session::Handle handle, uint32_t records, uint64_t bytes) override;

 private:
  void on_events(uint32_t events) override;
  bool on_record(channel::RecordView& record) override;
  channel::ReadStatus read();
  void leave();

  bool take_completion(const channel::RecordView& record);
  bool take_failure(const channel::RecordView& record);
  bool take_result(channel::RecordView& record);
  bool take_credit_or_release(channel::RecordView& record);
  bool take_instance_record(channel::RecordView& record);
  template <typename Body, typename Take>
  bool take_body(const channel::RecordView& record, const char* what, Take take);
  bool fault(std::string why);
  void lose(bool is_corrupt, const std::string& why);

  void mark_dirty();
  void fill_open(session::Handle handle, const session::OpenView& open);
  // `head`, where there is one, comes before the frame.
  template <typename Head>
  void send_message(channel::RecordType type, session::Handle handle, const Head* head,
                    std::span<const uint8_t> frame);
  template <typename Head>
  void send_large(channel::RecordType type, session::Handle handle, const Head* head,
                  std::span<const uint8_t> frame);
  void move_to_arena(frame::ItemView& item);

  EventLoop& loop_;
  session::Shard& core_;
  LinkOwner& owner_;
  channel::Endpoint endpoint_;
  const uint64_t inline_payload_bytes_;
  const uint64_t arena_bytes_;
  std::shared_ptr<bool> is_alive_ = std::make_shared<bool>(true);
  Timer flush_again_;
  bool is_watched_ = false;
  bool wants_writable_ = false;
  bool is_dirty_ = false;
  bool is_closed_ = false;
  bool is_draining_ = false;
  uint64_t record_count_ = 0;
  bool has_hello_ = false;
  std::string fault_;

  // Scratch, kept for their room.
  channel::OpenBody open_;
  std::string open_id_;
  frame::FrameView frame_;
  std::vector<channel::OutPayload> out_payloads_;
  std::vector<channel::PayloadRef> out_refs_;
  std::vector<channel::Payload> in_payloads_;
  std::vector<session::PayloadView> in_views_;
  std::vector<uint32_t> releases_;
};

}  // namespace loader::server
