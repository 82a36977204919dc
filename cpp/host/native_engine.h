// Runs a native wrapper library, or one of AIGES, behind the Engine seam. What a wrapper does wrong
// at the border (exceptions, statuses that mean nothing) ends here.
#pragma once

#include <optional>
#include <string>

#include "host/engine.h"
#include "host/library.h"

namespace loader::host {

class NativeEngine final : public Engine {
 public:
  // wrapper.h promises a thread at a time for each session, not which.
  bool wants_main_thread() const noexcept override { return false; }
  loader_status_t load(std::string_view directory, std::string_view entry,
                       loader_error_t& error) noexcept override;
  Identity identity() noexcept override;
  loader_status_t init(HostRuntime& runtime, const loader_config_t& config,
                       loader_error_t& error) noexcept override;
  // The same with any table; what an inline host without a runtime calls.
  loader_status_t init(const loader_host_t& host, const loader_config_t& config,
                       loader_error_t& error) noexcept;
  loader_status_t warm_up(loader_error_t& error) noexcept override;
  loader_status_t update(const loader_config_t& config, loader_error_t& error) noexcept override;
  loader_status_t health(loader_error_t& error) noexcept override;
  loader_status_t load_resource(uint32_t id, const loader_item_t& resource,
                                loader_error_t& error) noexcept override;
  loader_status_t unload_resource(uint32_t id, loader_error_t& error) noexcept override;
  void fini() noexcept override;
  loader_status_t exec(loader_handle_t call, const loader_open_t& open, loader_frame_t& request,
                       loader_error_t& error) noexcept override;
  loader_status_t create(loader_handle_t handle, const loader_open_t& open, void** session,
                         loader_error_t& error) noexcept override;
  loader_status_t write(void* session, loader_handle_t call, loader_frame_t& frame,
                        loader_error_t& error) noexcept override;
  loader_status_t end(void* session, loader_handle_t call, loader_error_t& error) noexcept override;
  void cancel(void* session, loader_handle_t handle, int32_t reason) noexcept override;
  void destroy(void* session, loader_handle_t handle, int32_t reason) noexcept override;

 private:
  std::optional<Library> library_;
  void* instance_ = nullptr;
};

}  // namespace loader::host
