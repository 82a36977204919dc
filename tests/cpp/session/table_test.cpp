// The table, cell by cell, against a matrix written down by hand.
#include "session/table.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <sstream>
#include <string>

namespace loader::session {
namespace {

// A state name: next state. "-": ignored. "protocol", "corrupt", "unknown", "internal": refused.
constexpr const char* kSessionMatrix = R"(
event              queued    creating     open         input_ended  recovering   closing      closed
open               protocol  protocol     protocol     protocol     protocol     protocol     protocol
slot_granted       creating  internal     internal     internal     recovering   closing      closed
admission_timeout  closed    -            -            -            closing      -            -
created            corrupt   open         corrupt      corrupt      open         closing      corrupt
create_failed      corrupt   closing      corrupt      corrupt      closing      closing      corrupt
frame              queued    creating     open         protocol     recovering   -            unknown
input_end          queued    creating     input_ended  -            recovering   -            -
result             corrupt   creating     open         input_ended  recovering   -            -
final              corrupt   corrupt      corrupt      closing      corrupt      -            corrupt
attach             queued    creating     open         input_ended  recovering   closing      closed
detach             queued    creating     open         input_ended  recovering   closing      closed
client_cancel      closed    closing      closing      closing      closing      -            -
idle_timeout       -         -            closing      closing      -            -            -
deadline           closed    closing      closing      closing      closing      -            -
engine_error       corrupt   closing      closing      closing      closing      -            corrupt
call_hung          -         closing      closing      closing      closing      closing      -
host_died          -         closed       closed       closed       closed       closed       -
drain_deadline     closed    closing      closing      closing      closing      -            -
replaced           closed    closing      closing      closing      closing      -            -
kicked             closed    closing      closing      closing      closing      -            -
destroyed          corrupt   corrupt      corrupt      corrupt      corrupt      closed       corrupt
)";

std::string word(const Cell& cell) {
  if (cell.outcome == Outcome::kNext) return std::string(name_of(cell.next));
  if (cell.outcome == Outcome::kIgnored) return "-";
  switch (cell.error) {
    case ErrorCode::PROTOCOL_VIOLATION:
      return "protocol";
    case ErrorCode::CHANNEL_CORRUPT:
      return "corrupt";
    case ErrorCode::UNKNOWN_SESSION:
      return "unknown";
    case ErrorCode::INTERNAL:
      return "internal";
    default:
      return "?";
  }
}

template <typename Visit>
void for_each_cell(Visit visit) {
  for (size_t s = 0; s < kStateCount; ++s) {
    for (size_t e = 0; e < kEventCount; ++e) {
      for (size_t v = 0; v < kVariantCount; ++v) {
        visit(static_cast<Variant>(v), static_cast<State>(s), static_cast<Event>(e));
      }
    }
  }
}

bool is_live(State state) {
  return state != State::kClosing && state != State::kClosed;
}

// The table of a session is the matrix above, in every one of its cells.
TEST(Table, EveryCellOfASessionIsAsWrittenDown) {
  std::istringstream lines(kSessionMatrix);
  std::string line, name;
  std::getline(lines, line);
  std::getline(lines, line);
  size_t events = 0;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    words >> name;
    ASSERT_EQ(name, kEventNames[events]);
    for (size_t s = 0; s < kStateCount; ++s) {
      std::string expected;
      words >> expected;
      const Cell& cell =
          lookup(Variant::kSession, static_cast<State>(s), static_cast<Event>(events));
      EXPECT_EQ(word(cell), expected) << kStateNames[s] << " x " << name;
    }
    ++events;
  }
  EXPECT_EQ(events, kEventCount);
}

// A refused or ignored event changes nothing: no state, no reason, no action.
TEST(Table, RefusedAndIgnoredCellsChangeNothing) {
  for_each_cell([](Variant v, State s, Event e) {
    const Cell& cell = lookup(v, s, e);
    if (cell.outcome == Outcome::kNext) return;
    EXPECT_EQ(cell.next, s) << name_of(s) << " x " << name_of(e);
    EXPECT_EQ(cell.actions, 0u) << name_of(s) << " x " << name_of(e);
    EXPECT_EQ(cell.reason, LOADER_REASON_UNSPECIFIED);
    EXPECT_EQ(cell.error != ErrorCode::kNone, cell.outcome == Outcome::kRefused);
  });
}

