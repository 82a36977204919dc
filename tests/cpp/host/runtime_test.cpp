// The host runtime behind a real channel: order, threads, credit, PENDING, cancel, the end.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <future>
#include <latch>
#include <semaphore>
#include <set>

#include "channel/credit.h"
#include "host/outcome.h"
#include "loader_end.h"
#include "script_engine.h"

namespace loader::host::test {
namespace {

using channel::Operation;
using channel::RecordType;
using std::chrono::seconds;

constexpr seconds kLimit{60};

// A gate that calls wait behind; opening it lets all through. Never waits for ever.
class Gate {
 public:
  std::shared_future<void> future() { return future_; }
  void open() { opened_.set_value(); }

 private:
  std::promise<void> opened_;
  std::shared_future<void> future_{opened_.get_future()};
};

bool pass(Gate& gate) {
  return gate.future().wait_for(kLimit) == std::future_status::ready;
}

std::set<std::thread::id> threads_of(ScriptEngine& engine, const std::string& prefix) {
  std::set<std::thread::id> found;
  for (const auto& [call, thread] : engine.calls())
    if (call.starts_with(prefix)) found.insert(thread);
  return found;
}

// The kernel's view of the only dispatcher's timer.
std::string timer_info() {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    if (std::filesystem::read_symlink(entry, gone) == "anon_inode:[timerfd]")
      return "/proc/self/fdinfo/" + entry.path().filename().string();
  }
  ADD_FAILURE() << "no timerfd";
  return {};
}

// How long it still runs; 0: it is not set.
int64_t timer_left_ns(const std::string& info) {
  std::ifstream file(info);
  for (std::string line; std::getline(file, line);) {
    long s = 0;
    long ns = 0;
    if (std::sscanf(line.c_str(), "it_value: (%ld, %ld)", &s, &ns) == 2)
      return s * 1'000'000'000 + ns;
  }
  return 0;
}

// A call that computes for long does not keep the host from answering pings.
TEST(HostRuntime, AnswersPingsWhileTheOnlyThreadIsBusy) {
  ScriptEngine engine;
  Gate gate;
  std::latch entered(1);
  engine.on_write = [&](void*, loader_handle_t, loader_frame_t&) {
    entered.count_down();
    return pass(gate) ? LOADER_OK : 1;
  };
  LoaderEnd loader(engine, {});
  EXPECT_EQ(loader.start().status, LOADER_OK);
  loader.create(1);
  loader.write(1, {{"k", "v"}});
  entered.wait();
  loader.ping(77);
  const Answer pong =
      loader.wait([](const Answer& a) { return a.type == RecordType::kPong; }, "pong");
  EXPECT_EQ(pong.nonce, 77u);
  EXPECT_FALSE(loader.poll([](const Answer& a) { return a.is_completion(Operation::kWrite); }, 0));
  gate.open();
  EXPECT_EQ(loader.wait_for(1, Operation::kWrite).status, LOADER_OK);
}

// A near timer costs more than a short call: calls that are all short see a far one. The first long
// call is still taken over from, and the calls after it see a near one again.
TEST(HostRuntime, ShortCallsRelaxTheHandover) {
  constexpr int64_t kHandoverNs = 100'000;
  ScriptEngine engine;
  Gate gate;
  std::atomic<int64_t> left{0};
  std::atomic<bool> is_long{false};
  std::latch entered(1);
  std::string info;
  engine.on_write = [&](void*, loader_handle_t, loader_frame_t&) {
    if (is_long) {
      entered.count_down();
      return pass(gate) ? 0 : 1;
    }
    left = timer_left_ns(info);
    return 0;
  };
  LoaderEnd loader(engine, {.threads = 2});
  loader.start();
  info = timer_info();
  loader.create(1);
  const auto write = [&] {
    loader.write(1, {});
    EXPECT_EQ(loader.wait_for(1, Operation::kWrite).status, LOADER_OK);
  };
  write();
  EXPECT_LE(left, kHandoverNs);
  // A busy machine makes short calls look long now and then.
  const auto give_up = std::chrono::steady_clock::now() + kLimit;
  while (left <= kHandoverNs && std::chrono::steady_clock::now() < give_up) write();
  EXPECT_GT(left, kHandoverNs);

  is_long = true;
  loader.write(1, {});
  entered.wait();
  loader.ping(5);
  loader.wait([](const Answer& a) { return a.type == RecordType::kPong; }, "pong");
  EXPECT_FALSE(loader.poll([](const Answer& a) { return a.is_completion(Operation::kWrite); }, 0));
  is_long = false;
  gate.open();
  loader.wait_for(1, Operation::kWrite);
  write();
  EXPECT_LE(left, kHandoverNs);
}

// With one thread every call runs on the main thread, also after followers took the lead.
TEST(HostRuntime, OneThreadMeansTheMainThread) {
  ScriptEngine engine;
  engine.on_write = [&](void*, loader_handle_t, loader_frame_t&) {
    std::this_thread::sleep_for(std::chrono::microseconds(500));  // longer than the handover
    return LOADER_OK;
  };
  LoaderEnd loader(engine, {});
  loader.start();
  for (uint64_t handle = 1; handle <= 3; ++handle) loader.create(handle);
  for (int i = 0; i < 5; ++i)
    for (uint64_t handle = 1; handle <= 3; ++handle) {
      loader.write(handle, {});
      loader.wait_for(handle, Operation::kWrite);
    }
  loader.health();
  loader.update("{}");
  EXPECT_EQ(loader.wait_for(0, Operation::kHealth).status, LOADER_OK);
  EXPECT_EQ(loader.wait_for(0, Operation::kUpdate).status, LOADER_OK);
  EXPECT_EQ(loader.stop(), 0);
  std::set<std::thread::id> all;
  for (const auto& [call, thread] : engine.calls()) all.insert(thread);
  EXPECT_EQ(all, threads_of(engine, "init"));
  EXPECT_EQ(engine.count("write"), 15);
  EXPECT_EQ(engine.count("fini"), 1);
}

// Up to `threads` long calls run at once, not one more; init, update and fini stay on the main
// thread.
TEST(HostRuntime, RunsAtMostThreadsCallsAtOnce) {
  ScriptEngine engine;
  Gate gate;
  std::latch entered(3);
  std::atomic<int> running{0};
  std::atomic<int> most{0};
  std::atomic<int> calls{0};
  engine.on_write = [&](void*, loader_handle_t, loader_frame_t&) {
    const int now = ++running;
    for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
    }
    if (calls++ < 3) entered.count_down();
    const bool passed = pass(gate);
    --running;
    return passed ? LOADER_OK : 1;
  };
  LoaderEnd loader(engine, {.threads = 3});
  loader.start();
  for (uint64_t handle = 1; handle <= 6; ++handle) {
    loader.create(handle);
    loader.wait_for(handle, Operation::kCreate);
  }
  for (uint64_t handle = 1; handle <= 3; ++handle) loader.write(handle, {});
  entered.wait();
  for (uint64_t handle = 4; handle <= 6; ++handle) loader.write(handle, {});
  loader.ping(1);
  loader.wait([](const Answer& a) { return a.type == RecordType::kPong; }, "pong");
  EXPECT_EQ(running, 3);
  gate.open();
  for (uint64_t handle = 1; handle <= 6; ++handle)
    EXPECT_EQ(loader.wait_for(handle, Operation::kWrite).status, LOADER_OK);
  EXPECT_EQ(most, 3);
  loader.update("{}");
  loader.wait_for(0, Operation::kUpdate);
  loader.stop();
  EXPECT_EQ(threads_of(engine, "update"), threads_of(engine, "init"));
  EXPECT_EQ(threads_of(engine, "fini"), threads_of(engine, "init"));
}

