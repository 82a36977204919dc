// Runs a Python wrapper behind the Engine seam; see python_engine.h.
#include "python/python_engine.h"

#include <cstring>
#include <utility>

#include "host/runtime.h"
#include "python/frame_object.h"
#include "python/library.h"

namespace loader::python {

namespace {

// Each thread's own state, kept between its calls: making one costs 4.6 us, keeping it 0.1.
thread_local PyThreadState* parked_state = nullptr;
thread_local PyGILState_STATE begun_state = PyGILState_UNLOCKED;

// The GIL wherever the caller may or may not hold it.
class Gil {
 public:
  Gil() : state_(PyGILState_Ensure()) {}
  ~Gil() { PyGILState_Release(state_); }
  Gil(const Gil&) = delete;
  Gil& operator=(const Gil&) = delete;

 private:
  PyGILState_STATE state_;
};

std::string text_of(const loader_string_t& text) {
  return text.size == 0 ? std::string() : std::string(text.data, text.size);
}

class RuntimeOutlet final : public Outlet {
 public:
  explicit RuntimeOutlet(host::HostRuntime& runtime) : runtime_(runtime) {}
  loader_status_t emit(loader_handle_t handle, loader_frame_t* frame,
                       uint32_t flags) noexcept override {
    return runtime_.emit(handle, frame, flags);
  }
  loader_status_t finish(loader_handle_t call, loader_status_t status,
                         std::string_view message) noexcept override {
    return runtime_.finish(call, status, message);
  }
  loader_status_t fail(loader_handle_t handle, loader_status_t status,
                       std::string_view message) noexcept override {
    return runtime_.fail(handle, status, message);
  }
  void log(loader_handle_t handle, int32_t level, std::string_view text) noexcept override {
    runtime_.log(handle, level, text);
  }
  void meter(loader_handle_t handle, std::string_view unit, double amount) noexcept override {
    runtime_.meter(handle, unit, amount);
  }
  void trace(loader_handle_t handle, std::string_view key,
             std::string_view value) noexcept override {
    runtime_.trace(handle, key, value);
  }
  int64_t deadline(loader_handle_t handle) noexcept override { return runtime_.deadline(handle); }
  bool is_cancelled(loader_handle_t handle) noexcept override {
    return runtime_.is_cancelled(handle);
  }
  void on_credit(loader_handle_t handle, std::function<void()> callback) noexcept override {
    runtime_.on_credit(handle, std::move(callback));
  }
  void blocking_begin() noexcept override { runtime_.blocking_begin(); }
  void blocking_end() noexcept override { runtime_.blocking_end(); }