// The cell that starts to close a session says final and gives a reason; no other cell does either.
TEST(Table, FinalIsSaidExactlyWhenClosingStarts) {
  for_each_cell([](Variant v, State s, Event e) {
    const Cell& cell = lookup(v, s, e);
    const bool closes = cell.outcome == Outcome::kNext && is_live(s) && !is_live(cell.next);
    EXPECT_EQ((cell.actions & kSendFinal) != 0, closes) << name_of(s) << " x " << name_of(e);
    EXPECT_EQ(cell.reason != LOADER_REASON_UNSPECIFIED, closes)
        << name_of(s) << " x " << name_of(e);
    if (cell.reason == LOADER_REASON_FINISHED) {
      EXPECT_EQ(cell.error, ErrorCode::kNone);
    }
  });
}

// The slot is released on destroyed and on host_died, and by no other event.
TEST(Table, SlotIsReleasedOnDestroyedAndHostDiedOnly) {
  for_each_cell([](Variant v, State s, Event e) {
    const Cell& cell = lookup(v, s, e);
    const bool releases = (cell.actions & kReleaseSlot) != 0;
    if (releases) {
      EXPECT_TRUE(e == Event::kDestroyed || e == Event::kHostDied) << name_of(e);
    }
    if (e == Event::kDestroyed && cell.outcome == Outcome::kNext) {
      EXPECT_TRUE(releases);
    }
    // Whoever holds a slot in a state gives it back when the host dies there.
    if (e == Event::kHostDied && cell.outcome == Outcome::kNext) {
      EXPECT_TRUE(releases);
    }
  });
}

// Destroy is sent when a created session starts to close, or when create completes while closing.
TEST(Table, DestroyIsSentWhereASessionExistsInTheEngine) {
  for_each_cell([](Variant v, State s, Event e) {
    const Cell& cell = lookup(v, s, e);
    const bool created = s == State::kOpen || s == State::kInputEnded;
    const bool leaves = cell.outcome == Outcome::kNext && created && cell.next == State::kClosing;
    const bool late = s == State::kClosing && e == Event::kCreated;
    const bool expected = v != Variant::kExec && (leaves || late);
    if (v == Variant::kExec && s != State::kInputEnded) return;  // open is never reached
    EXPECT_EQ((cell.actions & kSendDestroy) != 0, expected) << name_of(s) << " x " << name_of(e);
  });
}

// An exec goes from its slot straight to input_ended and has no create, end or destroy.
TEST(Table, ExecRunsWithoutCreateAndDestroy) {
  const Cell& granted = lookup(Variant::kExec, State::kQueued, Event::kSlotGranted);
  EXPECT_EQ(granted.next, State::kInputEnded);
  EXPECT_EQ(granted.actions, static_cast<uint32_t>(kSendExec));
  const Cell& final = lookup(Variant::kExec, State::kInputEnded, Event::kFinal);
  EXPECT_EQ(final.next, State::kClosing);
  EXPECT_EQ(final.actions, static_cast<uint32_t>(kSendFinal));
  for (State s : {State::kQueued, State::kInputEnded}) {
    EXPECT_EQ(lookup(Variant::kExec, s, Event::kFrame).error, ErrorCode::PROTOCOL_VIOLATION);
  }
  for (size_t e = 0; e < kEventCount; ++e) {
    const Cell& cell = lookup(Variant::kExec, State::kInputEnded, static_cast<Event>(e));
    EXPECT_EQ(cell.actions & (kSendDestroy | kSendCreate | kSendEnd), 0u) << kEventNames[e];
  }
}

// Only a recoverable session survives its host: it waits for another slot, keeps what comes in, is
// created again and goes on, with its end repeated if the client had ended.
TEST(Table, RecoverableSessionGoesOnOnAnotherHost) {
  const Cell& died = lookup(Variant::kRecoverable, State::kOpen, Event::kHostDied);
  EXPECT_EQ(died.next, State::kRecovering);
  EXPECT_EQ(died.actions, static_cast<uint32_t>(kReleaseSlot | kAcquireSlot));
  const Cell& ended = lookup(Variant::kRecoverable, State::kInputEnded, Event::kHostDied);
  EXPECT_EQ(ended.next, State::kRecovering);
  EXPECT_TRUE(ended.actions & kNoteEnd);
  const Cell& granted = lookup(Variant::kRecoverable, State::kRecovering, Event::kSlotGranted);
  EXPECT_EQ(granted.next, State::kRecovering);
  EXPECT_TRUE(granted.actions & kSendCreate);
  const Cell& created = lookup(Variant::kRecoverable, State::kRecovering, Event::kCreated);
  EXPECT_EQ(created.next, State::kOpen);
  EXPECT_TRUE(created.actions & kReplay);
  EXPECT_TRUE(created.actions & kSayRecovered);
  EXPECT_EQ(lookup(Variant::kRecoverable, State::kRecovering, Event::kAdmissionTimeout).reason,
            LOADER_REASON_HOST_DIED);
}

