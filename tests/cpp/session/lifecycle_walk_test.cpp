// Walks the table in a running shard: every state x every event ends in the state that the table
// gives, and a refused event changes nothing; for a session, an exec, and a detached session.
// Recovering is not entered yet.
#include <gtest/gtest.h>

#include "support.h"

namespace loader::session::test {
namespace {

enum class Walker { kSession, kExec, kDetached };

constexpr int64_t kAdmission = 1 * kSecond;
constexpr int64_t kShort = 500 * kMs;  // before anybody's other clock

constexpr Variant variant_of(Walker walker) {
  return walker == Walker::kExec ? Variant::kExec : Variant::kSession;
}

// Cells that nothing can reach, for the shard asks nobody then: no clock runs, or no call is there
// that could fail. What comes nearest to the event must change nothing.
bool is_out_of_reach(Walker walker, State state, Event event) {
  const bool is_served = state == State::kOpen || state == State::kInputEnded;
  switch (event) {
    case Event::kIdleTimeout:  // an exec is never idle, nor is whoever may come back
      return is_served && walker != Walker::kSession;
    case Event::kEngineError:  // while it is created no other call can fail; see FailureWalk
      return state == State::kCreating;
    default:
      return false;
  }
}

struct Scene {
  explicit Scene(Event event) : w(event == Event::kSlotGranted ? 2 : 1, 4, options(event)) {}

  static EngineOptions options(Event event) {
    EngineOptions made;
    made.admission_wait_ns = kAdmission;
    if (event == Event::kIdleTimeout) made.idle_timeout_ns = kShort;
    return made;
  }

