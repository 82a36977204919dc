// Sockets: batches, memory files, back-pressure, and peers that are broken or gone.
#include "channel/socket.h"

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <thread>

#include "channel/bodies.h"

namespace loader::channel {
namespace {

std::pair<UniqueFd, UniqueFd> make_pair() {
  int ends[2] = {-1, -1};
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

UniqueFd make_file(size_t size) {
  UniqueFd fd(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(ftruncate(fd.get(), static_cast<off_t>(size)), 0);
  return fd;
}

size_t size_of_file(int fd) {
  struct stat status {};
  EXPECT_EQ(fstat(fd, &status), 0);
  return static_cast<size_t>(status.st_size);
}

size_t open_descriptors() {
  size_t count = 0;
  for (int fd = 0; fd < 1024; ++fd) count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

struct Collector : RecordSink {
  struct Seen {
    RecordType type;
    uint64_t handle;
    std::string body;
    std::vector<size_t> files;
  };
  bool on_record(RecordView& record) override {
    Seen seen{record.type, record.handle, {record.body.begin(), record.body.end()}, {}};
    for (const UniqueFd& fd : record.memfds) seen.files.push_back(size_of_file(fd.get()));
    records.push_back(std::move(seen));
    return records.size() != stop_after;
  }
  std::vector<Seen> records;
  size_t stop_after = 0;
};

struct Channel {
  Channel() : Channel(make_pair()) {}
  explicit Channel(std::pair<UniqueFd, UniqueFd> ends)
      : loader(std::move(ends.first), Side::kLoader), host(std::move(ends.second), Side::kHost) {}
  ChannelSocket loader;
  ChannelSocket host;
};

Bytes as_bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// Records queued together arrive together and in order.
TEST(ChannelSocket, a_batch_arrives_in_order) {
  Channel channel;
  for (int i = 0; i < 100; ++i) {
    channel.loader.append(RecordType::kWrite, make_handle(1, i),
                          as_bytes("frame " + std::to_string(i)));
  }
  EXPECT_TRUE(channel.loader.has_output());
  EXPECT_EQ(channel.loader.flush(), FlushStatus::kEmpty);
  Collector sink;
  EXPECT_EQ(channel.host.read(sink), ReadStatus::kDrained);
  ASSERT_EQ(sink.records.size(), 100u);
  EXPECT_EQ(sink.records[99].body, "frame 99");
  EXPECT_EQ(index_of(sink.records[99].handle), 99u);
}

// Reading an idle socket returns at once.
TEST(ChannelSocket, nothing_to_read_is_not_an_error) {
  Channel channel;
  Collector sink;
  EXPECT_EQ(channel.host.read(sink), ReadStatus::kDrained);
}

// A body is written in place.
TEST(ChannelSocket, bodies_are_written_in_place) {
  Channel channel;
  channel.host.append_body(RecordType::kCompletion, 5, CompletionBody{Operation::kWrite, 0, 0, ""});
  ASSERT_EQ(channel.host.flush(), FlushStatus::kEmpty);
  Collector sink;
  channel.loader.read(sink);
  CompletionBody body;
  ASSERT_TRUE(decode(as_bytes(sink.records.at(0).body), body));
  EXPECT_EQ(body.operation, Operation::kWrite);
}

// A peer that does not read blocks nobody: flush says so, and goes on when there is room.
TEST(ChannelSocket, a_full_socket_does_not_block) {
  Channel channel;
  const std::string body(100'000, 'b');
  for (int i = 0; i < 50; ++i) channel.loader.append(RecordType::kWrite, i, as_bytes(body));
  ASSERT_EQ(channel.loader.flush(), FlushStatus::kBlocked);
  EXPECT_GT(channel.loader.queued_bytes(), 0u);
  Collector sink;
  for (int round = 0; round < 1000 && channel.loader.has_output(); ++round) {
    ASSERT_NE(channel.host.read(sink), ReadStatus::kFault);
    channel.loader.flush();
  }
  while (channel.host.read(sink) == ReadStatus::kMore) {
  }
  ASSERT_EQ(sink.records.size(), 50u);
  for (const auto& record : sink.records) ASSERT_EQ(record.body, body);
}

// The kernel bounds the descriptors in flight of an unprivileged user. Beyond it the socket stays
// writable: the sender is told to come back later, not to poll, and loses nothing. In a process of
// its own, which may give its privileges away.
int send_beyond_the_kernels_bound() {
  constexpr int kLimit = 64;
  if (geteuid() == 0 && (setgroups(0, nullptr) != 0 || setresuid(64'999, 64'999, 64'999) != 0))
    return 2;
  const rlimit limit{kLimit, kLimit};
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return 3;
  Channel channel;
  const UniqueFd file = make_file(1);
  Collector sink;
  FlushStatus status = FlushStatus::kEmpty;
  int sent = 0;
  for (; sent < 2 * kLimit && status == FlushStatus::kEmpty; ++sent) {
    const PayloadRef ref{kInMemfd, 0, 0, 1};
    channel.host.append(RecordType::kResult, sent, {}, {&ref, 1});
    channel.host.attach(UniqueFd(dup(file.get())));
    status = channel.host.flush();
  }
  if (status != FlushStatus::kDelayed) return 4;
  for (int round = 0; round < 1000 && sink.records.size() < static_cast<size_t>(sent); ++round) {
    if (channel.loader.read(sink) == ReadStatus::kFault) return 5;
    channel.host.flush();
  }
  return sink.records.size() == static_cast<size_t>(sent) ? 0 : 6;
}

TEST(ChannelSocket, too_many_files_in_flight_delay_the_sender) {
  EXPECT_EXIT(_exit(send_beyond_the_kernels_bound()), testing::ExitedWithCode(0), "");
}

// Memory files arrive with the record they were attached to, in order, also when writes are torn.
TEST(ChannelSocket, memory_files_arrive_with_their_records) {
  Channel channel;
  const size_t before = open_descriptors();
  Collector sink;
  std::mt19937 random(6);
  size_t next_size = 1;
  std::vector<std::vector<size_t>> expected;
  for (int i = 0; i < 200; ++i) {
    std::vector<PayloadRef> refs(random() % 4);
    expected.emplace_back();
    for (PayloadRef& ref : refs) {
      ref = {kInMemfd, 0, 0, next_size};
      expected.back().push_back(next_size++);
    }
    const std::string body(random() % 40'000, 'x');
    channel.loader.append(RecordType::kWrite, i, as_bytes(body), refs);
    for (const PayloadRef& ref : refs) channel.loader.attach(make_file(ref.size));
    if (random() % 3 == 0) channel.loader.flush();
    if (random() % 5 == 0) {
      ASSERT_NE(channel.host.read(sink), ReadStatus::kFault) << channel.host.fault();
    }
  }
  for (int round = 0; round < 10'000 && sink.records.size() < 200; ++round) {
    channel.loader.flush();
    ASSERT_NE(channel.host.read(sink), ReadStatus::kFault) << channel.host.fault();
  }
  ASSERT_EQ(sink.records.size(), 200u);
  for (size_t i = 0; i < 200; ++i) ASSERT_EQ(sink.records[i].files, expected[i]) << i;
  EXPECT_EQ(open_descriptors(), before);
}

// The end of the peer comes after everything it sent.
TEST(ChannelSocket, the_peers_last_records_are_read_before_its_end) {
  auto [mine, theirs] = make_pair();
  ChannelSocket loader(std::move(mine), Side::kLoader);
  {
    ChannelSocket host(std::move(theirs), Side::kHost);
    host.append(RecordType::kPong, 0);
    ASSERT_EQ(host.flush(), FlushStatus::kEmpty);
  }
  Collector sink;
  ReadStatus status = loader.read(sink);
  if (status == ReadStatus::kDrained) status = loader.read(sink);
  EXPECT_EQ(status, ReadStatus::kClosed);
  EXPECT_EQ(sink.records.size(), 1u);
  loader.append(RecordType::kPing, 0);
  EXPECT_EQ(loader.flush(), FlushStatus::kClosed) << "and no SIGPIPE";
  EXPECT_FALSE(loader.has_output());
}

// A sink that stops gets the rest later, without a new byte from the socket.
TEST(ChannelSocket, a_stopped_sink_goes_on_where_it_was) {
  Channel channel;
  for (int i = 0; i < 5; ++i) channel.loader.append(RecordType::kEnd, i);
  channel.loader.flush();
  Collector sink;
  sink.stop_after = 2;
  EXPECT_EQ(channel.host.read(sink), ReadStatus::kStopped);
  EXPECT_EQ(sink.records.size(), 2u);
  EXPECT_TRUE(channel.host.has_input());
  EXPECT_EQ(channel.host.read(sink), ReadStatus::kDrained);
  EXPECT_EQ(sink.records.size(), 5u);
}

// One peer's flood does not hold the reader longer than its budget.
TEST(ChannelSocket, reading_stops_at_its_budget) {
  Channel channel;
  const std::string body(1000, 'b');
  for (int i = 0; i < 100; ++i) channel.loader.append(RecordType::kWrite, i, as_bytes(body));
  channel.loader.flush();
  Collector sink;
  EXPECT_EQ(channel.host.read(sink, 1), ReadStatus::kMore);
  EXPECT_LT(sink.records.size(), 100u);
}

// A broken peer is a fault with a reason, and stays one.
TEST(ChannelSocket, garbage_is_a_fault_for_ever) {
  auto [mine, theirs] = make_pair();
  ChannelSocket loader(std::move(mine), Side::kLoader);
  ASSERT_EQ(send(theirs.get(), "this is not a record", 20, 0), 20);
  Collector sink;
  EXPECT_EQ(loader.read(sink), ReadStatus::kFault);
  EXPECT_FALSE(loader.fault().empty());
  EXPECT_EQ(loader.read(sink), ReadStatus::kFault);
  EXPECT_TRUE(sink.records.empty());
}

// A record that promises 64 MiB costs only what really came.
TEST(ChannelSocket, a_promise_costs_no_memory) {
  auto [mine, theirs] = make_pair();
  ChannelSocket loader(std::move(mine), Side::kLoader);
  ByteBuffer bytes;
  append_record(bytes, RecordType::kResult, 0, {}, {});
  const auto size = static_cast<uint32_t>(kMaxRecordBytes);
  std::memcpy(bytes.data(), &size, sizeof size);
  ASSERT_EQ(send(theirs.get(), bytes.data(), bytes.size(), 0), 16);
  Collector sink;
  EXPECT_EQ(loader.read(sink), ReadStatus::kDrained);
  EXPECT_TRUE(loader.has_input());
}

// Files that no record names are a fault and are closed.
TEST(ChannelSocket, stray_memory_files_are_a_fault) {
  const size_t before = open_descriptors();
  {
    auto [mine, theirs] = make_pair();
    ChannelSocket loader(std::move(mine), Side::kLoader);
    const UniqueFd file = make_file(1);
    Collector sink;
    ReadStatus status = ReadStatus::kDrained;
    for (int i = 0; i < 10 && status == ReadStatus::kDrained; ++i) {
      ByteBuffer bytes;
      append_record(bytes, RecordType::kPong, 0, {}, {});
      iovec part{bytes.data(), bytes.size()};
      std::vector<int> fds(50, file.get());
      std::vector<char> control(CMSG_SPACE(fds.size() * sizeof(int)));
      msghdr message{};
      message.msg_iov = &part;
      message.msg_iovlen = 1;
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
      std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
      ASSERT_EQ(sendmsg(theirs.get(), &message, 0), 16);
      status = loader.read(sink);
    }
    EXPECT_EQ(status, ReadStatus::kFault);
  }
  EXPECT_EQ(open_descriptors(), before);
}

// A record that names a file which did not come is a fault.
TEST(ChannelSocket, a_missing_memory_file_is_a_fault) {
  Channel channel;
  const PayloadRef ref{kInMemfd, 0, 0, 10};
  channel.host.append(RecordType::kResult, 0, {}, {&ref, 1});
  channel.host.flush();
  Collector sink;
  EXPECT_EQ(channel.loader.read(sink), ReadStatus::kFault);
}

// A host that writes noise of every kind never crashes or blocks the loader.
TEST(ChannelSocket, noise_never_hurts_the_reader) {
  std::mt19937 random(9);
  for (int round = 0; round < 2000; ++round) {
    auto [mine, theirs] = make_pair();
    ChannelSocket loader(std::move(mine), Side::kLoader);
    ByteBuffer bytes;
    const PayloadRef ref{kInArena, 1, 2, 3};
    for (int i = 0; i < 5; ++i)
      append_record(bytes, RecordType::kResult, i, {&ref, 1}, as_bytes("result"));
    for (uint32_t i = 0; i < random() % 6; ++i)
      bytes.data()[random() % bytes.size()] = static_cast<uint8_t>(random());
    ASSERT_GT(send(theirs.get(), bytes.data(), bytes.size() - random() % 40, MSG_DONTWAIT), 0);
    theirs.reset();
    Collector sink;
    ReadStatus status = ReadStatus::kDrained;
    for (int i = 0; i < 10 && status == ReadStatus::kDrained; ++i) status = loader.read(sink);
    EXPECT_TRUE(status == ReadStatus::kClosed || status == ReadStatus::kFault);
    EXPECT_LE(sink.records.size(), 10u);
  }
}

// One thread reads and another writes the same socket.
TEST(ChannelSocket, the_two_halves_may_have_two_threads) {
  Channel channel;
  constexpr int kCount = 5000;
  std::thread host([&] {
    Collector sink;
    while (sink.records.size() < kCount) {
      pollfd fd{channel.host.fd(), POLLIN, 0};
      ASSERT_GT(poll(&fd, 1, 60'000), 0);
      ASSERT_NE(channel.host.read(sink), ReadStatus::kFault);
    }
  });
  std::thread answers([&] {
    for (int i = 0; i < kCount; ++i) {
      channel.host.append(RecordType::kPong, i);
      while (channel.host.flush() == FlushStatus::kBlocked) std::this_thread::yield();
    }
  });
  Collector sink;
  for (int sent = 0; sent < kCount || sink.records.size() < kCount;) {
    if (sent < kCount) channel.loader.append(RecordType::kPing, sent++);
    channel.loader.flush();
    ASSERT_NE(channel.loader.read(sink), ReadStatus::kFault);
  }
  while (channel.loader.flush() == FlushStatus::kBlocked) std::this_thread::yield();
  host.join();
  answers.join();
  EXPECT_EQ(sink.records.size(), static_cast<size_t>(kCount));
}

}  // namespace
}  // namespace loader::channel
