"""An engine that does as `mode` tells it, for what clients of the HTTP faces see of engines."""

import json
import os
from collections import defaultdict
from threading import Event, Thread

from loader import Error, Item, Result, Session, Wrapper

WAIT_S = 30
GATES = defaultdict(Event)  # opened by a call with mode "open"
ENDS = defaultdict(Event)
REASONS = {}  # name -> why its session or call ended
EMITTED = defaultdict(int)


def told(frame, parameters):
    items = [[one.key, one.type, one.status, one.attributes, bytes(one).hex()] for one in frame.items]
    return json.dumps({"items": items, "parameters": parameters}, sort_keys=True)


def ended(name, reason):
    REASONS[name] = str(reason)
    ENDS[name].set()


class Actor(Wrapper):
    def exec(self, request):
        parameters = request.parameters
        mode, name = parameters.get("mode", ""), parameters.get("name", "")
        if mode == "fail":
            raise Error(21111, "boom")
        if mode == "die":
            os._exit(3)
        if mode == "hang":
            Event().wait(WAIT_S)
        if mode == "open":
            GATES[name].set()
        if mode == "release":
            ENDS[name].set()
        if mode == "until gone":
            GATES[name].set()
            while not request.is_cancelled and not ENDS["stop"].wait(0.02):
                pass
            ended(name, "cancelled")
        if mode == "reason":
            assert ENDS[name].wait(WAIT_S)
            return {"text": REASONS[name]}
        if mode == "started":
            assert GATES[name].wait(WAIT_S)
        if mode == "emitted":
            return {"text": str(EMITTED[name])}
        if mode == "three":
            for one in "abc":
                request.emit({"text": one})
            return None
        if mode == "kinds":
            kinds = ("audio", "image", "video", "bytes")
            return {kind: Item(b"\xff\x00", type=kind, attributes={"encoding": "raw"}) for kind in kinds}
        return {"text": told(request.frame, parameters)}

    def create(self, params):
        if params.get("mode") == "refuse":
            raise Error(4711, "no room")
        return ActorSession(params)


class ActorSession(Session):
    def __init__(self, params):
        self.mode, self.name = params.get("mode", ""), params.get("name", "")
        self.parameters = params.parameters

    def write(self, frame):
        if self.mode == "tell":
            return {"text": told(frame, self.parameters)}
        if self.mode == "fail":
            raise Error(21111, "boom")
        if self.mode == "die":
            os._exit(3)
        if self.mode == "late":
            Thread(target=self.emit_late, daemon=True).start()
            return None
        if self.mode == "stuck":
            GATES[self.name].set()
            ENDS[self.name].wait(WAIT_S)
            return None
        if self.mode == "many":
            return self.many(int(frame["count"]), int(frame["size"]))
        if self.mode == "once":
            return {"text": Item("all", status="once")}
        if self.mode == "twice":
            return Result([("text", "a"), ("text", "b")])
        if self.mode == "json":
            first = Item('{"a": [1]}', type="text", attributes={"format": "json"})
            return {
                "text": first,
                "broken": Item("{", type="text", attributes={"format": "json"}),
                "own": {"b": 2},
            }
        return {"text": frame["text"].upper()}

    def many(self, count, size):
        for number in range(count):
            yield {"text": f"{number:06d}".ljust(size)}
            EMITTED[self.name] += 1

    def emit_late(self):
        assert GATES[self.name].wait(WAIT_S)
        self.emit({"text": Item("late", status="end")})

    def cancel(self, reason):
        ended(self.name, reason)

    def destroy(self, reason):
        ended(self.name, reason)
