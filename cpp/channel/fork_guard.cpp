// The list of guarded descriptors is global because pthread_atfork is: its handlers take no
// argument and can never be removed. It is a fixed array of atomics, so that the child, which may
// call only async-signal-safe functions, can walk it.
#include "channel/fork_guard.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <mutex>

namespace loader::channel {

namespace {

constexpr int kFree = -1;
constexpr int kSlots = 256;

struct Slot {
  std::atomic<int> fd{kFree};
};
std::array<Slot, kSlots> guarded;
std::once_flag once;

// /dev/null takes the place of the descriptor: the number stays taken, so no later file of the
// child can be mistaken for the channel by code that still remembers it.
void replace_in_child() {
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (Slot& slot : guarded) {
    const int fd = slot.fd.load(std::memory_order_relaxed);
    if (fd == kFree) continue;
    if (null < 0 || dup3(null, fd, O_CLOEXEC) < 0) close(fd);
  }
  if (null >= 0) close(null);
}

}  // namespace

// Relaxed everywhere: a slot is claimed by one compare-exchange, and fork() itself orders what the
// forking thread did before it. A guard made by another thread during a fork may be missed; its
// descriptor is then open in a child that has not learned of it.
ForkGuard::ForkGuard(int fd) {
  std::call_once(once, [] { pthread_atfork(nullptr, nullptr, replace_in_child); });
  for (int i = 0; i < kSlots && fd >= 0; ++i) {
    int expected = kFree;
    if (guarded[i].fd.compare_exchange_strong(expected, fd, std::memory_order_relaxed)) {
      slot_ = i;
      return;
    }
  }
}

ForkGuard::~ForkGuard() {
  if (slot_ >= 0) guarded[slot_].fd.store(kFree, std::memory_order_relaxed);
}

}  // namespace loader::channel
