// Brings a native engine up inside the loader: on the data plane's own threads where it declares
// non_blocking, else the host runtime on threads of its own, over a channel like any host's. For
// wrappers that are trusted: what they break is the loader.
#pragma once

#include <memory>

#include "server/instance_control.h"

namespace loader::server {

// Loads the library on a thread of the instance's own, which stays its main thread and ends with
// it. The instance ends with the reason where the library cannot be loaded.
void start_inline_host(std::shared_ptr<InstanceControl> control);

}  // namespace loader::server
