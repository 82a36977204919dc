#include "server/inline_host.h"

#include <exception>
#include <thread>
#include <utility>

#include "host/native_engine.h"
#include "host/outcome.h"
#include "host/runtime.h"
#include "server/inline_engine.h"

namespace loader::server {
namespace {

using Control = std::shared_ptr<InstanceControl>;

bool never_blocks(host::NativeEngine& engine) {
  return (engine.identity().flags & channel::kIsNonBlocking) != 0;
}

void serve_on_data_plane(Control control, std::unique_ptr<host::NativeEngine> loaded) {
  auto engine = std::make_shared<InlineEngine>(std::move(loaded));
  if (!control->attach_inline(engine)) return;
  control.reset();
  engine->serve();
}

void serve_on_own_threads(Control control, host::NativeEngine& engine) {
  host::RuntimeOptions options;
  options.owns_process = false;
  options.runtime_name = "inline";
  for (channel::HostDescriptors& one : control->attach_own_threads()) {
    options.channels.push_back(
        {one.socket.release(), one.arena_in.release(), one.arena_out.release()});
  }
  control.reset();
  if (options.channels.empty()) return;
  host::HostRuntime runtime(engine, std::move(options));
  runtime.run();
}

void run(Control control) {
  auto engine = std::make_unique<host::NativeEngine>();
  host::ErrorRoom room;
  const EngineOptions options = control->shared().engine->options();
  const loader_status_t status = engine->load(options.directory, options.entry, room.error());
  if (status != LOADER_OK)
    return control->end({ErrorCode::BAD_WRAPPER, 0, room.outcome(status).message});
  if (never_blocks(*engine)) return serve_on_data_plane(std::move(control), std::move(engine));
  serve_on_own_threads(std::move(control), *engine);
}

}  // namespace

void start_inline_host(Control control) {
  control->begin_inline();
  std::thread([control = std::move(control)]() mutable {
    const std::weak_ptr<InstanceControl> owner = control;
    try {
      run(std::move(control));
    } catch (const std::exception& error) {  // no descriptor, no memory
      if (const Control left = owner.lock()) left->end({ErrorCode::INIT_FAILED, 0, error.what()});
    }
  }).detach();
}

}  // namespace loader::server
