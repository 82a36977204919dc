// One one-shot call: wrapperExec and wrapperExecFree, or wrapperExecAsync and its first callback.
#pragma once

#include <memory>

#include "host/aiges/instance.h"
#include "loader/wrapper.h"

namespace loader::host::aiges {

// As loader_wrapper_t::exec; what it throws is std::invalid_argument for the caller's mistakes.
loader_status_t exec(const std::shared_ptr<Instance>& instance, loader_handle_t call,
                     const loader_open_t& open, const loader_frame_t& request,
                     loader_error_t& error);

}  // namespace loader::host::aiges
