// Watching the loader from inside a host.
#include "channel/lifeline.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <system_error>

namespace loader::channel {

namespace {

// A signal handler gets no argument: the descriptor it writes to is the one global here.
std::atomic<int> wake_of_handler{-1};

void wake(int fd) {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(fd, &one, sizeof one);
}

void on_parent_death(int) {
  const int saved = errno;
  const int fd = wake_of_handler.load(std::memory_order_relaxed);
  if (fd >= 0) wake(fd);
  errno = saved;
}

int parent_death_signal() {
  return SIGRTMIN + 6;
}

void install_handler(int fd) {
  wake_of_handler.store(fd, std::memory_order_relaxed);
  struct sigaction action {};
  action.sa_handler = on_parent_death;
  action.sa_flags = SA_RESTART;
  sigaction(parent_death_signal(), &action, nullptr);
}

// The signal must reach some thread even when the host's own code blocks all of them in its
// threads.
void take_only_parent_death() {
  sigset_t signals;
  sigfillset(&signals);
  sigdelset(&signals, parent_death_signal());
  pthread_sigmask(SIG_SETMASK, &signals, nullptr);
}

}  // namespace

Lifeline::Lifeline(UniqueFd pipe, std::function<void()> on_gone, LifelineOptions options)
    : pipe_(std::move(pipe)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      stop_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      on_gone_(std::move(on_gone)),
      options_(options) {
  if (!wake_ || !stop_) throw std::system_error(errno, std::generic_category(), "lifeline eventfd");
  if (options_.parent_pid == 0) options_.parent_pid = getppid();
  fcntl(pipe_.get(), F_SETFD, FD_CLOEXEC);
  install_handler(wake_.get());
  thread_ = std::thread([this] { run(); });
}

Lifeline::~Lifeline() {
  wake(stop_.get());
  thread_.join();
  int mine = wake_.get();
  wake_of_handler.compare_exchange_strong(mine, -1, std::memory_order_relaxed);
}

// Armed by the lifeline's own thread, because the setting ends with the thread that made it.
void Lifeline::arm_parent_death_signal() const {
  prctl(PR_SET_PDEATHSIG, parent_death_signal());
}

bool Lifeline::is_orphan() const {
  return getppid() != options_.parent_pid;
}

bool Lifeline::wait_until_gone() {
  while (true) {
    // The parent may have died before the signal was armed.
    if (is_orphan()) return true;
    pollfd fds[3] = {{pipe_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    if (poll(fds, 3, -1) < 0) continue;
    // The host's own code closed what is not its own: a host without a lifeline must not go on.
    if (((fds[1].revents | fds[2].revents) & POLLNVAL) != 0) return true;
    if (fds[2].revents != 0) return false;
    if (fds[0].revents != 0) {
      char byte = 0;
      const ssize_t count = ::read(pipe_.get(), &byte, 1);
      // Nothing is ever sent: end of file, or a pipe that the host's own code closed.
      if (count == 0 || (count < 0 && errno != EINTR && errno != EAGAIN)) return true;
    }
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t size = ::read(wake_.get(), &count, sizeof count);
  }
}

// The time starts before the callback: one that hangs is no reason to live on. It runs on a thread
// of its own for the same reason.
void Lifeline::run() {
  take_only_parent_death();
  arm_parent_death_signal();
  if (!wait_until_gone()) return;
  std::thread tidying([this] {
    if (on_gone_) on_gone_();
  });
  pollfd stopped{stop_.get(), POLLIN, 0};
  const auto end = std::chrono::steady_clock::now() + options_.kill_after;
  while (true) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    if (left.count() <= 0) kill_own_group();
    if (poll(&stopped, 1, static_cast<int>(left.count())) > 0) break;
  }
  tidying.join();
}

LifelinePipe create_lifeline() {
  int ends[2] = {-1, -1};
  if (pipe2(ends, O_CLOEXEC) != 0) {
    throw std::system_error(errno, std::generic_category(), "creating the lifeline pipe");
  }
  return {UniqueFd(ends[1]), UniqueFd(ends[0])};
}

void kill_own_group() {
  if (getpgrp() == getpid()) kill(0, SIGKILL);
  kill(getpid(), SIGKILL);
  _exit(137);
}

}  // namespace loader::channel
