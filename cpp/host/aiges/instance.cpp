#include "host/aiges/instance.h"

#include <algorithm>
#include <stdexcept>

#include "host/aiges/arguments.h"
#include "host/outcome.h"
#include "host/resource_table.h"

namespace loader::host::aiges {

namespace {

constexpr size_t kMostTextBytes = 1900;  // of wrapperError: what follows must fit the host's room

std::string cut(std::string_view text) {
  return std::string(whole_text(text.substr(0, kMostTextBytes)));
}

std::string_view view(const loader_string_t& text) {
  return text.size == 0 ? std::string_view() : std::string_view(text.data, text.size);
}

}  // namespace

Failure thrown(int code, const char* what) noexcept {
  try {
    return {code, cut(what) + ";code=-1"};
  } catch (...) {  // no memory
    return {code, {}};
  }
}

loader_status_t tell(const Failure& failure, loader_error_t& error) {
  error.size = static_cast<uint32_t>(failure.text.copy(error.message, error.capacity));
  return failure.code;
}

void Instance::log(loader_handle_t handle, int32_t level, const std::string& text) const {
  host_.log(host_.host, handle, level, text.data(), text.size());
}

Failure Instance::explained(int code, int number) const noexcept {
  try {
    const char* text = functions_.error(number);
    return {code, cut(text == nullptr ? "" : text) + ";code=" + std::to_string(number)};
  } catch (...) {
    return thrown(code, ("wrapperError threw for " + std::to_string(number)).c_str());
  }
}

Opening Instance::opening(const loader_open_t& open) const {
  Opening made;
  bool has_sid = false;
  for (uint32_t i = 0; i < open.parameter_count; ++i) {
    const std::string_view key = view(open.parameters[i].key);
    const std::string_view value = view(open.parameters[i].value);
    if (key == kResourceIds) {
      made.resources = read_resource_ids(value);
      continue;
    }
    has_sid = has_sid || key == "sid";
    made.params.emplace_back(key, text_of(value));
  }
  if (!has_sid) made.params.emplace_back("sid", "");
  return made;
}

// ---- personal resources

Failure Instance::load_resource(unsigned int id, const loader_item_t& resource) {
  if (functions_.load_res == nullptr)
    return {LOADER_ERROR_UNSUPPORTED, "the library exports no wrapperLoadRes"};
  Arguments arguments;
  loader_item_t personal = resource;
  personal.type = LOADER_ITEM_BYTES;
  arguments.add_item(personal, kEnd);
  return run(kLoadResFailed, [&] { return functions_.load_res(arguments.nodes(), id); });
}

Failure Instance::unload_resource(unsigned int id) {
  if (functions_.unload_res == nullptr) return {};
  return run(kUnloadResFailed, [&] { return functions_.unload_res(id); });
}

// ---- callbacks in progress

void Instance::enter() {
  std::lock_guard lock(mutex_);
  ++visitors_;
}

void Instance::leave() {
  std::lock_guard lock(mutex_);
  --visitors_;
  changed_.notify_all();
}

void Instance::wait_until_left() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return visitors_ == 0; });
}

}  // namespace loader::host::aiges
