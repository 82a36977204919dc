"""One session of an AIGES wrapper: what is called when, which results end it, what becomes of callbacks.

It is final when a result with status END or ONCE was seen, or it failed: later results are refused, later
input is taken and ignored. Results leave at once, by callback or read, and so does what a callback says of a
failure, behind them; see Outbox. What a function of the wrapper says of one is the answer to its call.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from loader.compat.aiges import constants, convert
from loader.compat.aiges.author import error_of
from loader.compat.aiges.binding import Role
from loader.compat.aiges.dto import DataListCls
from loader.compat.aiges.once import Metered
from loader.compat.aiges.outbox import Outbox
from loader.wrapper import PENDING, CloseReason, Error, Frame, Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loader._host import Params
    from loader.compat.aiges.calls import Calls
    from loader.compat.aiges.opening import Opening
    from loader.wrapper import ItemView

# After the last input an empty read is tried again, at first soon, then every 50 ms; after 100 times 50 ms
# without any result the wrapper has no more.
FIRST_PAUSE_S: Final = 0.001
PAUSE_S: Final = 0.05
GIVE_UP_S: Final = 100 * PAUSE_S
# What a wrapper may deliver before the last input where none is wanted, each result with so much beside its data.
MOST_HELD_BYTES: Final = 32 << 20
RESULT_BYTES: Final = 4096  # so that a session of a command may have all of them waiting for its client, too
HELD_TOO_MUCH: Final = (
    f"more than {MOST_HELD_BYTES >> 20} MiB of results before the last input, and config.aiges.real_time_result is "
    "false, which keeps them until then: set it to true"
)
MOST_WAIT_S: Final = 15.0  # of a thread of the wrapper, for a client that does not read


class AigesSession(Metered, Session):
    """A session; `open` comes first."""

    def __init__(self, author: Calls, params: Params, opening: Opening, *, is_async: bool) -> None:
        Metered.__init__(self, params)
        self._author = author
        self._params = params
        self._opening = opening
        self._is_async = is_async
        self.is_held_back = False  # results before the last input wait for it
        self._handle: Any = None
        self._inputs: dict[str, _Input] = {}
        self._outbox = Outbox(params, params.fail)
        self._caller: int | None = None  # the thread that is in a function of the wrapper for this session
        # Everything below from any thread.
        self._changed = threading.Condition()
        self._is_cancelled = False
        self._is_final = False
        self._is_input_over = False
        self._is_waited_for = False  # a call is PENDING
        self._has_failed = False  # by callback
        self._held: list[convert.Outcome] = []
        self._held_bytes = 0
        self._results = 0

    # ---- create

    def open(self) -> None:
        """wrapperCreate. Raises: Error."""
        self._opening.register(self)
        try:
            self._handle = self._created()
        except BaseException:
            self._is_final = True
            self._opening.forget(self)
            self._outbox.close()
            raise

    def _created(self) -> Any:
        opening, errors = self._opening, [0]
        values = {
            Role.PARAMS: opening.params,
            Role.SID: opening.sid,
            Role.TAG: opening.tag,
            Role.PERSONAL: opening.personal,
            Role.IDS: list(opening.resources),
            Role.ID_COUNT: len(opening.resources),
            Role.ERROR: errors,
        }
        returned = self._call("wrapperCreate", constants.CREATE_FAILED, values)
        code = convert.code_of(returned) or _int(errors[0])
        if isinstance(returned, int):
            code = int(returned)
        if code:
            raise self._author.refused(constants.CREATE_FAILED, code)
        handle = getattr(returned, "handle", returned)
        if handle is None or isinstance(handle, int):
            said = f"wrapperCreate returned {returned!r:.60} where a handle is expected"
            raise self._author.refused(constants.CREATE_FAILED, -1, said)
        return handle

    # ---- input

    def write(self, frame: Frame) -> object:
        """wrapperWrite, and what of the results is read after it."""
        with self._changed:
            if self._is_finished():
                return None
        statuses = [self._note(item) for item in frame.items]
        request = convert.request_of(frame.items, statuses)
        is_last = bool(self._inputs) and all(one.is_ended for one in self._inputs.values())
        return self._pass_in(request, is_last)

    def end(self) -> object:
        """What a client that says no status means: an empty END for each key of the input."""
        with self._changed:
            if self._has_failed:
                return PENDING
            if not self._inputs and not self._is_final:
                return None
            if self._is_finished():
                return self._emptied()
            is_input_over = self._is_input_over
        if is_input_over:
            return self._until_final() if self._is_async else None
        request = DataListCls()
        for key, one in self._inputs.items():
            if not one.is_ended:
                one.is_ended = True
                request.list.append(convert.make_input(key, b"", one.kind, convert.LAST, {}))
        return self._pass_in(request, True)

    def _note(self, item: ItemView) -> int:
        """The status that the wrapper sees: the client's, or, where it says none, the natural one."""
        known = self._inputs.get(item.key)
        status = convert.status_of(item, convert.FIRST if known is None else convert.NEXT)
        if known is None:
            known = self._inputs[item.key] = _Input(convert.KINDS.get(item.type, constants.DataPer))
        known.is_ended = convert.is_last(status)
        return status

    def _pass_in(self, request: DataListCls, is_last: bool) -> object:
        data = convert.as_dictionaries(request) if self._author.takes_dictionaries else request
        values = {Role.HANDLE: self._handle, Role.DATA: data, Role.SID: self._opening.sid}
        returned = self._call("wrapperWrite", constants.WRITE_FAILED, values)
        code = self._outcome(constants.WRITE_FAILED, returned).code
        if code:
            raise self._fail(self._author.refused(constants.WRITE_FAILED, code))
        return self._after_write(is_last)

    def _after_write(self, is_last: bool) -> object:
        if is_last:
            with self._changed:
                self._is_input_over = True
                self._send_held()
        if self._is_async:
            return self._until_final() if is_last else None
        if is_last:
            self._read_until_final()
        elif not self.is_held_back:
            self._read()
        return None

    # ---- results that are read

    def _read_until_final(self) -> None:
        idle_s, pause_s, seen = 0.0, FIRST_PAUSE_S, -1
        while idle_s <= GIVE_UP_S:
            is_something = self._read()
            with self._changed:
                if self._is_final or self._is_cancelled:
                    return
                if is_something or self._results != seen:
                    idle_s, pause_s, seen = 0.0, FIRST_PAUSE_S, self._results
                if not is_something:
                    self._changed.wait(pause_s)
                    idle_s += pause_s
                    pause_s = min(2 * pause_s, PAUSE_S)
                if self._is_final or self._is_cancelled:
                    return

    def _read(self) -> bool:
        """False: there was nothing."""
        results: list[Any] = []
        values = {Role.HANDLE: self._handle, Role.SID: self._opening.sid, Role.RESULTS: results}
        returned = self._call("wrapperRead", constants.READ_FAILED, values)
        outcome = self._outcome(constants.READ_FAILED, returned, results)
        if outcome.code:
            raise self._fail(self._author.refused(constants.READ_FAILED, outcome.code))
        if outcome.says_nothing:
            return False
        self._port_emit(outcome)
        return True

    def _port_emit(self, outcome: convert.Outcome) -> None:
        self._params.emit(outcome.to_stream())
        with self._changed:
            self._is_final = self._is_final or outcome.is_final

    # ---- results that come by callback

    def on_response(self, response: object) -> int:
        """A callback of the wrapper, from any thread."""
        try:
            outcome = convert.outcome_of(response)
            failure = self._author.refused(constants.CALLBACK_FAILED, outcome.code) if outcome.code else None
            if failure is None and not outcome.nodes:
                failure = self._author.refused(constants.CALLBACK_FAILED, -1, "the callback has no result")
            with self._changed:
                if self._is_final or self._is_cancelled:
                    return -1
                failure = failure or self._too_much(outcome)
                if failure is not None:
                    self._set_final(failure)
                    return 0
                self._take(outcome)
        except Exception as raised:  # noqa: BLE001  what a wrapper gave cannot be sent
            return self._broken(self._author.failed(constants.CALLBACK_FAILED, raised, self._params.log))
        return self._wait_for_room()

    def on_failure(self, raised: BaseException) -> None:
        """Ends the session with it."""
        self._broken(self._author.failed(constants.CALLBACK_FAILED, raised, self._params.log))

    @property
    def _is_held(self) -> bool:
        return self.is_held_back and not self._is_input_over

    def _too_much(self, outcome: convert.Outcome) -> Error | None:
        """Of what waits for the last input; None where this still may."""
        if not self._is_held:
            return None
        self._held_bytes += outcome.size_bytes + RESULT_BYTES
        if self._held_bytes <= MOST_HELD_BYTES:
            return None
        return error_of(constants.CALLBACK_FAILED, HELD_TOO_MUCH, -1)

    def _take(self, outcome: convert.Outcome) -> None:
        self._results += 1
        self._held.append(outcome)
        if not self._is_held:
            self._send_held()
        if outcome.is_final:
            self._set_final(None)

    def _send_held(self) -> None:
        held, self._held = self._held, []
        for one in held:
            self._outbox.post(one.to_stream(), one.size_bytes)

    def _wait_for_room(self) -> int:
        if self._caller == threading.get_ident():
            self._outbox.make_room()
            return 0
        if self._outbox.wait_for_room(MOST_WAIT_S):
            return 0
        return self._unread()

    def _unread(self) -> int:
        """The client does not take its results: the session fails, and what waits for it is lost."""
        failure = error_of(constants.CALLBACK_FAILED, "the client does not read its results", -1)
        with self._changed:
            if not self._is_final:
                self._outbox.give_up(failure)
                self._set_final(failure)
        return -1

    def _broken(self, failure: Error) -> int:
        with self._changed:
            if not self._is_final:
                self._set_final(failure)
        return -1

    def _until_final(self) -> object:
        """A call that finds the session failed is void: the failure is told, or on its way."""
        with self._changed:
            if self._has_failed:
                return PENDING
            if self._is_final or self._is_cancelled:
                return self._emptied()
            self._is_waited_for = True
        return PENDING

    def _emptied(self) -> object:
        """Nothing comes any more: the call ends behind what is still on its way."""
        if self._is_cancelled or self._outbox.is_empty:
            return None
        self._outbox.finish(None)
        return PENDING

    def _set_final(self, failure: Error | None) -> None:
        """The call that waits for it, or by a failure the session, ends behind the results. Under the lock."""
        self._is_final = True
        self._has_failed = failure is not None
        if failure is not None:
            self._held = []
        if failure is not None or self._is_waited_for:
            self._is_waited_for = False
            self._outbox.finish(failure)
        self._changed.notify_all()

    def _is_finished(self) -> bool:
        return self._is_final and not self._held

    def _fail(self, failure: Error) -> Error:
        with self._changed:
            self._is_final, self._held = True, []
        return failure

    # ---- calls into the wrapper

    def _call(self, name: str, failed: int, values: Mapping[Role, Any]) -> Any:
        self._caller = threading.get_ident()
        try:
            return self._author.call(name, failed, values, self._params.log)
        except Error as failure:
            raise self._fail(failure) from None
        finally:
            self._caller = None

    def _outcome(self, failed: int, returned: object, results: list[Any] | None = None) -> convert.Outcome:
        try:
            return convert.outcome_of(returned, results or ())
        except (TypeError, ValueError) as wrong:
            raise self._fail(error_of(failed, str(wrong), -1)) from None

    # ---- the end

    def cancel(self, reason: CloseReason) -> None:  # noqa: ARG002  AIGES has no word for it
        """Nothing that comes now counts; a loop that reads ends."""
        with self._changed:
            self._is_cancelled = True
            self._changed.notify_all()
        self._outbox.close()

    def destroy(self, reason: CloseReason) -> None:  # noqa: ARG002
        """wrapperDestroy, once. Meters work until it has returned; results are refused from here on."""
        with self._changed:
            self._is_final = True
            self._held = []
        self._outbox.close()
        values = {Role.HANDLE: self._handle, Role.SID: self._opening.sid}
        try:
            self._author.call("wrapperDestroy", constants.WRITE_FAILED, values, self._params.log)
        except Error:
            return  # logged; nobody waits for what it says
        finally:
            self._opening.forget(self)


class _Input:
    """One key of the input."""

    __slots__ = ("is_ended", "kind")

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.is_ended = False


def _int(value: Any) -> int:
    return value if isinstance(value, int) else 0
