// A native engine inside the loader: the host runtime on a thread of its own, over a channel like any
// host's. For engines that may block; non-blocking ones have inline_port.h.
#pragma once

#include <string>
#include <thread>
#include <vector>

#include "channel/endpoint.h"

namespace loader::server {

// The thread ends when the runtime does: after FINI, or when the channels are gone.
std::thread run_inline_host(std::vector<channel::HostDescriptors> descriptors,
                            const std::string& path);

}  // namespace loader::server
