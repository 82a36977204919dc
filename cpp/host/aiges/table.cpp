// The entries of wrapper.h over an AIGES library. Nothing passes them but a status and its text.
#include <memory>
#include <stdexcept>
#include <utility>

#include "host/aiges/callbacks.h"
#include "host/aiges/exec.h"
#include "host/aiges/library.h"
#include "host/aiges/stream.h"
#include "host/aiges/tags.h"

namespace loader::host::aiges {

namespace {

using InstancePointer = std::shared_ptr<Instance>;
using StreamPointer = std::shared_ptr<Stream>;

const InstancePointer& instance_of(void* instance) {
  return *static_cast<InstancePointer*>(instance);
}

Stream& stream_of(void* session) {
  return **static_cast<StreamPointer*>(session);
}

// std::invalid_argument is the caller's mistake, or the configuration's.
template <typename Call>
loader_status_t guarded(loader_error_t* error, Call&& call) noexcept {
  Failure failure{LOADER_ERROR_MEMORY, {}};
  try {
    return call();
  } catch (const std::invalid_argument& wrong) {
    failure = {LOADER_ERROR_INVALID_INPUT, wrong.what()};
  } catch (const std::exception& wrong) {
    failure = {LOADER_ERROR_INTERNAL, wrong.what()};
  } catch (...) {
    failure = {LOADER_ERROR_INTERNAL, "the AIGES adapter failed"};
  }
  return tell(failure, *error);
}

// Who it is, and what is missing and does no harm until somebody wonders.
void log_facts(const Instance& instance, const AigesLibrary& library) {
  const loader_wrapper_t& table = library.table();
  instance.log(0, LOADER_LOG_INFO,
               std::string("AIGES library ") + table.name + ", version " + table.version +
                   (instance.settings().is_async ? ", results by callback" : ", results are read"));
  const Symbols& symbols = library.symbols();
  for (const std::string& symbol : symbols.mangled())
    instance.log(0, LOADER_LOG_WARNING,
                 symbol + " is exported as " + symbols.mangled_name(symbol) +
                     " only and is not used: its parameters differ from AIGES's prototype");
}

void set_controls(const Instance& instance) {
  const auto set_ctrl = instance.functions().set_ctrl;
  if (set_ctrl == nullptr) return;
  MeterCustom meter = on_meter;
  TraceLog trace = on_trace;
  instance.run(0, [&] { return set_ctrl(kMeterCustom, reinterpret_cast<void*>(meter)), 0; });
  instance.run(0, [&] { return set_ctrl(kTraceLog, reinterpret_cast<void*>(trace)), 0; });
}

void ask_version(AigesLibrary& library, const Instance& instance) {
  if (library.functions().version == nullptr) return;
  instance.run(0, [&] {
    const char* version = library.functions().version();
    library.set_version(version == nullptr ? "" : version);
    return 0;
  });
}

loader_status_t init(const loader_host_t* host, const loader_config_t* config, void** instance,
                     loader_error_t* error) {
  return guarded(error, [&]() -> loader_status_t {
    auto& library = *static_cast<AigesLibrary*>(*instance);
    const Config values = read_config({config->json.data, config->json.size});
    auto made = std::make_unique<InstancePointer>(
        std::make_shared<Instance>(library.functions(), *host, values.settings));
    set_controls(**made);
    Arguments arguments;
    const Failure failure = (*made)->run(
        kInitFailed, [&] { return library.functions().init(arguments.pairs(values.pairs)); });
    if (failure) return tell(failure, *error);
    ask_version(library, **made);
    log_facts(**made, library);
    *instance = made.release();
    return LOADER_OK;
  });
}

// Whoever calls back later finds no session any more.
void fini(void* instance) {
  const std::unique_ptr<InstancePointer> owner(static_cast<InstancePointer*>(instance));
  Instance& self = **owner;
  if (self.functions().fini != nullptr) self.run(0, [&] { return self.functions().fini(), 0; });
  Tags::of_process().remove_all(self);
  self.wait_until_left();
}

loader_status_t exec_entry(void* instance, loader_handle_t call, const loader_open_t* open,
                           loader_frame_t* request, loader_error_t* error) {
  return guarded(error, [&] { return exec(instance_of(instance), call, *open, *request, *error); });
}

loader_status_t create(void* instance, loader_handle_t handle, const loader_open_t* open,
                       void** session, loader_error_t* error) {
  return guarded(error, [&]() -> loader_status_t {
    Opening opening = instance_of(instance)->opening(*open);
    auto made =
        std::make_unique<StreamPointer>(std::make_shared<Stream>(instance_of(instance), handle));
    const char* tag = Tags::of_process().add(*made);
    const loader_status_t status = (*made)->create(tag, std::move(opening), *error);
    if (status == LOADER_OK) *session = made.release();
    return status;
  });
}

loader_status_t write(void* session, loader_handle_t call, loader_frame_t* frame,
                      loader_error_t* error) {
  return guarded(error, [&] { return stream_of(session).write(call, *frame, *error); });
}

loader_status_t end(void* session, loader_handle_t call, loader_error_t* error) {
  return guarded(error, [&] { return stream_of(session).end(call, *error); });
}

void cancel(void* session, int32_t) {
  stream_of(session).cancel();
}

void destroy(void* session, int32_t) {
  const std::unique_ptr<StreamPointer> owner(static_cast<StreamPointer*>(session));
  (*owner)->destroy();
}

// ---- extensions

loader_status_t load_resource(void* instance, uint32_t id, const loader_item_t* resource,
                              loader_error_t* error) {
  return guarded(error,
                 [&] { return tell(instance_of(instance)->load_resource(id, *resource), *error); });
}

loader_status_t unload_resource(void* instance, uint32_t id, loader_error_t* error) {
  return guarded(error, [&] { return tell(instance_of(instance)->unload_resource(id), *error); });
}

const void* get_extension(const char* id) {
  static const loader_ext_resources_t resources = {
      .struct_size = sizeof(loader_ext_resources_t),
      .reserved = 0,
      .load = load_resource,
      .unload = unload_resource,
  };
  return std::string_view(id) == LOADER_EXT_RESOURCES ? &resources : nullptr;
}

}  // namespace

const loader_wrapper_t& all_entries() {
  static const loader_wrapper_t table = {
      .abi_major = LOADER_ABI_MAJOR,
      .abi_minor = LOADER_ABI_MINOR,
      .struct_size = sizeof(loader_wrapper_t),
      .reserved = 0,
      .name = "",
      .version = "",
      .describe = nullptr,
      .init = init,
      .fini = fini,
      .exec = exec_entry,
      .create = create,
      .write = write,
      .end = end,
      .cancel = cancel,
      .destroy = destroy,
      .get_extension = get_extension,
  };
  return table;
}

}  // namespace loader::host::aiges
