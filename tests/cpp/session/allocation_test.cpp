// The hot path allocates nothing in steady state: a frame through an open session and its result
// back, a whole exec, and a whole session.
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <new>

#include "session/shard.h"

namespace {
uint64_t allocations = 0;
}  // namespace

void* operator new(size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}

namespace loader::session {
namespace {

class NoEvents : public ShardEvents {
  void on_instance_hung(InstanceId, SessionId) override {}
  void on_kill_instance(InstanceId) override {}
  void on_drained() override {}
};

class NoGrants : public GrantSink {
  void post_grant(const Grant&) override { ADD_FAILURE(); }
};

// Echoes at once, as an inline engine does.
class Echo : public HostPort {
 public:
  void send_create(Handle handle, const OpenView&) override { complete(handle, Op::kCreate); }
  void send_exec(Handle handle, const OpenView&, const MessageView& request) override {
    shard->on_result(handle, request);
    complete(handle, Op::kExec);
  }
  void send_write(Handle handle, const MessageView& frame) override {
    shard->on_result(handle, frame);
    complete(handle, Op::kWrite);
  }
  void send_end(Handle handle) override { complete(handle, Op::kEnd); }
  void send_cancel(Handle, uint32_t) override {}
  void send_destroy(Handle handle, uint32_t) override { complete(handle, Op::kDestroy); }
  void grant(Handle, uint32_t, uint64_t) override { ++grants; }

  Shard* shard = nullptr;
  uint64_t grants = 0;

 private:
  void complete(Handle handle, Op op) {
    Completion completion;
    completion.handle = handle;
    completion.op = op;
    EXPECT_EQ(shard->on_completion(completion), HostVerdict::kOk);
  }
};

class Counting : public Front {
 public:
  explicit Counting(Shard& shard) : shard_(shard) {}
  void on_opened(SessionId) override {}
  void on_result(SessionId id, const MessageView& result) override {
    ++results;
    shard_.result_consumed(id, result.size_bytes());
  }
  void on_input_credit(SessionId, uint64_t) override {}
  void on_final(SessionId, const FinalView&) override { ++finals; }
  uint64_t results = 0;
  uint64_t finals = 0;

 private:
  Shard& shard_;
};

class Allocation : public testing::Test {
 protected:
  Allocation() : pool(std::make_shared<SlotPool>(grants, 4, 4)), shard(0, events), front(shard) {
    echo.shard = &shard;
    shard.set_now(1);
    shard.add_engine(1, pool, {});
    shard.add_port(1, 1, echo);
    pool->add_instance(1);
    request.engine = 1;
    request.front = &front;
    request.body = bytes;
    request.request = {bytes, {}, 0};
  }
  // How many allocations `rounds` of `work` make after a warm-up.
  template <typename Work>
  uint64_t count(Work work) {
    for (int i = 0; i < kRounds; ++i) work();
    const uint64_t before = allocations;
    EXPECT_GT(before, 0u) << "operator new is not the counting one";
    for (int i = 0; i < kRounds; ++i) work();
    return allocations - before;
  }
  void tick() { shard.advance(now += 100'000); }

  static constexpr int kRounds = 1000;
  std::array<uint8_t, 1024> bytes{};
  int64_t now = 1;
  NoEvents events;
  NoGrants grants;
  Echo echo;
  std::shared_ptr<SlotPool> pool;
  Shard shard;
  Counting front;
  OpenRequest request;
};

// A frame passes straight through, result and grants included, without an allocation.
TEST_F(Allocation, FramesAllocateNothing) {
  const SessionId id = shard.open(request);
  EXPECT_EQ(count([&] {
              tick();
              shard.frame(id, {bytes, {}, bytes.size()});
            }),
            0u);
  EXPECT_EQ(front.results, 2u * kRounds);
  EXPECT_GT(echo.grants, 0u);
}

// An exec that finds a slot allocates nothing, from open to final.
TEST_F(Allocation, ExecsAllocateNothing) {
  request.kind = Kind::kExec;
  EXPECT_EQ(count([&] {
              tick();
              shard.open(request);
            }),
            0u);
  EXPECT_EQ(front.finals, 2u * kRounds);
}

// Neither does a session that finds a slot, from open to destroyed.
TEST_F(Allocation, SessionsAllocateNothing) {
  EXPECT_EQ(count([&] {
              tick();
              const SessionId id = shard.open(request);
              shard.frame(id, {bytes, {}, 0});
              shard.input_end(id);
            }),
            0u);
  EXPECT_EQ(front.finals, 2u * kRounds);
  EXPECT_EQ(shard.session_count(), 0u);
}

}  // namespace
}  // namespace loader::session
