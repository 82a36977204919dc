// Makes the three parts of a channel (socket, arena out, arena in) belong together, on either side.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "channel/arena.h"
#include "channel/socket.h"

namespace loader::channel {

struct Endpoint {
  std::unique_ptr<ChannelSocket> socket;
  std::shared_ptr<OutArena> out;
  std::unique_ptr<InArena> in;
};

// What the child inherits: `--channel FD,ARENA_IN_FD,ARENA_OUT_FD` as the host sees them.
struct HostDescriptors {
  UniqueFd socket;
  UniqueFd arena_in;   // loader to host, read-only
  UniqueFd arena_out;  // host to loader
};

// The loader's end, and the descriptors for the host (close-on-exec; the spawner passes them).
// Throws std::system_error.
std::pair<Endpoint, HostDescriptors> create_channel(size_t arena_bytes = kDefaultArenaBytes);

// The host's end. Throws std::system_error, or std::runtime_error when the files are not arenas.
Endpoint open_channel(HostDescriptors descriptors);

// Puts what InArena collected into one kRelease record. True: something was appended.
bool append_releases(Endpoint& endpoint, std::vector<uint32_t>& scratch);

}  // namespace loader::channel