// Calls of one session never overlap and keep their order; sessions do run beside each other.
TEST(HostRuntime, KeepsTheOrderOfEachSession) {
  constexpr uint64_t kSessions = 8;
  constexpr uint64_t kFrames = 200;
  struct State {
    std::atomic<bool> is_inside{false};
    uint64_t last = 0;
    bool is_broken = false;
  };
  std::vector<State> states(kSessions + 1);
  ScriptEngine engine;
  std::atomic<uint64_t> next{1};
  engine.on_create = [&](void** session, loader_handle_t, loader_error_t&) {
    *session = &states[next++];
    return LOADER_OK;
  };
  engine.on_write = [&](void* session, loader_handle_t, loader_frame_t& frame) {
    auto* state = static_cast<State*>(session);
    if (state->is_inside.exchange(true)) state->is_broken = true;
    if (frame.seq <= state->last) state->is_broken = true;
    state->last = frame.seq;
    if (frame.seq % 64 == 0) std::this_thread::sleep_for(std::chrono::microseconds(300));
    state->is_inside = false;
    return LOADER_OK;
  };
  LoaderEnd loader(engine, {.threads = 4, .shards = 3});
  loader.start();
  for (uint64_t handle = 1; handle <= kSessions; ++handle)
    loader.create(handle, 256, 64 * 1024, handle % 3);
  for (uint64_t i = 0; i < kFrames; ++i)
    for (uint64_t handle = 1; handle <= kSessions; ++handle)
      loader.write(handle, {{"k", "some bytes"}}, handle % 3);
  for (uint64_t handle = 1; handle <= kSessions; ++handle) {
    for (uint64_t i = 0; i < kFrames; ++i) {
      const Answer answer = loader.wait_for(handle, Operation::kWrite);
      EXPECT_EQ(answer.status, LOADER_OK);
      EXPECT_EQ(answer.shard, handle % 3);
    }
    loader.destroy(handle, handle % 3);
    loader.wait_for(handle, Operation::kDestroy);
  }
  for (const State& state : states) EXPECT_FALSE(state.is_broken);
  EXPECT_EQ(engine.count("destroy 1"), static_cast<int>(kSessions));
}

// emit waits for credit, a grant lets it go on, and a call that waits does not count as running.
TEST(HostRuntime, ABlockedEmitDoesNotCount) {
  ScriptEngine engine;
  engine.on_write = [&](void*, loader_handle_t call, loader_frame_t& frame) {
    const bool floods = frame.item_count != 0;
    for (int i = 0; floods && i < 4; ++i)
      if (emit_bytes(*engine.runtime, call, std::string(100, 'x')) != LOADER_OK) return 9;
    return static_cast<int>(LOADER_OK);
  };
  LoaderEnd loader(engine, {.threads = 2});
  loader.start();
  for (uint64_t handle = 1; handle <= 3; ++handle) loader.create(handle, 1, 1024);
  loader.write(1, {{"flood", ""}});
  loader.write(2, {{"flood", ""}});
  const uint64_t charge = loader.wait_result(1).charge;
  loader.wait_result(2);
  loader.write(3, {});
  EXPECT_EQ(loader.wait_for(3, Operation::kWrite).status, LOADER_OK);
  for (uint64_t handle = 1; handle <= 2; ++handle) {
    for (int i = 0; i < 3; ++i) {
      loader.grant(handle, 1, charge);
      EXPECT_EQ(loader.wait_result(handle).seq, static_cast<uint64_t>(i + 2));
    }
    EXPECT_EQ(loader.wait_for(handle, Operation::kWrite).status, LOADER_OK);
  }
}

