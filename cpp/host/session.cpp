#include "host/session.h"

namespace loader::host {

bool SessionTable::add(const SessionPointer& session) {
  std::lock_guard lock(mutex_);
  if (by_wire_.contains(session->wire)) return false;
  if (free_.empty()) {
    if (slots_.size() >= (size_t{1} << engine_handle::kSlotBits)) return false;
    free_.push_back(static_cast<uint32_t>(slots_.size()));
    slots_.emplace_back();
  }
  const uint32_t index = free_.front();
  free_.pop_front();
  Slot& slot = slots_[index];
  constexpr uint32_t kGenerations = (1u << 28) - 1;
  slot.generation = slot.generation % kGenerations + 1;
  slot.session = session;
  session->handle =
      uint64_t{slot.generation} << (engine_handle::kSlotBits + engine_handle::kCallBits) | index;
  by_wire_.emplace(session->wire, session);
  return true;
}

void SessionTable::remove(const HostSession& session) {
  SessionPointer keep;  // destroyed after the lock
  std::lock_guard lock(mutex_);
  const auto found = by_wire_.find(session.wire);
  if (found == by_wire_.end() || found->second.get() != &session) return;
  keep = std::move(found->second);
  by_wire_.erase(found);
  const uint32_t index = engine_handle::slot(session.handle);
  slots_[index].session.reset();
  free_.push_back(index);
}

SessionPointer SessionTable::find_wire(uint64_t wire) const {
  std::lock_guard lock(mutex_);
  const auto found = by_wire_.find(wire);
  return found == by_wire_.end() ? nullptr : found->second;
}

SessionPointer SessionTable::find(loader_handle_t handle) const {
  std::lock_guard lock(mutex_);
  const uint32_t index = engine_handle::slot(handle);
  if (index >= slots_.size() || !slots_[index].session) return nullptr;
  const SessionPointer& session = slots_[index].session;
  return session->handle == engine_handle::base(handle) ? session : nullptr;
}

std::vector<SessionPointer> SessionTable::all() const {
  std::lock_guard lock(mutex_);
  std::vector<SessionPointer> sessions;
  sessions.reserve(by_wire_.size());
  for (const auto& [wire, session] : by_wire_) sessions.push_back(session);
  return sessions;
}

bool SessionTable::empty() const {
  std::lock_guard lock(mutex_);
  return by_wire_.empty();
}

}  // namespace loader::host
