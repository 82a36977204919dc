// loader._host: the compiled part of a Python engine host. `serve` runs a driver behind the host's
// runtime; LocalHost runs one in process. No gRPC, no server, no configuration.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "host/runtime.h"
#include "python/call_object.h"
#include "python/frame_object.h"
#include "python/library.h"
#include "python/local_host.h"
#include "python/python_engine.h"

#ifndef LOADER_VERSION
#error "LOADER_VERSION comes from the build"
#endif

namespace {

namespace py = pybind11;
using loader::python::PythonEngine;

// Serves until the loader says stop or is gone; the process's exit code. `rest` of the arguments is
// an error: nobody would read them.
int serve(const std::vector<std::string>& arguments, const std::string& runtime_name,
          py::object driver) {
  std::vector<std::string> rest;
  loader::host::RuntimeOptions options = loader::host::parse_options(arguments, &rest);
  if (!rest.empty()) throw py::value_error("unknown argument " + rest.front());
  options.is_python = true;
  options.runtime_name = runtime_name;
  loader::python::Library::get();
  // Both live as long as the process, which ends with this: threads of the wrapper's own may be
  // inside them at any time, and nothing that they left running holds up the end.
  PythonEngine& engine = *std::make_unique<PythonEngine>(std::move(driver)).release();
  const py::gil_scoped_release unlocked;
  auto& runtime =
      *std::make_unique<loader::host::HostRuntime>(engine, std::move(options)).release();
  return runtime.run();
}

}  // namespace

PYBIND11_MODULE(_host, module) {
  module.doc() = "The compiled part of a Python engine host.";
  module.attr("__version__") = LOADER_VERSION;
  loader::python::add_frame_types(module);
  loader::python::add_call_types(module);
  loader::python::add_local_host(module);
  module.def("serve", &serve, py::arg("arguments"), py::arg("runtime_name"), py::arg("driver"));
}