// A lock of the engine held across emit: calls that wait for it may not keep its holder from going
// on, once credit is back.
TEST(HostRuntime, ALockMayBeHeldAcrossEmit) {
  ScriptEngine engine;
  // A mutex in all but name: TSan does not know pthread_mutex_clocklock, which timed_mutex takes.
  std::binary_semaphore lock(1);
  std::latch locked(1);
  std::latch waiting(2);
  engine.on_write = [&](void*, loader_handle_t call, loader_frame_t& frame) {
    const bool is_first = frame.item_count != 0;
    if (!is_first) waiting.count_down();
    if (!lock.try_acquire_for(kLimit)) return 8;
    if (is_first) locked.count_down();
    int status = LOADER_OK;
    for (int i = 0; is_first && i < 3 && status == LOADER_OK; ++i)
      status = emit_bytes(*engine.runtime, call, std::string(100, 'x'));
    lock.release();
    return status;
  };
  LoaderEnd loader(engine, {.threads = 2});
  loader.start();
  for (uint64_t handle = 1; handle <= 3; ++handle) loader.create(handle, 1, 1024);
  loader.write(1, {{"first", ""}});
  const uint64_t charge = loader.wait_result(1).charge;
  locked.wait();
  loader.write(2, {});
  loader.write(3, {});
  waiting.wait();
  for (int i = 0; i < 2; ++i) {
    loader.grant(1, 1, charge);
    loader.wait_result(1);
  }
  for (uint64_t handle = 1; handle <= 3; ++handle)
    EXPECT_EQ(loader.wait_for(handle, Operation::kWrite).status, LOADER_OK);
}

// NOWAIT says AGAIN; a parked call goes on when credit is back, as part of the same call.
TEST(HostRuntime, AParkedCallResumesWithCredit) {
  ScriptEngine engine;
  int left = 5;
  const auto emit_rest = [&](loader_handle_t call) {
    while (left > 0) {
      const auto status =
          emit_bytes(*engine.runtime, call, std::string(50, 'y'), LOADER_EMIT_NOWAIT);
      if (status == LOADER_AGAIN) return kParked;
      if (status != LOADER_OK) return status;
      --left;
    }
    return static_cast<loader_status_t>(LOADER_OK);
  };
  engine.on_write = [&](void*, loader_handle_t call, loader_frame_t&) { return emit_rest(call); };
  engine.on_resume = [&](void*, loader_handle_t call) { return emit_rest(call); };
  LoaderEnd loader(engine, {});
  loader.start();
  loader.create(1, 2, 1024);
  loader.write(1, {});
  loader.write(1, {});
  uint64_t charge = loader.wait_result(1).charge;
  charge += loader.wait_result(1).charge;
  EXPECT_FALSE(loader.poll([](const Answer& a) { return a.is_completion(Operation::kWrite); }, 20));
  loader.grant(1, 2, charge);
  loader.wait_result(1);
  loader.wait_result(1);
  loader.grant(1, 2, charge);
  EXPECT_EQ(loader.wait_result(1).seq, 5u);
  EXPECT_EQ(loader.wait_for(1, Operation::kWrite).status, LOADER_OK);
  EXPECT_EQ(loader.wait_for(1, Operation::kWrite).status, LOADER_OK);
  EXPECT_GE(engine.count("resume"), 1);  // a quick grant may save the second one
}

// A parked call is resumed by cancel, too, and finds the session closed.
TEST(HostRuntime, AParkedCallResumesWhenClosed) {
  ScriptEngine engine;
  const auto emit_once = [&](loader_handle_t call) -> loader_status_t {
    const auto status = emit_bytes(*engine.runtime, call, "zz", LOADER_EMIT_NOWAIT);
    return status == LOADER_AGAIN ? kParked : status;
  };
  engine.on_write = [&](void*, loader_handle_t call, loader_frame_t&) { return emit_once(call); };
  engine.on_resume = [&](void*, loader_handle_t call) { return emit_once(call); };
  LoaderEnd loader(engine, {});
  loader.start();
  loader.create(1, 0, 0);
  loader.write(1, {});
  loader.wait_for(1, Operation::kCreate);
  loader.cancel(1);
  EXPECT_EQ(loader.wait_for(1, Operation::kWrite).status, LOADER_ERROR_CLOSED);
  loader.destroy(1);
  loader.wait_for(1, Operation::kDestroy);
}

// on_credit calls back once: at once where there is credit, else when it returns.
TEST(HostRuntime, OnCreditCallsOnce) {
  ScriptEngine engine;
  std::atomic<int> fired{0};
  std::promise<void> fired_once;
  engine.on_write = [&](void*, loader_handle_t call, loader_frame_t&) {
    EXPECT_EQ(emit_bytes(*engine.runtime, call, "a", LOADER_EMIT_NOWAIT), LOADER_OK);
    EXPECT_EQ(emit_bytes(*engine.runtime, call, "b", LOADER_EMIT_NOWAIT), LOADER_AGAIN);
    engine.runtime->on_credit(call, [&] {
      if (++fired == 1) fired_once.set_value();
    });
    EXPECT_EQ(fired, 0);
    return LOADER_OK;
  };
  LoaderEnd loader(engine, {});
  loader.start();
  loader.create(1, 1, 1024);
  loader.write(1, {});
  const uint64_t charge = loader.wait_result(1).charge;
  loader.wait_for(1, Operation::kWrite);
  loader.grant(1, 1, charge);
  EXPECT_EQ(fired_once.get_future().wait_for(kLimit), std::future_status::ready);
  loader.cancel(1);
  loader.destroy(1);
  loader.wait_for(1, Operation::kDestroy);
  EXPECT_EQ(fired, 1);
}

