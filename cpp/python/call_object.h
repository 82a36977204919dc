// The Python types Port, Request and Params: the host's side of one session or call. Knows how to
// emit and finish through an Outlet; knows no dispatch.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>

#include "loader/wrapper.h"
#include "python/out_frame.h"
#include "python/outlet.h"

namespace loader::python {

// What all calls of one engine share. `outlet` is null once the engine has been stopped.
struct Context {
  Outlet* outlet = nullptr;
  Outputs outputs;
  py::object driver;              // loader.host.driver.Driver
  py::object defaults;            // dict of declared parameter defaults
  unsigned long loop_thread = 0;  // ident of the event loop's thread; emit must not wait there
};

struct CallObject {
  PyObject_HEAD loader_handle_t handle;
  loader_handle_t call;  // what finish ends; the current one of a session
  PyObject* frame;       // Request only
  PyObject* raw;         // tuple of (name, JSON text), or null
  PyObject* parameters;  // dict once somebody asked, or null
  PyObject* metadata;    // dict or null
  PyObject* session_id;
  std::shared_ptr<Context> context;
};

void add_call_types(pybind11::module_& module);

enum class CallKind { kPort, kRequest, kParams };

// New reference, or null with an exception set. Takes `frame` (a new reference, may be null).
CallObject* make_call(CallKind kind, const std::shared_ptr<Context>& context,
                      loader_handle_t handle, const loader_open_t* open, PyObject* frame);

// The status and text of an exception, from Driver.failure, which also logs the traceback. Clears
// it.
struct Failure {
  loader_status_t status;
  std::string message;
};
Failure take_failure(const Context& context, loader_handle_t handle) noexcept;
Failure describe_failure(const Context& context, loader_handle_t handle,
                         const py::object& exception) noexcept;

}  // namespace loader::python
