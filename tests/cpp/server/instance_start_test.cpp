// The start of an instance on several shards when the starting thread is slow. A program of its
// own: it replaces operator new, so that a marked thread loses time at every allocation it makes.
#include <gtest/gtest.h>
#include <poll.h>

#include <chrono>
#include <cstdlib>
#include <new>
#include <set>
#include <thread>

#include "server/server.h"

namespace {

constexpr auto kLost = std::chrono::milliseconds(20);
constexpr auto kLimit = std::chrono::seconds(20);

thread_local bool is_slow = false;

struct Slow {
  Slow() { is_slow = true; }
  ~Slow() { is_slow = false; }
};

}  // namespace

[[gnu::noinline]] void* operator new(size_t size) {
  if (is_slow) std::this_thread::sleep_for(kLost);
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}

namespace loader::server {
namespace {

// The first engine has the number 1; until a moment ago engines were named instead.
template <class AnyServer>
uint64_t start_echo(AnyServer& server, uint32_t index) {
  const std::string library = ECHO_LIBRARY;
  if constexpr (requires { server.start_inline(1u, index, library); }) {
    return server.start_inline(1u, index, library);
  } else {
    return server.start_inline("echo", "1", index, library);
  }
}

// The instances among `wanted` whose ready event does not come in time.
std::set<uint64_t> never_ready(Server& server, std::set<uint64_t> wanted) {
  auto end = std::chrono::steady_clock::now() + kLimit;
  while (!wanted.empty() && std::chrono::steady_clock::now() < end) {
    pollfd waiting{server.event_fd(), POLLIN, 0};
    poll(&waiting, 1, 100);
    for (const Event& event : server.take_events()) {
      if (event.kind != "instance_ready") continue;
      for (const auto& [key, value] : event.fields) {
        if (key == "instance") wanted.erase(static_cast<uint64_t>(std::get<int64_t>(value)));
      }
    }
  }
  return wanted;
}

// Every shard has its link before INIT is answered, however long the starting thread takes between
// one shard and the next: else the instance would never be ready.
TEST(InstanceStart, InitWaitsForTheLinksOfAllShards) {
  ServerOptions options;
  options.shards = 3;
  options.arena_bytes = 1 << 20;
  Server server(options);
  server.start();
  EngineOptions engine;
  engine.isolation = Isolation::kInline;
  server.add_engine("echo", "1", engine);
  std::set<uint64_t> started;
  for (uint32_t index = 0; index < 2; index++) {
    Slow slow;
    started.insert(start_echo(server, index));
  }
  EXPECT_EQ(never_ready(server, started), std::set<uint64_t>());
  server.stop();
}

}  // namespace
}  // namespace loader::server
