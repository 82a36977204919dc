// The Python types Item and Frame: one input message as a wrapper sees it. Payloads are read
// through the buffer protocol and never copied where the host lent them. Knows no engine and no
// call.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>

#include "loader/wrapper.h"

namespace loader::python {

// One item; a small payload lives in the object itself, a large one is a taken buffer.
struct ItemObject {
  PyObject_VAR_HEAD PyObject* key;
  PyObject* shape;       // tuple or null
  PyObject* attributes;  // dict or null
  loader_buffer_t data;
  uint32_t type;
  uint32_t status;
  uint32_t data_type;
};

struct FrameObject {
  PyObject_HEAD PyObject* items;  // tuple of ItemObject
  uint64_t seq;
};

// Makes the types and adds them to `module`. Once.
void add_frame_types(pybind11::module_& module);

// A new Frame over `frame`: buffers with a `release` are taken out of it, others are copied.
// Null with an exception set on failure.
PyObject* make_frame(loader_frame_t& frame);

bool is_item(PyObject* object);

// What `frame[key]` gives, as a new reference; null with KeyError set.
PyObject* frame_value(PyObject* frame, PyObject* key);
// The methods and properties that a Request shares with its frame.
PyObject* frame_item(PyObject* frame, PyObject* key);
PyObject* frame_get(PyObject* frame, PyObject* key, PyObject* fallback);
PyObject* frame_keys(PyObject* frame);
int frame_contains(PyObject* frame, PyObject* key);

}  // namespace loader::python
