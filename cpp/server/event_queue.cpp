#include "server/event_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace loader::server {

EventQueue::EventQueue() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
}

EventQueue::~EventQueue() {
  close(fd_);
}

void EventQueue::wake() {
  uint64_t one = 1;
  // A full counter still leaves the descriptor readable, which is all that is wanted.
  [[maybe_unused]] ssize_t written = write(fd_, &one, sizeof one);
}

void EventQueue::push(Event event) {
  std::lock_guard lock(mutex_);
  events_.push_back(std::move(event));
  if (events_.size() == 1) wake();
}

void EventQueue::push_lossy(Event event) {
  std::lock_guard lock(mutex_);
  if (events_.size() >= kLossyLimit) {
    dropped_++;
    return;
  }
  events_.push_back(std::move(event));
  if (events_.size() == 1) wake();
}

std::vector<Event> EventQueue::take() {
  std::vector<Event> taken;
  std::lock_guard lock(mutex_);
  uint64_t count;
  [[maybe_unused]] ssize_t read_bytes = read(fd_, &count, sizeof count);
  taken.swap(events_);
  return taken;
}

uint64_t EventQueue::dropped() const {
  std::lock_guard lock(mutex_);
  return dropped_;
}

}  // namespace loader::server
