// Slots of one engine: generations, the queue by priority and age, live resize.
#include "session/slots.h"

#include <algorithm>

namespace loader::session {

SlotPool::SlotPool(GrantSink& sink, uint32_t slots_per_instance, uint32_t queue_limit)
    : sink_(sink), slots_per_instance_(slots_per_instance), queue_limit_(queue_limit) {}

const SlotPool::Instance* SlotPool::find(InstanceId id) const {
  for (const Instance& instance : instances_) {
    if (instance.id == id) return &instance;
  }
  return nullptr;
}

SlotPool::Instance* SlotPool::find(InstanceId id) {
  return const_cast<Instance*>(static_cast<const SlotPool*>(this)->find(id));
}

SlotPool::Instance* SlotPool::most_free() {
  Instance* best = nullptr;
  for (Instance& instance : instances_) {
    if (!instance.is_accepting || instance.used >= slots_per_instance_) continue;
    if (best == nullptr || instance.used < best->used) best = &instance;
  }
  return best;
}

Slot SlotPool::take(Instance& instance) {
  uint32_t index;
  if (instance.free.empty()) {
    index = static_cast<uint32_t>(instance.generations.size());
    instance.generations.push_back(0);
    instance.free.reserve(instance.generations.size());  // so that release() never allocates
  } else {
    index = instance.free.back();
    instance.free.pop_back();
  }
  ++instance.used;
  return {instance.id, index, ++instance.generations[index]};
}

Admission SlotPool::acquire(SessionId session, int32_t priority, bool may_wait, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (!is_available_) return {{}, {}, ErrorCode::ENGINE_UNAVAILABLE};
  // Whoever waits is first: whatever frees a slot grants until the queue or the slots are used up.
  Instance* instance = waiting_.empty() ? most_free() : nullptr;
  if (instance != nullptr) return {take(*instance), {}, ErrorCode::kNone};
  if (!may_wait) {
    const bool is_served = std::any_of(instances_.begin(), instances_.end(),
                                       [](const Instance& i) { return i.is_accepting; });
    return {{}, {}, is_served ? ErrorCode::NO_FREE_SLOT : ErrorCode::ENGINE_UNAVAILABLE};
  }
  const bool is_full = waiting_bytes_ > 0 && waiting_bytes_ + bytes > kMaxWaitingBytes;
  if (waiting_.size() >= queue_limit_ || is_full) return {{}, {}, ErrorCode::QUEUE_FULL};
  const Ticket ticket{priority, ++last_ticket_};
  waiting_.emplace(ticket, Waiter{session, bytes});
  waiting_bytes_ += bytes;
  return {{}, ticket, ErrorCode::kNone};
}

bool SlotPool::cancel(const Ticket& ticket) {
  const std::lock_guard lock(mutex_);
  const auto found = waiting_.find(ticket);
  if (found == waiting_.end()) return false;
  waiting_bytes_ -= found->second.bytes;
  waiting_.erase(found);
  return true;
}

bool SlotPool::release(const Slot& slot) {
  std::optional<Grant> grant;
  {
    const std::lock_guard lock(mutex_);
    Instance* instance = find(slot.instance);
    if (instance == nullptr || slot.index >= instance->generations.size()) return false;
    uint32_t& generation = instance->generations[slot.index];
    if (generation != slot.generation || generation % 2 == 0) return false;
    ++generation;
    instance->free.push_back(slot.index);
    --instance->used;
    if (instance->is_retired && instance->used == 0) {
      std::erase_if(instances_, [&](const Instance& i) { return i.id == slot.instance; });
    }
    grant = next_grant();
  }
  if (grant) sink_.post_grant(*grant);
  return true;
}

std::optional<Grant> SlotPool::next_grant() {
  if (waiting_.empty()) return std::nullopt;
  Instance* instance = most_free();
  if (instance == nullptr) return std::nullopt;
  const auto first = waiting_.begin();
  Grant grant{shared_from_this(), first->second.session, take(*instance)};
  waiting_bytes_ -= first->second.bytes;
  waiting_.erase(first);
  return grant;
}

std::optional<Grant> SlotPool::next_grant_locked() {
  const std::lock_guard lock(mutex_);
  return next_grant();
}

// Several threads may do this at once; each takes the next grant under the lock.
void SlotPool::grant_waiting() {
  while (const std::optional<Grant> grant = next_grant_locked()) sink_.post_grant(*grant);
}

void SlotPool::add_instance(InstanceId id) {
  {
    const std::lock_guard lock(mutex_);
    if (find(id) != nullptr) return;
    Instance instance;
    instance.id = id;
    instances_.push_back(std::move(instance));
  }
  grant_waiting();
}

void SlotPool::set_accepting(InstanceId id, bool is_accepting) {
  {
    const std::lock_guard lock(mutex_);
    Instance* instance = find(id);
    if (instance == nullptr || instance->is_retired) return;
    instance->is_accepting = is_accepting;
  }
  grant_waiting();
}

void SlotPool::retire_instance(InstanceId id) {
  const std::lock_guard lock(mutex_);
  Instance* instance = find(id);
  if (instance == nullptr) return;
  instance->is_accepting = false;
  instance->is_retired = true;
  if (instance->used == 0) std::erase_if(instances_, [&](const Instance& i) { return i.id == id; });
}

void SlotPool::set_slots_per_instance(uint32_t slots) {
  {
    const std::lock_guard lock(mutex_);
    slots_per_instance_ = slots;
  }
  grant_waiting();
}

void SlotPool::set_queue_limit(uint32_t limit) {
  const std::lock_guard lock(mutex_);
  queue_limit_ = limit;
}

void SlotPool::set_available(bool is_available) {
  const std::lock_guard lock(mutex_);
  is_available_ = is_available;
}

bool SlotPool::is_accepting(InstanceId id) const {
  const std::lock_guard lock(mutex_);
  const Instance* instance = find(id);
  return instance != nullptr && instance->is_accepting;
}

uint32_t SlotPool::used(InstanceId id) const {
  const std::lock_guard lock(mutex_);
  const Instance* instance = find(id);
  return instance == nullptr ? 0 : instance->used;
}

void SlotPool::count_hung(InstanceId id) {
  const std::lock_guard lock(mutex_);
  if (Instance* instance = find(id)) ++instance->hung;
}

void SlotPool::uncount_hung(InstanceId id) {
  const std::lock_guard lock(mutex_);
  Instance* instance = find(id);
  if (instance != nullptr && instance->hung > 0) --instance->hung;
}

uint32_t SlotPool::hung(InstanceId id) const {
  const std::lock_guard lock(mutex_);
  const Instance* instance = find(id);
  return instance == nullptr ? 0 : instance->hung;
}

SlotPoolState SlotPool::state() const {
  const std::lock_guard lock(mutex_);
  SlotPoolState state;
  for (const Instance& instance : instances_) {
    state.used += instance.used;
    if (!instance.is_accepting) continue;
    state.slots += slots_per_instance_;
    ++state.instances;
  }
  state.waiting = static_cast<uint32_t>(waiting_.size());
  return state;
}

}  // namespace loader::session
