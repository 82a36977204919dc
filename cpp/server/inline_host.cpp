#include "server/inline_host.h"

#include "host/native_engine.h"
#include "host/runtime.h"

namespace loader::server {
namespace {

void serve(host::RuntimeOptions options) {
  host::NativeEngine engine;
  host::HostRuntime runtime(engine, std::move(options));
  runtime.run();
}

}  // namespace

std::thread run_inline_host(std::vector<channel::HostDescriptors> descriptors) {
  host::RuntimeOptions options;
  options.owns_process = false;
  options.runtime_name = "inline";
  for (channel::HostDescriptors& one : descriptors) {
    options.channels.push_back(
        {one.socket.release(), one.arena_in.release(), one.arena_out.release()});
  }
  return std::thread([options = std::move(options)]() mutable { serve(std::move(options)); });
}

}  // namespace loader::server
