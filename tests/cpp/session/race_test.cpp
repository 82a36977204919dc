// The end of a call from several sides at one moment: the first one decides, and it is said once.
#include <algorithm>
#include <array>
#include <random>

#include "loader/wrapper.h"
#include "support.h"

namespace loader::session::test {
namespace {

enum class Move { kComplete, kDeadline, kCancel };

constexpr int kRounds = 10'000;
constexpr int64_t kTime = kMs;

uint32_t reason_of(Move move) {
  switch (move) {
    case Move::kComplete:
      return LOADER_REASON_FINISHED;
    case Move::kDeadline:
      return LOADER_REASON_DEADLINE;
    case Move::kCancel:
      return LOADER_REASON_CLIENT_CANCEL;
  }
  return LOADER_REASON_UNSPECIFIED;
}

void play(World& w, SessionId id, Move move) {
  switch (move) {
    case Move::kComplete:
      if (!w.host.work.at(id).running.empty()) w.host.complete(w.shard, id);
      return;
    case Move::kDeadline:
      return w.advance(kTime);
    case Move::kCancel:
      return w.shard.cancel(id);
  }
}

// What is still running in the engine when the client has its answer.
void finish_work(World& w, SessionId id) {
  while (!w.host.work.at(id).running.empty()) w.host.complete(w.shard, id);
}

// A call that its engine completes, its deadline ends and its client cancels in one tick of the
// clock: the client is told the first of them, exactly once, and the slot comes back once.
TEST(Race, TheFirstEndDecides) {
  World w(2);
  std::minstd_rand random(1);
  std::array moves = {Move::kComplete, Move::kDeadline, Move::kCancel};
  for (int round = 0; round < kRounds; round++) {
    std::shuffle(moves.begin(), moves.end(), random);
    const bool is_exec = random() % 2 == 0;
    TestFront front;
    const Kind kind = is_exec ? Kind::kExec : Kind::kSession;
    const SessionId id = w.open(front, kind, w.now + kTime);
    if (!is_exec) {
      w.host.complete(w.shard, id);  // create
      w.shard.input_end(id);
    }
    ASSERT_EQ(w.host.work.at(id).running.size(), 1u);
    const size_t played = 1 + random() % moves.size();
    for (size_t i = 0; i < played; i++) play(w, id, moves[i]);
    finish_work(w, id);
    ASSERT_EQ(front.finals, 1) << "round " << round;
    ASSERT_EQ(front.reason, reason_of(moves[0])) << "round " << round;
    ASSERT_EQ(w.pool->state().used, 0u) << "round " << round;
    ASSERT_EQ(w.host.work.at(id).destroys, is_exec ? 0 : 1);
    w.host.work.erase(id);
    w.host.bodies.clear();
  }
  EXPECT_EQ(w.shard.session_count(), 0u);
}

}  // namespace
}  // namespace loader::session::test
