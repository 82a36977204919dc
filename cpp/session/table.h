// The lifecycle of a session: states x events -> next state, close reason, error, actions.
// Constexpr data; the diagram, the Python docs and the tests walk the same rows. Performs nothing
// itself.
//
// Three variants share the table: a session, an exec (a session that never creates or destroys),
// and a session that can be recovered after its host's death. Rows of a variant replace those of
// the base.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "loader/errors.h"
#include "loader/wrapper.h"

namespace loader::session {

enum class State : uint8_t {
  kQueued,      // waits for a slot
  kCreating,    // holds a slot, create runs
  kOpen,        // frames both ways
  kInputEnded,  // the client sends nothing more; also an exec from its start
  kRecovering,  // its host died; waits for another one and is re-created there
  kClosing,     // final was said; destroy runs, or create still does
  kClosed,      // holds nothing
};
inline constexpr size_t kStateCount = 7;

enum class Event : uint8_t {
  kOpen,
  kSlotGranted,
  kAdmissionTimeout,
  kCreated,
  kCreateFailed,
  kFrame,
  kInputEnd,
  kResult,
  kFinal,
  kAttach,
  kDetach,
  kClientCancel,
  kIdleTimeout,
  kDeadline,
  kEngineError,  // a call failed, or the engine ended the session without one
  kCallHung,
  kHostDied,
  kDrainDeadline,
  kReplaced,
  kKicked,
  kDestroyed,  // destroy completed; raised as well when create failed and when an exec completed
};
inline constexpr size_t kEventCount = 21;

enum class Variant : uint8_t { kSession, kExec, kRecoverable };
inline constexpr size_t kVariantCount = 3;

enum class Outcome : uint8_t {
  kNext,     // the actions are performed and the state becomes `next`
  kIgnored,  // nothing changes, nobody is told: a race that is nobody's fault
  kRefused,  // nothing changes, the caller is told `error`
};

// A set of bits; performed in this order.
enum Action : uint32_t {
  kAcquireSlot = 1u << 0,    // ask the engine's pool for a slot
  kCancelTicket = 1u << 1,   // leave the pool's queue
  kReturnGrant = 1u << 2,    // give the slot that came too late back
  kDropInput = 1u << 3,      // forget queued frames
  kSendCreate = 1u << 4,     // to the host
  kSendExec = 1u << 5,       // to the host
  kQueueInput = 1u << 6,     // keep the frame until there is a created session
  kSendInput = 1u << 7,      // send the frame, or queue it until there is credit
  kNoteEnd = 1u << 8,        // input_end is raised again once the session is open
  kSendEnd = 1u << 9,        // after the queued frames
  kSendCancel = 1u << 10,    // to the host: the running call should return soon
  kSendDestroy = 1u << 11,   // to the host, once
  kReplay = 1u << 12,        // send the journal again
  kSayOpened = 1u << 13,     // to the front
  kQueueResult = 1u << 14,   // keep the result until the front was told opened
  kSendResult = 1u << 15,    // to the front, or kept while detached
  kAttachFront = 1u << 16,   // give the front what was kept
  kDetachFront = 1u << 17,   // keep results and final
  kMarkHung = 1u << 18,      // the instance takes no new work
  kReleaseSlot = 1u << 19,   // give the slot back, if one is held
  kSendFinal = 1u << 20,     // to the front, once
  kSayRecovered = 1u << 21,  // to the front
};
inline constexpr size_t kActionCount = 22;

struct Cell {
  Outcome outcome = Outcome::kRefused;
  State next = State::kClosed;
  ErrorCode error = ErrorCode::kNone;          // refused: why; next: what the final says
  uint8_t reason = LOADER_REASON_UNSPECIFIED;  // set when the session starts to close
  uint32_t actions = 0;
  bool is_defined = false;

