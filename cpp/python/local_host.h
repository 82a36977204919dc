// The in-process host of loader.testing: drives a PythonEngine without channel, process or threads,
// so that an author's test runs the same conversions and dispatch as production. Knows no loader.
#pragma once

#include <pybind11/pybind11.h>

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "python/python_engine.h"

namespace loader::python {

class LocalHost {
 public:
  // `window`: results a call may emit before somebody takes them; 0: no limit.
  LocalHost(py::object driver, const std::string& directory, const std::string& entry,
            const std::string& config_json, uint32_t window);
  ~LocalHost();

  // Each returns the results, as Frames, once the call has completed; raises EngineFailure.
  py::list exec(const py::object& frame, const py::dict& parameters, double timeout_s);
  uint64_t create(const py::dict& parameters, double timeout_s);
  py::list write(uint64_t session, const py::object& frame, double timeout_s);
  py::list end(uint64_t session, double timeout_s);
  void cancel(uint64_t session, int32_t reason);
  void destroy(uint64_t session, int32_t reason);
  // What has been emitted since the last call; raises EngineFailure when that is nothing, and the
  // wrapper has failed the session.
  py::list take(uint64_t session);
  py::list usage(uint64_t session);  // of (unit, amount)
  py::list log_lines();              // of (level, text)
  void update(const std::string& config_json);
  void health();
  void close();

 private:
  class LocalOutlet;
  loader_status_t settle(void* session, uint64_t handle, loader_status_t status, double timeout_s);
  py::list complete(uint64_t handle, loader_status_t status);
  void raise_on_error(loader_status_t status);
  void raise_if_failed(uint64_t session);
  loader_config_t config(const std::string& json) const;

  std::string directory_;
  std::string text_;
  loader_error_t error_{};
  std::unique_ptr<PythonEngine> engine_;
  LocalOutlet* outlet_ = nullptr;  // owned by the engine
  std::map<uint64_t, void*> sessions_;
  std::map<uint64_t, uint64_t> seq_;
  std::map<uint64_t, py::list> held_;  // taken from a call that still runs
  uint64_t next_handle_ = 1;
  bool is_open_ = false;
};

void add_local_host(py::module_& module);

}  // namespace loader::python
