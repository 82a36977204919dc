// A forked child has no channel: it cannot speak, and it does not keep the parent's open.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "channel/endpoint.h"
#include "channel/fork_guard.h"

namespace loader::channel {
namespace {

struct Ignore : RecordSink {
  bool on_record(RecordView&) override { return true; }
};

int wait_for(pid_t child) {
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return status;
}

// A forked child that does nothing until end().
class WaitingChild {
 public:
  WaitingChild() {
    EXPECT_EQ(pipe(hold_), 0);
    child_ = fork();
    if (child_ == 0) {
      close(hold_[1]);
      char byte = 0;
      _exit(read(hold_[0], &byte, 1) == 0 ? 0 : 1);
    }
    close(hold_[0]);
  }
  int end() const {
    close(hold_[1]);
    return wait_for(child_);
  }

 private:
  int hold_[2] = {-1, -1};
  pid_t child_ = -1;
};

// The child lives on when its parent's channel closes; the peer still sees the end.
TEST(Fork, a_child_does_not_keep_the_channel_open) {
  auto [loader, descriptors] = create_channel(1 << 20);
  auto host = std::make_unique<Endpoint>(open_channel(std::move(descriptors)));
  WaitingChild child;
  host.reset();
  pollfd fd{loader.socket->fd(), POLLIN, 0};
  ASSERT_EQ(poll(&fd, 1, 60'000), 1);
  Ignore sink;
  EXPECT_EQ(loader.socket->read(sink), ReadStatus::kClosed);
  EXPECT_EQ(child.end(), 0);
}

// What a child writes to the number it remembers reaches nobody.
TEST(Fork, a_child_cannot_speak_on_the_channel) {
  auto [loader, descriptors] = create_channel(1 << 20);
  Endpoint host = open_channel(std::move(descriptors));
  const pid_t child = fork();
  if (child == 0) {
    host.socket->append(RecordType::kPong, 0);
    _exit(host.socket->flush() == FlushStatus::kClosed ? 0 : 1);
  }
  EXPECT_EQ(wait_for(child), 0);
  Ignore sink;
  EXPECT_EQ(loader.socket->read(sink), ReadStatus::kDrained);
  host.socket->append(RecordType::kPong, 0);
  EXPECT_EQ(host.socket->flush(), FlushStatus::kEmpty) << "the parent goes on";
}

// A child may read what its parent was sent, but has no way into the arena that its parent writes.
TEST(Fork, a_child_cannot_write_its_parents_results) {
  auto [loader, descriptors] = create_channel(1 << 20);
  Endpoint host = open_channel(std::move(descriptors));
  OutPayload payload = host.out->allocate(20'000);
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);
    payload.bytes()[0] = 1;
    _exit(0);
  }
  const int status = wait_for(child);
  EXPECT_FALSE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

// A guard that is gone protects nothing any more: its number may belong to somebody else.
TEST(Fork, a_removed_guard_leaves_the_descriptor_alone) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  { const ForkGuard guard(ends[1]); }
  const pid_t child = fork();
  if (child == 0) _exit(write(ends[1], "x", 1) == 1 ? 0 : 1);
  EXPECT_EQ(wait_for(child), 0);
  pollfd fd{ends[0], POLLIN, 0};
  EXPECT_EQ(poll(&fd, 1, 0), 1);
  close(ends[0]);
  close(ends[1]);
}

// However many channels a process has: its child keeps none of them.
TEST(Fork, a_child_keeps_none_of_a_thousand_descriptors) {
  constexpr int kMany = 1000;  // the list grows more than once
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 2 * kMany);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  std::vector<UniqueFd> copies;
  std::vector<std::unique_ptr<ForkGuard>> guards;
  for (int i = 0; i < kMany; ++i) {
    copies.emplace_back(dup(ends[1]));
    ASSERT_TRUE(copies.back()) << "descriptor " << i;
    guards.push_back(std::make_unique<ForkGuard>(copies.back().get()));
  }
  close(ends[1]);
  WaitingChild child;
  copies.clear();
  pollfd fd{ends[0], POLLIN, 0};
  EXPECT_EQ(poll(&fd, 1, 60'000), 1);
  EXPECT_EQ(fd.revents, POLLHUP) << "the child still holds the other end";
  EXPECT_EQ(child.end(), 0);
  close(ends[0]);
}

}  // namespace
}  // namespace loader::channel
