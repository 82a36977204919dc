// Notices in a host that the loader is gone, says so, and makes sure that nothing outlives it.
// Refuses to know what a host has to tidy up: that is the callback's.
//
// Two signs, because each has a hole: end of file on the lifeline pipe (a stranger may hold the
// loader's end), and the parent-death signal (it is sent for the loader's spawning thread).
#pragma once

#include <chrono>
#include <functional>
#include <thread>

#include "channel/unique_fd.h"

namespace loader::channel {

struct LifelineOptions {
  std::chrono::milliseconds kill_after{2000};
  int parent_pid = 0;  // 0: getppid() at construction
};

class Lifeline {
 public:
  // `on_gone` runs at most once, on a thread of its own. `kill_after` later the process group is
  // killed whatever happens; return from main earlier through kill_own_group().
  Lifeline(UniqueFd pipe, std::function<void()> on_gone, LifelineOptions options = {});
  // Stops watching.
  ~Lifeline();
  Lifeline(const Lifeline&) = delete;
  Lifeline& operator=(const Lifeline&) = delete;

 private:
  void run();
  bool wait_until_gone();
  bool is_orphan() const;
  void arm_parent_death_signal() const;

  UniqueFd pipe_;
  UniqueFd wake_;  // written by the signal handler
  UniqueFd stop_;  // written by the destructor
  std::function<void()> on_gone_;
  LifelineOptions options_;
  std::thread thread_;
};

// A pipe whose read end goes to the host and whose write end the loader keeps open.
struct LifelinePipe {
  UniqueFd loader_end;
  UniqueFd host_end;
};
LifelinePipe create_lifeline();

// SIGKILL to the process group if this process leads it, else to this process alone.
[[noreturn]] void kill_own_group();

}  // namespace loader::channel
