// The inside of HostRuntime: what each record does to the table of sessions, and what runs next.
// Records arrive on the leader's thread (intake.cpp), operations run as jobs (operations.cpp),
// results come from anywhere (emit.cpp), the end is in shutdown.cpp.
//
// Locks, in this order: session.emit_mutex, session.mutex, state_mutex_, a link's, the
// dispatcher's. No lock is held while engine code runs.
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "channel/bodies.h"
#include "channel/lifeline.h"
#include "host/dispatcher.h"
#include "host/hung_clock.h"
#include "host/link.h"
#include "host/outcome.h"
#include "host/resource_table.h"
#include "host/runtime.h"
#include "host/session.h"

namespace loader::host {

// What is asked of an instance before it serves, or when it does not any more.
inline const Outcome kNotServing{LOADER_ERROR_UNAVAILABLE,
                                 "the engine host is not ready or is stopping", 0};

class HostRuntime::Impl final : public DispatcherClient, public LinkSink {
 public:
  Impl(HostRuntime& face, Engine& engine, RuntimeOptions options);
  ~Impl() override;
  int run();

  // emit.cpp
  loader_status_t emit(loader_handle_t handle, loader_frame_t* frame, uint32_t flags);
  loader_status_t alloc_result(loader_handle_t handle, uint64_t size, loader_buffer_t* out,
                               uint8_t** writable);
  void on_credit(loader_handle_t handle, std::function<void()> callback);
  // operations.cpp
  loader_status_t finish(loader_handle_t call, loader_status_t status, std::string_view message);
  // closing.cpp
  loader_status_t fail(loader_handle_t handle, loader_status_t status, std::string_view message);
  // notes.cpp
  void log(loader_handle_t handle, int32_t level, std::string_view text);
  void meter(loader_handle_t handle, std::string_view unit, double amount);
  void trace(loader_handle_t handle, std::string_view key, std::string_view value);
  int64_t deadline(loader_handle_t handle);
  bool is_cancelled(loader_handle_t handle);
  const loader_host_t* table() const { return &table_; }
  Dispatcher& dispatcher() { return dispatcher_; }
  // What the calling thread queued must not wait for it.
  void flush_before_wait() { flush(); }

 private:
  static constexpr int kExitOk = 0;
  static constexpr int kExitInitFailed = 1;
  static constexpr int kExitChannel = 2;
  static constexpr int kExitLoaderGone = 3;
  class SessionJob;

  // DispatcherClient
  void collect(std::vector<pollfd>& descriptors) override;
  void on_ready(const std::vector<pollfd>& descriptors) override;
  void flush() override;
  void flush_rest();
  void on_descriptors_lost() override;
  void thread_begin() override { engine_.thread_begin(); }
  void thread_end() override { engine_.thread_end(); }
  void batch_begin() override { engine_.batch_begin(); }
  void batch_end() override { engine_.batch_end(); }

  // intake.cpp: records. False: not a valid record.
  bool on_record(Link& link, channel::RecordView& record) override;
  bool on_hello(Link& link, const channel::RecordView& record);
  channel::Hello hello(const Link& link) const;
  bool on_init(Link& link, const channel::RecordView& record);
  bool on_open(Link& link, channel::RecordView& record, bool is_exec);
  bool on_write(Link& link, channel::RecordView& record);
  bool on_end(Link& link, const channel::RecordView& record);
  bool on_cancel(const channel::RecordView& record);
  bool on_destroy(const channel::RecordView& record);
  bool on_grant(const channel::RecordView& record);
  bool on_release(Link& link, const channel::RecordView& record);
  bool on_ping(Link& link, const channel::RecordView& record);
  bool on_health(Link& link, const channel::RecordView& record);
  bool on_update(Link& link, const channel::RecordView& record);
  bool on_load_resource(Link& link, channel::RecordView& record);
  bool on_unload_resource(Link& link, const channel::RecordView& record);
  bool on_fini(const channel::RecordView& record);
  bool take_payloads(Link& link, channel::RecordView& record, HostSession* session,
                     std::vector<channel::Payload>& out);
  void send_hello(Link& link);
  bool fault(std::string text);