// PENDING: the next frame waits for finish, which works once, from any thread, with the call's
// handle.
TEST(HostRuntime, PendingEndsWithOneFinish) {
  ScriptEngine engine;
  std::promise<loader_handle_t> pending;
  std::atomic<int> writes{0};
  engine.on_write = [&](void*, loader_handle_t call, loader_frame_t&) -> loader_status_t {
    if (++writes > 1) return LOADER_OK;
    pending.set_value(call);
    return LOADER_PENDING;
  };
  LoaderEnd loader(engine, {});
  loader.start();
  loader.create(1);
  loader.write(1, {});
  loader.write(1, {});
  const loader_handle_t call = pending.get_future().get();
  loader.ping(1);
  loader.wait([](const Answer& a) { return a.type == RecordType::kPong; }, "pong");
  EXPECT_EQ(writes, 1);
  EXPECT_EQ(engine.runtime->finish(call, 17, "seventeen"), LOADER_OK);
  EXPECT_NE(engine.runtime->finish(call, 18, "again"), LOADER_OK);
  const Answer answer = loader.wait_for(1, Operation::kWrite);
  EXPECT_EQ(answer.status, 17);
  EXPECT_EQ(answer.text, "seventeen");
  // The session is over after an error: its next frame is refused without a call.
  EXPECT_EQ(loader.wait_for(1, Operation::kWrite).status, LOADER_ERROR_CLOSED);
  loader.destroy(1);
  loader.wait_for(1, Operation::kDestroy);
  EXPECT_EQ(engine.runtime->finish(call, LOADER_OK, ""), LOADER_ERROR_CLOSED);
}

// finish may be faster than the return of PENDING.
TEST(HostRuntime, FinishMayComeBeforePendingIsReturned) {
  ScriptEngine engine;
  engine.on_exec = [&](loader_handle_t call, loader_frame_t&) -> loader_status_t {
    std::thread([&] { EXPECT_EQ(engine.runtime->finish(call, LOADER_OK, ""), LOADER_OK); }).join();
    return LOADER_PENDING;
  };
  LoaderEnd loader(engine, {});
  loader.start();
  loader.exec(1, {{"k", "v"}});
  EXPECT_EQ(loader.wait_for(1, Operation::kExec).status, LOADER_OK);
}

// destroy voids a call that is still PENDING: it is answered, later emits and finishes are refused.
TEST(HostRuntime, DestroyVoidsPendingCalls) {
  ScriptEngine engine;
  std::promise<loader_handle_t> pending;
  engine.on_write = [&](void*, loader_handle_t call, loader_frame_t&) -> loader_status_t {
    pending.set_value(call);
    return LOADER_PENDING;
  };
  LoaderEnd loader(engine, {});
  loader.start();
  loader.create(1);
  loader.write(1, {});
  const loader_handle_t call = pending.get_future().get();
  loader.cancel(1);
  loader.destroy(1);
  EXPECT_EQ(loader.wait_for(1, Operation::kWrite).status, LOADER_ERROR_CLOSED);
  EXPECT_EQ(loader.wait_for(1, Operation::kDestroy).status, LOADER_OK);
  EXPECT_EQ(engine.runtime->finish(call, LOADER_OK, ""), LOADER_ERROR_CLOSED);
  EXPECT_EQ(emit_bytes(*engine.runtime, call, "late"), LOADER_ERROR_CLOSED);
  EXPECT_TRUE(engine.runtime->is_cancelled(call));
  EXPECT_EQ(engine.count("destroy 1"), 1);
}

// cancel reaches an engine while its call waits for credit, and sets it free.
TEST(HostRuntime, CancelFreesABlockedEmit) {
  ScriptEngine engine;
  std::atomic<loader_status_t> last{LOADER_OK};
  engine.on_write = [&](void*, loader_handle_t call, loader_frame_t&) {
    while (last == LOADER_OK) last = emit_bytes(*engine.runtime, call, "bytes");
    return LOADER_OK;
  };
  LoaderEnd loader(engine, {});
  loader.start();
  loader.create(1, 2, 1024);
  loader.write(1, {});
  loader.wait_result(1);
  loader.wait_result(1);
  loader.cancel(1);
  EXPECT_EQ(loader.wait_for(1, Operation::kWrite).status, LOADER_OK);
  EXPECT_EQ(last, LOADER_ERROR_CLOSED);
  loader.destroy(1);
  loader.wait_for(1, Operation::kDestroy);
  EXPECT_EQ(engine.count("cancel"), 1);
}

