// Takes channel descriptors away from forked children: there the number stays taken but leads
// nowhere, so a child can neither speak for its parent nor keep the channel open. (exec is covered
// by close-on-exec.)
#pragma once

#include <atomic>

namespace loader::channel {

// Any number, any thread.
class ForkGuard {
 public:
  explicit ForkGuard(int fd);
  ~ForkGuard();
  ForkGuard(const ForkGuard&) = delete;
  ForkGuard& operator=(const ForkGuard&) = delete;

 private:
  std::atomic<int>* slot_ = nullptr;
};

}  // namespace loader::channel