  // closing.cpp: fail, cancel and destroy
  void say_failure(HostSession& session, const Outcome& failure);  // under session.mutex
  void cancel(const SessionPointer& session, int32_t reason);
  void run_cancel(const SessionPointer& session, int32_t reason);
  void request_destroy(const SessionPointer& session, int32_t reason);
  void run_destroy(const SessionPointer& session, int32_t reason);
  void forget(HostSession& session);

  // operations.cpp
  void enqueue(const SessionPointer& session, PendingOperation operation);
  void schedule(const SessionPointer& session);      // under session.mutex
  static bool is_ready(const HostSession& session);  // under session.mutex
  void run_session(const SessionPointer& session);
  void start_operation(const SessionPointer& session, PendingOperation operation);
  void resume_operation(const SessionPointer& session);
  loader_status_t call_engine(HostSession& session, PendingOperation& operation,
                              loader_error_t& error);
  loader_status_t call_open(HostSession& session, PendingOperation& operation,
                            loader_error_t& error);
  loader_status_t call_with_frame(HostSession& session, PendingOperation& operation,
                                  std::span<const uint8_t> bytes, const loader_open_t* open,
                                  loader_error_t& error);
  void after_call(const SessionPointer& session, Outcome outcome);
  void settle(const SessionPointer& session, channel::Operation operation, const Outcome& outcome);
  void complete(Link& link, uint64_t wire, channel::Operation operation, const Outcome& outcome);

  // instance.cpp: init, update, health, fini
  void run_init(Link& link, const std::vector<uint8_t>& body);
  // `operation` becomes kWarmUp where that is what failed.
  Outcome init_engine(const channel::InitBody& body, channel::Operation& operation);
  void send_ready(Link& link, const Identity& identity);
  void run_update(Link& link, uint64_t wire, const std::vector<uint8_t>& body);
  void run_health(Link& link, uint64_t wire);

  // A call on the instance that is no session's: fini waits for it, and the clock answers in its
  // place when it takes too long.
  struct Errand {
    Link& link;
    uint64_t wire;
    channel::Operation operation;
    std::string what;
    int64_t since_ns = monotonic_ns();
    bool is_answered = false;
  };
  // False: not ready, or not any more; that is the answer then.
  bool run_errand(Errand errand, const std::function<Outcome()>& call);
  void report_hung_errands(int64_t now_ns);

  // resources.cpp
  void run_load(Link& link, uint64_t wire, InputBlock& block);
  void run_unload(Link& link, uint64_t wire, uint32_t id);
  Outcome use_resources(HostSession& session, const PendingOperation& operation);
  void release_resources(HostSession& session);

  // shutdown.cpp
  void shut_down(int32_t reason, int exit_code);
  void finish_shutdown();  // when nothing is left
  void run_fini();
  void leave(int exit_code);
  void start_lifeline();

  // emit.cpp
  loader_status_t wait_for_credit(HostSession& session, uint16_t call_number, uint64_t charge,
                                  uint32_t flags);
  void fire_waiters(HostSession& session);  // under session.mutex

  // notes.cpp
  void build_table();
  template <typename Body>
  void send_note(channel::RecordType type, loader_handle_t handle, const Body& body);
  void report_hung(int64_t now_ns);
  void return_idle_memory();
  void trim_idle_heap();
  void flush_delayed();

  void submit(JobKind kind, std::function<void()> work);

  Engine& engine_;
  RuntimeOptions options_;
  HostRuntime& face_;
  loader_host_t table_{};
  Dispatcher dispatcher_;
  std::vector<std::shared_ptr<Link>> links_;
  SessionTable sessions_;
  uint64_t reads_seen_ = 0;  // the clock's thread only, as the next
  bool has_worked_ = false;
  HungClock hung_clock_;
  std::unique_ptr<channel::Lifeline> lifeline_;
  ResourceTable resources_;
  bool takes_resources_ = false;         // set before is_serving_
  std::atomic<bool> is_open_{true};      // the loader still listens
  std::atomic<bool> is_serving_{false};  // init is done and no shutdown has begun

  std::mutex state_mutex_;
  enum class Stage { kLoaded, kInitialising, kReady, kFinishing, kOver } stage_ = Stage::kLoaded;
  bool is_shutting_down_ = false;
  std::list<Errand> errands_;
  int exit_code_ = kExitOk;
};

}  // namespace loader::host