  constexpr bool operator==(const Cell&) const = default;
};

struct Row {
  Variant variant;
  State state;
  Event event;
  Cell cell;
};

using Table = std::array<std::array<std::array<Cell, kEventCount>, kStateCount>, kVariantCount>;

inline constexpr State kInitialState = State::kQueued;  // entered by the event open
inline constexpr uint32_t kInitialActions = kAcquireSlot;

namespace table_detail {

using E = ErrorCode;

constexpr Cell next(State to, uint32_t actions) {
  return {Outcome::kNext, to, E::kNone, LOADER_REASON_UNSPECIFIED, actions, true};
}
constexpr Cell close(State to, int reason, E error, uint32_t actions) {
  return {Outcome::kNext, to, error, static_cast<uint8_t>(reason), actions, true};
}
constexpr Cell ignored(State stay) {
  return {Outcome::kIgnored, stay, E::kNone, LOADER_REASON_UNSPECIFIED, 0, true};
}
constexpr Cell refused(State stay, E error) {
  return {Outcome::kRefused, stay, error, LOADER_REASON_UNSPECIFIED, 0, true};
}

struct Closer {
  Event event;
  int reason;
  ErrorCode error;
};

// What closes a session from outside the engine, with the same words in each state.
inline constexpr std::array kOutsideClosers = {
    Closer{Event::kClientCancel, LOADER_REASON_CLIENT_CANCEL, E::CANCELLED},
    Closer{Event::kDeadline, LOADER_REASON_DEADLINE, E::DEADLINE_EXCEEDED},
    Closer{Event::kDrainDeadline, LOADER_REASON_DRAIN, E::DRAINING},
    Closer{Event::kReplaced, LOADER_REASON_REPLACED, E::REPLACED},
    Closer{Event::kKicked, LOADER_REASON_KICKED, E::KICKED},
};

class Builder {
 public:
  constexpr Builder() {
    fill_base(Variant::kSession);
    fill_base(Variant::kExec);
    fill_base(Variant::kRecoverable);
    fill_exec();
    fill_recoverable();
  }
  constexpr const Table& table() const { return table_; }

 private:
  constexpr void set(State state, Event event, Cell cell) {
    table_[static_cast<size_t>(variant_)][static_cast<size_t>(state)][static_cast<size_t>(event)] =
        cell;
  }
  constexpr void ignore(State state, Event event) { set(state, event, ignored(state)); }
  constexpr void refuse(State state, Event event, E error) {
    set(state, event, refused(state, error));
  }
  // The host says what cannot be: the server stops it.
  constexpr void corrupt(State state, Event event) { refuse(state, event, E::CHANNEL_CORRUPT); }

  constexpr void close_from_outside(State from, State to, uint32_t actions) {
    for (const Closer& c : kOutsideClosers)
      set(from, c.event, close(to, c.reason, c.error, actions));
  }
  constexpr void fill_every_state() {
    for (size_t i = 0; i < kStateCount; ++i) {
      const State s = static_cast<State>(i);
      refuse(s, Event::kOpen, E::PROTOCOL_VIOLATION);
      set(s, Event::kAttach, next(s, kAttachFront));
      set(s, Event::kDetach, next(s, kDetachFront));
    }
  }

  constexpr void fill_base(Variant variant) {
    variant_ = variant;
    fill_every_state();
    fill_queued();
    fill_creating();
    fill_open();
    fill_input_ended();
    fill_recovering();
    fill_closing();
    fill_closed();
  }

  constexpr void fill_queued() {
    constexpr State s = State::kQueued;
    constexpr uint32_t leave = kCancelTicket | kDropInput | kSendFinal;
    close_from_outside(s, State::kClosed, leave);
    set(s, Event::kSlotGranted, next(State::kCreating, kSendCreate));
    set(s, Event::kAdmissionTimeout,
        close(State::kClosed, LOADER_REASON_ADMISSION, E::NO_FREE_SLOT, leave));
    set(s, Event::kFrame, next(s, kQueueInput));
    set(s, Event::kInputEnd, next(s, kNoteEnd));
    ignore(s, Event::kIdleTimeout);
    ignore(s, Event::kCallHung);
    ignore(s, Event::kHostDied);
    for (Event e : {Event::kCreated, Event::kCreateFailed, Event::kResult, Event::kFinal,
                    Event::kEngineError, Event::kDestroyed}) {
      corrupt(s, e);
    }
  }

