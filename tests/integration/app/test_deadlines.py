"""Deadlines that meet the engine's answer: one end for each call, whichever comes first, and no slot lost."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import grpc
from running import Running, until

from loader.v1 import admin_pb2, frame_pb2, loader_pb2

Start = Callable[..., Running]
Write = Callable[..., Path]

CALLERS = 8
RACE_S = 4.0
FOUND_S = 60.0  # of a machine so slow that the first deadlines are all too short
SLEEP_MS = 5.0
# Answers a call after about SLEEP_MS, from another thread, so that calls do not wait for each other.
ENGINE = """
    import threading
    from loader import PENDING, Wrapper

    class Late(Wrapper):
        def exec(self, request):
            def answer():
                try:
                    request.emit({"text": "late"})
                except ConnectionError:
                    pass
                request.finish()
            threading.Timer(float(request["text"]) / 1e3, answer).start()
            return PENDING
"""


def test_answers_that_race_with_their_deadline_come_once(
    start: Start, wrapper: Write, record_property: Callable[[str, object], None]
) -> None:
    """As many rounds as fit: each is OK or DEADLINE_EXCEEDED, both happen, and the counters say the same."""
    running = start(
        f"engines: {{late: {{wrapper: {wrapper('late', ENGINE)}, slots: {CALLERS}, threads: 2}}}}"
    )
    outcomes: Counter[str] = Counter()
    lock = threading.Lock()

    def call(timeout_ms: float) -> str:
        item = frame_pb2.Item(key="text", type=frame_pb2.ITEM_TYPE_TEXT, data=f"{SLEEP_MS}".encode())
        request = loader_pb2.ExecRequest(
            target=loader_pb2.Target(engine="late"), frame=frame_pb2.Frame(items=[item])
        )
        try:
            answer = running.engine.Exec(request, timeout=timeout_ms / 1e3)
        except grpc.RpcError as error:
            return str(error.code().name)
        assert [bytes(one.items[0].data) for one in answer.frames] == [b"late"]
        return "OK"

    def race() -> None:
        """Looks for the deadline at which both ends are as likely, and stays about there."""
        timeout_ms = 4 * SLEEP_MS
        began_s = time.monotonic()
        while (past_s := time.monotonic() - began_s) < RACE_S or (len(outcomes) < 2 and past_s < FOUND_S):
            outcome = call(timeout_ms)
            timeout_ms *= 0.97 if outcome == "OK" else 1.03
            with lock:
                outcomes[outcome] += 1

    callers = [threading.Thread(target=race) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(FOUND_S + 30)
    record_property("rounds", str(dict(outcomes)))
    assert outcomes.keys() == {"OK", "DEADLINE_EXCEEDED"}
    until(lambda: running.instance("late").slots_used == 0, "every slot is free again")
    assert call(10_000) == "OK"
    assert running.instance("late").restarts == 0
    values = running.admin.GetStatistics(admin_pb2.GetStatisticsRequest(), timeout=30).values
    label = 'engine="late",version="1"'
    closed = {
        name.partition('reason="')[2].rstrip('"}'): int(value)
        for name, value in values.items()
        if name.startswith("loader_sessions_closed{") and value
    }
    record_property("closed", str(closed))
    assert closed.keys() <= {"finished", "deadline", "client_cancel"}
    assert sum(closed.values()) == values[f"loader_execs{{{label}}}"]  # each call ended once
    assert closed["finished"] >= outcomes["OK"] + 1  # an answer may be on its way when its client gives up
