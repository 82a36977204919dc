// The in-process host of loader.testing; see local_host.h.
#include "python/local_host.h"

#include <pybind11/stl.h>

#include <chrono>
#include <limits>
#include <set>
#include <utility>

#include "host/outcome.h"
#include "python/frame_object.h"

namespace loader::python {

namespace {

constexpr std::size_t kErrorBytes = 4096;

PyObject* engine_failure = nullptr;  // the exception class, made with the module

loader_string_t string_of(const std::string& text) {
  return {text.data(), text.size()};
}

// What a caller attaches, kept alive for the time of one call.
struct Opening {
  std::vector<std::pair<std::string, std::string>> texts;
  std::vector<loader_pair_t> pairs;
  loader_open_t open{};

  explicit Opening(const py::dict& parameters) {
    for (const auto& [name, json] : parameters) {
      texts.emplace_back(name.cast<std::string>(), json.cast<std::string>());
    }
    for (const auto& [name, json] : texts) pairs.push_back({string_of(name), string_of(json)});
    open.struct_size = sizeof(open);
    open.parameter_count = static_cast<uint32_t>(pairs.size());
    open.parameters = pairs.data();
  }
};

}  // namespace

class LocalHost::LocalOutlet final : public Outlet {
 public:
  using End = std::pair<loader_status_t, std::string>;

  explicit LocalOutlet(uint32_t window) : window_(window) {}

  loader_status_t emit(loader_handle_t handle, loader_frame_t* frame,
                       uint32_t flags) noexcept override {
    const PyGILState_STATE state = PyGILState_Ensure();
    const loader_status_t status = keep(handle, frame, flags);
    PyGILState_Release(state);
    return status;
  }

  loader_status_t finish(loader_handle_t call, loader_status_t status,
                         std::string_view message) noexcept override {
    const std::lock_guard lock(mutex_);
    if (!open_.contains(call) || failed_.contains(call)) return LOADER_ERROR_CLOSED;
    if (finished_.contains(call)) return LOADER_ERROR_ARGUMENT;
    finished_[call] = {status, std::string(message)};
    changed_.notify_all();
    return LOADER_OK;
  }

  loader_status_t fail(loader_handle_t handle, loader_status_t status,
                       std::string_view message) noexcept override {
    if (!host::is_error(status)) return LOADER_ERROR_ARGUMENT;
    {
      const std::lock_guard lock(mutex_);
      if (is_over(handle)) return LOADER_ERROR_CLOSED;
      failed_[handle] = {status, std::string(message)};
    }
    wake(handle);
    return LOADER_OK;
  }

  void log(loader_handle_t, int32_t level, std::string_view text) noexcept override {
    const std::lock_guard lock(mutex_);
    lines_.emplace_back(level, text);
  }
  void meter(loader_handle_t handle, std::string_view unit, double amount) noexcept override {
    const std::lock_guard lock(mutex_);
    usage_[handle].emplace_back(unit, amount);
  }
  void trace(loader_handle_t, std::string_view, std::string_view) noexcept override {}
  int64_t deadline(loader_handle_t) noexcept override {
    return std::numeric_limits<int64_t>::max();
  }
  bool is_cancelled(loader_handle_t handle) noexcept override {
    const std::lock_guard lock(mutex_);
    return is_over(handle);
  }
  void on_credit(loader_handle_t handle, std::function<void()> callback) noexcept override {
    std::unique_lock lock(mutex_);
    if (has_credit(handle) || is_over(handle)) {
      lock.unlock();
      return callback();
    }
    waiting_.emplace_back(handle, std::move(callback));
  }
  void blocking_begin() noexcept override {}
  void blocking_end() noexcept override {}

  void open(uint64_t handle) {
    const std::lock_guard lock(mutex_);
    open_.insert(handle);
  }
  void close(uint64_t handle) {
    std::vector<py::object> untaken;  // let go of outside the lock
    {
      const std::lock_guard lock(mutex_);
      open_.erase(handle);
      cancelled_.erase(handle);
      finished_.erase(handle);
      failed_.erase(handle);
      if (auto found = results_.extract(handle)) untaken = std::move(found.mapped());
    }
    wake(handle);
  }
  void cancel(uint64_t handle) {
    {
      const std::lock_guard lock(mutex_);
      cancelled_.insert(handle);
    }
    wake(handle);
  }

  // Takes the results and gives their credit back. With the GIL.
  py::list take(uint64_t handle) {
    std::vector<py::object> taken;
    {
      const std::lock_guard lock(mutex_);
      taken.swap(results_[handle]);
    }
    py::list frames;
    for (py::object& frame : taken) frames.append(std::move(frame));
    const py::gil_scoped_release unlocked;
    wake(handle);
    return frames;
  }

  std::optional<End> failure(uint64_t handle) {
    const std::lock_guard lock(mutex_);
    const auto found = failed_.find(handle);
    return found == failed_.end() ? std::nullopt : std::optional(found->second);
  }