 private:
  host::HostRuntime& runtime_;
};

bool is_awaitable(PyObject* value) {
  if (PyCoro_CheckExact(value) || PyAsyncGen_CheckExact(value)) return true;
  const PyAsyncMethods* const methods = Py_TYPE(value)->tp_as_async;
  return methods != nullptr && (methods->am_await != nullptr || methods->am_anext != nullptr);
}

}  // namespace

void write_error(loader_error_t& error, std::string_view text) noexcept {
  std::size_t size = std::min<std::size_t>(text.size(), error.capacity);
  if (size < text.size()) {
    while (size > 0 && (static_cast<uint8_t>(text[size]) & 0xC0u) == 0x80u) --size;
  }
  if (size != 0) std::memcpy(error.message, text.data(), size);
  error.size = static_cast<uint32_t>(size);
}

struct PythonEngine::SessionState {
  Run run;
  py::object session;  // what create returned
  py::object write;    // bound methods; end, cancel and destroy may be null
  py::object end;
  py::object cancel;
  py::object destroy;
};

PythonEngine::PythonEngine(py::object driver)
    : context_(std::make_shared<Context>()), driver_(std::move(driver)) {
  context_->driver = driver_;
}

PythonEngine::~PythonEngine() {
  const Gil gil;
  context_->outlet = nullptr;
  execs_.clear();
  exec_ = create_ = driver_ = py::object();
  context_->driver = py::object();  // breaks the ring through ports that the wrapper still holds
}

// ---- cold calls: Python does the work ----------------------------------------------------------

loader_status_t PythonEngine::guarded(loader_handle_t handle, loader_error_t& error,
                                      const std::function<loader_status_t()>& body) noexcept {
  const Gil gil;
  try {
    return body();
  } catch (py::error_already_set& raised) {
    raised.restore();
  } catch (const py::builtin_exception& raised) {
    raised.set_error();
  } catch (const std::exception& raised) {
    PyErr_SetString(PyExc_RuntimeError, raised.what());
  }
  const Failure failure = take_failure(*context_, handle);
  write_error(error, failure.message);
  return failure.status;
}

loader_status_t PythonEngine::load(std::string_view directory, std::string_view entry,
                                   loader_error_t& error) noexcept {
  return guarded(0, error, [&] {
    driver_.attr("load")(std::string(directory), std::string(entry));
    return LOADER_OK;
  });
}

host::Identity PythonEngine::identity() noexcept {
  const Gil gil;
  host::Identity identity;
  try {
    const auto told = driver_.attr("identity")().cast<py::tuple>();
    identity.flags = told[0].cast<uint32_t>();
    identity.name = told[1].cast<std::string>();
    identity.version = told[2].cast<std::string>();
    identity.describe_json = told[3].cast<std::string>();
  } catch (...) {
    PyErr_Clear();  // load has computed it once already, so that this cannot raise
  }
  return identity;
}

py::object PythonEngine::driver_config(const loader_config_t& config) const {
  return py::make_tuple(text_of(config.engine), text_of(config.version), text_of(config.directory),
                        text_of(config.json), config.slots, config.threads);
}

loader_status_t PythonEngine::init(host::HostRuntime& runtime, const loader_config_t& config,
                                   loader_error_t& error) noexcept {
  return init_with(std::make_unique<RuntimeOutlet>(runtime), config, error);
}

loader_status_t PythonEngine::init_with(std::unique_ptr<Outlet> outlet,
                                        const loader_config_t& config,
                                        loader_error_t& error) noexcept {
  outlet_ = std::move(outlet);
  return guarded(0, error, [&] {
    context_->outlet = outlet_.get();
    const std::weak_ptr<Context> weak = context_;
    const py::cpp_function log([weak](int32_t level, const std::string& text) {
      const auto context = weak.lock();
      if (context && context->outlet != nullptr) context->outlet->log(0, level, text);
    });
    const py::cpp_function loop_started(
        [weak] { weak.lock()->loop_thread = PyThread_get_thread_ident(); });
    const auto told =
        driver_.attr("init")(driver_config(config), log, loop_started).cast<py::tuple>();
    if (!told[0].is_none()) exec_ = told[0];
    if (!told[1].is_none()) create_ = told[1];
    context_->outputs.default_key = told[2].cast<py::str>();
    context_->outputs.types = [&] {
      std::unordered_map<std::string, uint32_t> types;
      for (const auto& [key, name] : told[3].cast<py::dict>()) {
        types[key.cast<std::string>()] =
            number_of(Library::get().item_type_names, name, "declared type");
      }
      return types;
    }();
    context_->defaults = told[4];
    return LOADER_OK;
  });
}

loader_status_t PythonEngine::warm_up(loader_error_t& error) noexcept {
  return guarded(0, error, [&] {
    driver_.attr("warm_up")();
    return LOADER_OK;
  });
}

loader_status_t PythonEngine::update(const loader_config_t& config,
                                     loader_error_t& error) noexcept {
  return guarded(0, error, [&] {
    const bool is_offered = driver_.attr("update")(driver_config(config)).cast<bool>();
    return is_offered ? LOADER_OK : LOADER_ERROR_UNSUPPORTED;
  });
}

loader_status_t PythonEngine::health(loader_error_t& error) noexcept {
  return guarded(0, error, [&] {
    driver_.attr("health")();
    return LOADER_OK;
  });
}

loader_status_t PythonEngine::load_resource(uint32_t id, const loader_item_t& resource,
                                            loader_error_t& error) noexcept {
  return guarded(0, error, [&] {
    py::dict attributes;
    for (uint32_t i = 0; i < resource.attribute_count; ++i) {
      const loader_pair_t& pair = resource.attributes[i];
      attributes[py::str(text_of(pair.key))] = py::str(text_of(pair.value));
    }
    const auto* data = reinterpret_cast<const char*>(resource.data.data);
    driver_.attr("load_resource")(id, text_of(resource.key), py::bytes(data, resource.data.size),
                                  attributes);
    return LOADER_OK;
  });
}

loader_status_t PythonEngine::unload_resource(uint32_t id, loader_error_t& error) noexcept {
  return guarded(0, error, [&] {
    driver_.attr("unload_resource")(id);
    return LOADER_OK;
  });
}

void PythonEngine::fini() noexcept {
  const Gil gil;
  try {
    driver_.attr("fini")();
  } catch (py::error_already_set& raised) {
    raised.restore();
    take_failure(*context_, 0);
  }
  context_->outlet = nullptr;
}

// ---- hot calls ---------------------------------------------------------------------------------

// Runs `body`, which returns what the wrapper's function returned, and then sends that.
template <typename Body>
loader_status_t PythonEngine::run_call(loader_handle_t handle, Run& run, loader_error_t& error,
                                       Body&& body) noexcept {
  try {
    return body();
  } catch (py::error_already_set& raised) {
    raised.restore();
  } catch (const py::builtin_exception& raised) {
    raised.set_error();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& raised) {
    PyErr_SetString(PyExc_RuntimeError, raised.what());
  }
  const Failure failure = take_failure(*context_, handle);
  close_iterator(run);
  write_error(error, failure.message);
  return failure.status;
}

loader_status_t PythonEngine::exec(loader_handle_t call, const loader_open_t& open,
                                   loader_frame_t& request, loader_error_t& error) noexcept {
  if (!exec_) {
    write_error(error, "this engine has no one-shot calls: its wrapper defines no exec");
    return LOADER_ERROR_UNSUPPORTED;
  }
  Run run;
  const loader_status_t status = run_call(call, run, error, [&] {
    PyObject* const frame = make_frame(request);
    if (frame == nullptr) throw py::error_already_set();
    CallObject* const made = make_call(CallKind::kRequest, context_, call, &open, frame);
    if (made == nullptr) throw py::error_already_set();
    run.port = py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(made));
    PyObject* const value = PyObject_CallOneArg(exec_.ptr(), run.port.ptr());
    if (value == nullptr) throw py::error_already_set();
    return start(run, py::reinterpret_steal<py::object>(value));
  });
  return keep_exec(call, std::move(run), status);
}

