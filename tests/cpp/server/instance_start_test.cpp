// The start of an instance on several shards when the starting thread is slow. A program of its
// own: it replaces operator new, so that a marked thread loses time at every allocation it makes.
#include <gtest/gtest.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <new>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "server/server.h"

namespace {

constexpr auto kLost = std::chrono::milliseconds(100);
constexpr auto kLimit = std::chrono::seconds(60);

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

// A real loader-host with the seed's descriptors, leading its own process group.
pid_t spawn(const InstanceSeed& seed) {
  std::vector<std::string> words = {LOADER_HOST};
  words.insert(words.end(), seed.arguments.begin(), seed.arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (int fd : seed.fds) posix_spawn_file_actions_adddup2(&actions, fd, fd);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  pid_t pid = 0;
  EXPECT_EQ(posix_spawn(&pid, LOADER_HOST, &actions, &attributes, argv.data(), environ), 0);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return pid;
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
  engine.directory = std::filesystem::path(ECHO_LIBRARY).parent_path();
  engine.entry = std::filesystem::path(ECHO_LIBRARY).filename();
  const uint32_t added = server.add_engine("echo", "1", engine);
  const InstanceSeed seed = server.prepare_instance(added, 0);
  const pid_t pid = spawn(seed);
  {
    Slow slow;
    server.attach_instance(seed.instance, pid);
  }
  EXPECT_EQ(never_ready(server, {seed.instance}), std::set<uint64_t>());
  server.stop();
  EXPECT_EQ(waitpid(pid, nullptr, 0), pid);
}

}  // namespace
}  // namespace loader::server