// destroy waits for the engine's cancel, and comes after the running call.
TEST(HostRuntime, DestroyComesLast) {
  ScriptEngine engine;
  Gate write_gate;
  std::latch entered(1);
  std::atomic<bool> is_destroyed{false};
  std::atomic<bool> is_late{false};
  engine.on_write = [&](void*, loader_handle_t, loader_frame_t&) {
    entered.count_down();
    pass(write_gate);
    if (is_destroyed) is_late = true;
    return LOADER_OK;
  };
  engine.on_cancel = [&](void*, loader_handle_t, int32_t) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    if (is_destroyed) is_late = true;
  };
  engine.on_destroy = [&](void*, loader_handle_t, int32_t) { is_destroyed = true; };
  LoaderEnd loader(engine, {.threads = 3});
  loader.start();
  loader.create(1);
  loader.write(1, {});
  entered.wait();
  loader.destroy(1);
  loader.ping(3);
  loader.wait([](const Answer& a) { return a.type == RecordType::kPong; }, "pong");
  EXPECT_FALSE(is_destroyed);
  write_gate.open();
  loader.wait_for(1, Operation::kDestroy);
  EXPECT_FALSE(is_late);
  EXPECT_EQ(engine.count("cancel"), 1);
}

// A create that fails gives its number and text, and no destroy follows.
TEST(HostRuntime, AFailedCreateIsNotDestroyed) {
  ScriptEngine engine;
  engine.on_create = [](void**, loader_handle_t, loader_error_t& error) {
    error.size = static_cast<uint32_t>(std::string_view("no voice").copy(error.message, 100));
    return 31;
  };
  LoaderEnd loader(engine, {});
  loader.start();
  loader.create(1);
  const Answer answer = loader.wait_for(1, Operation::kCreate);
  EXPECT_EQ(answer.status, 31);
  EXPECT_EQ(answer.text, "no voice");
  loader.write(1, {});
  EXPECT_EQ(loader.wait_for(1, Operation::kWrite).status, LOADER_ERROR_CLOSED);
  loader.stop();
  EXPECT_EQ(engine.count("destroy"), 0);
  EXPECT_EQ(engine.count("fini"), 1);
}

// ---- the engine ends a session by itself

// A session whose handle the test has, and through it the engine.
class Failing : public testing::Test {
 protected:
  void begin(uint32_t threads = 1) {
    engine.on_create = [this](void**, loader_handle_t made, loader_error_t&) {
      handle = made;
      return LOADER_OK;
    };
    loader = std::make_unique<LoaderEnd>(engine, host::test::Setup{.threads = threads});
    loader->start();
  }
  void open(uint64_t wire, uint32_t records = 256) {
    loader->create(wire, records);
    loader->wait_for(wire, Operation::kCreate);
  }
  void close(uint64_t wire) {
    loader->destroy(wire);
    EXPECT_EQ(loader->wait_for(wire, Operation::kDestroy).status, LOADER_OK);
  }
  loader_status_t fail(loader_status_t status = 78) {
    return engine.runtime->fail(handle, status, "lost");
  }
  // What comes first of these, to see their order.
  Answer next(uint64_t wire) {
    return loader->wait(
        [wire](const Answer& a) {
          return a.handle == wire && a.type != RecordType::kRelease && a.type != RecordType::kLog;
        },
        "any record");
  }

  ScriptEngine engine;
  std::atomic<loader_handle_t> handle{0};
  std::unique_ptr<LoaderEnd> loader;
};

// No call runs: what was emitted before arrives first, and what comes later is refused, once and
// for all; destroy comes exactly once.
TEST_F(Failing, ASessionFailsWithoutACall) {
  begin();
  open(1);
  EXPECT_EQ(emit_bytes(*engine.runtime, handle, "before"), LOADER_OK);
  EXPECT_EQ(fail(), LOADER_OK);
  EXPECT_EQ(emit_bytes(*engine.runtime, handle, "after"), LOADER_ERROR_CLOSED);
  EXPECT_EQ(fail(79), LOADER_ERROR_CLOSED);
  EXPECT_EQ(next(1).items.at(0).data, "before");
  const Answer failure = next(1);
  EXPECT_EQ(failure.type, RecordType::kFailure);
  EXPECT_EQ(failure.status, 78);
  EXPECT_EQ(failure.text, "lost");
  loader->write(1, {});
  EXPECT_EQ(loader->wait_for(1, Operation::kWrite).status, LOADER_ERROR_CLOSED);
  EXPECT_EQ(engine.count("write"), 0);
  close(1);
  EXPECT_EQ(fail(), LOADER_ERROR_CLOSED);
  EXPECT_FALSE(loader->poll([](const Answer& a) { return a.type == RecordType::kFailure; }, 0));
  EXPECT_EQ(loader->stop(), 0);
  EXPECT_EQ(engine.count("destroy 1"), 1);
}

// Only what says how something failed ends a session, and only of a session that is there.
TEST_F(Failing, WhatIsNoFailureIsRefused) {
  begin();
  std::atomic<loader_status_t> of_exec{LOADER_OK};
  engine.on_exec = [&](loader_handle_t call, loader_frame_t&) {
    of_exec = engine.runtime->fail(call, 78, "");
    return LOADER_OK;
  };
  open(1);
  constexpr loader_status_t kWrong[] = {LOADER_OK, LOADER_PENDING, LOADER_AGAIN,
                                        -10,       -777,           kParked};
  for (const loader_status_t status : kWrong)
    EXPECT_EQ(fail(status), LOADER_ERROR_ARGUMENT) << status;
  EXPECT_EQ(engine.runtime->fail(handle + 1, 78, ""), LOADER_ERROR_CLOSED);
  loader->exec(2, {});
  EXPECT_EQ(loader->wait_for(2, Operation::kExec).status, LOADER_OK);
  EXPECT_EQ(of_exec, LOADER_ERROR_ARGUMENT);
  loader->cancel(1);
  loader->ping(1);
  loader->wait([](const Answer& a) { return a.type == RecordType::kPong; }, "pong");
  EXPECT_EQ(fail(LOADER_ERROR_UNAVAILABLE), LOADER_ERROR_CLOSED);
  EXPECT_FALSE(loader->poll([](const Answer& a) { return a.type == RecordType::kFailure; }, 0));
}

