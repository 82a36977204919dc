#include "host/aiges/outbox.h"

#include <thread>
#include <utility>

namespace loader::host::aiges {

namespace {

constexpr size_t kMostResults = 100;
constexpr uint64_t kMostBytes = uint64_t{32} * 1024 * 1024;

}  // namespace

bool Outbox::has_room() const {
  return is_closed_ || (waiting_.size() <= kMostResults && waiting_bytes_ <= kMostBytes);
}

loader_status_t Outbox::post(std::unique_ptr<ResultFrame> result) {
  const loader_host_t& host = instance_->host();
  std::lock_guard lock(mutex_);
  if (is_closed_) return LOADER_ERROR_CLOSED;
  if (!is_draining_) {
    const loader_status_t status =
        host.emit(host.host, handle_, &result->frame(), LOADER_EMIT_NOWAIT);
    if (status != LOADER_AGAIN) return status;
  }
  result->own();
  queue({std::move(result), 0, {}});
  return LOADER_OK;
}

void Outbox::finish(loader_handle_t call, const Failure& failure) {
  end({nullptr, call, failure});
}

void Outbox::fail(const Failure& failure) {
  end({nullptr, 0, failure});
}

void Outbox::give_up(const Failure& failure) {
  tell_failure(failure);
  close();
}

void Outbox::end(Entry entry) {
  std::lock_guard lock(mutex_);
  if (!is_draining_) return pass_on(entry);
  queue(std::move(entry));
}

// The thread holds up the end of the instance, as a callback does.
void Outbox::queue(Entry entry) {
  waiting_bytes_ += entry.result ? entry.result->size_bytes() : 0;
  waiting_.push_back(std::move(entry));
  if (is_draining_) return;
  instance_->enter();
  try {
    std::thread([self = shared_from_this()] { self->drain(); }).detach();
    is_draining_ = true;
  } catch (...) {
    instance_->leave();
    waiting_.pop_back();
    throw;
  }
}

void Outbox::drain() {
  std::unique_lock lock(mutex_);
  while (!waiting_.empty()) {
    Entry entry = std::move(waiting_.front());
    waiting_.pop_front();
    waiting_bytes_ -= entry.result ? entry.result->size_bytes() : 0;
    lock.unlock();
    pass_on(entry);
    lock.lock();
    changed_.notify_all();
  }
  is_draining_ = false;
  lock.unlock();
  instance_->leave();
}

// A session that is over refuses all, which is all there is to know of it here.
void Outbox::pass_on(Entry& entry) {
  const loader_host_t& host = instance_->host();
  const Failure& failure = entry.failure;
  if (entry.result) {
    const loader_status_t status = host.emit(host.host, handle_, &entry.result->frame(), 0);
    if (status == LOADER_ERROR_ARGUMENT) tell_failure(thrown(kCallbackFailed, kUnsendable));
  } else if (entry.call == 0) {
    tell_failure(failure);
  } else {
    host.finish(host.host, entry.call, failure.code, failure.text.data(), failure.text.size());
  }
}

void Outbox::tell_failure(const Failure& failure) {
  const loader_host_t& host = instance_->host();
  host.fail(host.host, handle_, failure.code, failure.text.data(), failure.text.size());
}

bool Outbox::wait_for_room(std::chrono::seconds limit) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, limit, [this] { return has_room(); });
}

void Outbox::close() {
  std::lock_guard lock(mutex_);
  is_closed_ = true;
  waiting_.clear();
  waiting_bytes_ = 0;
  changed_.notify_all();
}

}  // namespace loader::host::aiges
