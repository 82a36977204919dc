#include "host/native_engine.h"

#include <exception>
#include <string>

#include "host/runtime.h"

namespace loader::host {

namespace {

void say(loader_error_t& error, std::string_view text) {
  error.size = static_cast<uint32_t>(text.copy(error.message, error.capacity));
}

// Positive numbers are the wrapper's own; of ours only those that an entry may return.
loader_status_t known(loader_status_t status, const char* entry, loader_error_t& error) {
  const bool is_known = status >= LOADER_ERROR_UNAVAILABLE && status != LOADER_AGAIN;
  if (is_known) return status;
  say(error, std::string(entry) + " returned " + std::to_string(status) +
                 ", which is no status an entry may return");
  return LOADER_ERROR_INTERNAL;
}

// Nothing a wrapper throws passes: the table is C, but the library may be C++.
template <typename Call>
loader_status_t guarded(const char* entry, loader_error_t& error, Call&& call) noexcept {
  // The wrapper may change every member before it throws: what we say goes into our own room.
  const loader_error_t room = error;
  const auto take_back = [&] {
    error.message = room.message;
    error.capacity = room.capacity;
  };
  try {
    const loader_status_t status = call();
    take_back();
    return known(status, entry, error);
  } catch (const std::exception& thrown) {
    take_back();
    say(error, std::string(entry) + " threw through the C ABI: " + thrown.what());
  } catch (...) {
    take_back();
    say(error, std::string(entry) + " threw through the C ABI");
  }
  return LOADER_ERROR_INTERNAL;
}

template <typename Call>
void guarded_void(Call&& call) noexcept {
  try {
    call();
  } catch (...) {  // fini, cancel and destroy have nobody to tell
  }
}

}  // namespace

loader_status_t NativeEngine::load(std::string_view directory, std::string_view entry,
                                   loader_error_t& error) noexcept {
  try {
    const std::string file = std::string(directory) + "/" + std::string(entry);
    if (!library_ || library_->file() != file) library_.emplace(Library::load(file));
    return LOADER_OK;
  } catch (const std::exception& refusal) {
    say(error, refusal.what());
  } catch (...) {
    say(error, "the library threw something while it was loaded");
  }
  return LOADER_ERROR_UNSUPPORTED;
}

Identity NativeEngine::identity() noexcept {
  const loader_wrapper_t& table = library_->table();
  return {library_->flags(), table.abi_major, table.abi_minor,
          table.name,        table.version,   library_->describe_json()};
}

loader_status_t NativeEngine::init(HostRuntime& runtime, const loader_config_t& config,
                                   loader_error_t& error) noexcept {
  return init(*runtime.host_table(), config, error);
}

loader_status_t NativeEngine::init(const loader_host_t& host, const loader_config_t& config,
                                   loader_error_t& error) noexcept {
  instance_ = library_->first_instance();
  return guarded("init", error,
                 [&] { return library_->table().init(&host, &config, &instance_, &error); });
}

loader_status_t NativeEngine::warm_up(loader_error_t& error) noexcept {
  if (library_->warm_up() == nullptr) return LOADER_OK;
  return guarded("warm_up", error, [&] { return library_->warm_up()->warm_up(instance_, &error); });
}

loader_status_t NativeEngine::update(const loader_config_t& config,
                                     loader_error_t& error) noexcept {
  if (library_->update() == nullptr) return LOADER_ERROR_UNSUPPORTED;
  return guarded("update", error,
                 [&] { return library_->update()->update(instance_, &config, &error); });
}

loader_status_t NativeEngine::health(loader_error_t& error) noexcept {
  if (library_->health() == nullptr) return LOADER_OK;
  return guarded("check", error, [&] { return library_->health()->check(instance_, &error); });
}

loader_status_t NativeEngine::load_resource(uint32_t id, const loader_item_t& resource,
                                            loader_error_t& error) noexcept {
  if (library_->resources() == nullptr) return LOADER_ERROR_UNSUPPORTED;
  return guarded("load", error,
                 [&] { return library_->resources()->load(instance_, id, &resource, &error); });
}

loader_status_t NativeEngine::unload_resource(uint32_t id, loader_error_t& error) noexcept {
  if (library_->resources() == nullptr) return LOADER_ERROR_UNSUPPORTED;
  return guarded("unload", error,
                 [&] { return library_->resources()->unload(instance_, id, &error); });
}

void NativeEngine::fini() noexcept {
  guarded_void([&] { library_->table().fini(instance_); });
}

loader_status_t NativeEngine::exec(loader_handle_t call, const loader_open_t& open,
                                   loader_frame_t& request, loader_error_t& error) noexcept {
  if (library_->table().exec == nullptr) {
    say(error, "this engine has no one-shot calls: open a session");
    return LOADER_ERROR_UNSUPPORTED;
  }
  return guarded("exec", error,
                 [&] { return library_->table().exec(instance_, call, &open, &request, &error); });
}

loader_status_t NativeEngine::create(loader_handle_t handle, const loader_open_t& open,
                                     void** session, loader_error_t& error) noexcept {
  if (library_->table().create == nullptr) {
    say(error, "this engine has no sessions: use one-shot calls");
    return LOADER_ERROR_UNSUPPORTED;
  }
  return guarded("create", error, [&] {
    return library_->table().create(instance_, handle, &open, session, &error);
  });
}

loader_status_t NativeEngine::write(void* session, loader_handle_t call, loader_frame_t& frame,
                                    loader_error_t& error) noexcept {
  return guarded("write", error,
                 [&] { return library_->table().write(session, call, &frame, &error); });
}

loader_status_t NativeEngine::end(void* session, loader_handle_t call,
                                  loader_error_t& error) noexcept {
  if (library_->table().end == nullptr) return LOADER_OK;
  return guarded("end", error, [&] { return library_->table().end(session, call, &error); });
}

void NativeEngine::cancel(void* session, loader_handle_t, int32_t reason) noexcept {
  if (session == nullptr || library_->table().cancel == nullptr) return;
  guarded_void([&] { library_->table().cancel(session, reason); });
}

void NativeEngine::destroy(void* session, loader_handle_t, int32_t reason) noexcept {
  guarded_void([&] { library_->table().destroy(session, reason); });
}

}  // namespace loader::host