  constexpr void fill_creating() {
    constexpr State s = State::kCreating;
    // Destroy follows when create has completed.
    constexpr uint32_t leave = kDropInput | kSendCancel | kSendFinal;
    close_from_outside(s, State::kClosing, leave);
    refuse(s, Event::kSlotGranted, E::INTERNAL);
    ignore(s, Event::kAdmissionTimeout);
    set(s, Event::kCreated, next(State::kOpen, kSayOpened | kSendInput));
    set(s, Event::kCreateFailed,
        close(State::kClosing, LOADER_REASON_CREATE_FAILED, E::CREATE_FAILED,
              kDropInput | kSendFinal));
    set(s, Event::kFrame, next(s, kQueueInput));
    set(s, Event::kInputEnd, next(s, kNoteEnd));
    set(s, Event::kResult, next(s, kQueueResult));
    corrupt(s, Event::kFinal);
    ignore(s, Event::kIdleTimeout);
    set(s, Event::kEngineError,
        close(State::kClosing, LOADER_REASON_ENGINE_ERROR, E::ENGINE_ERROR, leave));
    set(s, Event::kCallHung,
        close(State::kClosing, LOADER_REASON_CALL_HUNG, E::CALL_HUNG, leave | kMarkHung));
    set(s, Event::kHostDied,
        close(State::kClosed, LOADER_REASON_HOST_DIED, E::ENGINE_DIED,
              kDropInput | kReleaseSlot | kSendFinal));
    corrupt(s, Event::kDestroyed);
  }

  constexpr void fill_served(State s) {
    constexpr uint32_t leave = kDropInput | kSendCancel | kSendDestroy | kSendFinal;
    close_from_outside(s, State::kClosing, leave);
    refuse(s, Event::kSlotGranted, E::INTERNAL);
    ignore(s, Event::kAdmissionTimeout);
    corrupt(s, Event::kCreated);
    corrupt(s, Event::kCreateFailed);
    set(s, Event::kResult, next(s, kSendResult));
    set(s, Event::kIdleTimeout,
        close(State::kClosing, LOADER_REASON_IDLE_TIMEOUT, E::IDLE_TIMEOUT, leave));
    set(s, Event::kEngineError,
        close(State::kClosing, LOADER_REASON_ENGINE_ERROR, E::ENGINE_ERROR, leave));
    set(s, Event::kCallHung,
        close(State::kClosing, LOADER_REASON_CALL_HUNG, E::CALL_HUNG, leave | kMarkHung));
    set(s, Event::kHostDied,
        close(State::kClosed, LOADER_REASON_HOST_DIED, E::ENGINE_DIED,
              kDropInput | kReleaseSlot | kSendFinal));
    corrupt(s, Event::kDestroyed);
  }

  constexpr void fill_open() {
    constexpr State s = State::kOpen;
    fill_served(s);
    set(s, Event::kFrame, next(s, kSendInput));
    set(s, Event::kInputEnd, next(State::kInputEnded, kSendEnd));
    corrupt(s, Event::kFinal);
  }

  constexpr void fill_input_ended() {
    constexpr State s = State::kInputEnded;
    fill_served(s);
    refuse(s, Event::kFrame, E::PROTOCOL_VIOLATION);
    ignore(s, Event::kInputEnd);
    set(s, Event::kFinal,
        close(State::kClosing, LOADER_REASON_FINISHED, E::kNone, kSendDestroy | kSendFinal));
  }

  // Only a recoverable session enters it; the other variants keep the cells, so that each is
  // defined.
  constexpr void fill_recovering() {
    constexpr State s = State::kRecovering;
    // Without a create in flight destroyed follows at once.
    constexpr uint32_t leave = kCancelTicket | kDropInput | kSendCancel | kSendFinal;
    close_from_outside(s, State::kClosing, leave);
    set(s, Event::kSlotGranted, next(s, kSendCreate));
    set(s, Event::kAdmissionTimeout,
        close(State::kClosing, LOADER_REASON_HOST_DIED, E::ENGINE_DIED, leave));
    set(s, Event::kCreated, next(State::kOpen, kReplay | kSayRecovered | kSendInput));
    set(s, Event::kCreateFailed,
        close(State::kClosing, LOADER_REASON_CREATE_FAILED, E::CREATE_FAILED,
              kDropInput | kSendFinal));
    set(s, Event::kFrame, next(s, kQueueInput));
    set(s, Event::kInputEnd, next(s, kNoteEnd));
    set(s, Event::kResult, next(s, kQueueResult));
    corrupt(s, Event::kFinal);
    ignore(s, Event::kIdleTimeout);
    set(s, Event::kEngineError,
        close(State::kClosing, LOADER_REASON_ENGINE_ERROR, E::ENGINE_ERROR, leave));
    set(s, Event::kCallHung,
        close(State::kClosing, LOADER_REASON_CALL_HUNG, E::CALL_HUNG, leave | kMarkHung));
    set(s, Event::kHostDied,
        close(State::kClosed, LOADER_REASON_HOST_DIED, E::ENGINE_DIED,
              kCancelTicket | kDropInput | kReleaseSlot | kSendFinal));
    corrupt(s, Event::kDestroyed);
  }

