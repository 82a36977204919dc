// The Engine that runs a Python wrapper: the hot calls (exec, create, write, end, destroy) in C++,
// everything else in Python (loader/host/driver.py). Knows no channel. Calls come as engine.h says:
// inside a batch the GIL is held; elsewhere it is taken here.
#pragma once

#include <pybind11/pybind11.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "host/engine.h"
#include "python/call_object.h"
#include "python/out_frame.h"
#include "python/outlet.h"

namespace loader::python {

class PythonEngine final : public host::Engine {
 public:
  // How an outlet is made from what init receives.
  using MakeOutlet = std::function<std::unique_ptr<Outlet>(host::HostRuntime&)>;

  explicit PythonEngine(py::object driver);
  ~PythonEngine() override;

  loader_status_t load(std::string_view directory, std::string_view entry,
                       loader_error_t& error) noexcept override;
  host::Identity identity() noexcept override;
  loader_status_t init(host::HostRuntime& runtime, const loader_config_t& config,
                       loader_error_t& error) noexcept override;
  loader_status_t init_with(std::unique_ptr<Outlet> outlet, const loader_config_t& config,
                            loader_error_t& error) noexcept;
  loader_status_t warm_up(loader_error_t& error) noexcept override;
  loader_status_t update(const loader_config_t& config, loader_error_t& error) noexcept override;
  loader_status_t health(loader_error_t& error) noexcept override;
  loader_status_t load_resource(uint32_t id, const loader_item_t& resource,
                                loader_error_t& error) noexcept override;
  loader_status_t unload_resource(uint32_t id, loader_error_t& error) noexcept override;
  void fini() noexcept override;

  loader_status_t exec(loader_handle_t call, const loader_open_t& open, loader_frame_t& request,
                       loader_error_t& error) noexcept override;
  loader_status_t create(loader_handle_t handle, const loader_open_t& open, void** session,
                         loader_error_t& error) noexcept override;
  loader_status_t write(void* session, loader_handle_t call, loader_frame_t& frame,
                        loader_error_t& error) noexcept override;
  loader_status_t end(void* session, loader_handle_t call, loader_error_t& error) noexcept override;
  loader_status_t resume(void* session, loader_handle_t call,
                         loader_error_t& error) noexcept override;
  void cancel(void* session, loader_handle_t handle, int32_t reason) noexcept override;
  void destroy(void* session, loader_handle_t handle, int32_t reason) noexcept override;

  void thread_begin() noexcept override;
  void thread_end() noexcept override;
  void batch_begin() noexcept override;
  void batch_end() noexcept override;

 private:
  // One call under way: what is left to send when credit comes back.
  struct Run {
    py::object port;
    py::object iterator;
    OutFrame::Lease parked;
    bool has_task = false;  // a coroutine of this session or exec has been started
  };
  struct SessionState;

  loader_status_t start(Run& run, py::object value);
  loader_status_t submit(Run& run, const py::object& awaitable);
  loader_status_t deliver(Run& run, PyObject* value);
  loader_status_t drain(Run& run);
  loader_status_t send_parked(Run& run);
  void close_iterator(Run& run) noexcept;
  void call_user(loader_handle_t handle, const char* name, PyObject* function,
                 int32_t reason) noexcept;
  loader_status_t guarded(loader_handle_t handle, loader_error_t& error,
                          const std::function<loader_status_t()>& body) noexcept;
  template <typename Body>
  loader_status_t run_call(loader_handle_t handle, Run& run, loader_error_t& error,
                           Body&& body) noexcept;
  loader_status_t keep_exec(loader_handle_t call, Run&& run, loader_status_t status);
  py::object driver_config(const loader_config_t& config) const;

  std::unique_ptr<Outlet> outlet_;
  std::shared_ptr<Context> context_;
  py::object driver_;
  py::object exec_;                                 // bound method or null
  py::object create_;                               // bound method or null
  std::unordered_map<loader_handle_t, Run> execs_;  // parked or with a task; under the GIL
};

// Writes `text` into the caller's room, cut at a whole UTF-8 character.
void write_error(loader_error_t& error, std::string_view text) noexcept;

}  // namespace loader::python
