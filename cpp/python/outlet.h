// What a Python engine needs of whoever runs it: where results, ends and log lines go. Two real
// implementations: the host's runtime, and the in-process host of loader.testing.
// Knows wrapper.h and nothing of Python.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "loader/wrapper.h"

namespace loader::python {

// The meaning of each function is that of HostRuntime's function of the same name.
class Outlet {
 public:
  virtual ~Outlet() = default;
  virtual loader_status_t emit(loader_handle_t handle, loader_frame_t* frame,
                               uint32_t flags) noexcept = 0;
  virtual loader_status_t finish(loader_handle_t call, loader_status_t status,
                                 std::string_view message) noexcept = 0;
  virtual loader_status_t fail(loader_handle_t handle, loader_status_t status,
                               std::string_view message) noexcept = 0;
  virtual void log(loader_handle_t handle, int32_t level, std::string_view text) noexcept = 0;
  virtual void meter(loader_handle_t handle, std::string_view unit, double amount) noexcept = 0;
  virtual void trace(loader_handle_t handle, std::string_view key,
                     std::string_view value) noexcept = 0;
  virtual int64_t deadline(loader_handle_t handle) noexcept = 0;
  virtual bool is_cancelled(loader_handle_t handle) noexcept = 0;
  virtual void on_credit(loader_handle_t handle, std::function<void()> callback) noexcept = 0;
  virtual void blocking_begin() noexcept = 0;
  virtual void blocking_end() noexcept = 0;
};

}  // namespace loader::python
