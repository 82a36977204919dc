// The list of guarded descriptors is global because pthread_atfork is: its handlers take no
// argument and can never be removed. It is a chain of blocks of atomics that only ever grows, so
// that the child, which may call only async-signal-safe functions, can walk it.
#include "channel/fork_guard.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <mutex>

namespace loader::channel {

namespace {

constexpr int kFree = -1;
constexpr size_t kSlots = 256;

struct Slot {
  std::atomic<int> fd{kFree};
};
struct Block {
  std::array<Slot, kSlots> slots;
  std::atomic<Block*> next{nullptr};
};

// Later blocks are never freed: a fork may come at any time.
constinit Block first;
std::once_flag once;

// /dev/null takes the place of the descriptor: the number stays taken, so no later file of the
// child can be mistaken for the channel by code that still remembers it.
void replace_in_child() {
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (Block* block = &first; block != nullptr; block = block->next.load()) {
    for (Slot& slot : block->slots) {
      const int fd = slot.fd.load(std::memory_order_relaxed);
      if (fd == kFree) continue;
      if (null < 0 || dup3(null, fd, O_CLOEXEC) < 0) close(fd);
    }
  }
  if (null >= 0) close(null);
}

std::atomic<int>* claim(Block& block, int fd) {
  for (Slot& slot : block.slots) {
    int expected = kFree;
    if (slot.fd.compare_exchange_strong(expected, fd, std::memory_order_relaxed)) return &slot.fd;
  }
  return nullptr;
}

// The block behind this one, made if there is none.
Block& behind(Block& block) {
  if (Block* next = block.next.load()) return *next;
  auto fresh = std::make_unique<Block>();
  Block* found = nullptr;
  return block.next.compare_exchange_strong(found, fresh.get()) ? *fresh.release() : *found;
}

}  // namespace

// Relaxed slots: one is claimed by one compare-exchange, and fork() itself orders what the
// forking thread did before it. A guard made by another thread during a fork may be missed; its
// descriptor is then open in a child that has not learned of it.
ForkGuard::ForkGuard(int fd) {
  std::call_once(once, [] { pthread_atfork(nullptr, nullptr, replace_in_child); });
  if (fd < 0) return;
  Block* block = &first;
  while ((slot_ = claim(*block, fd)) == nullptr) block = &behind(*block);
}

ForkGuard::~ForkGuard() {
  if (slot_ != nullptr) slot_->store(kFree, std::memory_order_relaxed);
}

}  // namespace loader::channel
