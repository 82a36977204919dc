// Arenas: seals, allocation, views that outlive everything, and lies about them.
#include "channel/arena.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <thread>

#include "channel/bodies.h"

namespace loader::channel {
namespace {

constexpr size_t kSize = 1024 * 1024;

// A sender and a receiver over one file, without a socket between them.
struct Pair {
  explicit Pair(ArenaWriter writer = ArenaWriter::kLoader) : file(create_arena(writer, kSize)) {
    const bool is_ours = writer == ArenaWriter::kLoader;
    auto theirs = Mapping::map(file.fd.get(), kSize, !is_ours);
    out = OutArena::create(is_ours ? file.mapping : theirs);
    in = std::make_unique<InArena>(is_ours ? theirs : file.mapping);
  }
  bool open(std::span<const PayloadRef> refs, std::span<UniqueFd> fds,
            std::vector<Payload>& payloads, bool must_copy = false) {
    RecordView record;
    record.payloads = refs;
    record.memfds = fds;
    return in->open(record, payloads, must_copy);
  }
  std::vector<uint32_t> released() {
    std::vector<uint32_t> blocks;
    in->take_released(blocks);
    return blocks;
  }
  ArenaFile file;
  std::shared_ptr<OutArena> out;
  std::unique_ptr<InArena> in;
};

Payload send(Pair& pair, OutPayload payload, bool must_copy = false) {
  const PayloadRef ref = payload.ref();
  UniqueFd fd = payload.mark_sent();
  std::vector<Payload> payloads;
  EXPECT_TRUE(pair.open({&ref, 1}, {&fd, fd ? 1u : 0u}, payloads, must_copy));
  return payloads.at(0);
}

size_t file_bytes(int fd) {
  struct stat status {};
  EXPECT_EQ(fstat(fd, &status), 0);
  return static_cast<size_t>(status.st_blocks) * 512;
}

// Nobody can shrink, grow or unseal an arena: a reader never gets SIGBUS.
TEST(ArenaFile, both_arenas_are_sealed_against_resizing) {
  for (const ArenaWriter writer : {ArenaWriter::kLoader, ArenaWriter::kHost}) {
    const ArenaFile file = create_arena(writer, kSize);
    EXPECT_NE(ftruncate(file.fd.get(), 4096), 0);
    EXPECT_NE(ftruncate(file.fd.get(), kSize * 2), 0);
    EXPECT_NE(fcntl(file.fd.get(), F_ADD_SEALS, F_SEAL_WRITE), 0);
    EXPECT_TRUE(is_safe_to_map(file.fd.get(), kSize));
    EXPECT_FALSE(is_safe_to_map(file.fd.get(), kSize + 1));
  }
}

// A host cannot write into what the loader sends: no mapping, no write call, no hole.
TEST(ArenaFile, a_host_cannot_write_into_the_loaders_arena) {
  const ArenaFile file = create_arena(ArenaWriter::kLoader, kSize);
  EXPECT_THROW(Mapping::map(file.fd.get(), kSize, true), std::system_error);
  EXPECT_EQ(pwrite(file.fd.get(), "x", 1, 0), -1);
  EXPECT_EQ(fallocate(file.fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
  file.mapping->bytes()[0] = 7;
  EXPECT_EQ(Mapping::map(file.fd.get(), kSize, false)->bytes()[0], 7);
}

// A read-only view taken by a host cannot be made writable afterwards.
TEST(ArenaFile, a_read_only_view_stays_read_only) {
  const ArenaFile file = create_arena(ArenaWriter::kLoader, kSize);
  const auto view = Mapping::map(file.fd.get(), kSize, false);
  EXPECT_NE(mprotect(view->bytes().data(), kSize, PROT_READ | PROT_WRITE), 0);
}

// A file without seals is not mapped.
TEST(ArenaFile, a_file_that_may_shrink_is_not_safe) {
  const UniqueFd fd(memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(ftruncate(fd.get(), kSize), 0);
  EXPECT_FALSE(is_safe_to_map(fd.get(), kSize));
  const UniqueFd huge(memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB));
  if (huge) {
    ASSERT_EQ(fcntl(huge.get(), F_ADD_SEALS, F_SEAL_SHRINK), 0);
    EXPECT_FALSE(is_safe_to_map(huge.get(), 0));
  }
  const UniqueFd null(open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_FALSE(is_safe_to_map(null.get(), 0));
}

// What the sender writes the receiver reads, and letting go frees the block.
TEST(Arena, a_payload_travels_and_its_block_comes_back) {
  Pair pair;
  OutPayload payload = pair.out->allocate(50'000);
  ASSERT_TRUE(payload);
  EXPECT_EQ(payload.memfd(), -1);
  std::memset(payload.bytes().data(), 'x', 50'000);
  {
    const Payload received = send(pair, std::move(payload));
    EXPECT_EQ(received.bytes().size(), 50'000u);
    EXPECT_EQ(received.bytes()[49'999], 'x');
    EXPECT_EQ(pair.in->pinned_bytes(), 50'000u);
    const Payload second = received;
    EXPECT_TRUE(pair.released().empty());
  }
  const std::vector<uint32_t> blocks = pair.released();
  ASSERT_EQ(blocks.size(), 1u);
  EXPECT_EQ(pair.in->pinned_bytes(), 0u);
  EXPECT_EQ(pair.out->block_count(), 1u);
  EXPECT_TRUE(pair.out->release(blocks[0]));
  EXPECT_FALSE(pair.out->release(blocks[0])) << "a second release is a lie";
  EXPECT_EQ(pair.out->used_bytes(), 0u);
}

// Memory that was allocated but never sent goes back by itself, and a peer cannot free it.
TEST(Arena, an_unsent_payload_goes_back) {
  Pair pair;
  {
    OutPayload payload = pair.out->allocate(20'000);
    EXPECT_FALSE(pair.out->release(payload.ref().block));
    OutPayload moved = std::move(payload);
    OutPayload& self = moved;
    moved = std::move(self);
    EXPECT_TRUE(moved);
    EXPECT_EQ(pair.out->block_count(), 1u);
  }
  EXPECT_EQ(pair.out->block_count(), 0u);
}

// The view of a wrapper stays valid after the channel is gone.
TEST(Arena, a_view_outlives_both_sides) {
  Payload kept;
  {
    Pair pair;
    OutPayload payload = pair.out->allocate(20'000);
    payload.bytes()[19'999] = 42;
    kept = send(pair, std::move(payload));
  }
  EXPECT_EQ(kept.bytes()[19'999], 42);
}

// Above a quarter of the arena a payload has its own sealed file.
TEST(Arena, a_large_payload_has_its_own_sealed_file) {
  Pair pair;
  OutPayload payload = pair.out->allocate(kSize / 4 + 1);
  ASSERT_TRUE(payload);
  ASSERT_GE(payload.memfd(), 0);
  EXPECT_EQ(pair.out->block_count(), 0u);
  payload.bytes().back() = 9;
  payload.truncate(kSize / 4);
  EXPECT_NE(ftruncate(payload.memfd(), 0), 0);
  payload.bytes()[0] = 8;
  const Payload received = send(pair, std::move(payload));
  EXPECT_EQ(received.bytes().size(), kSize / 4);
  EXPECT_EQ(received.bytes()[0], 8);
  EXPECT_TRUE(pair.released().empty()) << "there is no block to release";
}

// A full arena is no reason to stop: the payload gets its own file.
TEST(Arena, a_full_arena_falls_back_to_files) {
  Pair pair;
  std::vector<OutPayload> held;
  for (int i = 0; i < 4; ++i) held.push_back(pair.out->allocate(kSize / 4));
  EXPECT_EQ(pair.out->used_bytes(), kSize);
  EXPECT_GE(pair.out->allocate(20'000).memfd(), 0);
}

// References outside the arena, files that are missing or may shrink: refused.
TEST(Arena, lies_about_payloads_are_refused) {
  Pair pair(ArenaWriter::kHost);
  std::vector<Payload> payloads;
  for (const PayloadRef ref :
       {PayloadRef{kInArena, 1, kSize, 1}, PayloadRef{kInArena, 1, 1, kSize},
        PayloadRef{kInArena, 1, UINT64_MAX, 2}, PayloadRef{kInArena, 1, 0, UINT64_MAX}}) {
    EXPECT_FALSE(pair.open({&ref, 1}, {}, payloads));
  }
  const PayloadRef whole{kInArena, 1, 0, kSize};
  const PayloadRef overlapping[] = {whole, whole};
  payloads.clear();
  EXPECT_FALSE(pair.open(overlapping, {}, payloads)) << "together more than there is";
  EXPECT_TRUE(payloads.empty()) << "nothing was opened or copied";
  const PayloadRef file{kInMemfd, 0, 0, 4096};
  EXPECT_FALSE(pair.open({&file, 1}, {}, payloads)) << "no file came";
  UniqueFd unsealed(memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(ftruncate(unsealed.get(), 4096), 0);
  EXPECT_FALSE(pair.open({&file, 1}, {&unsealed, 1}, payloads));
  UniqueFd short_file(memfd_create("short", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(fcntl(short_file.get(), F_ADD_SEALS, F_SEAL_SHRINK), 0);
  EXPECT_FALSE(pair.open({&file, 1}, {&short_file, 1}, payloads));
}

// Blocks that nobody wants go back without being read.
TEST(Arena, refused_payloads_give_their_blocks_back) {
  Pair pair;
  OutPayload payload = pair.out->allocate(20'000);
  const PayloadRef refs[] = {payload.ref(), {kInMemfd, 0, 0, 4096}};
  static_cast<void>(payload.mark_sent());
  RecordView record;
  record.payloads = refs;
  pair.in->refuse(record);
  EXPECT_EQ(pair.released(), std::vector<uint32_t>{refs[0].block});
}

// A session that pins too much, and an arena three-quarters pinned, get copies; the block is free.
TEST(Arena, copies_are_made_instead_of_pinning_the_arena) {
  Pair pair;
  const Payload forced = send(pair, pair.out->allocate(20'000), true);
  EXPECT_TRUE(forced.is_copy());
  EXPECT_EQ(pair.released().size(), 1u);
  std::vector<Payload> held;
  for (int i = 0; i < 3; ++i) held.push_back(send(pair, pair.out->allocate(kSize / 4)));
  EXPECT_FALSE(held.back().is_copy());
  EXPECT_TRUE(send(pair, pair.out->allocate(20'000)).is_copy());
}

// Idle pages of the host's arena go back to the system; what is out stays.
TEST(Arena, holes_are_punched_into_the_hosts_idle_arena) {
  Pair pair(ArenaWriter::kHost);
  OutPayload kept = pair.out->allocate(100'000);
  std::memset(kept.bytes().data(), 'k', kept.bytes().size());
  {
    OutPayload idle = pair.out->allocate(200'000);
    std::memset(idle.bytes().data(), 'i', idle.bytes().size());
  }
  const size_t before = file_bytes(pair.file.fd.get());
  EXPECT_GT(pair.out->punch_idle(0), 190'000u);
  EXPECT_LT(file_bytes(pair.file.fd.get()) + 190'000, before);
  EXPECT_EQ(pair.out->idle_bytes(), 0u);
  EXPECT_EQ(kept.bytes()[99'999], 'k');
}

// The loader's arena cannot be punched: it is replaced when nothing is out, and old views stay.
TEST(Arena, the_loaders_idle_arena_is_replaced) {
  Pair pair;
  Payload old;
  {
    OutPayload payload = pair.out->allocate(100'000);
    payload.bytes()[0] = 1;
    EXPECT_FALSE(pair.out->replace_if_idle(0)) << "a block is out";
    old = send(pair, std::move(payload), true);
  }
  for (const uint32_t block : pair.released()) ASSERT_TRUE(pair.out->release(block));
  EXPECT_EQ(pair.out->punch_idle(0), 0u);
  EXPECT_FALSE(pair.out->replace_if_idle(1 << 20)) << "it is not worth it";
  auto fresh = pair.out->replace_if_idle(0);
  ASSERT_TRUE(fresh.has_value());
  RecordView record;
  std::vector<uint8_t> body(8);
  write(ArenaBody{kSize}, body.data());
  record.body = body;
  record.memfds = {&*fresh, 1};
  ASSERT_TRUE(pair.in->replace(record));
  OutPayload payload = pair.out->allocate(100'000);
  payload.bytes()[0] = 2;
  EXPECT_EQ(send(pair, std::move(payload)).bytes()[0], 2);
  EXPECT_EQ(old.bytes()[0], 1);
}

// Allocating, sending and letting go from many threads loses no block.
TEST(Arena, threads_lose_no_block) {
  Pair pair;
  std::mutex mutex;
  pair.in->on_released([] {});
  auto work = [&] {
    for (int i = 0; i < 2000; ++i) {
      Payload payload;
      {
        const std::lock_guard lock(mutex);  // open() belongs to one thread at a time
        payload = send(pair, pair.out->allocate(20'000));
      }
    }
    for (const uint32_t block : pair.released()) EXPECT_TRUE(pair.out->release(block));
  };
  std::thread a(work);
  std::thread b(work);
  a.join();
  b.join();
  for (const uint32_t block : pair.released()) EXPECT_TRUE(pair.out->release(block));
  EXPECT_EQ(pair.out->block_count(), 0u);
}

// The wake-up comes once for a batch, and again after it was taken.
TEST(Arena, the_first_released_block_wakes_the_owner) {
  Pair pair;
  int wakes = 0;
  pair.in->on_released([&] { ++wakes; });
  for (int i = 0; i < 3; ++i) send(pair, pair.out->allocate(20'000));
  EXPECT_EQ(wakes, 1);
  EXPECT_EQ(pair.released().size(), 3u);
  send(pair, pair.out->allocate(20'000));
  EXPECT_EQ(wakes, 2);
}

}  // namespace
}  // namespace loader::channel