  constexpr void fill_closing() {
    constexpr State s = State::kClosing;
    for (const Closer& c : kOutsideClosers) ignore(s, c.event);
    for (Event e : {Event::kAdmissionTimeout, Event::kFrame, Event::kInputEnd, Event::kResult,
                    Event::kFinal, Event::kIdleTimeout, Event::kEngineError}) {
      ignore(s, e);
    }
    set(s, Event::kSlotGranted, next(s, kReturnGrant));
    set(s, Event::kCreated, next(s, kSendDestroy));
    set(s, Event::kCreateFailed, next(s, 0));
    set(s, Event::kCallHung, next(s, kMarkHung));
    set(s, Event::kHostDied, next(State::kClosed, kReleaseSlot));
    set(s, Event::kDestroyed, next(State::kClosed, kReleaseSlot));
  }

  constexpr void fill_closed() {
    constexpr State s = State::kClosed;
    for (const Closer& c : kOutsideClosers) ignore(s, c.event);
    for (Event e : {Event::kAdmissionTimeout, Event::kInputEnd, Event::kResult, Event::kIdleTimeout,
                    Event::kCallHung, Event::kHostDied}) {
      ignore(s, e);
    }
    set(s, Event::kSlotGranted, next(s, kReturnGrant));
    refuse(s, Event::kFrame, E::UNKNOWN_SESSION);
    for (Event e : {Event::kCreated, Event::kCreateFailed, Event::kFinal, Event::kEngineError,
                    Event::kDestroyed}) {
      corrupt(s, e);
    }
  }

  // One request, given with open; no create, no end, no destroy: its completion is final.
  constexpr void fill_exec() {
    variant_ = Variant::kExec;
    set(State::kQueued, Event::kSlotGranted, next(State::kInputEnded, kSendExec));
    refuse(State::kQueued, Event::kFrame, E::PROTOCOL_VIOLATION);
    ignore(State::kQueued, Event::kInputEnd);
    set(State::kInputEnded, Event::kFinal,
        close(State::kClosing, LOADER_REASON_FINISHED, E::kNone, kSendFinal));
    for (size_t e = 0; e < kEventCount; ++e) {
      Cell cell = table_[1][static_cast<size_t>(State::kInputEnded)][e];
      cell.actions &= ~static_cast<uint32_t>(kSendDestroy);
      set(State::kInputEnded, static_cast<Event>(e), cell);
    }
    corrupt(State::kClosing, Event::kCreated);
    corrupt(State::kClosing, Event::kCreateFailed);
  }

  constexpr void fill_recoverable() {
    variant_ = Variant::kRecoverable;
    const Cell recover = next(State::kRecovering, kReleaseSlot | kAcquireSlot);
    set(State::kOpen, Event::kHostDied, recover);
    set(State::kInputEnded, Event::kHostDied,
        next(State::kRecovering, kReleaseSlot | kAcquireSlot | kNoteEnd));
  }

