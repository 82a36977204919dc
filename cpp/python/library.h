// What the C++ side borrows from Python once and keeps: classes of loader.wrapper, JSON, NumPy
// glue, interned names. All of it is used with the GIL held. Knows no engine and no call.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace loader::python {

namespace py = pybind11;

inline constexpr std::size_t kItemTypeCount = 8;
inline constexpr std::size_t kStatusCount = 5;
inline constexpr std::size_t kDataTypeCount = 14;

// Made on the first use, with the GIL; never freed, because the interpreter outlives no host.
class Library {
 public:
  static Library& get();

  py::object pending;       // loader.PENDING
  py::object item_type;     // loader.Item
  py::object result_type;   // loader.Result
  py::object encode_json;   // value -> str
  py::object decode_json;   // bytes-like -> value
  py::object tensor_value;  // ItemView -> numpy array
  py::object typed_value;   // ItemView, dtype -> numpy array
  py::object plain_value;   // NumPy scalar or array -> what may travel as an item
  py::object emit_async;    // coroutine function (port, value, position)
  py::object reasons;       // list of CloseReason by number
  std::array<py::str, kItemTypeCount> item_type_names;
  std::array<py::str, kStatusCount> status_names;
  std::array<py::str, kDataTypeCount> data_type_names;

  // A str of `text`, the same object for the same text most of the time. New reference; null with
  // an exception set where `text` is not UTF-8.
  PyObject* intern(std::string_view text);
  // numpy.ndarray once NumPy has been imported by somebody, else null. Borrowed.
  PyObject* array_type();
  PyObject* scalar_type();
  py::object reason(int32_t number) const;

 private:
  Library();
  bool find_numpy();

  struct Interned {
    std::string text;
    PyObject* object = nullptr;
  };
  std::array<Interned, 64> interned_;
  PyObject* array_type_ = nullptr;
  PyObject* scalar_type_ = nullptr;
};

// The number of a type, status or element type by its name in `names`; throws py::value_error.
template <std::size_t N>
uint32_t number_of(const std::array<py::str, N>& names, const py::handle& name, const char* what) {
  for (uint32_t number = 0; number < N; ++number) {
    if (names[number].equal(name)) return number;
  }
  throw py::value_error(std::string(what) + " " + std::string(py::repr(name)) + " is not known");
}

}  // namespace loader::python