  // Waits for finish or fail, taking results meanwhile so that emit never waits for ever. Without
  // the GIL.
  std::optional<End> wait(uint64_t call, double timeout_s, const std::function<void()>& drain) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(timeout_s);
    std::unique_lock lock(mutex_);
    for (;;) {
      if (const auto failed = failed_.find(call); failed != failed_.end()) return failed->second;
      const auto found = finished_.find(call);
      if (found != finished_.end()) return take_finished(found);
      if (window_ != 0 && !results_[call].empty()) {
        lock.unlock();
        drain();
        lock.lock();
        continue;
      }
      if (changed_.wait_until(lock, until) == std::cv_status::timeout) return std::nullopt;
    }
  }

  std::vector<std::pair<int32_t, std::string>> lines() {
    const std::lock_guard lock(mutex_);
    return lines_;
  }
  std::vector<std::pair<std::string, double>> usage(uint64_t handle) {
    const std::lock_guard lock(mutex_);
    return usage_[handle];
  }

 private:
  using Ends = std::map<uint64_t, End>;

  End take_finished(Ends::iterator found) {
    End result = std::move(found->second);
    finished_.erase(found);
    return result;
  }

  bool is_over(uint64_t handle) const {
    return !open_.contains(handle) || cancelled_.contains(handle) || failed_.contains(handle);
  }
  bool has_credit(uint64_t handle) { return window_ == 0 || results_[handle].size() < window_; }

  loader_status_t keep(loader_handle_t handle, loader_frame_t* frame, uint32_t flags) noexcept {
    auto made = py::reinterpret_steal<py::object>(make_frame(*frame));
    if (!made) {
      PyErr_Clear();
      return LOADER_ERROR_ARGUMENT;
    }
    const py::gil_scoped_release unlocked;
    std::unique_lock lock(mutex_);
    while (!is_over(handle) && !has_credit(handle)) {
      if ((flags & LOADER_EMIT_NOWAIT) != 0) return LOADER_AGAIN;
      changed_.wait(lock);
    }
    if (is_over(handle)) return LOADER_ERROR_CLOSED;
    results_[handle].push_back(std::move(made));
    changed_.notify_all();
    return LOADER_OK;
  }

  void wake(uint64_t handle) {
    std::vector<std::function<void()>> due;
    {
      const std::lock_guard lock(mutex_);
      for (auto& [waiting, callback] : waiting_) {
        if (waiting == handle) due.push_back(std::move(callback));
      }
      std::erase_if(waiting_, [handle](const auto& entry) { return entry.first == handle; });
      changed_.notify_all();
    }
    for (const auto& callback : due) callback();
  }

  const uint32_t window_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<uint64_t> open_;
  std::set<uint64_t> cancelled_;
  std::map<uint64_t, std::vector<py::object>> results_;
  Ends finished_;
  Ends failed_;
  std::vector<std::pair<uint64_t, std::function<void()>>> waiting_;
  std::vector<std::pair<int32_t, std::string>> lines_;
  std::map<uint64_t, std::vector<std::pair<std::string, double>>> usage_;
};

LocalHost::LocalHost(py::object driver, const std::string& directory, const std::string& entry,
                     const std::string& config_json, uint32_t window)
    : directory_(directory), text_(kErrorBytes, '\0') {
  error_.struct_size = sizeof(error_);
  error_.capacity = kErrorBytes;
  error_.message = text_.data();
  engine_ = std::make_unique<PythonEngine>(std::move(driver));
  raise_on_error(engine_->load(directory, entry, error_));
  auto outlet = std::make_unique<LocalOutlet>(window);
  outlet_ = outlet.get();
  raise_on_error(engine_->init_with(std::move(outlet), config(config_json), error_));
  is_open_ = true;
  raise_on_error(engine_->warm_up(error_));
}

LocalHost::~LocalHost() {
  close();
}

loader_config_t LocalHost::config(const std::string& json) const {
  static const std::string kName = "testing";
  loader_config_t config{};
  config.struct_size = sizeof(config);
  config.engine = string_of(kName);
  config.directory = string_of(directory_);
  config.json = string_of(json);
  config.slots = config.threads = 1;
  return config;
}

void LocalHost::raise_on_error(loader_status_t status) {
  if (status == LOADER_OK) return;
  const std::string message(error_.message, error_.size);
  error_.size = 0;
  PyErr_SetObject(engine_failure, py::make_tuple(status, message).ptr());
  throw py::error_already_set();
}

// Resumes a parked call and waits for a pending one.
loader_status_t LocalHost::settle(void* session, uint64_t handle, loader_status_t status,
                                  double timeout_s) {
  py::list taken;
  while (status == host::kParked) {
    for (const py::handle frame : outlet_->take(handle)) taken.append(frame);
    status = engine_->resume(session, handle, error_);
  }
  if (status == LOADER_PENDING) {
    const auto drain = [&] {
      const py::gil_scoped_acquire gil;
      for (const py::handle frame : outlet_->take(handle)) taken.append(frame);
    };
    std::optional<LocalOutlet::End> finished;
    {
      const py::gil_scoped_release unlocked;
      finished = outlet_->wait(handle, timeout_s, drain);
    }
    if (!finished) {
      PyErr_SetString(PyExc_TimeoutError, "the call returned PENDING and finish never came");
      throw py::error_already_set();
    }
    status = finished->first;
    write_error(error_, finished->second);
  }
  held_.insert_or_assign(handle, taken);
  return status;
}

