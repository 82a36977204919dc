// CPU of both sides for a round trip of 1 KiB over the batched socket, with 1, 16 and 64 in flight.
// Two processes: the host answers each write by a completion and a result of the same size.
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "channel/bodies.h"
#include "channel/endpoint.h"

namespace {

using namespace loader::channel;

struct Host : RecordSink {
  explicit Host(ChannelSocket& to) : socket(to) {}
  bool on_record(RecordView& record) override {
    socket.append(RecordType::kResult, record.handle, record.body);
    socket.append_body(RecordType::kCompletion, record.handle,
                       CompletionBody{Operation::kWrite, 0, 0, {}});
    return true;
  }
  ChannelSocket& socket;
};

struct Loader : RecordSink {
  explicit Loader(ChannelSocket& to) : socket(to), frame(1024) {}
  void send() { socket.append(RecordType::kWrite, 1, frame); }
  bool on_record(RecordView& record) override {
    if (record.type != RecordType::kCompletion) return true;
    ++done;
    send();
    return true;
  }
  ChannelSocket& socket;
  std::vector<uint8_t> frame;
  size_t done = 0;
};

bool wait_and_read(ChannelSocket& socket, RecordSink& sink) {
  pollfd fd{socket.fd(), static_cast<short>(POLLIN | (socket.has_output() ? POLLOUT : 0)), 0};
  if (poll(&fd, 1, 10'000) != 1) return false;
  const ReadStatus status = socket.read(sink);
  return status == ReadStatus::kDrained || status == ReadStatus::kMore;
}

double cpu_s(int who) {
  rusage usage{};
  getrusage(who, &usage);
  const auto seconds = [](timeval t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void measure(int in_flight, size_t count) {
  auto [loader, descriptors] = create_channel();
  const double children_before = cpu_s(RUSAGE_CHILDREN);
  const pid_t child = fork();
  if (child == 0) {
    // The guards close the parent's end here; the descriptors themselves are not guarded.
    Endpoint host = open_channel(std::move(descriptors));
    Host sink(*host.socket);
    while (wait_and_read(*host.socket, sink)) host.socket->flush();
    _exit(0);
  }
  descriptors = {};
  Loader sink(*loader.socket);
  const double before = cpu_s(RUSAGE_SELF);
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < in_flight; ++i) sink.send();
  loader.socket->flush();
  while (sink.done < count && wait_and_read(*loader.socket, sink)) loader.socket->flush();
  const double wall =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double mine = cpu_s(RUSAGE_SELF) - before;
  loader = {};
  waitpid(child, nullptr, 0);
  const double theirs = cpu_s(RUSAGE_CHILDREN) - children_before;
  const auto per = 1e6 / static_cast<double>(sink.done);
  std::printf("%3d in flight: %6.2f us CPU of both sides (loader %.2f, host %.2f), %6.2f us wall\n",
              in_flight, (mine + theirs) * per, mine * per, theirs * per, wall * per);
}

}  // namespace

int main(int argc, char** argv) {
  const size_t count = argc > 1 ? static_cast<size_t>(std::atoll(argv[1])) : 1'000'000;
  measure(1, count / 10);
  measure(16, count);
  measure(64, count);
  return 0;
}
