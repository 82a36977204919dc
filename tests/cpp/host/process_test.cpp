// The program loader-host as a process of its own: it ends with its loader, and so does its group.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "channel/bodies.h"
#include "channel/endpoint.h"
#include "channel/lifeline.h"
#include "host/runtime.h"

namespace loader::host::test {
namespace {

using channel::RecordType;

// One spawned loader-host with the loader's ends of its channel and lifeline.
class Host {
 public:
  explicit Host(const std::string& json) {
    auto [endpoint, theirs] = channel::create_channel();
    endpoint_ = std::move(endpoint);
    auto pipe = channel::create_lifeline();
    lifeline_ = std::move(pipe.loader_end);
    const std::string channel_text = std::to_string(theirs.socket.get()) + "," +
                                     std::to_string(theirs.arena_in.get()) + "," +
                                     std::to_string(theirs.arena_out.get());
    const std::string lifeline_text = std::to_string(pipe.host_end.get());
    const std::vector<int> passed = {theirs.socket.get(), theirs.arena_in.get(),
                                     theirs.arena_out.get(), pipe.host_end.get()};
    pid_ = ::fork();
    if (pid_ == 0) {
      ::setpgid(0, 0);
      // A sanitizer must leave crashes to the kernel, and threads that main abandons on purpose.
      ::setenv("TSAN_OPTIONS", "handle_segv=0:report_thread_leaks=0", 1);
      ::setenv("ASAN_OPTIONS", "handle_segv=0:detect_leaks=0", 1);
      for (const int fd : passed) ::fcntl(fd, F_SETFD, 0);
      ::execl(HOST_PROGRAM, "loader-host", "--channel", channel_text.c_str(), "--lifeline",
              lifeline_text.c_str(), nullptr);
      ::_exit(127);
    }
    ::setpgid(pid_, pid_);
    init(json);
  }
  ~Host() {
    ::kill(-pid_, SIGKILL);
    wait_status(60'000);
  }
  pid_t pid() const { return pid_; }
  channel::ChannelSocket& socket() { return *endpoint_.socket; }
  void drop_lifeline() { lifeline_.reset(); }

  void create_and_trigger() {
    channel::OpenBody open;
    open.window_records = 256;
    open.window_bytes = 65536;
    socket().append_body(RecordType::kCreate, 1, open);
    // A frame with one item: field 2 {field 1 "trigger"}.
    const std::string frame = std::string("\x12\x09\x0a\x07") + "trigger";
    socket().append(RecordType::kWrite, 1,
                    {reinterpret_cast<const uint8_t*>(frame.data()), frame.size()});
    socket().flush();
  }

  // Waits until a record of that type came. False: the host is gone or it took too long.
  bool wait_record(RecordType type) {
    struct Sink : channel::RecordSink {
      RecordType wanted{};
      bool is_found = false;
      bool on_record(channel::RecordView& record) override {
        is_found |= record.type == wanted;
        return true;
      }
    } sink;
    sink.wanted = type;
    for (int i = 0; i < 600 && !sink.is_found; ++i) {
      pollfd wait{socket().fd(), POLLIN, 0};
      ::poll(&wait, 1, 100);
      if (wait.revents == 0) continue;
      if (socket().read(sink) == channel::ReadStatus::kClosed) break;
    }
    return sink.is_found;
  }

  // The exit status, or -1 when the process lives on.
  int wait_status(int limit_ms) {
    if (is_reaped_) return status_;
    const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
    pollfd wait{pidfd, POLLIN, 0};
    const bool is_over = ::poll(&wait, 1, limit_ms) > 0;
    ::close(pidfd);
    if (!is_over) return -1;
    ::waitpid(pid_, &status_, 0);
    is_reaped_ = true;
    return status_;
  }
  // True when no process of the group is left.
  bool is_group_gone(int limit_ms) const {
    for (int i = 0; i < limit_ms / 10; ++i) {
      if (::kill(-pid_, 0) != 0) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

 private:
  void init(const std::string& json) {
    channel::Hello hello;
    hello.package_version = package_version_of_build();
    channel::InitBody body;
    body.directory = HOSTILE_DIRECTORY;
    body.entry = "hostile.so";
    body.json = json;
    socket().append_body(RecordType::kHello, 0, hello);
    socket().append_body(RecordType::kInit, 0, body);
    socket().flush();
  }

  channel::Endpoint endpoint_;
  channel::UniqueFd lifeline_;
  pid_t pid_ = -1;
  int status_ = -1;
  bool is_reaped_ = false;
};

std::string hostile(const std::string& behavior, const std::string& entry = "write") {
  return "{\"behavior\": \"" + behavior + "\", \"entry\": \"" + entry + "\"}";
}

// The loader's death ends the host, whatever its wrapper does, and the children it forked.
TEST(HostProcess, EndsWithItsLoader) {
  Host host(hostile("fork"));
  ASSERT_TRUE(host.wait_record(RecordType::kReady));
  host.create_and_trigger();
  ASSERT_TRUE(host.wait_record(RecordType::kResult));
  host.drop_lifeline();
  EXPECT_NE(host.wait_status(60'000), -1);
  EXPECT_TRUE(host.is_group_gone(60'000));
}

// A wrapper that loops for ever does not keep the host alive after its loader.
TEST(HostProcess, ALoopingWrapperDiesWithTheLoader) {
  Host host(hostile("loop"));
  ASSERT_TRUE(host.wait_record(RecordType::kReady));
  host.create_and_trigger();
  host.drop_lifeline();
  const int status = host.wait_status(60'000);
  ASSERT_NE(status, -1);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_TRUE(host.is_group_gone(60'000));
}

// FINI ends it with 0.
TEST(HostProcess, StopsWhenTold) {
  Host host("{}");
  ASSERT_TRUE(host.wait_record(RecordType::kReady));
  host.socket().append_body(RecordType::kFini, 0, channel::ReasonBody{LOADER_REASON_DRAIN});
  host.socket().flush();
  const int status = host.wait_status(60'000);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

// A crash is the process's own: the exit says which signal.
TEST(HostProcess, ACrashIsASignal) {
  for (const auto& [behavior, signal] :
       {std::pair("segfault", SIGSEGV), std::pair("abort", SIGABRT)}) {
    Host host(hostile(behavior));
    ASSERT_TRUE(host.wait_record(RecordType::kReady));
    host.create_and_trigger();
    const int status = host.wait_status(60'000);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == signal) << behavior;
  }
}

// A wrapper that closes every descriptor has cut its host off: it ends, it does not spin for ever.
TEST(HostProcess, EndsWithoutDescriptors) {
  Host host(hostile("close_all"));
  ASSERT_TRUE(host.wait_record(RecordType::kReady));
  host.create_and_trigger();
  EXPECT_NE(host.wait_status(60'000), -1);
}

}  // namespace
}  // namespace loader::host::test
