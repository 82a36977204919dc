// Results of callbacks on their way to the client, and the failure behind them. They leave at once
// while the client keeps up; what it does not take yet waits here, in order, so that no thread of
// the library waits for a client.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include "host/aiges/result.h"
#include "host/aiges/tags.h"
#include "loader/wrapper.h"

namespace loader::host::aiges {

class Outbox : public std::enable_shared_from_this<Outbox> {
 public:
  Outbox(std::shared_ptr<Instance> instance, loader_handle_t handle)
      : instance_(std::move(instance)), handle_(handle) {}
  Outbox(const Outbox&) = delete;
  Outbox& operator=(const Outbox&) = delete;

  // Never waits. LOADER_ERROR_CLOSED: nobody wants it any more.
  loader_status_t post(std::unique_ptr<ResultFrame> result);
  // Ends the call after everything that was posted.
  void finish(loader_handle_t call, const Failure& failure = {});
  // Ends the session likewise: whether a call of it waits or not.
  void fail(const Failure& failure);
  // The same at once: what waits is dropped.
  void give_up(const Failure& failure);
  // Waits while more than the library may leave here has not been taken. False: `limit` has passed.
  bool wait_for_room(std::chrono::seconds limit);
  // Drops what waits; whoever waits for room goes on.
  void close();

 private:
  struct Entry {
    std::unique_ptr<ResultFrame> result;  // or
    loader_handle_t call = 0;             // the end of that one; 0: of the session
    Failure failure;
  };
  void end(Entry entry);
  bool has_room() const;    // under mutex_
  void queue(Entry entry);  // under mutex_
  void drain();
  void pass_on(Entry& entry);
  void tell_failure(const Failure& failure);

  const std::shared_ptr<Instance> instance_;
  const loader_handle_t handle_;
  std::mutex mutex_;  // everything below
  std::condition_variable changed_;
  std::deque<Entry> waiting_;
  uint64_t waiting_bytes_ = 0;
  bool is_draining_ = false;  // a thread passes on what waits
  bool is_closed_ = false;
};

}  // namespace loader::host::aiges
