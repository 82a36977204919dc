// Port, Request and Params; see call_object.h.
#include "python/call_object.h"

#include <functional>
#include <limits>
#include <new>

#include "python/frame_object.h"
#include "python/library.h"

namespace loader::python {

namespace {

PyTypeObject* port_type = nullptr;
PyTypeObject* request_type = nullptr;
PyTypeObject* params_type = nullptr;

CallObject* as_call(PyObject* self) {
  return reinterpret_cast<CallObject*>(self);
}

std::string_view view(const loader_string_t& text) {
  return {text.data == nullptr ? "" : text.data, text.size};
}

PyObject* text_of(const loader_string_t& text) {
  return PyUnicode_DecodeUTF8(view(text).data(), static_cast<Py_ssize_t>(text.size), "replace");
}

// Null with an exception set once the engine has been stopped.
Outlet* outlet_of(PyObject* self) {
  Outlet* const outlet = as_call(self)->context->outlet;
  if (outlet == nullptr) PyErr_SetString(PyExc_ConnectionError, "the engine has been stopped");
  return outlet;
}

void call_dealloc(PyObject* self) {
  CallObject* const call = as_call(self);
  Py_XDECREF(call->frame);
  Py_XDECREF(call->raw);
  Py_XDECREF(call->parameters);
  Py_XDECREF(call->metadata);
  Py_XDECREF(call->session_id);
  call->context.~shared_ptr();
  PyTypeObject* const type = Py_TYPE(self);
  PyObject_Free(self);
  Py_DECREF(type);
}

// ---- emit and finish ---------------------------------------------------------------------------

PyObject* answer(loader_status_t status) {
  switch (status) {
    case LOADER_OK:
      Py_RETURN_NONE;
    case LOADER_ERROR_CLOSED:
      PyErr_SetString(PyExc_ConnectionError, "the session or call is over: stop working for it");
      return nullptr;
    case LOADER_ERROR_MEMORY:
      return PyErr_NoMemory();
    case LOADER_ERROR_ARGUMENT:
      PyErr_SetString(PyExc_ValueError, "the host refused it: not a pending call, or a bad frame");
      return nullptr;
    default:
      PyErr_Format(PyExc_RuntimeError, "the host answered with status %d", status);
      return nullptr;
  }
}

bool parse_emission(PyObject* arguments, PyObject* names, PyObject** value, int64_t* position) {
  static const char* const kNames[] = {"value", "position", nullptr};
  PyObject* given = Py_None;
  if (!PyArg_ParseTupleAndKeywords(arguments, names, "O|O", const_cast<char**>(kNames), value,
                                   &given)) {
    return false;
  }
  *position = given == Py_None ? -1 : PyLong_AsLongLong(given);
  return PyErr_Occurred() == nullptr;
}

// Sets the Python exception that a C++ one stands for.
PyObject* translate(const std::function<PyObject*()>& body) {
  try {
    return body();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

loader_status_t emit_waiting(Outlet& outlet, loader_handle_t handle, loader_frame_t* frame) {
  loader_status_t status = LOADER_OK;
  Py_BEGIN_ALLOW_THREADS;
  status = outlet.emit(handle, frame, 0);
  Py_END_ALLOW_THREADS;
  return status;
}

PyObject* emit_value(PyObject* self, PyObject* value, int64_t position, bool may_wait) {
  Outlet* const outlet = outlet_of(self);
  if (outlet == nullptr) return nullptr;
  CallObject* const call = as_call(self);
  const OutFrame::Lease frame = OutFrame::lease();
  frame->assign(value, position, call->context->outputs);
  const loader_status_t status = outlet->emit(call->handle, frame->frame(), LOADER_EMIT_NOWAIT);
  if (status != LOADER_AGAIN) return answer(status);
  if (!may_wait) Py_RETURN_FALSE;
  if (PyThread_get_thread_ident() == call->context->loop_thread) {
    PyErr_SetString(PyExc_BlockingIOError,
                    "the client reads too slowly and emit would hold up every coroutine; "
                    "yield the result or use `await self.emit_async(...)`");
    return nullptr;
  }
  return answer(emit_waiting(*outlet, call->handle, frame->frame()));
}

PyObject* call_emit(PyObject* self, PyObject* arguments, PyObject* names) {
  return translate([&]() -> PyObject* {
    PyObject* value = nullptr;
    int64_t position = -1;
    if (!parse_emission(arguments, names, &value, &position)) return nullptr;
    return emit_value(self, value, position, true);
  });
}

// True, or False without credit.
PyObject* call_try_emit(PyObject* self, PyObject* arguments, PyObject* names) {
  return translate([&]() -> PyObject* {
    PyObject* value = nullptr;
    int64_t position = -1;
    if (!parse_emission(arguments, names, &value, &position)) return nullptr;
    PyObject* const sent = emit_value(self, value, position, false);
    if (sent != Py_None) return sent;
    Py_DECREF(sent);
    Py_RETURN_TRUE;
  });
}

PyObject* call_emit_async(PyObject* self, PyObject* arguments, PyObject* names) {
  return translate([&]() -> PyObject* {
    PyObject* value = nullptr;
    int64_t position = -1;
    if (!parse_emission(arguments, names, &value, &position)) return nullptr;
    const py::object given = position < 0 ? py::object(py::none()) : py::int_(position);
    return Library::get().emit_async(py::handle(self), py::handle(value), given).release().ptr();
  });
}

// Calls `callback()` once when there is credit again or the session is being closed.
PyObject* call_on_credit(PyObject* self, PyObject* callback) {
  Outlet* const outlet = outlet_of(self);
  if (outlet == nullptr) return nullptr;
  Py_INCREF(callback);
  // The last owner may be any thread, so the reference is given back under the GIL.
  const std::shared_ptr<PyObject> kept(callback, [](PyObject* object) {
    const PyGILState_STATE state = PyGILState_Ensure();
    Py_DECREF(object);
    PyGILState_Release(state);
  });
  auto call_back = [kept] {
    const PyGILState_STATE state = PyGILState_Ensure();
    PyObject* const result = PyObject_CallNoArgs(kept.get());
    if (result == nullptr) PyErr_WriteUnraisable(kept.get());
    Py_XDECREF(result);
    PyGILState_Release(state);
  };
  const loader_handle_t handle = as_call(self)->handle;
  Py_BEGIN_ALLOW_THREADS;
  outlet->on_credit(handle, call_back);
  Py_END_ALLOW_THREADS;
  Py_RETURN_NONE;
}

// False with an exception set where `error` is none.
bool read_failure(const CallObject* call, const char* name, PyObject* error, Failure* failure) {
  if (!PyExceptionInstance_Check(error)) {
    PyErr_Format(PyExc_TypeError, "%s takes an exception, not a %s", name, Py_TYPE(error)->tp_name);
    return false;
  }
  *failure =
      describe_failure(*call->context, call->handle, py::reinterpret_borrow<py::object>(error));
  return true;
}

PyObject* call_finish(PyObject* self, PyObject* arguments, PyObject* names) {
  static const char* const kNames[] = {"error", nullptr};
  PyObject* error = Py_None;
  if (!PyArg_ParseTupleAndKeywords(arguments, names, "|O:finish", const_cast<char**>(kNames),
                                   &error)) {
    return nullptr;
  }
  Outlet* const outlet = outlet_of(self);
  if (outlet == nullptr) return nullptr;
  const CallObject* const call = as_call(self);
  Failure failure{LOADER_OK, {}};
  if (error != Py_None && !read_failure(call, "finish", error, &failure)) return nullptr;
  return answer(outlet->finish(call->call, failure.status, failure.message));
}

// Of sessions only.
PyObject* params_fail(PyObject* self, PyObject* error) {
  Outlet* const outlet = outlet_of(self);
  if (outlet == nullptr) return nullptr;
  const CallObject* const call = as_call(self);
  Failure failure{LOADER_OK, {}};
  if (!read_failure(call, "fail", error, &failure)) return nullptr;
  return answer(outlet->fail(call->handle, failure.status, failure.message));
}

// ---- the rest of a port ------------------------------------------------------------------------

PyObject* call_log(PyObject* self, PyObject* arguments, PyObject* names) {
  static const char* const kNames[] = {"text", "level", nullptr};
  PyObject* given = nullptr;
  int level = LOADER_LOG_INFO;
  if (!PyArg_ParseTupleAndKeywords(arguments, names, "U|i:log", const_cast<char**>(kNames), &given,
                                   &level)) {
    return nullptr;
  }
  Py_ssize_t size = 0;
  const char* const text = PyUnicode_AsUTF8AndSize(given, &size);
  if (text == nullptr) return nullptr;
  Outlet* const outlet = outlet_of(self);
  if (outlet == nullptr) return nullptr;
  outlet->log(as_call(self)->handle, level, {text, static_cast<std::size_t>(size)});
  Py_RETURN_NONE;
}

PyObject* call_meter(PyObject* self, PyObject* arguments) {
  const char* unit = nullptr;
  double amount = 0;
  if (!PyArg_ParseTuple(arguments, "sd:meter", &unit, &amount)) return nullptr;
  Outlet* const outlet = outlet_of(self);
  if (outlet == nullptr) return nullptr;
  outlet->meter(as_call(self)->handle, unit, amount);
  Py_RETURN_NONE;
}

PyObject* call_trace(PyObject* self, PyObject* arguments) {
  const char* key = nullptr;
  const char* value = nullptr;
  if (!PyArg_ParseTuple(arguments, "ss:trace", &key, &value)) return nullptr;
  Outlet* const outlet = outlet_of(self);
  if (outlet == nullptr) return nullptr;
  outlet->trace(as_call(self)->handle, key, value);
  Py_RETURN_NONE;
}

PyObject* call_deadline(PyObject* self, void*) {
  Outlet* const outlet = outlet_of(self);
  if (outlet == nullptr) return nullptr;
  const int64_t left_ns = outlet->deadline(as_call(self)->handle);
  if (left_ns == std::numeric_limits<int64_t>::max()) Py_RETURN_NONE;
  return PyFloat_FromDouble(static_cast<double>(left_ns) * 1e-9);
}

PyObject* call_is_cancelled(PyObject* self, void*) {
  Outlet* const outlet = as_call(self)->context->outlet;
  return PyBool_FromLong(outlet == nullptr || outlet->is_cancelled(as_call(self)->handle));
}

PyObject* call_session_id(PyObject* self, void*) {
  PyObject* const id = as_call(self)->session_id;
  return id != nullptr ? Py_NewRef(id) : PyUnicode_FromString("");
}

PyObject* call_handle(PyObject* self, void*) {
  return PyLong_FromUnsignedLongLong(as_call(self)->handle);
}

// ---- parameters --------------------------------------------------------------------------------

PyObject* parse_parameters(const CallObject* call) {
  return translate([&]() -> PyObject* {
    py::dict parsed;
    if (call->context->defaults) parsed = py::dict(call->context->defaults.attr("copy")());
    if (call->raw != nullptr) {
      for (const py::handle pair : py::reinterpret_borrow<py::tuple>(call->raw)) {
        const auto two = py::reinterpret_borrow<py::tuple>(pair);
        parsed[two[0]] = Library::get().decode_json(two[1]);
      }
    }
    return parsed.release().ptr();
  });
}

// Borrowed; parsed on the first use.
PyObject* parameters_of(PyObject* self) {
  CallObject* const call = as_call(self);
  if (call->parameters == nullptr) {
    PyObject* const parsed = parse_parameters(call);
    if (parsed == nullptr) return nullptr;
    Py_XSETREF(call->parameters, parsed);
  }
  return call->parameters;
}

PyObject* call_parameters(PyObject* self, void*) {
  PyObject* const parameters = parameters_of(self);
  return parameters == nullptr ? nullptr : Py_NewRef(parameters);
}

PyObject* call_metadata(PyObject* self, void*) {
  PyObject* const metadata = as_call(self)->metadata;
  return metadata != nullptr ? PyDict_Copy(metadata) : PyDict_New();
}

PyObject* params_value(PyObject* self, PyObject* name) {
  PyObject* const parameters = parameters_of(self);
  if (parameters == nullptr) return nullptr;
  PyObject* const value = PyDict_GetItemWithError(parameters, name);
  if (value != nullptr) return Py_NewRef(value);
  if (PyErr_Occurred() == nullptr) PyErr_SetObject(PyExc_KeyError, name);
  return nullptr;
}

PyObject* params_get(PyObject* self, PyObject* arguments) {
  PyObject* name = nullptr;
  PyObject* fallback = Py_None;
  if (!PyArg_ParseTuple(arguments, "O|O:get", &name, &fallback)) return nullptr;
  PyObject* const parameters = parameters_of(self);
  if (parameters == nullptr) return nullptr;
  PyObject* const value = PyDict_GetItemWithError(parameters, name);
  if (value == nullptr && PyErr_Occurred() != nullptr) return nullptr;
  return Py_NewRef(value != nullptr ? value : fallback);
}

int params_contains(PyObject* self, PyObject* name) {
  PyObject* const parameters = parameters_of(self);
  return parameters == nullptr ? -1 : PyDict_Contains(parameters, name);
}

// ---- a request is also its frame ---------------------------------------------------------------

PyObject* request_value(PyObject* self, PyObject* key) {
  return frame_value(as_call(self)->frame, key);
}
PyObject* request_item(PyObject* self, PyObject* key) {
  return frame_item(as_call(self)->frame, key);
}
int request_contains(PyObject* self, PyObject* key) {
  return frame_contains(as_call(self)->frame, key);
}
PyObject* request_keys(PyObject* self, PyObject*) {
  return frame_keys(as_call(self)->frame);
}
PyObject* request_frame(PyObject* self, void*) {
  return Py_NewRef(as_call(self)->frame);
}
PyObject* request_items(PyObject* self, void*) {
  return Py_NewRef(reinterpret_cast<FrameObject*>(as_call(self)->frame)->items);
}
PyObject* request_seq(PyObject* self, void*) {
  return PyLong_FromUnsignedLongLong(reinterpret_cast<FrameObject*>(as_call(self)->frame)->seq);
}
PyObject* request_get(PyObject* self, PyObject* arguments) {
  PyObject* key = nullptr;
  PyObject* fallback = Py_None;
  if (!PyArg_ParseTuple(arguments, "O|O:get", &key, &fallback)) return nullptr;
  return frame_get(as_call(self)->frame, key, fallback);
}
PyObject* request_iterator(PyObject* self) {
  return PyObject_GetIter(as_call(self)->frame);
}
Py_ssize_t request_length(PyObject* self) {
  return PyObject_Length(as_call(self)->frame);
}

// ---- types -------------------------------------------------------------------------------------

template <typename F>
PyCFunction method(F function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(function));
}

constexpr int kKeywords = METH_VARARGS | METH_KEYWORDS;

PyMethodDef port_methods[] = {{"emit", method(call_emit), kKeywords, nullptr},
                              {"try_emit", method(call_try_emit), kKeywords, nullptr},
                              {"emit_async", method(call_emit_async), kKeywords, nullptr},
                              {"on_credit", call_on_credit, METH_O, nullptr},
                              {"finish", method(call_finish), kKeywords, nullptr},
                              {"log", method(call_log), kKeywords, nullptr},
                              {"meter", call_meter, METH_VARARGS, nullptr},
                              {"trace", call_trace, METH_VARARGS, nullptr},
                              {nullptr, nullptr, 0, nullptr}};

PyGetSetDef port_properties[] = {{"deadline", call_deadline, nullptr, nullptr, nullptr},
                                 {"is_cancelled", call_is_cancelled, nullptr, nullptr, nullptr},
                                 {"session_id", call_session_id, nullptr, nullptr, nullptr},
                                 {"handle", call_handle, nullptr, nullptr, nullptr},
                                 {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMethodDef params_methods[] = {{"get", params_get, METH_VARARGS, nullptr},
                                {"fail", params_fail, METH_O, nullptr},
                                {nullptr, nullptr, 0, nullptr}};

PyGetSetDef params_properties[] = {{"parameters", call_parameters, nullptr, nullptr, nullptr},
                                   {"metadata", call_metadata, nullptr, nullptr, nullptr},
                                   {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMethodDef request_methods[] = {{"item", request_item, METH_O, nullptr},
                                 {"get", request_get, METH_VARARGS, nullptr},
                                 {"keys", request_keys, METH_NOARGS, nullptr},
                                 {nullptr, nullptr, 0, nullptr}};

PyGetSetDef request_properties[] = {{"parameters", call_parameters, nullptr, nullptr, nullptr},
                                    {"metadata", call_metadata, nullptr, nullptr, nullptr},
                                    {"frame", request_frame, nullptr, nullptr, nullptr},
                                    {"items", request_items, nullptr, nullptr, nullptr},
                                    {"seq", request_seq, nullptr, nullptr, nullptr},
                                    {nullptr, nullptr, nullptr, nullptr, nullptr}};

template <typename F>
void* slot(F function) {
  return reinterpret_cast<void*>(function);
}

PyTypeObject* make_type(const char* name, PyType_Slot* slots, PyTypeObject* base) {
  PyType_Spec spec = {name, static_cast<int>(sizeof(CallObject)), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                      slots};
  PyObject* const type = PyType_FromSpecWithBases(&spec, reinterpret_cast<PyObject*>(base));
  if (type == nullptr) throw py::error_already_set();
  return reinterpret_cast<PyTypeObject*>(type);
}

void make_types() {
  PyType_Slot port_slots[] = {{Py_tp_dealloc, slot(call_dealloc)},
                              {Py_tp_methods, port_methods},
                              {Py_tp_getset, port_properties},
                              {0, nullptr}};
  port_type = make_type("loader._host.Port", port_slots, nullptr);
  PyType_Slot params_slots[] = {{Py_tp_methods, params_methods},
                                {Py_tp_getset, params_properties},
                                {Py_mp_subscript, slot(params_value)},
                                {Py_sq_contains, slot(params_contains)},
                                {0, nullptr}};
  params_type = make_type("loader._host.Params", params_slots, port_type);
  PyType_Slot request_slots[] = {{Py_tp_methods, request_methods},
                                 {Py_tp_getset, request_properties},
                                 {Py_tp_iter, slot(request_iterator)},
                                 {Py_mp_subscript, slot(request_value)},
                                 {Py_mp_length, slot(request_length)},
                                 {Py_sq_contains, slot(request_contains)},
                                 {0, nullptr}};
  request_type = make_type("loader._host.Request", request_slots, port_type);
}

// ---- making ------------------------------------------------------------------------------------

PyObject* raw_parameters(const loader_open_t& open) {
  PyObject* const raw = PyTuple_New(open.parameter_count);
  for (uint32_t i = 0; raw != nullptr && i < open.parameter_count; ++i) {
    PyObject* const name = Library::get().intern(view(open.parameters[i].key));
    PyObject* const text = text_of(open.parameters[i].value);
    PyObject* const pair =
        name == nullptr || text == nullptr ? nullptr : PyTuple_Pack(2, name, text);
    Py_XDECREF(name), Py_XDECREF(text);
    if (pair == nullptr) {
      Py_DECREF(raw);
      return nullptr;
    }
    PyTuple_SET_ITEM(raw, i, pair);
  }
  return raw;
}

PyObject* metadata_of(const loader_open_t& open) {
  return translate([&]() -> PyObject* {
    py::dict metadata;
    for (uint32_t i = 0; i < open.metadata_count; ++i) {
      const auto key = py::reinterpret_steal<py::object>(text_of(open.metadata[i].key));
      metadata[key] = py::reinterpret_steal<py::object>(text_of(open.metadata[i].value));
    }
    return metadata.release().ptr();
  });
}

bool fill_open(CallObject* call, const loader_open_t& open) {
  if (open.session_id.size != 0) {
    call->session_id = text_of(open.session_id);
    if (call->session_id == nullptr) return false;
  }
  if (open.parameter_count != 0) {
    call->raw = raw_parameters(open);
    if (call->raw == nullptr) return false;
  }
  if (open.metadata_count != 0) {
    call->metadata = metadata_of(open);
    if (call->metadata == nullptr) return false;
  }
  return true;
}

}  // namespace

void add_call_types(py::module_& module) {
  make_types();
  module.attr("Port") = py::handle(reinterpret_cast<PyObject*>(port_type));
  module.attr("Params") = py::handle(reinterpret_cast<PyObject*>(params_type));
  module.attr("Request") = py::handle(reinterpret_cast<PyObject*>(request_type));
}

CallObject* make_call(CallKind kind, const std::shared_ptr<Context>& context,
                      loader_handle_t handle, const loader_open_t* open, PyObject* frame) {
  PyTypeObject* const type = kind == CallKind::kPort      ? port_type
                             : kind == CallKind::kRequest ? request_type
                                                          : params_type;
  CallObject* const call = PyObject_New(CallObject, type);
  if (call == nullptr) {
    Py_XDECREF(frame);
    return nullptr;
  }
  call->handle = handle;
  call->call = handle;
  call->frame = frame;
  call->raw = call->parameters = call->metadata = call->session_id = nullptr;
  new (&call->context) std::shared_ptr<Context>(context);
  if (open == nullptr || fill_open(call, *open)) return call;
  Py_DECREF(reinterpret_cast<PyObject*>(call));
  return nullptr;
}

Failure describe_failure(const Context& context, loader_handle_t handle,
                         const py::object& exception) noexcept {
  try {
    const auto told = context.driver.attr("failure")(exception, handle).cast<py::tuple>();
    return {told[0].cast<loader_status_t>(), told[1].cast<std::string>()};
  } catch (...) {
    PyErr_Clear();
    return {LOADER_ERROR_INTERNAL, Py_TYPE(exception.ptr())->tp_name};
  }
}

Failure take_failure(const Context& context, loader_handle_t handle) noexcept {
  PyObject* type = nullptr;
  PyObject* value = nullptr;
  PyObject* trace = nullptr;
  PyErr_Fetch(&type, &value, &trace);
  PyErr_NormalizeException(&type, &value, &trace);
  if (value != nullptr && trace != nullptr) PyException_SetTraceback(value, trace);
  Py_XDECREF(type), Py_XDECREF(trace);
  if (value == nullptr) return {LOADER_ERROR_INTERNAL, "failed without an exception"};
  return describe_failure(context, handle, py::reinterpret_steal<py::object>(value));
}

}  // namespace loader::python
