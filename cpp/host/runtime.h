// Serves one instance of an engine over the channels of its loader: sessions, order, credit,
// threads. Knows the channel's records and the Engine seam; refuses to know what kind of engine it
// runs.
//
// Leader/follower (design 2.3). One thread, the leader, reads the sockets and runs ready calls in
// turn. When the running call has taken `handover_us`, or says that it blocks, a follower becomes
// the leader. At most `threads` calls run; one that waits for credit does not count. The main
// thread is one of the workers, and the only one that runs calls when `threads` is 1.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "host/engine.h"

namespace loader::host {

// The descriptors of one shard's channel, as `--channel SOCKET,ARENA_IN,ARENA_OUT` names them.
// ARENA_IN carries payloads from the loader, ARENA_OUT to it.
struct ChannelDescriptors {
  int socket = -1;
  int arena_in = -1;
  int arena_out = -1;
};

std::string package_version_of_build();

struct RuntimeOptions {
  std::vector<ChannelDescriptors> channels;  // the runtime owns and closes them
  int lifeline = -1;          // end of file there: the loader is gone; owned; -1: none
  int64_t handover_us = 100;  // a follower takes over from a call that runs longer
  bool is_python = false;     // for the hello
  std::string runtime_name = "loader-host";  // for the hello: "python 3.11.2 /usr/bin/python3"
  std::string package_version =
      package_version_of_build();  // of engine-loader; must be the loader's
  // True in a host process: when the loader is gone, kill the own process group after 2 s. False
  // inside the loader (inline isolation).
  bool owns_process = true;
};

// Parses `--channel`, `--lifeline` and `--handover-us` (each "--name value" or "--name=value") out
// of `arguments`, leaving the others in `rest`. Throws std::invalid_argument with the bad value.
RuntimeOptions parse_options(const std::vector<std::string>& arguments,
                             std::vector<std::string>* rest);

class HostRuntime {
 public:
  HostRuntime(Engine& engine, RuntimeOptions options);
  ~HostRuntime();
  HostRuntime(const HostRuntime&) = delete;
  HostRuntime& operator=(const HostRuntime&) = delete;

  // Serves on the calling thread, the "main thread", until the loader said FINI, init failed or the
  // loader has gone. Returns the process's exit code: 0 stopped, 1 init failed, 2 the channel was
  // refused or corrupt, 3 the loader has gone.
  int run();

  // ---- any thread, any time; they never throw
  // ----------------------------------------------------

  // loader_host_t::emit. Every buffer is released before this returns LOADER_OK, on this thread,
  // except those of alloc_result, whose release never needs the engine. Blocks for credit unless
  // LOADER_EMIT_NOWAIT: a Python caller tries NOWAIT with the GIL and blocks without it.
  loader_status_t emit(loader_handle_t handle, loader_frame_t* frame, uint32_t flags) noexcept;
  loader_status_t alloc_result(loader_handle_t handle, uint64_t size, loader_buffer_t* out,
                               uint8_t** writable) noexcept;
  loader_status_t finish(loader_handle_t call, loader_status_t status,
                         std::string_view message) noexcept;
  loader_status_t fail(loader_handle_t handle, loader_status_t status,
                       std::string_view message) noexcept;
  void log(loader_handle_t handle, int32_t level, std::string_view text) noexcept;
  void meter(loader_handle_t handle, std::string_view unit, double amount) noexcept;
  void trace(loader_handle_t handle, std::string_view key, std::string_view value) noexcept;
  int64_t deadline(loader_handle_t handle) noexcept;   // ns left; INT64_MAX: none
  bool is_cancelled(loader_handle_t handle) noexcept;  // true for an unknown handle too

  // Calls `callback` once, on a dispatcher thread without locks and outside a batch, when `handle`
  // has credit again, or is being closed; at once, on this thread, where either holds already.
  void on_credit(loader_handle_t handle, std::function<void()> callback) noexcept;

  // Brackets a part of a running call that waits for something else (a lock, the network, the GIL
  // released): another thread takes over reading at once. The call still counts towards `threads`.
  void blocking_begin() noexcept;
  void blocking_end() noexcept;

  // The C table whose functions lead here; lives as long as the runtime.
  const loader_host_t* host_table() const noexcept;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace loader::host
