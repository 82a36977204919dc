// Leader/follower threads (design 2.3): who reads, who runs, who takes over. Knows jobs and
// descriptors; refuses to know records, sessions and engines.
//
// The leader polls the client's descriptors, reads, runs ready jobs in turn and flushes once for
// the whole row. One idle worker, the watcher, sleeps on a timer that the leader arms before it
// runs jobs; it takes the lead from a job that runs longer than the handover time. After a row of
// short jobs the timer is set later and left alone, because that is cheaper: the first long job is
// then noticed after 5 ms, those that follow it after the handover time. A worker that lost the
// lead goes on taking ready jobs when its own has ended.
#pragma once

#include <poll.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "channel/unique_fd.h"

namespace loader::host {

class Job {
 public:
  virtual ~Job() = default;
  virtual void run() noexcept = 0;
};

enum class JobKind {
  kCall,    // counts towards `threads`; see set_threads()
  kMain,    // on the main thread, does not count
  kControl  // on any thread, outside a batch, does not count
};

// What the dispatcher serves. Called without the dispatcher's lock.
class DispatcherClient {
 public:
  virtual ~DispatcherClient() = default;
  // The leader only.
  virtual void collect(std::vector<pollfd>& descriptors) = 0;
  virtual void on_ready(const std::vector<pollfd>& descriptors) = 0;
  // Any thread.
  virtual void flush() = 0;
  // Somebody closed the dispatcher's own descriptors: no thread can be woken any more.
  virtual void on_descriptors_lost() = 0;
  virtual void thread_begin() = 0;
  virtual void thread_end() = 0;
  virtual void batch_begin() = 0;
  virtual void batch_end() = 0;
};

class Dispatcher {
 public:
  Dispatcher(DispatcherClient& client, int64_t handover_us, size_t max_workers = 4096);
  ~Dispatcher();
  Dispatcher(const Dispatcher&) = delete;
  Dispatcher& operator=(const Dispatcher&) = delete;

  // Before the first kCall job. `on_main`: with one thread, calls are for the main thread only.
  void set_threads(uint32_t threads, bool on_main);
  void set_handover_us(int64_t us) { handover_ns_.store(us * 1000, std::memory_order_relaxed); }

  // Serves on the calling thread, the main thread, until stop().
  void run();
  void stop();
  // Nothing of the client is called any more when it returns. The client calls it before it goes.
  void stop_and_join();
  void submit(std::shared_ptr<Job> job, JobKind kind);

  // True on the thread that leads now: what it queued for sending leaves with the batch, or with
  // the next leader. Ask after queueing, and flush when false.
  bool is_leader() const;
  // Makes the leader look at collect() again.
  void poke();

  // Inside a job: it is about to wait for something other than computing.
  void give_lead();
  // Inside a job: give_lead(), and until end_wait() the job does not count. end_wait() goes on at
  // once, even beyond `threads`: those that count may be waiting for a lock that this job holds.
  // No effect on threads that are not workers.
  void begin_wait();
  void end_wait();

 private:
  struct Worker;
  struct Entry {
    std::shared_ptr<Job> job;
    JobKind kind;
  };

  void work(Worker& me);
  void step(Worker& me, std::unique_lock<std::mutex>& lock);
  void lead(Worker& me, std::unique_lock<std::mutex>& lock);
  void follow(Worker& me, std::unique_lock<std::mutex>& lock);
  bool try_take_over(Worker& me);
  void run_batch(Worker& me, std::unique_lock<std::mutex>& lock);
  void run_entry(Worker& me, Entry entry, bool& in_batch, std::unique_lock<std::mutex>& lock);
  void poll_once(Worker& me, std::unique_lock<std::mutex>& lock);
  bool can_take(const Worker& me) const;
  bool can_call(const Worker& me) const;
  std::optional<Entry> take(const Worker& me);
  void wake_for(JobKind kind);
  void ensure_watcher();
  void claim(Worker& worker);
  void release_lead(Worker& me);
  Worker* spawn();
  int64_t patience_ns() const;
  void guard_job(int64_t now_ns);
  void disarm();
  void arm(int64_t now_ns, int64_t delay_ns);
  void drain_wake(const pollfd& wake);
  Worker* current() const;

  DispatcherClient& client_;
  std::atomic<int64_t> handover_ns_;
  const size_t max_workers_;
  channel::UniqueFd timer_;
  mutable std::mutex mutex_;
  std::deque<Entry> calls_;
  std::deque<Entry> main_jobs_;
  std::deque<Entry> control_jobs_;
  std::deque<std::unique_ptr<Worker>> workers_;  // the main thread's first
  std::vector<Worker*> idle_;
  std::atomic<Worker*> leader_{nullptr};  // written under mutex_
  Worker* watcher_ = nullptr;
  uint32_t threads_ = 1;
  bool is_main_only_ = false;  // calls run as kMain
  uint32_t running_ = 0;
  int64_t timer_ns_ = 0;    // when the timer fires or has fired; 0: it is not set
  uint32_t short_row_ = 0;  // jobs in a row that took less than the handover time
  bool is_full_ = false;    // no further worker can be had, and none is idle
  bool is_reading_ = false;
  bool is_stopping_ = false;
};

}  // namespace loader::host
