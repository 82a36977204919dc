// The native engine host's program: arguments in, exit code out.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "channel/lifeline.h"
#include "host/check.h"
#include "host/native_engine.h"
#include "host/runtime.h"

namespace {

constexpr int kExitUsage = 64;
constexpr int kExitLoaderGone = 3;

int serve(loader::host::RuntimeOptions options) {
  options.runtime_name = "loader-host";
  loader::host::NativeEngine engine;
  loader::host::HostRuntime runtime(engine, std::move(options));
  const int code = runtime.run();
  std::fflush(nullptr);
  if (code == kExitLoaderGone) loader::channel::kill_own_group();
  // The operating system is the destructor: what a wrapper left running must not hold up the end.
  ::_exit(code);
}

int run(const std::vector<std::string>& arguments) {
  std::vector<std::string> rest;
  auto options = loader::host::parse_options(arguments, &rest);
  if (rest.size() == 2 && rest[0] == "--check") return loader::host::check_library(rest[1]);
  if (rest.size() == 1 && rest[0] == "--version") {
    std::printf("loader-host %s\n", options.package_version.c_str());
    return 0;
  }
  if (!rest.empty()) {
    std::fprintf(stderr,
                 "loader-host: unknown argument '%s'. `loader` starts this program; by "
                 "hand: loader-host --check FILE\n",
                 rest[0].c_str());
    return kExitUsage;
  }
  return serve(std::move(options));
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGINT, SIG_IGN);  // a terminal's Ctrl-C is for the loader, which stops its hosts
  try {
    return run(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "loader-host: %s\n", error.what());
    return kExitUsage;
  }
}
