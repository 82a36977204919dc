// The seam between what concerns one engine instance (its control) and how it is reached from one
// shard: through a channel (host_link.h), or by calls on the shard's own thread (inline_link.h).
// Knows neither.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "channel/bodies.h"
#include "channel/record.h"
#include "session/ports.h"

namespace loader::server {

class InstanceLink;

// Records that concern the instance and not a session, and the end of the link. Logs, meters and
// traces may come from any thread, the rest comes from the shard's.
class LinkOwner {
 public:
  virtual ~LinkOwner() = default;
  virtual void on_link_hello(InstanceLink& link, const channel::Hello& hello) = 0;
  virtual void on_link_ready(InstanceLink& link, const channel::ReadyBody& ready) = 0;
  // Of init (or warm-up), update, health, and of resources under the number of the call.
  virtual void on_link_completion(InstanceLink& link, uint64_t call,
                                  const channel::CompletionBody& completion) = 0;
  virtual void on_link_pong(InstanceLink& link, uint64_t nonce) = 0;
  virtual void on_link_log(InstanceLink& link, uint64_t handle, const channel::LogBody& log) = 0;
  virtual void on_link_meter(InstanceLink& link, uint64_t handle,
                             const channel::MeterBody& meter) = 0;
  virtual void on_link_trace(InstanceLink& link, uint64_t handle,
                             const channel::TraceBody& trace) = 0;
  // The peer closed (`is_corrupt` false) or sent what cannot be. The link is silent from now on.
  virtual void on_link_lost(InstanceLink& link, bool is_corrupt, const std::string& why) = 0;
  // The link has output; flush() it before the round ends.
  virtual void on_link_dirty(InstanceLink& link) = 0;
  // "service-session" text of a handle.
  virtual std::string session_id(session::SessionId id) const = 0;
};

// Everything on the shard's thread.
class InstanceLink : public session::HostPort {
 public:
  explicit InstanceLink(session::InstanceId instance) : instance_(instance) {}
  InstanceLink(const InstanceLink&) = delete;
  InstanceLink& operator=(const InstanceLink&) = delete;

  session::InstanceId instance() const { return instance_; }
  virtual void start(const channel::Hello& hello) = 0;
  virtual void send_init(channel::RecordType type, const channel::InitBody& body) = 0;
  virtual void send_ping(uint64_t nonce) = 0;
  virtual void send_health() = 0;
  // `frame` has one item.
  virtual void send_load_resource(uint64_t call, uint32_t id, std::span<const uint8_t> frame) = 0;
  virtual void send_unload_resource(uint64_t call, uint32_t id) = 0;
  virtual void send_fini(int32_t reason) = 0;
  virtual void flush() = 0;
  // Takes what the host still sent before it ended.
  virtual void drain() = 0;
  // No event reaches the core any more. An engine in this process has its sessions destroyed.
  virtual void close(int32_t reason) = 0;
  virtual size_t queued_bytes() const = 0;
  virtual size_t arena_bytes_used() const = 0;
  virtual void tidy_arena() = 0;

 private:
  const session::InstanceId instance_;
};

}  // namespace loader::server