loader_status_t PythonEngine::keep_exec(loader_handle_t call, Run&& run, loader_status_t status) {
  if (status == host::kParked) execs_.insert_or_assign(call, std::move(run));
  return status;
}

loader_status_t PythonEngine::create(loader_handle_t handle, const loader_open_t& open,
                                     void** session, loader_error_t& error) noexcept {
  if (!create_) {
    write_error(error, "this engine has no sessions: its wrapper defines no create");
    return LOADER_ERROR_UNSUPPORTED;
  }
  auto state = std::make_unique<SessionState>();
  const loader_status_t status = run_call(handle, state->run, error, [&] {
    CallObject* const params = make_call(CallKind::kParams, context_, handle, &open, nullptr);
    if (params == nullptr) throw py::error_already_set();
    state->run.port = py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(params));
    const auto bound = driver_.attr("create")(create_, state->run.port).cast<py::tuple>();
    state->session = bound[0];
    state->write = bound[1];
    if (!bound[2].is_none()) state->end = bound[2];
    if (!bound[3].is_none()) state->cancel = bound[3];
    if (!bound[4].is_none()) state->destroy = bound[4];
    return LOADER_OK;
  });
  if (status == LOADER_OK) *session = state.release();
  return status;
}

loader_status_t PythonEngine::write(void* session, loader_handle_t call, loader_frame_t& frame,
                                    loader_error_t& error) noexcept {
  auto& state = *static_cast<SessionState*>(session);
  return run_call(call, state.run, error, [&] {
    reinterpret_cast<CallObject*>(state.run.port.ptr())->call = call;
    PyObject* const made = make_frame(frame);
    if (made == nullptr) throw py::error_already_set();
    const auto input = py::reinterpret_steal<py::object>(made);
    PyObject* const value = PyObject_CallOneArg(state.write.ptr(), made);
    if (value == nullptr) throw py::error_already_set();
    return start(state.run, py::reinterpret_steal<py::object>(value));
  });
}

loader_status_t PythonEngine::end(void* session, loader_handle_t call,
                                  loader_error_t& error) noexcept {
  auto& state = *static_cast<SessionState*>(session);
  if (!state.end) return LOADER_OK;
  return run_call(call, state.run, error, [&] {
    reinterpret_cast<CallObject*>(state.run.port.ptr())->call = call;
    PyObject* const value = PyObject_CallNoArgs(state.end.ptr());
    if (value == nullptr) throw py::error_already_set();
    return start(state.run, py::reinterpret_steal<py::object>(value));
  });
}

loader_status_t PythonEngine::resume(void* session, loader_handle_t call,
                                     loader_error_t& error) noexcept {
  Run* run = nullptr;
  if (session != nullptr) {
    run = &static_cast<SessionState*>(session)->run;
  } else {
    const auto found = execs_.find(call);
    if (found == execs_.end()) return LOADER_ERROR_ARGUMENT;
    run = &found->second;
  }
  const loader_handle_t handle = reinterpret_cast<CallObject*>(run->port.ptr())->handle;
  const loader_status_t status = run_call(handle, *run, error, [&]() -> loader_status_t {
    if (!outlet_->is_cancelled(handle)) return drain(*run);
    close_iterator(*run);
    return LOADER_ERROR_CLOSED;
  });
  if (session == nullptr && status != host::kParked) execs_.erase(call);
  return status;
}

// ---- results -----------------------------------------------------------------------------------

