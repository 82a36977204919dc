#include "host/link.h"

namespace loader::host {

Link::Link(channel::Endpoint endpoint, LinkSink& sink, Dispatcher& dispatcher, uint32_t shard)
    : endpoint_(std::move(endpoint)), sink_(sink), dispatcher_(&dispatcher), shard_(shard) {}

void Link::start() {
  // Weak: an engine may hold a payload for longer than its runtime lives.
  endpoint_.in->on_released([weak = weak_from_this()] {
    if (auto link = weak.lock()) link->on_released();
  });
}

void Link::detach() {
  std::lock_guard lock(attached_mutex_);
  is_attached_ = false;
}

void Link::on_released() {
  std::lock_guard lock(attached_mutex_);
  if (!is_attached_) return;
  has_releases_.store(true);
  if (!dispatcher_->is_leader()) flush();
}

pollfd Link::wants() const {
  const bool blocked = is_blocked_.load(std::memory_order_acquire);
  const int events = blocked ? POLLIN | POLLOUT : POLLIN;
  return {endpoint_.socket->fd(), static_cast<short>(events), 0};
}

void Link::flush() {
  bool became_blocked = false;
  {
    std::lock_guard lock(out_mutex_);
    if (has_releases_.exchange(false)) channel::append_releases(endpoint_, release_scratch_);
    if (!endpoint_.socket->has_output()) return;
    const channel::FlushStatus status = endpoint_.socket->flush();
    const bool blocked = status == channel::FlushStatus::kBlocked;
    is_delayed_.store(status == channel::FlushStatus::kDelayed, std::memory_order_relaxed);
    became_blocked = blocked && !is_blocked_.exchange(blocked, std::memory_order_acq_rel);
    if (!blocked) is_blocked_.store(false, std::memory_order_release);
  }
  // The leader must poll for room from now on.
  if (became_blocked && !dispatcher_->is_leader()) dispatcher_->poke();
}

size_t Link::backlog_bytes() const {
  std::lock_guard lock(out_mutex_);
  return endpoint_.socket->queued_bytes();
}

}  // namespace loader::host
