// The lifeline, with real processes: a loader that dies, its host, and the host's own children.
#include "channel/lifeline.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <future>

namespace loader::channel {
namespace {

using namespace std::chrono_literals;

// Becomes readable (end of file) when every process that holds the other end is gone.
struct Witness {
  Witness() { EXPECT_EQ(pipe(ends), 0); }
  ~Witness() { close(ends[0]); }
  // In the process that is being watched: keep the write end, drop the read end.
  void close_mine() { close(ends[1]); }
  bool is_gone_within(int timeout_ms) const {
    pollfd fd{ends[0], POLLIN, 0};
    if (poll(&fd, 1, timeout_ms) != 1) return false;
    char byte = 0;
    return read(ends[0], &byte, 1) == 0;
  }
  char next_byte(int timeout_ms) const {
    pollfd fd{ends[0], POLLIN, 0};
    char byte = 0;
    return poll(&fd, 1, timeout_ms) == 1 && read(ends[0], &byte, 1) == 1 ? byte : 0;
  }
  int ends[2];
};

// What a host does: leads its group, starts a child of its own, and hangs.
[[noreturn]] void run_host(LifelinePipe& pipe, int witness) {
  const pid_t loader = getppid();
  setpgid(0, 0);
  if (fork() == 0) {
    while (true) pause();
  }
  pipe.loader_end.reset();
  const Lifeline lifeline(std::move(pipe.host_end),
                          [witness] {
                            if (write(witness, "g", 1) != 1) _exit(3);
                          },
                          {.kill_after = 200ms, .parent_pid = loader});
  if (write(witness, "r", 1) != 1) _exit(4);
  while (true) pause();
}

// The loader: starts a host and waits to be killed.
pid_t start_loader(Witness& witness) {
  const pid_t loader = fork();
  if (loader != 0) return loader;
  LifelinePipe pipe = create_lifeline();
  if (fork() == 0) run_host(pipe, witness.ends[1]);
  close(witness.ends[1]);
  while (true) pause();
}

// A loader killed without a chance to say anything: the host tidies up, then its whole group dies.
TEST(Lifeline, nothing_outlives_a_killed_loader) {
  Witness witness;
  const pid_t loader = start_loader(witness);
  witness.close_mine();
  ASSERT_EQ(witness.next_byte(60'000), 'r');
  kill(loader, SIGKILL);
  EXPECT_EQ(witness.next_byte(60'000), 'g') << "the callback runs first";
  EXPECT_TRUE(witness.is_gone_within(60'000)) << "host or grandchild is still there";
  EXPECT_EQ(waitpid(loader, nullptr, 0), loader);
}

// The pipe alone is not enough: somebody else may hold the loader's end. The death signal is.
TEST(Lifeline, a_leaked_pipe_does_not_keep_the_host_alive) {
  Witness witness;
  LifelinePipe pipe = create_lifeline();  // this process keeps the loader's end open
  const pid_t loader = fork();
  if (loader == 0) {
    if (fork() == 0) run_host(pipe, witness.ends[1]);
    close(witness.ends[1]);
    while (true) pause();
  }
  witness.close_mine();
  ASSERT_EQ(witness.next_byte(60'000), 'r');
  kill(loader, SIGKILL);
  EXPECT_EQ(witness.next_byte(60'000), 'g');
  EXPECT_TRUE(witness.is_gone_within(60'000));
  EXPECT_EQ(waitpid(loader, nullptr, 0), loader);
}

// End of file on the pipe is enough, and the callback runs once.
TEST(Lifeline, the_end_of_the_pipe_is_noticed) {
  LifelinePipe pipe = create_lifeline();
  std::promise<void> gone;
  auto noticed = gone.get_future();
  const Lifeline lifeline(std::move(pipe.host_end), [&] { gone.set_value(); }, {.kill_after = 60s});
  EXPECT_EQ(noticed.wait_for(0s), std::future_status::timeout);
  pipe.loader_end.reset();
  EXPECT_EQ(noticed.wait_for(60s), std::future_status::ready);
}

// While the loader lives the lifeline is silent, and its end does not wait for anything.
TEST(Lifeline, a_living_loader_is_left_alone) {
  const LifelinePipe pipe = create_lifeline();
  bool is_called = false;
  {
    UniqueFd end(dup(pipe.host_end.get()));
    const Lifeline lifeline(std::move(end), [&] { is_called = true; });
    raise(SIGRTMIN + 6);  // a death signal although the parent is there: the spawning thread ended
  }
  EXPECT_FALSE(is_called);
}

}  // namespace
}  // namespace loader::channel
