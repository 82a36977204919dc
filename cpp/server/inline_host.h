// A native engine inside the loader: the host runtime on a thread of its own, over a channel like
// any host's. For wrappers that are trusted: what they break is the loader.
#pragma once

#include <thread>
#include <vector>

#include "channel/endpoint.h"

namespace loader::server {

// INIT names the library. The thread ends when the runtime does: after FINI, or when the channels
// are gone.
std::thread run_inline_host(std::vector<channel::HostDescriptors> descriptors);

}  // namespace loader::server
