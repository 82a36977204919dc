// Events from the data plane to the control plane: a bounded queue behind an eventfd.
// Knows nothing of Python; the module turns an Event into a dict.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace loader::server {

// Text that is bytes, not UTF-8, for the Python side.
struct Blob {
  std::string bytes;
};

using EventValue = std::variant<bool, int64_t, double, std::string, Blob>;

struct Event {
  std::string kind;
  std::vector<std::pair<std::string, EventValue>> fields;

  explicit Event(std::string what) : kind(std::move(what)) {}
  Event& add(std::string key, EventValue value) & {
    fields.emplace_back(std::move(key), std::move(value));
    return *this;
  }
  Event&& add(std::string key, EventValue value) && {
    fields.emplace_back(std::move(key), std::move(value));
    return std::move(*this);
  }
};

// Any thread pushes; the control plane waits on fd() and takes.
class EventQueue {
 public:
  EventQueue();
  ~EventQueue();
  EventQueue(const EventQueue&) = delete;
  EventQueue& operator=(const EventQueue&) = delete;

  void push(Event event);
  // For logs, meters and traces: dropped and counted when the queue is long. A host that logs
  // faster than the control plane reads cannot grow the loader.
  void push_lossy(Event event);
  // Everything queued; resets the descriptor.
  std::vector<Event> take();
  int fd() const { return fd_; }
  uint64_t dropped() const;

 private:
  void wake();

  static constexpr size_t kLossyLimit = 8192;
  int fd_;
  mutable std::mutex mutex_;
  std::vector<Event> events_;
  uint64_t dropped_ = 0;
};

}  // namespace loader::server
