// The rules of section 5 of the design, one by one, on one shard with a scripted host.
#include <gtest/gtest.h>

#include "support.h"

namespace loader::session::test {
namespace {

// The whole good life: opened, frames, results, end, final, destroy, slot.
TEST(Session, LivesAndEnds) {
  World w;
  TestFront front;
  const SessionId id = w.open(front);
  ASSERT_NE(id, 0u);
  EXPECT_EQ(w.state(id), State::kCreating);
  EXPECT_EQ(w.host.bodies.at(0), "open");
  w.host.complete(w.shard, id);
  EXPECT_EQ(front.opened, 1);
  EXPECT_EQ(w.shard.frame(id, view_of("one", 10)).status, FrameStatus::kAccepted);
  EXPECT_EQ(front.credit, 0u);
  w.advance(kMs);
  EXPECT_TRUE(w.host.emit(w.shard, id, "result"));
  w.host.complete(w.shard, id);
  EXPECT_EQ(front.credit, 10u) << "the window opens once the engine is done with the frame";
  EXPECT_EQ(front.processed, 1u);
  w.shard.input_end(id);
  EXPECT_EQ(w.state(id), State::kInputEnded);
  w.host.complete(w.shard, id);
  EXPECT_EQ(front.finals, 1);
  EXPECT_EQ(front.reason, static_cast<uint32_t>(LOADER_REASON_FINISHED));
  EXPECT_EQ(front.error, ErrorCode::kNone);
  EXPECT_EQ(front.statistics.frames_in, 1u);
  EXPECT_EQ(front.statistics.bytes_out, 6u);
  EXPECT_EQ(front.statistics.first_result_ns, kMs);
  EXPECT_EQ(w.pool->used(1), 1u) << "the slot waits for destroyed";
  EXPECT_EQ(w.host.work[id].reason, static_cast<uint32_t>(LOADER_REASON_FINISHED));
  w.host.complete(w.shard, id);
  EXPECT_EQ(w.pool->used(1), 0u);
  EXPECT_EQ(w.shard.session_count(), 0u);
  EXPECT_EQ(w.shard.counters(kEngine)->closed[LOADER_REASON_FINISHED], 1u);
  EXPECT_EQ(w.shard.counters(kEngine)->call.count, 2u);
}

// An exec is its slot, its request, its results and one completion.
TEST(Exec, CompletionIsFinalAndFreesTheSlotAtOnce) {
  World w;
  TestFront front;
  const SessionId id = w.open(front, Kind::kExec);
  EXPECT_EQ(w.state(id), State::kInputEnded);
  EXPECT_EQ(w.host.work[id].frames.at(0), "request");
  w.host.emit(w.shard, id, "answer");
  w.host.complete(w.shard, id);
  EXPECT_EQ(front.results, std::vector<std::string>{"answer"});
  EXPECT_EQ(front.opened, 0);
  EXPECT_EQ(front.finals, 1);
  EXPECT_EQ(front.reason, static_cast<uint32_t>(LOADER_REASON_FINISHED));
  EXPECT_EQ(w.pool->used(1), 0u);
  EXPECT_EQ(w.host.work[id].destroys, 0);
  EXPECT_EQ(w.shard.session_count(), 0u);
}

// A cancelled exec tells the engine, and holds its slot until the call has returned.
TEST(Exec, CancelledExecHoldsItsSlotUntilItReturns) {
  World w;
  TestFront front;
  const SessionId id = w.open(front, Kind::kExec);
  w.shard.cancel(id, {.reason = LOADER_REASON_CLIENT_GONE});
  EXPECT_EQ(front.finals, 1);
  EXPECT_EQ(front.reason, static_cast<uint32_t>(LOADER_REASON_CLIENT_GONE));
  EXPECT_EQ(w.host.work[id].cancels, 1);
  EXPECT_EQ(w.pool->used(1), 1u);
  w.host.complete(w.shard, id, LOADER_ERROR_CLOSED);
  EXPECT_EQ(w.pool->used(1), 0u);
  EXPECT_EQ(w.host.work[id].destroys, 0);
}

// An exec that waited for its slot goes out with the same body and request.
TEST(Exec, QueuedExecKeepsItsRequest) {
  World w(1);
  TestFront first, second;
  const SessionId a = w.open(first, Kind::kExec);
  const SessionId b = w.open(second, Kind::kExec);
  EXPECT_EQ(w.state(b), State::kQueued);
  EXPECT_EQ(w.shard.counters(kEngine)->queued, 1u);
  w.advance(5 * kMs);
  w.host.complete(w.shard, a);
  w.deliver_grants();
  EXPECT_EQ(w.host.work[b].frames.at(0), "request");
  EXPECT_EQ(w.host.bodies.at(1), "open");
  EXPECT_EQ(w.shard.counters(kEngine)->queued_input_bytes, 0u);
  w.host.complete(w.shard, b);
  EXPECT_EQ(second.statistics.queue_ns, 5 * kMs);
}

// The engine's own code and text travel beside ours.
TEST(Session, EngineErrorCarriesItsOwnCodeAndText) {
  World w;
  TestFront front;
  const SessionId id = w.open_created(front);
  w.shard.frame(id, view_of("x"));
  w.host.complete(w.shard, id, 77, "no licence");
  EXPECT_EQ(front.reason, static_cast<uint32_t>(LOADER_REASON_ENGINE_ERROR));
  EXPECT_EQ(front.error, ErrorCode::ENGINE_ERROR);
  EXPECT_EQ(front.engine_code, 77);
  EXPECT_EQ(front.engine_message, "no licence");
  TestFront other;
  const SessionId rejected = w.open_created(other);
  w.shard.frame(rejected, view_of("x"));
  w.host.complete(w.shard, rejected, LOADER_ERROR_INVALID_INPUT, "not audio");
  EXPECT_EQ(other.error, ErrorCode::INPUT_REJECTED);
}

// The engine may end a session while no call of it runs: what it emitted before arrives, then its
// own code and text; destroy follows, and the slot.
TEST(Session, EngineMayFailWithoutACall) {
  World w;
  TestFront front;
  const SessionId id = w.open_created(front);
  w.host.emit(w.shard, id, "before");
  EXPECT_EQ(w.shard.on_failure({id, 78, "lost the device"}), HostVerdict::kOk);
  EXPECT_EQ(front.results, std::vector<std::string>{"before"});
  EXPECT_EQ(front.finals, 1);
  EXPECT_EQ(front.reason, static_cast<uint32_t>(LOADER_REASON_ENGINE_ERROR));
  EXPECT_EQ(front.error, ErrorCode::ENGINE_ERROR);
  EXPECT_EQ(front.engine_code, 78);
  EXPECT_EQ(front.engine_message, "lost the device");
  EXPECT_EQ(w.shard.on_failure({id, 79, "again"}), HostVerdict::kOk);
  EXPECT_EQ(w.host.work[id].destroys, 1);
  EXPECT_EQ(w.pool->used(1), 1u);
  w.host.complete(w.shard, id);
  EXPECT_EQ(w.pool->used(1), 0u);
  EXPECT_EQ(w.shard.on_failure({id, 80, "late"}), HostVerdict::kOk);
  TestFront unable;
  const SessionId other = w.open_created(unable);
  w.shard.on_failure({other, LOADER_ERROR_UNAVAILABLE, "no device"});
  EXPECT_EQ(unable.error, ErrorCode::ENGINE_UNAVAILABLE);
}

// While a call runs: the call is told to return, and what it returns changes nothing any more.
TEST(Session, EngineMayFailWhileACallRuns) {
  World w;
  TestFront front;
  const SessionId id = w.open_created(front);
  w.shard.input_end(id);
  w.shard.on_failure({id, 78, "lost the device"});
  EXPECT_EQ(front.engine_code, 78);
  EXPECT_EQ(w.host.work[id].cancels, 1);
  EXPECT_EQ(w.host.complete(w.shard, id), HostVerdict::kOk);  // the end, which had gone well
  EXPECT_EQ(front.finals, 1);
  w.host.complete(w.shard, id);
  EXPECT_EQ(w.shard.session_count(), 0u);
}

// A create that fails is not destroyed, and gives its slot back at once.
TEST(Session, FailedCreateIsNotDestroyed) {
  World w;
  TestFront front;
  const SessionId id = w.open(front);
  w.host.emit(w.shard, id, "early");
  w.host.complete(w.shard, id, 5, "no");
  EXPECT_EQ(front.opened, 0);
  EXPECT_TRUE(front.results.empty());
  EXPECT_EQ(front.reason, static_cast<uint32_t>(LOADER_REASON_CREATE_FAILED));
  EXPECT_EQ(front.error, ErrorCode::CREATE_FAILED);
  EXPECT_EQ(w.host.work[id].destroys, 0);
  EXPECT_EQ(w.pool->used(1), 0u);
  EXPECT_EQ(w.shard.session_count(), 0u);
}

// Closed while creating: final at once, destroy when create has completed, then the slot.
TEST(Session, ClosedWhileCreatingIsDestroyedAfterCreate) {
  World w;
  TestFront front;
  const SessionId id = w.open(front);
  w.shard.cancel(id);
  EXPECT_EQ(front.finals, 1);
  EXPECT_EQ(w.host.work[id].cancels, 1);
  EXPECT_EQ(w.host.work[id].destroys, 0);
  w.host.complete(w.shard, id);
  EXPECT_EQ(w.host.work[id].destroys, 1);
  EXPECT_EQ(w.pool->used(1), 1u);
  w.host.complete(w.shard, id);
  EXPECT_EQ(w.pool->used(1), 0u);
  // The same with a create that fails in the end.
  TestFront other;
  const SessionId failed = w.open(other);
  w.shard.cancel(failed);
  w.host.complete(w.shard, failed, 5);
  EXPECT_EQ(w.host.work[failed].destroys, 0);
  EXPECT_EQ(w.pool->used(1), 0u);
}

// Frames, and an end, that come before created wait and keep their order; results emitted in create
// wait for opened.
TEST(Session, InputBeforeCreatedWaits) {
  World w;
  TestFront front;
  const SessionId id = w.open(front);
  w.shard.frame(id, view_of("1", 5));
  w.shard.frame(id, view_of("2", 5));
  w.shard.input_end(id);
  EXPECT_EQ(w.shard.frame(id, view_of("3")).error, ErrorCode::PROTOCOL_VIOLATION);
  EXPECT_EQ(front.credit, 0u);
  w.host.emit(w.shard, id, "hello");
  EXPECT_TRUE(front.results.empty());
  w.host.complete(w.shard, id);
  EXPECT_EQ(front.results, std::vector<std::string>{"hello"});
  EXPECT_EQ(w.host.work[id].frames, (std::vector<std::string>{"1", "2"}));
  EXPECT_EQ(front.credit, 0u);
  EXPECT_EQ(w.host.work[id].running, (std::deque<Op>{Op::kWrite, Op::kWrite, Op::kEnd}));
  EXPECT_EQ(w.state(id), State::kInputEnded);
}

// Without credit input waits in its own queue, bounded; completions let it go on.
TEST(Credit, InputWaitsForCompletionsAndIsBounded) {
  EngineOptions options;
  options.window_bytes = 100;
  options.window_records = 3;
  options.queue_bytes = 50;
  World w(2, 4, options);
  TestFront front;
  const SessionId id = w.open_created(front);
  const std::string frame(10, 'x');
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(w.shard.frame(id, view_of(frame, 11)).status, FrameStatus::kAccepted);
  }
  EXPECT_EQ(w.host.work[id].frames.size(), 3u);
  EXPECT_EQ(front.credit, 0u);
  EXPECT_EQ(w.shard.frame(id, view_of(frame, 11)).status, FrameStatus::kWouldBlock);
  w.shard.input_end(id);
  EXPECT_EQ(w.host.work[id].ends, 0);
  w.host.complete(w.shard, id);
  EXPECT_EQ(w.host.work[id].frames.size(), 4u);
  EXPECT_EQ(front.credit, 11u);
  for (int i = 0; i < 7; ++i) w.host.complete(w.shard, id);
  EXPECT_EQ(w.host.work[id].frames.size(), 8u);
  EXPECT_EQ(w.host.work[id].ends, 1) << "end goes out after the queued frames";
  EXPECT_EQ(w.shard.counters(kEngine)->queued_input_bytes, 0u);
}

// One frame larger than the window may overdraw; the next waits.
TEST(Credit, OneLargerFrameMayOverdraw) {
  EngineOptions options;
  options.window_bytes = 100;
  World w(2, 4, options);
  TestFront front;
  const SessionId id = w.open_created(front);
  w.shard.frame(id, view_of("small"));
  w.shard.frame(id, view_of(std::string(1000, 'x')));
  w.shard.frame(id, view_of("next"));
  EXPECT_EQ(w.host.work[id].frames.size(), 2u);
  w.host.complete(w.shard, id);
  EXPECT_EQ(w.host.work[id].frames.size(), 2u);
  w.host.complete(w.shard, id);
  EXPECT_EQ(w.host.work[id].frames.size(), 3u);
}

// The engine gets credit back as the front consumes; one that emits without credit is stopped.
TEST(Credit, ResultsAreGrantedAsTheFrontConsumes) {
  EngineOptions options;
  options.window_bytes = 100;
  options.window_records = 8;
  World w(2, 4, options);
  TestFront front;
  const SessionId id = w.open_created(front);
  const std::string result(30, 'r');
  int emitted = 0;
  while (w.host.emit(w.shard, id, result)) ++emitted;
  EXPECT_EQ(emitted, 4) << "the last one overdraws";
  EXPECT_EQ(w.shard.on_result(id, view_of(result)), HostVerdict::kCorrupt);
  EXPECT_EQ(front.results.size(), 4u);
  front.consume(w.shard, id);
  EXPECT_EQ(w.host.work[id].credit_bytes, 100);
  EXPECT_EQ(w.host.work[id].credit_records, 8);
  EXPECT_TRUE(w.host.emit(w.shard, id, result));
}

// What is too little to be granted leaves the engine room for a result of any size, so that no
// timer has to hand it out: with many sessions it would run at every moment.
TEST(Credit, WhatIsHeldBackNeverHoldsUpTheEngine) {
  World w;
  TestFront front;
  const SessionId id = w.open_created(front);
  w.shard.frame(id, view_of("x"));
  for (int i = 0; i < 200; ++i) {
    w.host.emit(w.shard, id, std::string(1000, 'r'));
    front.consume(w.shard, id);
    EXPECT_GT(w.host.work[id].credit_bytes, 64 * 1024 / 2);
    EXPECT_GT(w.host.work[id].credit_records, 0u);
    EXPECT_GE(w.shard.next_deadline_ns(), w.now + kSecond) << "a timer for credit";
  }
}

// No slot in time: refused with "retry elsewhere"; no instance at all says so.
TEST(Admission, WaitIsBounded) {
  World w(1);
  TestFront first, second, third;
  w.open(first);
  const SessionId id = w.open(second);
  EXPECT_EQ(w.shard.next_deadline_ns(), w.now + kSecond);
  w.advance(kSecond - 1);
  EXPECT_EQ(w.state(id), State::kQueued);
  w.advance(1);
  EXPECT_EQ(second.reason, static_cast<uint32_t>(LOADER_REASON_ADMISSION));
  EXPECT_EQ(second.error, ErrorCode::NO_FREE_SLOT);
  EXPECT_EQ(w.pool->state().waiting, 0u);
  w.kill_host();
  EXPECT_EQ(first.error, ErrorCode::ENGINE_DIED);
  w.open(third);
  w.advance(kSecond);
  EXPECT_EQ(third.error, ErrorCode::ENGINE_UNAVAILABLE);
}

// admission_wait 0 is refused at once, a full queue as well, an unknown engine too: each with
// final.
TEST(Admission, RefusalsAreFinals) {
  World w(1, 1);
  TestFront holder, waiter, full, now, unknown, late;
  w.open(holder);
  w.open(waiter);
  w.open(full);
  EXPECT_EQ(full.error, ErrorCode::QUEUE_FULL);
  OpenRequest request;
  request.engine = kEngine;
  request.admission_wait_ns = 0;
  request.front = &now;
  EXPECT_NE(w.shard.open(request), 0u);
  EXPECT_EQ(now.error, ErrorCode::NO_FREE_SLOT);
  request.engine = 99;
  request.front = &unknown;
  w.shard.open(request);
  EXPECT_EQ(unknown.error, ErrorCode::UNKNOWN_ENGINE);
  w.open(late, Kind::kSession, w.now);
  EXPECT_EQ(late.error, ErrorCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(w.shard.session_count(), 2u);
}

// A slot granted to someone who left goes on to the next.
TEST(Admission, GrantThatComesTooLateIsGivenBack) {
  World w(1);
  TestFront first, second, third;
  const SessionId a = w.open(first, Kind::kExec);
  const SessionId b = w.open(second);
  const SessionId c = w.open(third);
  w.host.complete(w.shard, a);
  ASSERT_EQ(w.sink.posted.size(), 1u);
  w.shard.cancel(b);
  w.deliver_grants();
  EXPECT_EQ(w.state(c), State::kCreating);
  EXPECT_EQ(w.pool->used(1), 1u);
}

// A slot on a host that died on the way is waited for again.
TEST(Admission, GrantOnADeadHostWaitsAgain) {
  World w(1);
  TestFront first, second;
  const SessionId a = w.open(first, Kind::kExec);
  const SessionId b = w.open(second);
  w.host.complete(w.shard, a);
  w.kill_host();
  w.deliver_grants();
  EXPECT_EQ(w.state(b), State::kQueued);
  w.shard.add_port(2, kEngine, w.host);
  w.pool->add_instance(2);
  w.deliver_grants();
  EXPECT_EQ(w.state(b), State::kCreating);
}

// The deadline covers queueing plus execution and is given to the engine.
TEST(Deadline, CoversQueueAndExecution) {
  World w(1);
  TestFront first, second;
  const SessionId a = w.open(first, Kind::kSession, w.now + 100 * kMs);
  EXPECT_EQ(w.host.work[a].deadline_ns, w.now + 100 * kMs);
  w.open(second, Kind::kSession, w.now + 50 * kMs);
  w.advance(50 * kMs);
  EXPECT_EQ(second.reason, static_cast<uint32_t>(LOADER_REASON_DEADLINE));
  EXPECT_EQ(first.finals, 0);
  w.advance(50 * kMs);
  EXPECT_EQ(first.reason, static_cast<uint32_t>(LOADER_REASON_DEADLINE));
  EXPECT_EQ(first.error, ErrorCode::DEADLINE_EXCEEDED);
}

// A session without a frame and a result is idle; one whose engine works is not.
TEST(Idle, ClosesSessionsWhereNothingHappens) {
  EngineOptions options;
  options.idle_timeout_ns = kSecond;
  World w(2, 4, options);
  TestFront idle, busy;
  w.open_created(idle);
  const SessionId id = w.open_created(busy);
  w.shard.frame(id, view_of("x"));
  w.advance(kSecond);
  EXPECT_EQ(idle.reason, static_cast<uint32_t>(LOADER_REASON_IDLE_TIMEOUT));
  EXPECT_EQ(busy.finals, 0) << "its call runs";
  w.host.emit(w.shard, id, "r");
  w.host.complete(w.shard, id);
  busy.consume(w.shard, id);
  w.advance(kSecond - 1);
  EXPECT_EQ(busy.finals, 0);
  w.advance(1);
  EXPECT_EQ(busy.finals, 1);
}

// A client that never reads is idle too, although its engine has a call running.
TEST(Idle, ClientThatDoesNotReadIsIdleNotHung) {
  EngineOptions options;
  options.idle_timeout_ns = 60 * kSecond;
  World w(2, 4, options);
  TestFront front;
  const SessionId id = w.open_created(front);
  w.shard.frame(id, view_of("x"));
  w.host.emit(w.shard, id, "r");
  w.advance(59 * kSecond);
  EXPECT_EQ(front.finals, 0) << "time blocked for credit is not counted";
  w.advance(kSecond);
  EXPECT_EQ(front.reason, static_cast<uint32_t>(LOADER_REASON_IDLE_TIMEOUT));
}

// Hung: neither returned, emitted nor finished for call_timeout. The instance takes no new work,
// the others get the grace, then the host is to be killed.
TEST(Hung, CallEndsWithItsOwnReasonAndItsInstanceWithAGrace) {
  World w(3);
  TestFront hung, other, late;
  const SessionId id = w.open_created(hung);
  const SessionId good = w.open_created(other);
  w.shard.frame(id, view_of("x"));
  w.advance(20 * kSecond);
  w.host.emit(w.shard, id, "alive");
  hung.consume(w.shard, id);
  w.advance(20 * kSecond);
  EXPECT_EQ(hung.finals, 0) << "it emitted";
  w.advance(10 * kSecond);
  EXPECT_EQ(hung.reason, static_cast<uint32_t>(LOADER_REASON_CALL_HUNG));
  EXPECT_EQ(hung.error, ErrorCode::CALL_HUNG);
  EXPECT_EQ(w.events.hung, std::vector<InstanceId>{1});
  EXPECT_EQ(w.host.work[id].cancels, 1);
  w.open(late);
  EXPECT_EQ(w.host.work.size(), 2u) << "no new work";
  EXPECT_EQ(w.shard.frame(good, view_of("y")).status, FrameStatus::kAccepted);
  w.host.complete(w.shard, good);
  w.advance(4 * kSecond);
  EXPECT_TRUE(w.events.killed.empty());
  w.advance(kSecond);
  EXPECT_EQ(w.events.killed, std::vector<InstanceId>{1});
  w.kill_host();
  EXPECT_EQ(other.reason, static_cast<uint32_t>(LOADER_REASON_HOST_DIED));
  EXPECT_EQ(w.pool->state().used, 0u);
  EXPECT_EQ(w.shard.counters(kEngine)->calls_hung, 1u);
  w.advance(kSecond);
  EXPECT_EQ(w.events.killed.size(), 1u);
}

// Where nobody profits from the grace the host is killed at once; also when the last other session
// ends within it.
TEST(Hung, GraceEndsWhenNobodyProfitsFromIt) {
  World w(3);
  TestFront hung, other;
  const SessionId id = w.open_created(hung);
  const SessionId good = w.open_created(other);
  w.shard.on_hung(id);
  w.advance(0);
  EXPECT_TRUE(w.events.killed.empty());
  w.shard.cancel(good);
  w.host.complete(w.shard, good);
  w.advance(20 * kMs);
  EXPECT_EQ(w.events.killed, std::vector<InstanceId>{1});
}

// A hung call that returns at last, and gives its slot back, takes nobody else's grace away.
TEST(Hung, OthersKeepTheirGraceWhenTheHungCallReturns) {
  World w(3);
  TestFront hung, other;
  const SessionId id = w.open_created(hung);
  w.open_created(other);
  w.shard.on_hung(id);
  w.host.complete(w.shard, id);
  EXPECT_EQ(w.pool->used(1), 1u);
  w.advance(kSecond);
  EXPECT_TRUE(w.events.killed.empty());
  w.advance(4 * kSecond);
  EXPECT_EQ(w.events.killed, std::vector<InstanceId>{1});
}

// Create and destroy have clocks of their own, and a session that closes while a call hangs still
// has its instance killed.
TEST(Hung, CreateAndDestroyHaveTheirOwnClocks) {
  EngineOptions options;
  options.create_timeout_ns = 2 * kSecond;
  options.destroy_timeout_ns = 3 * kSecond;
  {
    World w(2, 4, options);
    TestFront front;
    w.open(front);
    w.advance(2 * kSecond);
    EXPECT_EQ(front.reason, static_cast<uint32_t>(LOADER_REASON_CALL_HUNG));
    EXPECT_EQ(w.events.killed.size(), 1u);
  }
  World w(2, 4, options);
  TestFront front;
  const SessionId id = w.open_created(front);
  w.shard.frame(id, view_of("x"));
  w.advance(10 * kSecond);
  w.shard.cancel(id);
  w.advance(19 * kSecond);
  EXPECT_TRUE(w.events.hung.empty());
  w.host.complete(w.shard, id, LOADER_ERROR_CLOSED);  // the call returns at last
  w.advance(2 * kSecond);
  EXPECT_TRUE(w.events.hung.empty()) << "now destroy runs";
  w.advance(kSecond);
  EXPECT_EQ(w.events.hung.size(), 1u);
  w.advance(0);
  w.kill_host();
  EXPECT_EQ(w.shard.session_count(), 0u);
  EXPECT_EQ(front.finals, 1);
}

// The hung clock of a running call runs on when its session is closed.
TEST(Hung, ClockRunsOnWhileClosing) {
  World w;
  TestFront front;
  const SessionId id = w.open_created(front);
  w.shard.frame(id, view_of("x"));
  w.advance(29 * kSecond);
  w.shard.cancel(id);
  w.advance(kSecond);
  EXPECT_EQ(w.events.killed, std::vector<InstanceId>{1});
}

// An instance without pongs is treated as hung by each shard.
TEST(Hung, InstanceWithoutPongs) {
  World w;
  TestFront front;
  w.open_created(front);
  w.shard.on_instance_hung(1);
  EXPECT_FALSE(w.pool->is_accepting(1));
  w.advance(5 * kSecond);
  EXPECT_EQ(w.events.killed, std::vector<InstanceId>{1});
  EXPECT_EQ(front.finals, 0);
}

// The host's death ends its sessions, in every state, with its reason, and frees their slots.
TEST(HostDied, EndsItsSessionsInEveryState) {
  World w(4);
  TestFront creating, open, ended, closing;
  w.open(creating);
  w.open_created(open);
  w.shard.input_end(w.open_created(ended));
  w.shard.cancel(w.open_created(closing));
  w.pool->retire_instance(1);
  w.shard.on_host_died(1, {.error = ErrorCode::MEMORY_LIMIT, .message = "4 GiB"});
  for (TestFront* front : {&creating, &open, &ended}) {
    EXPECT_EQ(front->reason, static_cast<uint32_t>(LOADER_REASON_HOST_DIED));
    EXPECT_EQ(front->error, ErrorCode::MEMORY_LIMIT);
    EXPECT_EQ(front->message, "4 GiB");
  }
  EXPECT_EQ(closing.reason, static_cast<uint32_t>(LOADER_REASON_CLIENT_CANCEL));
  EXPECT_EQ(w.pool->state().used, 0u);
  EXPECT_EQ(w.shard.session_count(), 0u);
}

// What a host cannot say gets it stopped; what comes late is ignored.
TEST(Host, LiesAreToldFromLateRecords) {
  World w;
  TestFront front;
  const SessionId id = w.open_created(front);
  Completion completion;
  completion.handle = id;
  for (Op op : {Op::kCreate, Op::kWrite, Op::kEnd, Op::kExec, Op::kDestroy}) {
    completion.op = op;
    EXPECT_EQ(w.shard.on_completion(completion), HostVerdict::kCorrupt);
  }
  EXPECT_EQ(front.finals, 0);
  EXPECT_EQ(w.shard.judge_result(id), ResultVerdict::kWanted);
  EXPECT_EQ(w.shard.judge_result(id + 1), ResultVerdict::kCorrupt);
  EXPECT_EQ(w.shard.judge_result(0), ResultVerdict::kCorrupt);
  EXPECT_EQ(w.shard.on_result(id + 1, view_of("x")), HostVerdict::kCorrupt);
  EXPECT_EQ(w.shard.on_result(0, view_of("x")), HostVerdict::kCorrupt);
  EXPECT_EQ(w.shard.on_result(id + (uint64_t{1} << 32), view_of("x")), HostVerdict::kCorrupt);
  w.shard.cancel(id);
  w.host.complete(w.shard, id);
  completion.op = Op::kWrite;
  EXPECT_EQ(w.shard.on_completion(completion), HostVerdict::kOk);
  EXPECT_EQ(w.shard.judge_result(id), ResultVerdict::kLate);
  EXPECT_EQ(w.shard.on_result(id, view_of("x")), HostVerdict::kOk);
  TestFront next;
  EXPECT_NE(w.open(next), id) << "ids are never reused";
  EXPECT_TRUE(next.results.empty());
}

// Drain: nothing new, those open may finish, the rest ends at the deadline with reason drain.
TEST(Drain, FinishesWhatIsOpen) {
  World w;
  TestFront stays, leaves, late;
  w.open_created(stays);
  const SessionId id = w.open_created(leaves);
  w.shard.drain(w.now + 10 * kSecond);
  w.open(late);
  EXPECT_EQ(late.error, ErrorCode::DRAINING);
  EXPECT_EQ(late.reason, static_cast<uint32_t>(LOADER_REASON_DRAIN));
  EXPECT_EQ(w.shard.frame(id, view_of("x")).status, FrameStatus::kAccepted);
  w.host.complete(w.shard, id);
  w.shard.input_end(id);
  w.host.complete(w.shard, id);
  w.host.complete(w.shard, id);
  EXPECT_EQ(leaves.reason, static_cast<uint32_t>(LOADER_REASON_FINISHED));
  w.advance(10 * kSecond);
  EXPECT_EQ(stays.reason, static_cast<uint32_t>(LOADER_REASON_DRAIN));
  EXPECT_EQ(w.events.drained, 0);
  for (auto& [handle, work] : w.host.work) {
    while (!work.running.empty()) w.host.complete(w.shard, handle);
  }
  EXPECT_EQ(w.events.drained, 1);
}

// An operator's kick reaches the client with its message; replaced ends what is left of an engine.
TEST(Operators, KickAndReplace) {
  World w;
  TestFront kicked, replaced;
  const SessionId id = w.open_created(kicked);
  w.open_created(replaced);
  EXPECT_TRUE(w.shard.kick(id, "maintenance"));
  EXPECT_FALSE(w.shard.kick(id, "again"));
  EXPECT_EQ(kicked.error, ErrorCode::KICKED);
  EXPECT_EQ(kicked.message, "maintenance");
  w.shard.close_engine(kEngine, Event::kReplaced);
  EXPECT_EQ(replaced.error, ErrorCode::REPLACED);
  EXPECT_EQ(replaced.reason, static_cast<uint32_t>(LOADER_REASON_REPLACED));
}

// Detached: results and final wait, bounded by the window, and the next front gets all of them.
TEST(Detached, KeepsResultsAndFinalForTheNextFront) {
  World w;
  TestFront first, second;
  const SessionId id = w.open_created(first);
  w.host.emit(w.shard, id, "1");
  EXPECT_EQ(w.shard.detach(id), ErrorCode::kNone);
  EXPECT_EQ(w.shard.detach(id), ErrorCode::PROTOCOL_VIOLATION);
  w.shard.input_end(id);
  w.host.emit(w.shard, id, "2");
  w.host.complete(w.shard, id);
  w.host.complete(w.shard, id);
  EXPECT_EQ(w.pool->used(1), 0u) << "the slot does not wait for the client";
  EXPECT_EQ(w.shard.session_count(), 1u);
  EXPECT_EQ(w.shard.attach(id, second), ErrorCode::kNone);
  EXPECT_EQ(first.results, std::vector<std::string>{"1"});
  EXPECT_EQ(first.finals, 0);
  EXPECT_EQ(second.results, std::vector<std::string>{"2"});
  EXPECT_EQ(second.finals, 1);
  EXPECT_EQ(second.reason, static_cast<uint32_t>(LOADER_REASON_FINISHED));
  EXPECT_EQ(w.shard.session_count(), 0u);
  EXPECT_EQ(w.shard.attach(id, first), ErrorCode::UNKNOWN_SESSION);
}

// Attached twice is refused; created while detached is told to the next front.
TEST(Detached, OpenedIsToldToWhoeverAttaches) {
  World w;
  TestFront first, second;
  const SessionId id = w.open(first);
  EXPECT_EQ(w.shard.attach(id, second), ErrorCode::PROTOCOL_VIOLATION);
  w.shard.detach(id);
  w.host.emit(w.shard, id, "early");
  w.host.complete(w.shard, id);
  w.shard.attach(id, second);
  EXPECT_EQ(second.opened, 1);
  EXPECT_EQ(second.results, std::vector<std::string>{"early"});
  EXPECT_EQ(first.opened, 0);
}

// Nobody comes back: the session ends with client_gone, and nothing of it stays.
TEST(Detached, IsAbandonedAfterItsTimeout) {
  World w;
  TestFront first, second;
  const SessionId open = w.open_created(first);
  const SessionId ended = w.open_created(second);
  w.shard.detach(open);
  w.shard.detach(ended);
  w.shard.input_end(ended);
  w.host.complete(w.shard, ended);
  w.host.complete(w.shard, ended);
  w.advance(30 * kSecond);
  EXPECT_EQ(w.host.work[open].reason, static_cast<uint32_t>(LOADER_REASON_CLIENT_GONE));
  EXPECT_EQ(w.shard.session_count(), 1u);
  w.host.complete(w.shard, open);
  EXPECT_EQ(w.shard.session_count(), 0u);
  EXPECT_EQ(w.shard.counters(kEngine)->queued_result_bytes, 0u);
}

// A front may cancel inside on_opened and on_result, and an engine may complete inside the call.
TEST(Reentrance, InlineEngineAndImpatientFront) {
  World w;
  TestFront front;
  w.host.at_call = [&](Handle handle, Op op) {
    if (op == Op::kWrite) w.host.emit(w.shard, handle, "echo");
    w.host.complete(w.shard, handle);
  };
  const SessionId id = w.open(front);
  EXPECT_EQ(front.opened, 1);
  for (int i = 0; i < 3; ++i) w.shard.frame(id, view_of("x"));
  EXPECT_EQ(front.results.size(), 3u);
  front.at_result = [&](SessionId session) {
    w.shard.cancel(session);
    EXPECT_EQ(front.finals, 1) << "final comes before cancel returns";
  };
  w.shard.frame(id, view_of("x"));
  EXPECT_EQ(w.shard.session_count(), 0u);
  EXPECT_EQ(w.host.work[id].destroys, 1);
  EXPECT_EQ(w.pool->used(1), 0u);
  TestFront exec;
  w.open(exec, Kind::kExec);
  EXPECT_EQ(exec.finals, 1);
}

// A front may open the next session inside on_final.
TEST(Reentrance, NextSessionInsideFinal) {
  World w;
  TestFront first, second;
  SessionId next = 0;
  first.at_final = [&](SessionId) { next = w.open(second); };
  w.shard.cancel(w.open_created(first));
  EXPECT_EQ(w.state(next), State::kCreating);
}

// A removed engine takes no new session and is forgotten with its last.
TEST(Engines, RemovedEngineIsForgottenWithItsLastSession) {
  World w;
  TestFront first, late;
  const SessionId id = w.open_created(first);
  w.shard.remove_engine(kEngine);
  w.open(late);
  EXPECT_EQ(late.error, ErrorCode::UNKNOWN_ENGINE);
  EXPECT_EQ(w.shard.frame(id, view_of("x")).status, FrameStatus::kAccepted);
  w.shard.cancel(id);
  w.host.complete(w.shard, id);
  EXPECT_NE(w.shard.counters(kEngine), nullptr);
  w.host.complete(w.shard, id);
  EXPECT_EQ(w.shard.counters(kEngine), nullptr);
}

// Large payloads pass as views, are retained only while queued, and are charged.
TEST(Payloads, AreRetainedOnlyWhileQueued) {
  EngineOptions options;
  options.window_bytes = 100;
  World w(2, 4, options);
  TestFront front;
  const SessionId id = w.open_created(front);
  CountedOwner owner;
  const std::string bytes(200, 'p');
  const PayloadView payload{view_of(bytes).body, &owner, 1};
  const std::string body = "body";
  const MessageView frame{view_of(body).body, {&payload, 1}, 0};
  w.shard.frame(id, frame);
  EXPECT_EQ(owner.count, 0);
  w.shard.frame(id, frame);
  EXPECT_EQ(owner.count, 1);
  w.shard.cancel(id);
  EXPECT_EQ(owner.count, 0);
}

}  // namespace
}  // namespace loader::session::test