// Inside create it holds once create has succeeded: results, opened, failure. A create that fails
// says so itself.
TEST_F(Failing, InsideCreateItWaitsForItsEnd) {
  begin();
  std::atomic<loader_status_t> result{LOADER_OK};
  engine.on_create = [&](void**, loader_handle_t made, loader_error_t&) -> loader_status_t {
    EXPECT_EQ(emit_bytes(*engine.runtime, made, "early"), LOADER_OK);
    EXPECT_EQ(engine.runtime->fail(made, 78, "lost"), LOADER_OK);
    EXPECT_EQ(engine.runtime->fail(made, 79, "again"), LOADER_ERROR_CLOSED);
    EXPECT_EQ(emit_bytes(*engine.runtime, made, "late"), LOADER_ERROR_CLOSED);
    return result;
  };
  loader->create(1);
  EXPECT_EQ(next(1).items.at(0).data, "early");
  EXPECT_TRUE(next(1).is_completion(Operation::kCreate));
  EXPECT_EQ(next(1).status, 78);
  close(1);
  EXPECT_EQ(engine.count("destroy 1"), 1);
  result = 31;
  loader->create(2);
  EXPECT_EQ(loader->wait_for(2, Operation::kCreate).status, 31);
  EXPECT_EQ(loader->stop(), 0);
  EXPECT_FALSE(loader->poll([](const Answer& a) { return a.type == RecordType::kFailure; }, 0));
  EXPECT_EQ(engine.count("destroy 1"), 1);
}

// A call that waits for credit is freed; the failure is what the loader hears first.
TEST_F(Failing, ABlockedEmitIsFreed) {
  begin(2);
  std::latch flooding(1);
  engine.on_write = [&](void*, loader_handle_t call, loader_frame_t&) {
    loader_status_t status = LOADER_OK;
    for (int i = 0; status == LOADER_OK; ++i) {
      if (i == 2) flooding.count_down();
      status = emit_bytes(*engine.runtime, call, "bytes");
    }
    return status;
  };
  open(1, 2);
  loader->write(1, {});
  flooding.wait();
  EXPECT_EQ(fail(), LOADER_OK);
  EXPECT_EQ(next(1).type, RecordType::kResult);
  EXPECT_EQ(next(1).type, RecordType::kResult);
  EXPECT_EQ(next(1).type, RecordType::kFailure);
  EXPECT_EQ(loader->wait_for(1, Operation::kWrite).status, LOADER_ERROR_CLOSED);
  close(1);
}

// A call left PENDING is void: its finish is refused, and destroy answers it. A parked one ends.
TEST_F(Failing, PendingAndParkedCallsAreVoid) {
  begin();
  std::atomic<loader_status_t> leaves{LOADER_PENDING};
  std::counting_semaphore<2> left(0);
  engine.on_write = [&](void*, loader_handle_t call, loader_frame_t&) -> loader_status_t {
    handle = call;
    if (leaves == kParked) {
      EXPECT_EQ(emit_bytes(*engine.runtime, call, "b", LOADER_EMIT_NOWAIT), LOADER_OK);
      EXPECT_EQ(emit_bytes(*engine.runtime, call, "b", LOADER_EMIT_NOWAIT), LOADER_AGAIN);
    }
    left.release();
    return leaves;
  };
  engine.on_resume = [&](void*, loader_handle_t call) {
    return emit_bytes(*engine.runtime, call, "b", LOADER_EMIT_NOWAIT);
  };
  open(1);
  loader->write(1, {});
  ASSERT_TRUE(left.try_acquire_for(kLimit));
  EXPECT_EQ(fail(), LOADER_OK);
  EXPECT_EQ(engine.runtime->finish(handle, LOADER_OK, ""), LOADER_ERROR_CLOSED);
  EXPECT_EQ(next(1).type, RecordType::kFailure);
  close(1);
  EXPECT_EQ(loader->wait_for(1, Operation::kWrite).status, LOADER_ERROR_CLOSED);
  leaves = kParked;
  open(2, 1);
  loader->write(2, {});
  ASSERT_TRUE(left.try_acquire_for(kLimit));
  EXPECT_EQ(next(2).type, RecordType::kResult);
  EXPECT_EQ(fail(), LOADER_OK);
  EXPECT_EQ(next(2).type, RecordType::kFailure);
  EXPECT_EQ(loader->wait_for(2, Operation::kWrite).status, LOADER_ERROR_CLOSED);
  close(2);
}

// The end of a session and its failure, at the same moment: the loader hears of the one that was
// first, and the engine knows which.
TEST_F(Failing, WhateverIsFirstIsTold) {
  begin(2);
  int failed = 0;
  for (uint64_t wire = 1; wire <= 300; ++wire) {
    open(wire);
    std::latch ready(2);
    loader_status_t status = LOADER_OK;
    std::thread failing([&] {
      ready.arrive_and_wait();
      status = fail();
    });
    ready.arrive_and_wait();
    loader->end(wire);
    const Answer first = next(wire);
    failing.join();
    if (status == LOADER_OK) {
      ++failed;
      EXPECT_EQ(first.type, RecordType::kFailure);
      loader->wait_for(wire, Operation::kEnd);
    } else {
      EXPECT_EQ(status, LOADER_ERROR_CLOSED);
      EXPECT_TRUE(first.is_completion(Operation::kEnd));
      EXPECT_EQ(first.status, LOADER_OK);
    }
    close(wire);
  }
  EXPECT_FALSE(loader->poll([](const Answer& a) { return a.type == RecordType::kFailure; }, 0));
  RecordProperty("failed", failed);
}

