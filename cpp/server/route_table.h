// Which engine gets a new session: by name and version, by labels, by capabilities, by weight. One
// table a shard; the control plane replaces routes whole. Also keeps what is held: opens for a name
// whose engine is being replaced in place wait here. Knows no sessions and no calls.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "loop/event_loop.h"
#include "server/envelope.h"
#include "server/options.h"

namespace loader::server {

// An open or exec that waits for a route; its front. Gets exactly one of the two calls, or leaves.
class HeldOpen {
 public:
  virtual void on_released() = 0;
  virtual void on_hold_refused(const ErrorReport& error) = 0;

 protected:
  ~HeldOpen() = default;
};

class RouteTable {
 public:
  explicit RouteTable(EventLoop& loop);

  // Empty: the name is no longer served. Ends a hold of the name; what was held is released by the
  // caller through take_released(), when everything else of the change is in place, too.
  void set(const std::string& name, const std::vector<RouteTarget>& targets);
  void hold(const std::string& name, int64_t wait_ns);
  void release();

  bool is_known(std::string_view name) const;
  // The held name that the request asks for, by name, or by capabilities that nothing else here
  // has; null: none.
  const std::string* held_name(const TargetView& target) const;
  // The engine for a new session; 0: none, and `why` says it.
  uint32_t choose(const TargetView& target, std::string& why);

  // Until `deadline_ns` or the hold's own limit. False: too many wait already.
  bool wait(const std::string& name, HeldOpen& open, int64_t deadline_ns);
  void leave(HeldOpen& open);

 private:
  struct Choice {
    RouteTarget target;
    int64_t current = 0;  // of the smooth weighted round robin
  };
  struct Waiting {
    HeldOpen* open;
    int64_t deadline_ns;
  };
  struct Hold {
    int64_t wait_ns = 0;
    std::vector<Choice> route;  // as it was before
    std::list<Waiting> waiting;
  };

  static bool matches(const Choice& choice, const TargetView& target);
  void collect(const TargetView& target);
  void keep_labelled(const TargetView& target);
  uint32_t pick();
  void expire();
  void arm();

  EventLoop& loop_;
  Timer timer_;
  std::map<std::string, std::vector<Choice>, std::less<>> routes_;
  std::map<std::string, Hold, std::less<>> holds_;
  std::vector<HeldOpen*> released_;
  std::vector<std::pair<HeldOpen*, std::string>> expired_;  // with the held name
  std::vector<Choice*> chosen_;                             // scratch of choose()
};

}  // namespace loader::server