// Sends what a function of the wrapper returned, or begins to.
loader_status_t PythonEngine::start(Run& run, py::object value) {
  PyObject* const object = value.ptr();
  if (object == Py_None) return LOADER_OK;
  if (PyDict_Check(object) || PyBytes_Check(object) || PyUnicode_Check(object)) {
    return deliver(run, object);
  }
  if (object == Library::get().pending.ptr()) return LOADER_PENDING;
  if (is_awaitable(object)) return submit(run, value);
  if (PyIter_Check(object) != 0) {
    run.iterator = std::move(value);
    return drain(run);
  }
  return deliver(run, object);
}

loader_status_t PythonEngine::submit(Run& run, const py::object& awaitable) {
  run.has_task = true;
  driver_.attr("submit")(run.port, awaitable);
  return LOADER_PENDING;
}

loader_status_t PythonEngine::deliver(Run& run, PyObject* value) {
  OutFrame::Lease frame = OutFrame::lease();
  frame->assign(value, -1, context_->outputs);
  run.parked = std::move(frame);
  return send_parked(run);
}

loader_status_t PythonEngine::send_parked(Run& run) {
  const loader_handle_t handle = reinterpret_cast<CallObject*>(run.port.ptr())->handle;
  const loader_status_t status = outlet_->emit(handle, run.parked->frame(), LOADER_EMIT_NOWAIT);
  if (status == LOADER_AGAIN) return host::kParked;
  run.parked.reset();
  if (status == LOADER_ERROR_ARGUMENT) {
    throw py::value_error("the host refused the result: it is not a valid frame");
  }
  return status;
}

loader_status_t PythonEngine::drain(Run& run) {
  loader_status_t status = run.parked ? send_parked(run) : LOADER_OK;
  while (status == LOADER_OK && run.iterator) {
    PyObject* const next = PyIter_Next(run.iterator.ptr());
    if (next == nullptr && PyErr_Occurred() != nullptr) throw py::error_already_set();
    if (next == nullptr) {
      run.iterator = py::object();
      return LOADER_OK;
    }
    const auto value = py::reinterpret_steal<py::object>(next);
    if (next != Py_None) status = deliver(run, next);
  }
  if (status != LOADER_OK && status != host::kParked) close_iterator(run);
  return status;
}

// A generator ends with GeneratorExit at its yield, so that its `finally` runs before destroy.
void PythonEngine::close_iterator(Run& run) noexcept {
  run.parked.reset();
  if (!run.iterator) return;
  const py::object iterator = std::exchange(run.iterator, py::object());
  if (PyObject_HasAttrString(iterator.ptr(), "close") == 0) return;
  PyObject* const closed = PyObject_CallMethod(iterator.ptr(), "close", nullptr);
  if (closed == nullptr) {
    take_failure(*context_, reinterpret_cast<CallObject*>(run.port.ptr())->handle);
  }
  Py_XDECREF(closed);
}

// ---- the end of a session ----------------------------------------------------------------------

void PythonEngine::call_user(loader_handle_t handle, const char* name, PyObject* function,
                             int32_t reason) noexcept {
  try {
    driver_.attr("call")(py::handle(function), Library::get().reason(reason));
  } catch (py::error_already_set& raised) {
    raised.restore();
    take_failure(*context_, handle);
  } catch (const std::exception& raised) {
    outlet_->log(handle, LOADER_LOG_ERROR, std::string(name) + ": " + raised.what());
  }
}

void PythonEngine::cancel(void* session, loader_handle_t handle, int32_t reason) noexcept {
  const Gil gil;
  if (session != nullptr) {
    const auto& state = *static_cast<SessionState*>(session);
    if (state.cancel) call_user(handle, "cancel", state.cancel.ptr(), reason);
  }
  try {
    driver_.attr("cancel_task")(handle);
  } catch (py::error_already_set& raised) {
    raised.restore();
    take_failure(*context_, handle);
  }
}

void PythonEngine::destroy(void* session, loader_handle_t handle, int32_t reason) noexcept {
  const Gil gil;
  const std::unique_ptr<SessionState> state(static_cast<SessionState*>(session));
  close_iterator(state->run);
  if (state->run.has_task) {
    outlet_->blocking_begin();
    try {
      driver_.attr("end_task")(handle);
    } catch (py::error_already_set& raised) {
      raised.restore();
      take_failure(*context_, handle);
    }
    outlet_->blocking_end();
  }
  if (state->destroy) call_user(handle, "destroy", state->destroy.ptr(), reason);
}

// ---- threads -----------------------------------------------------------------------------------

void PythonEngine::thread_begin() noexcept {
  begun_state = PyGILState_Ensure();
  parked_state = PyEval_SaveThread();
}

void PythonEngine::thread_end() noexcept {
  PyEval_RestoreThread(parked_state);
  parked_state = nullptr;
  PyGILState_Release(begun_state);
}

void PythonEngine::batch_begin() noexcept {
  PyEval_RestoreThread(parked_state);
}

void PythonEngine::batch_end() noexcept {
  parked_state = PyEval_SaveThread();
}

}  // namespace loader::python
