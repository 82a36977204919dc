// Turns what a wrapper returns, yields or emits into a frame of the C ABI, borrowing the memory of
// the Python objects. All of it needs the GIL, except reading `frame()`. Knows no call and no host.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "loader/wrapper.h"

namespace loader::python {

namespace py = pybind11;

// What the wrapper declares it gives; decides what plain values become.
struct Outputs {
  py::str default_key{"result"};                    // of a result that is not a dict
  std::unordered_map<std::string, uint32_t> types;  // LOADER_ITEM_* by key
};

class OutFrame {
 public:
  struct Return {
    void operator()(OutFrame* frame) const noexcept;
  };
  // From this thread's store of used frames, so that the steady state allocates nothing.
  using Lease = std::unique_ptr<OutFrame, Return>;
  static Lease lease();

  ~OutFrame() { clear(); }

  // Throws py::error_already_set or a pybind11 exception that says what cannot be sent and why.
  void assign(PyObject* value, int64_t position, const Outputs& outputs);
  loader_frame_t* frame() { return &frame_; }
  void clear() noexcept;

 private:
  void add_pairs(PyObject* pairs, const Outputs& outputs);
  void add_dict(PyObject* dict, const Outputs& outputs);
  void add(PyObject* key, PyObject* value, const Outputs& outputs);
  void fill(loader_item_t& item, PyObject* value, uint32_t wanted);
  void fill_explicit(loader_item_t& item, PyObject* value, uint32_t wanted);
  void fill_view(loader_item_t& item, PyObject* view, uint32_t wanted);
  void fill_buffer(loader_item_t& item, PyObject* value, uint32_t wanted);
  void fill_array(loader_item_t& item, PyObject* array, uint32_t wanted);
  void fill_json(loader_item_t& item, PyObject* value);
  void fill_attributes(loader_item_t& item, const py::dict& attributes);
  void fill_text(loader_item_t& item, PyObject* text, uint32_t type);
  loader_string_t borrow_text(PyObject* text, const char* what);
  Py_buffer& open_buffer(PyObject* value, int flags);
  void hold(PyObject* object) { held_.push_back(py::reinterpret_borrow<py::object>(object)); }

  loader_frame_t frame_{};
  std::vector<loader_item_t> items_;
  std::vector<py::object> held_;
  std::vector<std::unique_ptr<Py_buffer>> buffers_;
  std::vector<std::vector<int64_t>> shapes_;
  std::vector<std::vector<loader_pair_t>> attributes_;
};

}  // namespace loader::python
