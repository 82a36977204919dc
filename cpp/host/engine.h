// The seam between the host runtime and the code it runs: one native library, or one Python
// wrapper. Knows the values of wrapper.h and nothing of channels, records or sockets.
//
// Threads. `init`, `warm_up`, `update` and `fini` run on the thread that called HostRuntime::run().
// With `threads: 1` so does every other call but `cancel`, where the engine wants_main_thread().
// Otherwise calls run on dispatcher
// threads; calls of one handle never overlap, except `cancel`. Nothing here may throw.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "loader/wrapper.h"

namespace loader::host {

class HostRuntime;

// A status only an Engine may return, from exec, create, write, end or resume: the call has results
// left but no credit. The runtime calls `resume` for it, as part of the same call, when credit is
// back or the session is being closed.
inline constexpr loader_status_t kParked = -1000;

// Who the wrapper is and what it can.
struct Identity {
  uint32_t flags = 0;  // channel::ReadyFlag bits
  uint32_t abi_major = LOADER_ABI_MAJOR;
  uint32_t abi_minor = LOADER_ABI_MINOR;
  std::string name;
  std::string version;
  std::string describe_json;  // as loader_wrapper_t::describe returns it; empty: nothing declared
};

class Engine {
 public:
  virtual ~Engine() = default;

  // With one thread, every call on the main thread (Python's promise)? Otherwise on any dispatcher
  // thread, so that a call which waits for credit holds up no other session.
  virtual bool wants_main_thread() const noexcept { return true; }

  // The first call: finds and checks the code, without running any of the author's init. `entry` is
  // the file inside `directory` (wrapper.so, wrapper.py). An error's text names the cure.
  virtual loader_status_t load(std::string_view directory, std::string_view entry,
                               loader_error_t& error) noexcept = 0;
  // After init and warm-up: what READY tells the loader.
  virtual Identity identity() noexcept = 0;

  // `runtime` outlives fini. Strings of `config` live until the call returns.
  virtual loader_status_t init(HostRuntime& runtime, const loader_config_t& config,
                               loader_error_t& error) noexcept = 0;
  // After a successful init, before the first session.
  virtual loader_status_t warm_up(loader_error_t& error) noexcept = 0;
  virtual loader_status_t update(const loader_config_t& config, loader_error_t& error) noexcept = 0;
  virtual loader_status_t health(loader_error_t& error) noexcept = 0;
  // loader.resources/1, as its header says; any thread, while ready.
  virtual loader_status_t load_resource(uint32_t id, const loader_item_t& resource,
                                        loader_error_t& error) noexcept {
    (void)id, (void)resource, (void)error;
    return LOADER_ERROR_UNSUPPORTED;
  }
  virtual loader_status_t unload_resource(uint32_t id, loader_error_t& error) noexcept {
    (void)id, (void)error;
    return LOADER_ERROR_UNSUPPORTED;
  }
  // Once, after a successful init; every session has been destroyed.
  virtual void fini() noexcept = 0;

  // As in wrapper.h: OK, an error, PENDING (then HostRuntime::finish), or kParked (then resume).
  // Buffers of `frame` whose `release` is still set when the call returns are released by the
  // runtime; take one by copying it and clearing the source's `release`.
  virtual loader_status_t exec(loader_handle_t call, const loader_open_t& open,
                               loader_frame_t& request, loader_error_t& error) noexcept = 0;
  // `*session` is passed to the later calls of this handle. create may not return PENDING.
  virtual loader_status_t create(loader_handle_t handle, const loader_open_t& open, void** session,
                                 loader_error_t& error) noexcept = 0;
  virtual loader_status_t write(void* session, loader_handle_t call, loader_frame_t& frame,
                                loader_error_t& error) noexcept = 0;
  virtual loader_status_t end(void* session, loader_handle_t call,
                              loader_error_t& error) noexcept = 0;
  // Continues the call that returned kParked. `session` is null for an exec.
  virtual loader_status_t resume(void* session, loader_handle_t call,
                                 loader_error_t& error) noexcept {
    (void)session, (void)call, (void)error;
    return LOADER_ERROR_INTERNAL;
  }
  // The session or exec is being closed; may overlap its running call, never comes after destroy
  // began. `session` is null for an exec. Runs on a dispatcher thread, outside a batch, and never
  // counts towards `threads`.
  virtual void cancel(void* session, loader_handle_t handle, int32_t reason) noexcept = 0;
  virtual void destroy(void* session, loader_handle_t handle, int32_t reason) noexcept = 0;

  // Each dispatcher thread, once, at its start and at its end; the main thread included.
  // Python keeps a thread state between them.
  virtual void thread_begin() noexcept {}
  virtual void thread_end() noexcept {}
  // Around a row of calls run in turn by one thread (init, update, fini included). Python takes the
  // GIL in batch_begin and lets it go in batch_end, so a batch costs one acquisition. The socket is
  // never read or waited for between them.
  virtual void batch_begin() noexcept {}
  virtual void batch_end() noexcept {}
};

}  // namespace loader::host