py::list LocalHost::complete(uint64_t handle, loader_status_t status) {
  py::list results = held_.contains(handle) ? held_[handle] : py::list();
  held_.erase(handle);
  for (const py::handle frame : outlet_->take(handle)) results.append(frame);
  raise_if_failed(handle);
  raise_on_error(status);
  return results;
}

// What the wrapper said by fail counts, whatever became of a call.
void LocalHost::raise_if_failed(uint64_t session) {
  const auto failure = outlet_->failure(session);
  if (!failure) return;
  write_error(error_, failure->second);
  raise_on_error(failure->first);
}

py::list LocalHost::exec(const py::object& frame, const py::dict& parameters, double timeout_s) {
  const uint64_t handle = next_handle_++;
  const Opening opening(parameters);
  const OutFrame::Lease input = OutFrame::lease();
  input->assign(frame.ptr(), -1, Outputs());
  outlet_->open(handle);
  try {
    const loader_status_t status = settle(
        nullptr, handle, engine_->exec(handle, opening.open, *input->frame(), error_), timeout_s);
    py::list results = complete(handle, status);
    outlet_->close(handle);
    return results;
  } catch (...) {
    outlet_->close(handle);
    throw;
  }
}

uint64_t LocalHost::create(const py::dict& parameters, double) {
  const uint64_t handle = next_handle_++;
  const Opening opening(parameters);
  outlet_->open(handle);
  void* session = nullptr;
  const loader_status_t status = engine_->create(handle, opening.open, &session, error_);
  if (status != LOADER_OK) outlet_->close(handle);
  raise_on_error(status);
  sessions_[handle] = session;
  return handle;
}

py::list LocalHost::write(uint64_t session, const py::object& frame, double timeout_s) {
  void* const state = sessions_.at(session);
  raise_if_failed(session);
  const OutFrame::Lease input = OutFrame::lease();
  input->assign(frame.ptr(), -1, Outputs());
  input->frame()->seq = ++seq_[session];
  return complete(
      session,
      settle(state, session, engine_->write(state, session, *input->frame(), error_), timeout_s));
}

py::list LocalHost::end(uint64_t session, double timeout_s) {
  void* const state = sessions_.at(session);
  raise_if_failed(session);
  return complete(session, settle(state, session, engine_->end(state, session, error_), timeout_s));
}

void LocalHost::cancel(uint64_t session, int32_t reason) {
  outlet_->cancel(session);
  engine_->cancel(sessions_.at(session), session, reason);
}

void LocalHost::destroy(uint64_t session, int32_t reason) {
  void* const state = sessions_.at(session);
  sessions_.erase(session);
  seq_.erase(session);
  outlet_->cancel(session);
  engine_->cancel(nullptr, session, reason);  // ends a coroutine, as the runtime does
  engine_->destroy(state, session, reason);
  outlet_->close(session);
}

py::list LocalHost::take(uint64_t session) {
  py::list results = outlet_->take(session);
  if (results.empty()) raise_if_failed(session);
  return results;
}

py::list LocalHost::usage(uint64_t session) {
  return py::cast(outlet_->usage(session));
}

py::list LocalHost::log_lines() {
  return py::cast(outlet_->lines());
}

void LocalHost::update(const std::string& config_json) {
  raise_on_error(engine_->update(config(config_json), error_));
}

void LocalHost::health() {
  raise_on_error(engine_->health(error_));
}

void LocalHost::close() {
  if (!is_open_) return;
  is_open_ = false;
  while (!sessions_.empty()) destroy(sessions_.begin()->first, LOADER_REASON_LOADER_GONE);
  engine_->fini();
}

void add_local_host(py::module_& module) {
  engine_failure = PyErr_NewExceptionWithDoc("loader._host.EngineFailure",
                                             "(status, message) as the loader would receive them.",
                                             nullptr, nullptr);
  module.attr("EngineFailure") = py::reinterpret_borrow<py::object>(engine_failure);
  py::class_<LocalHost>(module, "LocalHost")
      .def(py::init<py::object, std::string, std::string, std::string, uint32_t>(),
           py::arg("driver"), py::arg("directory"), py::arg("entry"), py::arg("config_json"),
           py::arg("window"))
      .def("exec", &LocalHost::exec)
      .def("create", &LocalHost::create)
      .def("write", &LocalHost::write)
      .def("end", &LocalHost::end)
      .def("cancel", &LocalHost::cancel)
      .def("destroy", &LocalHost::destroy)
      .def("take", &LocalHost::take)
      .def("usage", &LocalHost::usage)
      .def("log_lines", &LocalHost::log_lines)
      .def("update", &LocalHost::update)
      .def("health", &LocalHost::health)
      .def("close", &LocalHost::close);
}

}  // namespace loader::python
