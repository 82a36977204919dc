// An engine whose entries are lambdas of the test: the third implementation of the Engine seam.
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "host/runtime.h"

namespace loader::host::test {

inline loader_status_t emit_bytes(HostRuntime& runtime, loader_handle_t handle,
                                  const std::string& data, uint32_t flags = 0) {
  loader_item_t item{};
  item.key = {"k", 1};
  item.type = LOADER_ITEM_BYTES;
  item.data.data = reinterpret_cast<const uint8_t*>(data.data());
  item.data.size = data.size();
  loader_frame_t frame{};
  frame.struct_size = sizeof frame;
  frame.item_size = sizeof item;
  frame.item_count = 1;
  frame.position = -1;
  frame.items = &item;
  return runtime.emit(handle, &frame, flags);
}

class ScriptEngine : public Engine {
 public:
  HostRuntime* runtime = nullptr;
  std::function<loader_status_t()> on_init;
  std::function<loader_status_t(loader_handle_t, loader_frame_t&)> on_exec;
  std::function<loader_status_t(void**, loader_handle_t, loader_error_t&)> on_create;
  std::function<loader_status_t(void*, loader_handle_t, loader_frame_t&)> on_write;
  std::function<loader_status_t(void*, loader_handle_t)> on_resume;
  std::function<void(void*, loader_handle_t, int32_t)> on_cancel;
  std::function<void(void*, loader_handle_t, int32_t)> on_destroy;
  std::function<void()> on_health;
  std::function<loader_status_t(uint32_t, const loader_item_t&, loader_error_t&)> on_load_resource;
  std::function<loader_status_t(uint32_t)> on_unload_resource;
  uint32_t flags = 0;

  // What was called, and on which thread.
  std::vector<std::pair<std::string, std::thread::id>> calls() {
    std::lock_guard lock(mutex_);
    return calls_;
  }
  int count(const std::string& name) {
    std::lock_guard lock(mutex_);
    int found = 0;
    for (const auto& [call, thread] : calls_) found += call == name ? 1 : 0;
    return found;
  }

  loader_status_t load(std::string_view, std::string_view, loader_error_t&) noexcept override {
    return note("load"), LOADER_OK;
  }
  Identity identity() noexcept override {
    Identity mine;
    mine.flags = flags;
    return mine;
  }
  loader_status_t init(HostRuntime& host, const loader_config_t&,
                       loader_error_t&) noexcept override {
    runtime = &host;
    note("init");
    return on_init ? on_init() : LOADER_OK;
  }
  loader_status_t warm_up(loader_error_t&) noexcept override { return note("warm_up"), LOADER_OK; }
  loader_status_t update(const loader_config_t&, loader_error_t&) noexcept override {
    return note("update"), LOADER_OK;
  }
  loader_status_t health(loader_error_t&) noexcept override {
    if (on_health) on_health();
    return note("health"), LOADER_OK;
  }
  loader_status_t load_resource(uint32_t id, const loader_item_t& resource,
                                loader_error_t& error) noexcept override {
    note("load " + std::to_string(id));
    return on_load_resource ? on_load_resource(id, resource, error) : LOADER_OK;
  }
  loader_status_t unload_resource(uint32_t id, loader_error_t&) noexcept override {
    note("unload " + std::to_string(id));
    return on_unload_resource ? on_unload_resource(id) : LOADER_OK;
  }
  void fini() noexcept override { note("fini"); }
  loader_status_t exec(loader_handle_t call, const loader_open_t&, loader_frame_t& frame,
                       loader_error_t&) noexcept override {
    note("exec");
    return on_exec ? on_exec(call, frame) : LOADER_OK;
  }
  loader_status_t create(loader_handle_t handle, const loader_open_t&, void** session,
                         loader_error_t& error) noexcept override {
    note("create");
    return on_create ? on_create(session, handle, error) : LOADER_OK;
  }
  loader_status_t write(void* session, loader_handle_t call, loader_frame_t& frame,
                        loader_error_t&) noexcept override {
    note("write");
    return on_write ? on_write(session, call, frame) : LOADER_OK;
  }
  loader_status_t end(void*, loader_handle_t, loader_error_t&) noexcept override {
    return note("end"), LOADER_OK;
  }
  loader_status_t resume(void* session, loader_handle_t call, loader_error_t&) noexcept override {
    note("resume");
    return on_resume ? on_resume(session, call) : LOADER_OK;
  }
  void cancel(void* session, loader_handle_t handle, int32_t reason) noexcept override {
    note("cancel");
    if (on_cancel) on_cancel(session, handle, reason);
  }
  void destroy(void* session, loader_handle_t handle, int32_t reason) noexcept override {
    note("destroy " + std::to_string(reason));
    if (on_destroy) on_destroy(session, handle, reason);
  }
  void batch_begin() noexcept override { note("batch_begin"); }

 private:
  void note(const std::string& name) {
    std::lock_guard lock(mutex_);
    calls_.emplace_back(name, std::this_thread::get_id());
  }
  std::mutex mutex_;
  std::vector<std::pair<std::string, std::thread::id>> calls_;
};

}  // namespace loader::host::test