// FINI destroys what is open with its reason, then calls fini, then run() returns 0.
TEST(HostRuntime, FiniDestroysWhatIsOpen) {
  ScriptEngine engine;
  LoaderEnd loader(engine, {.threads = 2});
  loader.start();
  for (uint64_t handle = 1; handle <= 3; ++handle) {
    loader.create(handle);
    loader.wait_for(handle, Operation::kCreate);
  }
  EXPECT_EQ(loader.stop(), 0);
  EXPECT_EQ(engine.count("destroy " + std::to_string(LOADER_REASON_DRAIN)), 3);
  EXPECT_EQ(engine.calls().back().first, "fini");
}

// A health check is a call on the instance: fini waits until it has returned. Two run at once, so
// that one is not on the main thread, where fini would wait for it anyway.
TEST(HostRuntime, FiniWaitsForTheHealthCheck) {
  ScriptEngine engine;
  std::latch entered(2);
  engine.on_health = [&] {
    entered.arrive_and_wait();
    const bool is_main = std::this_thread::get_id() == engine.calls().front().second;
    if (!is_main) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  };
  LoaderEnd loader(engine, {.threads = 2});
  loader.start();
  loader.health();
  loader.health();
  entered.wait();
  EXPECT_EQ(loader.stop(), 0);
  EXPECT_EQ(engine.count("health"), 2);
  EXPECT_EQ(engine.calls().back().first, "fini");
}

// What does not fit the socket at the end still leaves: a loader that is slow for a moment hears
// why init failed, behind all that it logged.
TEST(HostRuntime, TheLastWordsLeaveBeforeItEnds) {
  constexpr int kLines = 12;
  ScriptEngine engine;
  std::latch failing(1);
  engine.on_init = [&] {
    for (int i = 0; i < kLines; ++i)
      engine.runtime->log(0, LOADER_LOG_INFO, std::string(64 * 1024, 'x'));
    failing.count_down();
    return 7;
  };
  LoaderEnd loader(engine, {.socket_bytes = 64 * 1024});
  loader.begin();
  failing.wait();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(loader.wait_for(0, Operation::kInit).status, 7);
  EXPECT_EQ(loader.join(), 1);
  int lines = 0;
  while (loader.poll([](const Answer& a) { return a.type == RecordType::kLog; }, 0)) ++lines;
  EXPECT_EQ(lines, kLines);
}

