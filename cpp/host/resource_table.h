// Which personal resources an engine holds and which of its sessions and calls use them, so that
// none is unloaded under one that does. Any thread. Refuses to know engines, sessions and records.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "channel/bodies.h"
#include "host/outcome.h"

namespace loader::host {

// The parameter of a session or call that names resources.
inline constexpr std::string_view kResourceIds = "resource_ids";
// Numbers in `[1, 2]`, `1` or `"1,2"`. Throws std::invalid_argument.
std::vector<uint32_t> read_resource_ids(std::string_view json);

// No resource has that number.
Outcome unknown_resource(std::string why);

class ResourceTable {
 public:
  using Job = std::function<void()>;

  // ---- around the engine's load
  // False: it is being unloaded.
  bool begin_load(uint32_t id);
  // What runs now: an unload that was asked for meanwhile, if any.
  Job end_load(uint32_t id, bool is_loaded);

  // ---- around the engine's unload
  // From here on nobody may name it. `unload` is for when nobody uses it any more: for now, where
  // that becomes `now`. False: it is not loaded, or is being unloaded already.
  bool leave(uint32_t id, Job unload, Job& now);
  // The engine has it, as far as a load has succeeded.
  bool holds(uint32_t id) const;
  void remove(uint32_t id);

  // ---- sessions and calls
  // What `parameters` name, all or none of it, is `used` until release(). Not OK: what is wrong.
  Outcome use(std::span<const channel::PairView> parameters, std::vector<uint32_t>& used);
  // What runs now.
  std::vector<Job> release(std::span<const uint32_t> ids);

 private:
  struct Entry {
    bool is_loaded = false;
    bool is_leaving = false;
    uint32_t loads = 0;  // that run
    uint32_t uses = 0;
    Job unload;  // waits for the last load and use
    bool is_idle() const { return loads == 0 && uses == 0; }
  };
  std::string take(std::span<const uint32_t> ids);

  mutable std::mutex mutex_;
  std::map<uint32_t, Entry> entries_;
};

}  // namespace loader::host