  Table table_{};
  Variant variant_ = Variant::kSession;
};

constexpr bool is_complete(const Table& table) {
  for (const auto& variant : table) {
    for (const auto& state : variant) {
      for (const Cell& cell : state) {
        if (!cell.is_defined) return false;
      }
    }
  }
  return true;
}

}  // namespace table_detail

inline constexpr Table kTable = table_detail::Builder{}.table();
static_assert(table_detail::is_complete(kTable), "every state x event must be given");

constexpr const Cell& lookup(Variant variant, State state, Event event) {
  return kTable[static_cast<size_t>(variant)][static_cast<size_t>(state)]
               [static_cast<size_t>(event)];
}

// Attached and detached are orthogonal to the state: whether attach or detach changes anything.
constexpr ErrorCode attach_error(bool is_attached) {
  return is_attached ? ErrorCode::PROTOCOL_VIOLATION : ErrorCode::kNone;
}
constexpr ErrorCode detach_error(bool is_attached) {
  return is_attached ? ErrorCode::kNone : ErrorCode::PROTOCOL_VIOLATION;
}

// ---- names, for docs, logs and Python
// ------------------------------------------------------------

inline constexpr std::array<std::string_view, kStateCount> kStateNames = {
    "queued", "creating", "open", "input_ended", "recovering", "closing", "closed"};

inline constexpr std::array<std::string_view, kEventCount> kEventNames = {
    "open",         "slot_granted",  "admission_timeout",
    "created",      "create_failed", "frame",
    "input_end",    "result",        "final",
    "attach",       "detach",        "client_cancel",
    "idle_timeout", "deadline",      "engine_error",
    "call_hung",    "host_died",     "drain_deadline",
    "replaced",     "kicked",        "destroyed"};

inline constexpr std::array<std::string_view, kVariantCount> kVariantNames = {"session", "exec",
                                                                              "recoverable"};

inline constexpr std::array<std::string_view, 3> kOutcomeNames = {"next", "ignored", "refused"};

inline constexpr std::array<std::string_view, kActionCount> kActionNames = {
    "acquire_slot", "cancel_ticket", "return_grant", "drop_input",   "send_create",  "send_exec",
    "queue_input",  "send_input",    "note_end",     "send_end",     "send_cancel",  "send_destroy",
    "replay",       "say_opened",    "queue_result", "send_result",  "attach_front", "detach_front",
    "mark_hung",    "release_slot",  "send_final",   "say_recovered"};

// CLOSE_REASON_REFUSED of loader.v1: not in wrapper.h, for no engine ever hears of such a session.
inline constexpr uint32_t kReasonRefused = 16;
inline constexpr size_t kReasonCount = 17;

inline constexpr std::array<std::string_view, kReasonCount> kReasonNames = {
    "unspecified",  "finished",      "client_cancel", "client_gone", "deadline", "idle_timeout",
    "engine_error", "call_hung",     "host_died",     "drain",       "replaced", "kicked",
    "loader_gone",  "create_failed", "admission",     "protocol",    "refused"};

constexpr std::string_view name_of(State state) {
  return kStateNames[static_cast<size_t>(state)];
}
constexpr std::string_view name_of(Event event) {
  return kEventNames[static_cast<size_t>(event)];
}
constexpr std::string_view name_of(Variant v) {
  return kVariantNames[static_cast<size_t>(v)];
}
constexpr std::string_view name_of(Outcome o) {
  return kOutcomeNames[static_cast<size_t>(o)];
}
constexpr std::string_view reason_name(uint32_t reason) {
  return reason < kReasonNames.size() ? kReasonNames[reason] : "unspecified";
}

// The reason of a session or call that an error kept from beginning: that of the table's event
// where the error is one of the table's.
constexpr uint32_t reason_of_refusal(ErrorCode error) {
  switch (error) {
    case ErrorCode::NO_FREE_SLOT:
    case ErrorCode::QUEUE_FULL:
    case ErrorCode::ENGINE_UNAVAILABLE:
      return LOADER_REASON_ADMISSION;
    case ErrorCode::PROTOCOL_VIOLATION:
      return LOADER_REASON_PROTOCOL;
    default:
      break;
  }
  for (const auto& closer : table_detail::kOutsideClosers) {
    if (closer.error == error) return static_cast<uint32_t>(closer.reason);
  }
  return kReasonRefused;
}

// Calls visit(const Row&) for every cell; cells of exec and recoverable only where they differ from
// those of a session.
template <typename Visit>
constexpr void for_each_row(Visit&& visit) {
  for (size_t v = 0; v < kVariantCount; ++v) {
    for (size_t s = 0; s < kStateCount; ++s) {
      for (size_t e = 0; e < kEventCount; ++e) {
        const Cell& cell = kTable[v][s][e];
        if (v != 0 && cell == kTable[0][s][e]) continue;
        visit(Row{static_cast<Variant>(v), static_cast<State>(s), static_cast<Event>(e), cell});
      }
    }
  }
}

// Calls visit(std::string_view) for the name of each action of a set, in order.
template <typename Visit>
constexpr void for_each_action(uint32_t actions, Visit&& visit) {
  for (size_t i = 0; i < kActionCount; ++i) {
    if ((actions >> i) & 1u) visit(kActionNames[i]);
  }
}

}  // namespace loader::session