// Every state is reached from queued by some row, and closed is reached from every state.
TEST(Table, EveryStateIsReachable) {
  std::set<State> seen = {kInitialState};
  for (size_t round = 0; round < kStateCount; ++round) {
    for_each_cell([&](Variant v, State s, Event e) {
      const Cell& cell = lookup(v, s, e);
      if (v == Variant::kRecoverable && seen.count(s) && cell.outcome == Outcome::kNext) {
        seen.insert(cell.next);
      }
    });
  }
  EXPECT_EQ(seen.size(), kStateCount);
}

// The iteration that docs are made from gives every cell of a session and only what differs after.
TEST(Table, IterationGivesEachCellOnce) {
  std::map<Variant, size_t> counts;
  std::set<std::string> keys;
  for_each_row([&](const Row& row) {
    ++counts[row.variant];
    keys.insert(std::string(name_of(row.variant)) + "/" + std::string(name_of(row.state)) + "/" +
                std::string(name_of(row.event)));
    size_t actions = 0;
    for_each_action(row.cell.actions, [&](std::string_view name) {
      EXPECT_FALSE(name.empty());
      ++actions;
    });
    EXPECT_EQ(actions, static_cast<size_t>(__builtin_popcount(row.cell.actions)));
  });
  EXPECT_EQ(counts[Variant::kSession], kStateCount * kEventCount);
  EXPECT_EQ(counts[Variant::kRecoverable], 2u);
  EXPECT_GT(counts[Variant::kExec], 0u);
  EXPECT_EQ(keys.size(), counts[Variant::kSession] + counts[Variant::kExec] + 2);
}

// Names are given for each state, event, action and reason, once.
TEST(Table, NamesAreComplete) {
  const auto check = [](const auto& names) {
    std::set<std::string_view> distinct(names.begin(), names.end());
    EXPECT_EQ(distinct.size(), names.size());
    EXPECT_FALSE(distinct.count(""));
  };
  check(kStateNames);
  check(kEventNames);
  check(kActionNames);
  check(kReasonNames);
  EXPECT_EQ(reason_name(LOADER_REASON_PROTOCOL), "protocol");
  EXPECT_EQ(reason_name(LOADER_REASON_LOADER_GONE), "loader_gone");
  EXPECT_EQ(name_of(Event::kDestroyed), "destroyed");
  EXPECT_EQ(kActionNames[21], "say_recovered");
}

// What never began ends with the reason that the table gives the same error, or with refused.
TEST(Table, EveryRefusalHasTheReasonOfItsError) {
  for_each_row([](const Row& row) {
    if (row.state != State::kQueued || row.cell.outcome != Outcome::kNext) return;
    if (row.cell.error == ErrorCode::kNone) return;
    EXPECT_EQ(reason_of_refusal(row.cell.error), row.cell.reason) << name_of(row.event);
  });
  for (ErrorCode error : {ErrorCode::QUEUE_FULL, ErrorCode::ENGINE_UNAVAILABLE}) {
    EXPECT_EQ(reason_name(reason_of_refusal(error)), "admission");
  }
  EXPECT_EQ(reason_name(reason_of_refusal(ErrorCode::PROTOCOL_VIOLATION)), "protocol");
  for (ErrorCode error :
       {ErrorCode::INVALID_ARGUMENT, ErrorCode::UNKNOWN_ENGINE, ErrorCode::UNSUPPORTED,
        ErrorCode::UNAUTHENTICATED, ErrorCode::PERMISSION_DENIED}) {
    EXPECT_EQ(reason_name(reason_of_refusal(error)), "refused");
  }
}

// The error table is usable as constexpr data.
TEST(Errors, RowsAreFoundByCode) {
  static_assert(error_row(ErrorCode::NO_FREE_SLOT).grpc == GrpcCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(error_row(ErrorCode::CALL_HUNG).name, "CALL_HUNG");
  EXPECT_EQ(error_row(ErrorCode::CALL_HUNG).actor, "author");
  EXPECT_EQ(error_row(ErrorCode::KICKED).actor, "operator");
  EXPECT_EQ(error_row(static_cast<ErrorCode>(9999)).code, ErrorCode::INTERNAL);
}

}  // namespace
}  // namespace loader::session