// A text that is cut, by the room for it or by us, loses half a character at most.
TEST(HostRuntime, ATextThatIsCutStaysText) {
  ScriptEngine engine;
  LoaderEnd loader(engine, {});
  loader.start();
  std::string text = "xy";
  const auto whole = [&](size_t bytes) { return text.substr(0, 2 + (bytes - 2) / 3 * 3); };
  while (text.size() < 70'000) text += "\u9519";
  engine.runtime->log(0, LOADER_LOG_ERROR, text);
  const Answer line =
      loader.wait([](const Answer& a) { return a.type == RecordType::kLog; }, "a log line");
  EXPECT_TRUE(line.text == whole(64 * 1024)) << line.text.substr(0, 10);
  ErrorRoom room;
  std::snprintf(room.error().message, room.error().capacity, "%s", text.c_str());
  room.error().size = room.error().capacity;
  EXPECT_EQ(room.outcome(7).message, whole(2047));
  EXPECT_EQ(clean_text("\xff tail"), "? tail");
}

// When the loader is gone, sessions are destroyed with that reason and fini is called.
TEST(HostRuntime, ALostLoaderEndsEverything) {
  ScriptEngine engine;
  std::latch entered(1);
  engine.on_write = [&](void*, loader_handle_t call, loader_frame_t&) {
    entered.count_down();
    while (emit_bytes(*engine.runtime, call, "flood") == LOADER_OK) {
    }
    return LOADER_OK;
  };
  LoaderEnd loader(engine, {.threads = 2});
  loader.start();
  loader.create(1);
  loader.create(2);
  loader.write(1, {});
  loader.wait_for(2, Operation::kCreate);
  entered.wait();
  loader.vanish();
  EXPECT_EQ(loader.join(), 3);
  EXPECT_EQ(engine.count("destroy " + std::to_string(LOADER_REASON_LOADER_GONE)), 2);
  EXPECT_EQ(engine.calls().back().first, "fini");
}

// Bytes that are no record stop the host.
TEST(HostRuntime, GarbageStopsTheHost) {
  ScriptEngine engine;
  LoaderEnd loader(engine, {});
  loader.start();
  loader.create(1);
  loader.wait_for(1, Operation::kCreate);
  loader.raw(std::string(64, '\xff'));
  EXPECT_EQ(loader.join(), 2);
  EXPECT_EQ(engine.count("fini"), 1);
}

// A call over its limit is reported once; one blocked for credit is not.
TEST(HostRuntime, ReportsAHungCallButNotABlockedOne) {
  ScriptEngine engine;
  Gate gate;
  engine.on_write = [&](void*, loader_handle_t call, loader_frame_t& frame) {
    if (frame.item_count == 0) return pass(gate) ? 0 : 1;
    while (emit_bytes(*engine.runtime, call, "flood") == LOADER_OK) {
    }
    return 0;
  };
  LoaderEnd loader(engine, {.threads = 2, .call_timeout_ns = 1'000'000'000});
  loader.start();
  loader.create(1);
  loader.create(2, 1, 1024);
  loader.write(2, {{"flood", ""}});
  loader.wait_result(2);
  loader.write(1, {});
  const Answer hung =
      loader.wait([](const Answer& a) { return a.type == RecordType::kHung; }, "hung");
  EXPECT_EQ(hung.handle, 1u);
  EXPECT_EQ(hung.operation, Operation::kWrite);
  EXPECT_FALSE(loader.poll([](const Answer& a) { return a.type == RecordType::kHung; }, 200));
  gate.open();
  loader.wait_for(1, Operation::kWrite);
  loader.cancel(2);
  loader.wait_for(2, Operation::kWrite);
}

// A result of several megabytes is written once, in the shared memory, and its blocks come back.
TEST(HostRuntime, ResultsTravelInSharedMemory) {
  ScriptEngine engine;
  constexpr size_t kSize = 3 * 1024 * 1024;
  engine.on_exec = [&](loader_handle_t call, loader_frame_t&) -> loader_status_t {
    loader_item_t item{};
    uint8_t* writable = nullptr;
    if (engine.runtime->alloc_result(call, kSize, &item.data, &writable) != LOADER_OK) return 1;
    for (size_t i = 0; i < kSize; ++i) writable[i] = static_cast<uint8_t>(i * 31);
    item.key = {"big", 3};
    item.type = LOADER_ITEM_BYTES;
    loader_frame_t frame{sizeof frame, sizeof item, 1, 0, 0, -1, &item};
    const loader_status_t status = engine.runtime->emit(call, &frame, 0);
    EXPECT_EQ(item.data.release, nullptr);
    return status;
  };
  LoaderEnd loader(engine, {});
  loader.start();
  for (uint64_t handle = 1; handle <= 40; ++handle) {  // more than the arena holds at once
    loader.exec(handle, {});
    const Answer result = loader.wait_result(handle);
    ASSERT_EQ(result.items.size(), 1u);
    ASSERT_EQ(result.items[0].data.size(), kSize);
    EXPECT_EQ(static_cast<uint8_t>(result.items[0].data[kSize - 1]),
              static_cast<uint8_t>((kSize - 1) * 31));
    EXPECT_EQ(loader.wait_for(handle, Operation::kExec).status, LOADER_OK);
  }
}

// A buffer taken out of a frame stays readable after the call and the session.
TEST(HostRuntime, ATakenBufferOutlivesItsSession) {
  ScriptEngine engine;
  loader_buffer_t small{};
  loader_buffer_t large{};
  engine.on_write = [&](void*, loader_handle_t, loader_frame_t& frame) {
    small = frame.items[0].data;
    large = frame.items[1].data;
    frame.items[0].data.release = nullptr;
    frame.items[1].data.release = nullptr;
    return LOADER_OK;
  };
  LoaderEnd loader(engine, {});
  loader.start();
  loader.create(1);
  loader.write(1, {{"small", "little"}, {"large", std::string(100'000, 'L')}});
  loader.wait_for(1, Operation::kWrite);
  loader.destroy(1);
  loader.wait_for(1, Operation::kDestroy);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(small.data), small.size), "little");
  EXPECT_EQ(large.size, 100'000u);
  EXPECT_EQ(large.data[99'999], 'L');
  small.release(&small);
  large.release(&large);
  loader.wait([](const Answer& a) { return a.type == RecordType::kRelease; },
              "the block's release");
}

// The deadline reaches the engine as time left.
TEST(HostRuntime, TellsTheDeadline) {
  ScriptEngine engine;
  std::atomic<int64_t> left{0};
  engine.on_create = [&](void**, loader_handle_t handle, loader_error_t&) {
    left = engine.runtime->deadline(handle);
    return LOADER_OK;
  };
  LoaderEnd loader(engine, {});
  loader.start();
  loader.create(1);
  loader.wait_for(1, Operation::kCreate);
  EXPECT_EQ(left, INT64_MAX);
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  const int64_t now_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
  loader.create(2, 256, 65536, 0, now_ns + 3'600'000'000'000);
  loader.wait_for(2, Operation::kCreate);
  EXPECT_GT(left, 3'000'000'000'000);
  EXPECT_LE(left, 3'600'000'000'000);
}

// A row of ready calls is one batch: Python takes the GIL once for all of them.
TEST(HostRuntime, ReadyCallsShareABatch) {
  ScriptEngine engine;
  LoaderEnd loader(engine, {});
  loader.start();
  Gate gate;
  std::latch entered(1);
  engine.on_exec = [&](loader_handle_t, loader_frame_t& frame) {
    if (frame.item_count != 0) {
      entered.count_down();
      pass(gate);
    }
    return LOADER_OK;
  };
  loader.exec(1, {{"wait", ""}});
  entered.wait();
  for (uint64_t handle = 2; handle <= 201; ++handle) loader.exec(handle, {});
  loader.ping(5);  // answered after the calls before it were read
  loader.wait([](const Answer& a) { return a.type == RecordType::kPong; }, "pong");
  const int before = engine.count("batch_begin");
  gate.open();
  for (uint64_t handle = 1; handle <= 201; ++handle) loader.wait_for(handle, Operation::kExec);
  // A batch ends after 200 µs, so a slow machine needs many; one for each call would be 200.
  EXPECT_LT(engine.count("batch_begin") - before, 200);
}

}  // namespace
}  // namespace loader::host::test
