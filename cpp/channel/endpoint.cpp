// Both ends of a channel.
#include "channel/endpoint.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <stdexcept>
#include <system_error>

#include "channel/bodies.h"

namespace loader::channel {

namespace {

// As large as the kernel allows: a batch then leaves in one call. Not vital, so errors are ignored.
void enlarge(int fd) {
  const int size = 1024 * 1024;
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

std::shared_ptr<Mapping> map_arena(int fd, bool is_writable) {
  struct stat status {};
  if (fstat(fd, &status) != 0) {
    throw std::system_error(errno, std::generic_category(), "looking at an arena's descriptor");
  }
  if (status.st_size <= 0 || !is_safe_to_map(fd, static_cast<uint64_t>(status.st_size))) {
    throw std::runtime_error("descriptor " + std::to_string(fd) +
                             " is not a sealed arena; start engine hosts through the loader");
  }
  return Mapping::map(fd, static_cast<size_t>(status.st_size), is_writable);
}

Endpoint join(UniqueFd socket, Side me, std::shared_ptr<Mapping> out, std::shared_ptr<Mapping> in) {
  Endpoint endpoint;
  endpoint.socket = std::make_unique<ChannelSocket>(std::move(socket), me);
  endpoint.out = OutArena::create(std::move(out));
  endpoint.in = std::make_unique<InArena>(std::move(in));
  return endpoint;
}

}  // namespace

std::pair<Endpoint, HostDescriptors> create_channel(size_t arena_bytes) {
  int ends[2] = {-1, -1};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    throw std::system_error(errno, std::generic_category(), "creating the channel's socket pair");
  }
  UniqueFd mine(ends[0]);
  HostDescriptors host;
  host.socket.reset(ends[1]);
  enlarge(mine.get());
  enlarge(host.socket.get());
  ArenaFile to_host = create_arena(ArenaWriter::kLoader, arena_bytes);
  ArenaFile from_host = create_arena(ArenaWriter::kHost, arena_bytes);
  host.arena_in = std::move(to_host.fd);
  host.arena_out = std::move(from_host.fd);
  return {join(std::move(mine), Side::kLoader, to_host.mapping, from_host.mapping),
          std::move(host)};
}

Endpoint open_channel(HostDescriptors descriptors) {
  std::shared_ptr<Mapping> in = map_arena(descriptors.arena_in.get(), false);
  std::shared_ptr<Mapping> out = map_arena(descriptors.arena_out.get(), true);
  return join(std::move(descriptors.socket), Side::kHost, std::move(out), std::move(in));
}

bool append_releases(Endpoint& endpoint, std::vector<uint32_t>& scratch) {
  endpoint.in->take_released(scratch);
  if (scratch.empty()) return false;
  const std::span<const uint32_t> blocks(scratch);
  endpoint.socket->append(RecordType::kRelease, 0,
                          {reinterpret_cast<const uint8_t*>(blocks.data()), blocks.size_bytes()});
  return true;
}

}  // namespace loader::channel
