#include "server/route_table.h"

#include <algorithm>

namespace loader::server {
namespace {

constexpr size_t kMostHeld = 4'096;  // of one name

using Pairs = std::vector<std::pair<std::string, std::string>>;

bool contains(const std::vector<TextPair>& all, std::string_view key, std::string_view value) {
  return std::any_of(all.begin(), all.end(), [&](const TextPair& pair) {
    return pair.first == key && pair.second == value;
  });
}

// Every one of `some` is among `all`.
bool is_subset(const Pairs& some, const std::vector<TextPair>& all) {
  return std::all_of(some.begin(), some.end(),
                     [&](const auto& pair) { return contains(all, pair.first, pair.second); });
}

bool is_subset(const std::vector<TextPair>& some, const Pairs& all) {
  return std::all_of(some.begin(), some.end(), [&](const TextPair& pair) {
    return std::any_of(all.begin(), all.end(), [&](const auto& one) {
      return one.first == pair.first && one.second == pair.second;
    });
  });
}

}  // namespace

RouteTable::RouteTable(EventLoop& loop) : loop_(loop), timer_([this] { expire(); }) {}

void RouteTable::set(const std::string& name, const std::vector<RouteTarget>& targets) {
  if (targets.empty()) {
    routes_.erase(name);
  } else {
    std::vector<Choice>& route = routes_[name];
    route.clear();
    for (const RouteTarget& target : targets) route.push_back({target, 0});
  }
  auto held = holds_.find(name);
  if (held == holds_.end()) return;
  for (const Waiting& one : held->second.waiting) released_.push_back(one.open);
  holds_.erase(held);
  arm();
}

void RouteTable::release() {
  // One of them may be the end of another: each is looked up again.
  while (!released_.empty()) {
    HeldOpen* open = released_.front();
    released_.erase(released_.begin());
    open->on_released();
  }
}

void RouteTable::hold(const std::string& name, int64_t wait_ns) {
  Hold& hold = holds_[name];
  hold.wait_ns = wait_ns;
  if (auto found = routes_.find(name); found != routes_.end()) {
    hold.route = std::move(found->second);
    routes_.erase(found);
  }
}

bool RouteTable::is_known(std::string_view name) const {
  return routes_.contains(name) || holds_.contains(name);
}

const std::string* RouteTable::held_name(const TargetView& target) const {
  if (holds_.empty() || (target.engine.empty() && target.selector.empty())) return nullptr;
  if (!target.engine.empty()) {
    auto found = holds_.find(target.engine);
    return found == holds_.end() ? nullptr : &found->first;
  }
  auto has_match = [&](const std::vector<Choice>& route) {
    return std::any_of(route.begin(), route.end(),
                       [&](const Choice& choice) { return matches(choice, target); });
  };
  for (const auto& [name, route] : routes_) {
    if (has_match(route)) return nullptr;
  }
  for (const auto& [name, hold] : holds_) {
    if (has_match(hold.route)) return &name;
  }
  return nullptr;
}

// ---- the choice

bool RouteTable::matches(const Choice& choice, const TargetView& target) {
  if (!target.version.empty() && choice.target.version != target.version) return false;
  return is_subset(target.selector, choice.target.capabilities);
}

void RouteTable::collect(const TargetView& target) {
  chosen_.clear();
  auto take = [&](std::vector<Choice>& route) {
    for (Choice& choice : route) {
      if (matches(choice, target)) chosen_.push_back(&choice);
    }
  };
  if (target.engine.empty()) {
    for (auto& [name, route] : routes_) take(route);
  } else if (auto found = routes_.find(target.engine); found != routes_.end()) {
    take(found->second);
  }
}

// Versions whose labels the caller has come first; the others are for callers without labels.
void RouteTable::keep_labelled(const TargetView& target) {
  auto is_meant = [&](const Choice* choice) {
    return !choice->target.labels.empty() && is_subset(choice->target.labels, target.labels);
  };
  if (std::any_of(chosen_.begin(), chosen_.end(), is_meant)) {
    std::erase_if(chosen_, [&](const Choice* choice) { return !is_meant(choice); });
    return;
  }
  auto is_plain = [](const Choice* choice) { return choice->target.labels.empty(); };
  if (std::any_of(chosen_.begin(), chosen_.end(), is_plain)) {
    std::erase_if(chosen_, [&](const Choice* choice) { return !is_plain(choice); });
  }
}

// Smooth weighted round robin: exact shares, evenly spread. 0: every weight is 0.
uint32_t RouteTable::pick() {
  int64_t total = 0;
  Choice* best = nullptr;
  for (Choice* choice : chosen_) {
    if (choice->target.weight == 0) continue;
    choice->current += choice->target.weight;
    total += choice->target.weight;
    if (best == nullptr || choice->current > best->current) best = choice;
  }
  if (best == nullptr) return 0;
  best->current -= total;
  return best->target.engine;
}

uint32_t RouteTable::choose(const TargetView& target, std::string& why) {
  collect(target);
  if (chosen_.empty()) return 0;
  if (!target.version.empty() && !target.engine.empty()) return chosen_.front()->target.engine;
  if (chosen_.size() == 1 && chosen_.front()->target.weight != 0) {
    return chosen_.front()->target.engine;
  }
  keep_labelled(target);
  uint32_t engine = pick();
  if (engine == 0) why = "every version has weight 0; name one in target.version";
  return engine;
}

// ---- what is held

bool RouteTable::wait(const std::string& name, HeldOpen& open, int64_t deadline_ns) {
  Hold& hold = holds_.at(name);
  if (hold.waiting.size() >= kMostHeld) return false;
  hold.waiting.push_back({&open, std::min(deadline_ns, loop_.now_ns() + hold.wait_ns)});
  arm();
  return true;
}

void RouteTable::leave(HeldOpen& open) {
  std::erase(released_, &open);
  std::erase_if(expired_, [&](const auto& one) { return one.first == &open; });
  for (auto& [name, hold] : holds_) {
    hold.waiting.remove_if([&](const Waiting& one) { return one.open == &open; });
  }
}

void RouteTable::expire() {
  const int64_t now = loop_.now_ns();
  for (auto& [name, hold] : holds_) {
    for (const Waiting& one : hold.waiting) {
      if (one.deadline_ns <= now) expired_.emplace_back(one.open, name);
    }
    hold.waiting.remove_if([&](const Waiting& one) { return one.deadline_ns <= now; });
  }
  arm();
  // One refusal may be the end of another open, which then leaves.
  while (!expired_.empty()) {
    auto [open, name] = std::move(expired_.front());
    expired_.erase(expired_.begin());
    open->on_hold_refused({ErrorCode::ENGINE_UNAVAILABLE,
                           "engine " + name +
                               " is being replaced and was not ready in time; "
                               "try another node",
                           0,
                           {}});
  }
}

void RouteTable::arm() {
  int64_t first = INT64_MAX;
  for (const auto& [name, hold] : holds_) {
    for (const Waiting& one : hold.waiting) first = std::min(first, one.deadline_ns);
  }
  if (first == INT64_MAX) return timer_.cancel();
  timer_.set(loop_, first);
}

}  // namespace loader::server
