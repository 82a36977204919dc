// Takes channel descriptors away from forked children: there the number stays taken but leads
// nowhere, so a child can neither speak for its parent nor keep the channel open. (exec is covered
// by close-on-exec.)
#pragma once

namespace loader::channel {

// At most 256 at a time; more are not protected. Any thread.
class ForkGuard {
 public:
  explicit ForkGuard(int fd);
  ~ForkGuard();
  ForkGuard(const ForkGuard&) = delete;
  ForkGuard& operator=(const ForkGuard&) = delete;

 private:
  int slot_ = -1;
};

}  // namespace loader::channel
