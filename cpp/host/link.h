// One channel as the runtime uses it: a reading half for the leader, a locked writing half for
// everybody, and the rule when bytes leave. Knows records; refuses to know what they mean.
#pragma once

#include <poll.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "channel/bodies.h"
#include "channel/endpoint.h"
#include "host/dispatcher.h"

namespace loader::host {

class Link;

// Who takes a link's records, on the leader's thread. False: the record is not valid, stop.
class LinkSink {
 public:
  virtual ~LinkSink() = default;
  virtual bool on_record(Link& link, channel::RecordView& record) = 0;
};

class Link : public channel::RecordSink, public std::enable_shared_from_this<Link> {
 public:
  Link(channel::Endpoint endpoint, LinkSink& sink, Dispatcher& dispatcher, uint32_t shard);
  // Released payloads wake the link from here on.
  void start();
  // No call of it reaches the dispatcher any more.
  void detach();

  uint32_t shard() const { return shard_; }
  pollfd wants() const;
  // The leader's. kClosed and kFault: the channel is over.
  channel::ReadStatus read() {
    reads_.store(reads_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    return endpoint_.socket->read(*this, kReadBudget);
  }
  uint64_t reads() const { return reads_.load(std::memory_order_relaxed); }
  const std::string& fault() const { return endpoint_.socket->fault(); }
  channel::InArena& arena_in() { return *endpoint_.in; }
  channel::OutArena& arena_out() { return *endpoint_.out; }

  // Queues what `append(ChannelSocket&)` writes. It leaves with the leader's batch, or at once.
  template <typename Append>
  void send(Append&& append) {
    {
      std::lock_guard lock(out_mutex_);
      append(*endpoint_.socket);
    }
    if (!dispatcher_->is_leader()) flush();
  }
  template <typename Body>
  void send_body(channel::RecordType type, uint64_t handle, const Body& body) {
    send([&](channel::ChannelSocket& socket) { socket.append_body(type, handle, body); });
  }
  void flush();
  // The clock's, every now and then: what waits for memory files in flight has no other wake-up.
  void flush_delayed() {
    if (is_delayed_.load(std::memory_order_relaxed)) flush();
  }
  // How many results with payloads in shared memory have left; and the number at the last look.
  void count_payload() { payloads_sent_.fetch_add(1, std::memory_order_relaxed); }
  uint64_t payloads_sent() const { return payloads_sent_.load(std::memory_order_relaxed); }
  uint64_t exchange_seen_payloads(uint64_t now) { return std::exchange(payloads_seen_, now); }
  // Bytes that the loader has not taken yet.
  size_t backlog_bytes() const;

 private:
  static constexpr size_t kReadBudget = 256 * 1024;
  bool on_record(channel::RecordView& record) override { return sink_.on_record(*this, record); }
  void on_released();

  channel::Endpoint endpoint_;
  LinkSink& sink_;
  Dispatcher* dispatcher_;
  uint32_t shard_;
  std::mutex attached_mutex_;
  bool is_attached_ = true;
  mutable std::mutex out_mutex_;
  std::vector<uint32_t> release_scratch_;
  std::atomic<uint64_t> reads_{0};  // written by the leader
  std::atomic<uint64_t> payloads_sent_{0};
  uint64_t payloads_seen_ = 0;  // the clock's thread only
  std::atomic<bool> has_releases_{false};
  std::atomic<bool> is_blocked_{false};
  std::atomic<bool> is_delayed_{false};
};

}  // namespace loader::host
