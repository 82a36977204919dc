// loader-dev: the data plane with one native engine process and no control plane, for end-to-end
// runs and benchmarks from C++. Not installed.
//
//   loader-dev HOST_PROGRAM WRAPPER.so [ADDRESS] [--slots N] [--shards N] [--threads N] [--inline]
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "server/server.h"

namespace {

using loader::server::Event;
using loader::server::InstanceSeed;
using loader::server::Server;

volatile sig_atomic_t g_is_stopping = 0;

struct Settings {
  std::string host, wrapper, address = "127.0.0.1:0";
  loader::server::ServerOptions server;
  loader::server::EngineOptions engine;
  bool is_inline = false;
};

Settings parse(int argc, char** argv) {
  Settings settings;
  settings.engine.slots = 64;
  std::vector<std::string> plain;
  for (int i = 1; i < argc; i++) {
    std::string word = argv[i];
    if (word == "--inline") {
      settings.is_inline = true;
    } else if (word.starts_with("--") && i + 1 < argc) {
      auto number = static_cast<uint32_t>(std::atoi(argv[++i]));
      if (word == "--slots") settings.engine.slots = number;
      if (word == "--shards") settings.server.shards = number;
      if (word == "--threads") settings.engine.threads = number;
      if (word == "--call-timeout-ms") settings.engine.call_timeout_ms = number;
    } else {
      plain.push_back(word);
    }
  }
  if (plain.size() < 2) {
    std::fprintf(stderr, "usage: loader-dev HOST_PROGRAM WRAPPER.so [ADDRESS] [--slots N] ...\n");
    std::exit(2);
  }
  settings.host = std::filesystem::absolute(plain[0]);
  settings.wrapper = std::filesystem::absolute(plain[1]);
  if (plain.size() > 2) settings.address = plain[2];
  settings.engine.directory = std::filesystem::path(settings.wrapper).parent_path();
  settings.engine.entry = std::filesystem::path(settings.wrapper).filename();
  settings.engine.language = "native";
  return settings;
}

int spawn(const Settings& settings, const InstanceSeed& seed) {
  std::vector<std::string> words = {settings.host};
  words.insert(words.end(), seed.arguments.begin(), seed.arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  int pid = fork();
  if (pid != 0) return pid;
  setsid();
  for (int fd : seed.fds) fcntl(fd, F_SETFD, 0);
  execv(argv[0], argv.data());
  _exit(127);
}

void start_engine(Server& server, const Settings& settings, uint32_t engine) {
  if (settings.is_inline) {
    server.start_inline(engine, 0, settings.wrapper);
    return;
  }
  InstanceSeed seed = server.prepare_instance(engine, 0);
  server.attach_instance(seed.instance, spawn(settings, seed));
}

void print(const Event& event) {
  std::fprintf(stderr, "%s", event.kind.c_str());
  for (const auto& [key, value] : event.fields) {
    if (const auto* text = std::get_if<std::string>(&value)) {
      std::fprintf(stderr, " %s=%s", key.c_str(), text->c_str());
    } else if (const auto* number = std::get_if<int64_t>(&value)) {
      std::fprintf(stderr, " %s=%lld", key.c_str(), static_cast<long long>(*number));
    }
  }
  std::fprintf(stderr, "\n");
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings = parse(argc, argv);
  signal(SIGPIPE, SIG_IGN);
  struct sigaction action {};
  action.sa_handler = [](int) { g_is_stopping = 1; };
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  Server server(settings.server);
  server.start();
  std::string bound = server.listen(settings.address, "public");
  uint32_t engine = server.add_engine("echo", "1", settings.engine);
  loader::server::Changes changes;
  changes.routes["echo"] = {{engine, {}, 100, {}, {}}};
  server.apply(changes);
  start_engine(server, settings, engine);
  while (g_is_stopping == 0) {
    pollfd waiting{server.event_fd(), POLLIN, 0};
    if (poll(&waiting, 1, -1) <= 0) continue;
    for (const Event& event : server.take_events()) {
      print(event);
      if (event.kind == "instance_ready") {
        std::printf("{\"grpc\": \"%s\"}\n", bound.c_str());
        std::fflush(stdout);
      }
    }
  }
  server.stop();
  while (waitpid(-1, nullptr, WNOHANG) > 0) {
  }
  return 0;
}