  World w;
  TestFront front, holder, later;
  SessionId held = 0;
  SessionId id = 0;
  Slot slot{};  // one that is granted to whom it does not wait for
};

SessionId open(Scene& s, Walker walker, Event event) {
  const int64_t deadline_ns = event == Event::kDeadline ? s.w.now + kShort : kNever;
  const Kind kind = walker == Walker::kExec ? Kind::kExec : Kind::kSession;
  return s.w.open(s.front, kind, deadline_ns);
}

void close(World& w, Walker walker, SessionId id) {
  if (walker == Walker::kDetached) {
    w.shard.kick(id, "");  // a cancel would mean that nobody comes back
  } else {
    w.shard.cancel(id);
  }
}

// Closing is entered with that call running which the event completes.
void walk_to(Scene& s, Walker walker, State state, Event event) {
  World& w = s.w;
  const bool is_created =
      walker != Walker::kExec && state != State::kQueued && state != State::kCreating &&
      !(state == State::kClosing && (event == Event::kCreated || event == Event::kCreateFailed));
  if (is_created) w.host.complete(w.shard, s.id);
  const bool is_ending = state == State::kClosing && event == Event::kFinal;
  if (is_created && (state == State::kInputEnded || is_ending)) w.shard.input_end(s.id);
  // The call that fails, and later completes, is a write or the exec.
  const bool is_failing = event == Event::kEngineError && state != State::kInputEnded;
  if (is_created && is_failing && state != State::kClosed) w.shard.frame(s.id, view_of("frame"));
  // The end runs; only who does not read what came is idle meanwhile.
  if (event == Event::kIdleTimeout && state == State::kInputEnded) {
    w.host.emit(w.shard, s.id, "result");
  }
  if (state == State::kClosing || state == State::kClosed) close(w, walker, s.id);
  if (state == State::kClosed) w.host.complete(w.shard, s.id);
}

void enter(Scene& s, Walker walker, State state, Event event) {
  World& w = s.w;
  if (state == State::kQueued) {
    s.held = w.open_created(s.holder);
    if (event == Event::kSlotGranted) w.open_created(s.later);  // of two slots
  }
  s.id = open(s, walker, event);
  if (walker == Walker::kDetached) {
    ASSERT_EQ(w.shard.detach(s.id), ErrorCode::kNone);
  }
  walk_to(s, walker, state, event);
}

HostVerdict say(Scene& s, Op op, int32_t status = 0) {
  Completion completion;
  completion.handle = s.id;
  completion.op = op;
  completion.status = status;
  return s.w.shard.on_completion(completion);
}

// Grants a slot: to the one who waits for it, or as if to one who no longer does.
void grant_slot(Scene& s, State state) {
  World& w = s.w;
  if (state == State::kQueued) {
    w.shard.cancel(s.held);
    w.host.complete(w.shard, s.held);
    w.deliver_grants();
    return;
  }
  s.slot = w.pool->acquire(s.id, 0, false).slot;
  ASSERT_TRUE(s.slot);
  w.shard.on_slot_granted({w.pool, s.id, s.slot});
}

HostVerdict fail_call(Scene& s, Walker walker, State state) {
  if (walker == Walker::kExec) return say(s, Op::kExec, 3);
  return say(s, state == State::kInputEnded ? Op::kEnd : Op::kWrite, 3);
}

HostVerdict raise_by_host(Scene& s, Walker walker, State state, Event event) {
  const bool is_exec = walker == Walker::kExec;
  switch (event) {
    case Event::kCreated:
      s.w.host.work[s.id].is_created = true;
      return say(s, Op::kCreate);
    case Event::kCreateFailed:
      return say(s, Op::kCreate, 3);
    case Event::kFinal:
      return say(s, is_exec ? Op::kExec : Op::kEnd);
    case Event::kEngineError:
      return fail_call(s, walker, state);
    case Event::kDestroyed:
      return say(s, is_exec && state == State::kClosing ? Op::kExec : Op::kDestroy);
    case Event::kResult:
      return s.w.shard.on_result(s.id, view_of("result"));
    default:
      return s.w.shard.on_hung(s.id);
  }
}

bool is_of_the_host(Event event) {
  return event == Event::kCreated || event == Event::kCreateFailed || event == Event::kFinal ||
         event == Event::kEngineError || event == Event::kDestroyed || event == Event::kResult ||
         event == Event::kCallHung;
}

// Raises the event; what a host said is judged by the verdict.
HostVerdict raise(Scene& s, Walker walker, State state, Event event) {
  World& w = s.w;
  if (is_of_the_host(event)) return raise_by_host(s, walker, state, event);
  switch (event) {
    case Event::kOpen:  // of another one: nobody can open this one again
      w.open(s.later);
      break;
    case Event::kSlotGranted:
      grant_slot(s, state);
      break;
    case Event::kAdmissionTimeout:
      w.advance(kAdmission);
      break;
    case Event::kIdleTimeout:
    case Event::kDeadline:
      w.advance(kShort);
      break;
    case Event::kFrame:
      w.shard.frame(s.id, view_of("frame"));
      break;
    case Event::kInputEnd:
      w.shard.input_end(s.id);
      break;
    case Event::kClientCancel:
      w.shard.cancel(s.id);
      break;
    case Event::kAttach:
      w.shard.attach(s.id, s.front);
      break;
    case Event::kDetach:
      w.shard.detach(s.id);
      break;
    case Event::kHostDied:
      w.kill_host();
      break;
    case Event::kKicked:
      w.shard.kick(s.id, "");
      break;
    default:
      w.shard.close_all(event);
      break;
  }
  return HostVerdict::kOk;
}

// Where nothing is left to be destroyed, destroyed follows at once.
State next_state(Walker walker, State state, Event event) {
  const Cell& cell = lookup(variant_of(walker), state, event);
  const bool is_refused = cell.outcome == Outcome::kRefused;
  const bool is_undone = event == Event::kCreateFailed && !is_refused;
  const bool is_exec_over = walker == Walker::kExec && !is_refused &&
                            (event == Event::kFinal || event == Event::kEngineError);
  return (is_undone || is_exec_over) && cell.next == State::kClosing ? State::kClosed : cell.next;
}

// Where a final goes to nobody, it waits for whoever attaches, or for nobody.
bool waits_for_nobody(Walker walker, Event event) {
  return walker == Walker::kDetached &&
         (event == Event::kClientCancel || event == Event::kDrainDeadline);
}

void expect_final(Scene& s, Walker walker, State state, Event event, int finals_before) {
  const Cell& cell = lookup(variant_of(walker), state, event);
  const bool is_due = walker == Walker::kDetached && event == Event::kAttach &&
                      (state == State::kClosing || state == State::kClosed);
  const bool is_said = is_due || (cell.actions & kSendFinal) != 0;
  if (walker == Walker::kDetached && event != Event::kAttach) {
    EXPECT_EQ(s.front.finals, finals_before) << "nobody is there to hear it";
    if (!is_said) return;
    TestFront back;
    const ErrorCode found = s.w.shard.attach(s.id, back);
    EXPECT_EQ(found == ErrorCode::kNone, !waits_for_nobody(walker, event));
    EXPECT_EQ(back.finals, waits_for_nobody(walker, event) ? 0 : 1);
    if (back.finals == 1) {
      EXPECT_EQ(back.reason, cell.reason);
    }
    return;
  }
  EXPECT_EQ(s.front.finals, finals_before + (is_said ? 1 : 0));
  if (is_said && !is_due) {
    EXPECT_EQ(s.front.reason, cell.reason);
  }
}

void expect_unchanged(const World& w, SessionId id, const SessionInfo& before) {
  SessionInfo after;
  ASSERT_TRUE(w.shard.find_session(id, after));
  EXPECT_EQ(after.is_attached, before.is_attached);
  EXPECT_EQ(after.queued_bytes, before.queued_bytes);
  EXPECT_EQ(after.statistics.frames_in, before.statistics.frames_in);
  EXPECT_EQ(after.statistics.frames_out, before.statistics.frames_out);
}

class Walk : public testing::TestWithParam<std::tuple<Walker, State, Event>> {};

TEST_P(Walk, EndsWhereTheTableSays) {
  const auto [walker, state, event] = GetParam();
  Scene s(event);
  enter(s, walker, state, event);
  ASSERT_EQ(s.w.state(s.id), state);
  SessionInfo before;
  const bool is_known = s.w.shard.find_session(s.id, before);
  const int finals = s.front.finals;
  const uint32_t used = s.w.pool->used(1);
  const HostVerdict said = raise(s, walker, state, event);
  if (is_out_of_reach(walker, state, event)) {
    EXPECT_EQ(s.w.state(s.id), state);
    return expect_unchanged(s.w, s.id, before);
  }
  const Cell& cell = lookup(variant_of(walker), state, event);
  EXPECT_EQ(s.w.state(s.id), next_state(walker, state, event));
  const bool is_corrupt = cell.error == ErrorCode::CHANNEL_CORRUPT && state != State::kClosed;
  EXPECT_EQ(said == HostVerdict::kCorrupt, is_corrupt);
  if (event == Event::kSlotGranted && state != State::kQueued) {
    EXPECT_EQ(s.w.pool->used(1), used) << "a slot that came too late goes back";
  }
  const bool is_gone = next_state(walker, state, event) != state ||
                       (state == State::kClosed && waits_for_nobody(walker, event));
  if (cell.outcome != Outcome::kNext && is_known && !is_gone) expect_unchanged(s.w, s.id, before);
  expect_final(s, walker, state, event, finals);
}

std::string name_of_walk(const testing::TestParamInfo<Walk::ParamType>& info) {
  const auto [walker, state, event] = info.param;
  const char* who = walker == Walker::kSession ? "session"
                    : walker == Walker::kExec  ? "exec"
                                               : "detached";
  return std::string(who) + "_" + std::string(name_of(state)) + "_x_" + std::string(name_of(event));
}

std::vector<Event> every_event() {
  std::vector<Event> all;
  for (size_t i = 0; i < kEventCount; ++i) all.push_back(static_cast<Event>(i));
  return all;
}

INSTANTIATE_TEST_SUITE_P(Sessions, Walk,
                         testing::Combine(testing::Values(Walker::kSession, Walker::kDetached),
                                          testing::Values(State::kQueued, State::kCreating,
                                                          State::kOpen, State::kInputEnded,
                                                          State::kClosing, State::kClosed),
                                          testing::ValuesIn(every_event())),
                         name_of_walk);

// An exec is never created and never open: it begins with its input ended.
INSTANTIATE_TEST_SUITE_P(Execs, Walk,
                         testing::Combine(testing::Values(Walker::kExec),
                                          testing::Values(State::kQueued, State::kInputEnded,
                                                          State::kClosing, State::kClosed),
                                          testing::ValuesIn(every_event())),
                         name_of_walk);

// The other way to the event engine_error: the engine ends the session by itself, in any state.
class FailureWalk : public testing::TestWithParam<std::tuple<Walker, State>> {};

TEST_P(FailureWalk, EndsWhereTheTableSays) {
  const auto [walker, state] = GetParam();
  Scene s(Event::kOpen);
  enter(s, walker, state, Event::kOpen);
  ASSERT_EQ(s.w.state(s.id), state);
  const int finals = s.front.finals;
  const HostVerdict said = s.w.shard.on_failure({s.id, 3, "broken"});
  const Cell& cell = lookup(Variant::kSession, state, Event::kEngineError);
  EXPECT_EQ(s.w.state(s.id), cell.next);
  EXPECT_EQ(said == HostVerdict::kCorrupt, state == State::kQueued);
  expect_final(s, walker, state, Event::kEngineError, finals);
}

INSTANTIATE_TEST_SUITE_P(Sessions, FailureWalk,
                         testing::Combine(testing::Values(Walker::kSession, Walker::kDetached),
                                          testing::Values(State::kQueued, State::kCreating,
                                                          State::kOpen, State::kInputEnded,
                                                          State::kClosing, State::kClosed)));

// An exec ends by its completion: a host that says more is corrupt.
TEST(ExecFailure, IsCorrupt) {
  Scene s(Event::kOpen);
  enter(s, Walker::kExec, State::kInputEnded, Event::kOpen);
  EXPECT_EQ(s.w.shard.on_failure({s.id, 3, "broken"}), HostVerdict::kCorrupt);
  EXPECT_EQ(s.w.state(s.id), State::kInputEnded);
}

}  // namespace
}  // namespace loader::session::test
