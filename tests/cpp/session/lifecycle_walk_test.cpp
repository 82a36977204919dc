// Walks the table in a running shard: every state x every event that can be raised from outside
// ends in the state that the table gives, and a refused event changes nothing.
#include <gtest/gtest.h>

#include "support.h"

namespace loader::session::test {
namespace {

// How the walk brings a session into a state. Recovering is not entered yet.
// Closing is entered with that call running which the event completes.
SessionId enter(World& w, TestFront& front, TestFront& holder, State state, Event event) {
  if (state == State::kQueued) {
    w.open(holder);
    return w.open(front);
  }
  const SessionId id = w.open(front);
  if (state == State::kCreating) return id;
  if (state == State::kClosing && (event == Event::kCreated || event == Event::kCreateFailed)) {
    w.shard.cancel(id);
    return id;
  }
  w.host.complete(w.shard, id);
  if (state == State::kOpen) return id;
  const bool is_ending = state == State::kClosing && event == Event::kFinal;
  if (state == State::kInputEnded || is_ending) w.shard.input_end(id);
  if (state == State::kClosing || state == State::kClosed) w.shard.cancel(id);
  if (state == State::kClosed) w.host.complete(w.shard, id);
  return id;
}

Completion completion_of(SessionId id, Op op, int32_t status = 0) {
  Completion completion;
  completion.handle = id;
  completion.op = op;
  completion.status = status;
  return completion;
}

// Raises the event; what a host said is judged by the verdict.
HostVerdict raise(World& w, SessionId id, Event event) {
  const auto say = [&](Op op, int32_t status = 0) {
    return w.shard.on_completion(completion_of(id, op, status));
  };
  switch (event) {
    case Event::kCreated:
      w.host.work[id].is_created = true;
      return say(Op::kCreate);
    case Event::kCreateFailed:
      return say(Op::kCreate, 3);
    case Event::kFinal:
      return say(Op::kEnd);
    case Event::kDestroyed:
      return say(Op::kDestroy);
    case Event::kResult:
      return w.shard.on_result(id, view_of("result"));
    case Event::kCallHung:
      return w.shard.on_hung(id);
    case Event::kFrame:
      w.shard.frame(id, view_of("frame"));
      break;
    case Event::kInputEnd:
      w.shard.input_end(id);
      break;
    case Event::kClientCancel:
      w.shard.cancel(id);
      break;
    case Event::kDetach:
      w.shard.detach(id);
      break;
    case Event::kHostDied:
      w.kill_host();
      break;
    case Event::kKicked:
      w.shard.kick(id, "");
      break;
    case Event::kReplaced:
    case Event::kDrainDeadline:
      w.shard.close_all(event);
      break;
    default:
      ADD_FAILURE() << name_of(event);
  }
  return HostVerdict::kOk;
}

class Walk : public testing::TestWithParam<std::tuple<State, Event>> {};

TEST_P(Walk, EndsWhereTheTableSays) {
  const auto [state, event] = GetParam();
  World w(1);
  TestFront front, holder;
  const SessionId id = enter(w, front, holder, state, event);
  ASSERT_EQ(w.state(id), state);
  SessionInfo before;
  const bool is_known = w.shard.find_session(id, before);
  const int finals = front.finals;
  const HostVerdict said = raise(w, id, event);
  const Cell& cell = lookup(Variant::kSession, state, event);
  // Where there is nothing to destroy, destroyed follows create_failed at once.
  const bool is_undone = event == Event::kCreateFailed && cell.outcome == Outcome::kNext;
  EXPECT_EQ(w.state(id), is_undone ? State::kClosed : cell.next);
  const bool is_corrupt = cell.error == ErrorCode::CHANNEL_CORRUPT && state != State::kClosed;
  EXPECT_EQ(said == HostVerdict::kCorrupt, is_corrupt);
  EXPECT_EQ(front.finals, finals + ((cell.actions & kSendFinal) ? 1 : 0));
  if (cell.actions & kSendFinal) {
    EXPECT_EQ(front.reason, cell.reason);
  }
  if (cell.outcome == Outcome::kNext || !is_known) return;
  SessionInfo after;
  ASSERT_TRUE(w.shard.find_session(id, after));
  EXPECT_EQ(after.is_attached, before.is_attached);
  EXPECT_EQ(after.queued_bytes, before.queued_bytes);
  EXPECT_EQ(after.statistics.frames_in, before.statistics.frames_in);
  EXPECT_EQ(after.statistics.frames_out, before.statistics.frames_out);
}

INSTANTIATE_TEST_SUITE_P(
    Table, Walk,
    testing::Combine(testing::Values(State::kQueued, State::kCreating, State::kOpen,
                                     State::kInputEnded, State::kClosing, State::kClosed),
                     testing::Values(Event::kCreated, Event::kCreateFailed, Event::kFinal,
                                     Event::kDestroyed, Event::kResult, Event::kCallHung,
                                     Event::kFrame, Event::kInputEnd, Event::kClientCancel,
                                     Event::kDetach, Event::kHostDied, Event::kKicked,
                                     Event::kReplaced, Event::kDrainDeadline)),
    [](const auto& info) {
      return std::string(name_of(std::get<0>(info.param))) + "_x_" +
             std::string(name_of(std::get<1>(info.param)));
    });

}  // namespace
}  // namespace loader::session::test
