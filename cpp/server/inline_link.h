// One shard's side of an engine that runs inline: calls of the session core become calls of the
// engine, on the same thread and in the same round; what the engine emits and finishes goes
// straight back. No socket, no record, no hand-over.
//
// Rules. No entry starts inside another (an emit may bring the core back here: what it asks for
// waits until the entry has returned). A session's call starts only while it has credit for a
// result. Inside an entry nothing waits: a result without credit is kept, up to one more window,
// and then refused with AGAIN. Other threads wait for credit as in a host, and what they emit is
// posted to the shard.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "host/arguments.h"
#include "host/input.h"
#include "loop/event_loop.h"
#include "server/inline_session.h"
#include "server/instance_link.h"
#include "session/shard.h"

namespace loader::server {

class InlineEngine;

class InlineLink final : public InstanceLink, public std::enable_shared_from_this<InlineLink> {
 public:
  // `engine` is used until close(), and outlives it.
  InlineLink(session::InstanceId instance, uint32_t shard, EventLoop& loop, session::Shard& core,
             LinkOwner& owner, InlineEngine& engine);

  // ---- InstanceLink
  void start(const channel::Hello&) override {}
  void send_init(channel::RecordType type, const channel::InitBody& body) override;
  void send_ping(uint64_t nonce) override;
  void send_health() override;
  void send_load_resource(uint64_t call, uint32_t id, std::span<const uint8_t> frame) override;
  void send_unload_resource(uint64_t call, uint32_t id) override;
  void send_fini(int32_t reason) override;
  void flush() override {}
  void drain() override {}
  void close(int32_t reason) override;
  size_t queued_bytes() const override { return 0; }
  size_t arena_bytes_used() const override { return 0; }
  void tidy_arena() override {}

  // ---- session::HostPort
  void send_create(session::Handle handle, const session::OpenView& open) override;
  void send_exec(session::Handle handle, const session::OpenView& open,
                 const session::MessageView& request) override;
  void send_write(session::Handle handle, const session::MessageView& frame) override;
  void send_end(session::Handle handle) override;
  void send_cancel(session::Handle handle, uint32_t reason) override;
  void send_destroy(session::Handle handle, uint32_t reason) override;
  void grant(session::Handle handle, uint32_t records, uint64_t bytes) override;

  // ---- from the engine, any thread (inline_emit.cpp)
  loader_status_t emit(loader_handle_t handle, loader_frame_t* frame, uint32_t flags);
  loader_status_t alloc_result(loader_handle_t handle, uint64_t size, loader_buffer_t* out,
                               uint8_t** writable);
  loader_status_t finish(loader_handle_t call, loader_status_t status, std::string_view message);
  loader_status_t fail(loader_handle_t handle, loader_status_t status, std::string_view message);
  void log(loader_handle_t handle, int32_t level, std::string_view text);
  void meter(loader_handle_t handle, std::string_view unit, double amount);
  void trace(loader_handle_t handle, std::string_view key, std::string_view value);
  int64_t deadline(loader_handle_t handle);
  bool is_cancelled(loader_handle_t handle);
  // When the entry that runs now was called (the time of its round); 0: none runs.
  int64_t entered_ns() const { return entered_ns_.load(std::memory_order_relaxed); }

 private:
  // inline_link.cpp: the shard's thread
  InlineSessionPointer add(session::Handle handle, const session::OpenView& open, bool is_exec);
  const InlineSessionPointer& find_wire(session::Handle handle) const;
  void submit(const InlineSessionPointer& session, InlineOperation operation);
  void work(const InlineSessionPointer& session, InlineOperation* first = nullptr);
  bool step(const InlineSessionPointer& session);
  bool take_outgoing(InlineSession& session, InlineOutgoing& out);
  bool may_start(const InlineSession& session) const;
  void run(InlineSession& session, InlineOperation& operation);
  loader_status_t call(InlineSession& session, InlineOperation& operation, loader_error_t& error);
  loader_status_t call_with_frame(InlineSession& session, InlineOperation& operation,
                                  const loader_open_t* open, loader_error_t& error);
  const loader_open_t& open_of(const InlineSession& session, const InlineOperation& operation);
  void after(InlineSession& session, host::Outcome outcome);
  void complete(InlineSession& session, session::Op op, const host::Outcome& outcome);
  void destroy(InlineSession& session);
  void destroy_object(InlineSession& session, int32_t reason);
  void remove(const InlineSession& session);  // under the mutex
  host::Outcome use_resources(InlineSession& session, const InlineOperation& operation);
  void release_resources(InlineSession& session);
  void run_on_engine(channel::Operation operation, uint64_t call,
                     std::function<host::Outcome()> work);
  template <typename Entry>
  loader_status_t enter(Entry&& entry);
  bool is_entered() const { return entered_link == this; }

  // any thread
  InlineSession* find(loader_handle_t handle) const;  // under the mutex
  loader_handle_t next_handle(const InlineSession& session);
  void post(std::function<void()> work);
  void schedule(InlineSession& session);                              // under the mutex
  void settle(InlineSession& session, const host::Outcome& outcome);  // under the mutex

  // inline_emit.cpp
  enum class Room { kNone, kCredit, kOverdraft };
  Room room_for(InlineSession& session, uint64_t charge, uint32_t flags) const;
  void drop_results(InlineSession& session);
  session::Handle wire_of(loader_handle_t handle) const;
  void pass_on(session::Handle wire, const InlineOutgoing& result);
  void check(session::HostVerdict verdict);
  void run_init(channel::RecordType type, const std::vector<uint8_t>& bytes);

  static thread_local const InlineLink* entered_link;

  const uint32_t shard_;
  EventLoop& loop_;
  session::Shard& core_;
  LinkOwner& owner_;
  InlineEngine& engine_;

  // The shard's thread only. Scratch is kept for its room.
  std::vector<InlineSessionPointer> deferred_;  // asked for inside an entry
  host::FrameScratch frame_;
  host::OpenArguments arguments_;
  channel::OpenBody open_;
  std::string session_id_;
  std::vector<uint8_t> body_;  // of the result that an entry emits
  std::atomic<int64_t> entered_ns_{0};

  mutable std::mutex mutex_;
  bool has_owner_ = true;                       // until close() is over
  bool is_closed_ = false;                      // written on the shard's thread
  std::vector<InlineSessionPointer> sessions_;  // by the core's index; written on its thread
  uint32_t sequence_ = 0;
};

}  // namespace loader::server
