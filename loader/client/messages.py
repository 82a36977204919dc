"""What clients say and hear beside data, as plain values: targets, engines, how a session opened and ended.

Builds the request messages. Knows no RPC.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict

from loader.client.values import Items, to_frame, to_parameters
from loader.v1 import loader_pb2

# No limit of the client's own: the loader's holds, and its refusal says what the limit is.
CHANNEL_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]

NOT_OPEN = "the session is not open: use `{} client.session(...) as session`"
USED_ONCE = "a session is opened once: ask client.session(...) for another"


@dataclass(frozen=True, slots=True)
class Target:
    """Which engine, and how to treat the call. Where a plain name is enough, a str will do."""

    engine: str = ""
    version: str = ""
    selector: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0
    tenant: str = ""
    trace_context: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """The engine that it means, in words."""
        name = " ".join(part for part in (self.engine, self.version) if part) or "an engine"
        selector = ", ".join(f"{key}={value}" for key, value in sorted(self.selector.items()))
        return f"{name} with {selector}" if selector else name


class Which(TypedDict, total=False):
    """What every call takes beside the engine's name; over what a Target says."""

    version: str
    selector: Mapping[str, str]  # capabilities that the engine must announce, instead of a name or beside it
    labels: Mapping[str, str]  # matched against the labels of versions


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine of a loader; `declaration` holds its inputs, outputs, parameters and properties."""

    name: str
    version: str
    state: str
    declaration: dict[str, Any]
    slots: int
    has_exec: bool
    has_sessions: bool


@dataclass(frozen=True, slots=True)
class Opened:
    """What the loader granted when the session opened."""

    session_id: str
    engine_version: str
    message_bytes: int
    window_bytes: int
    idle_timeout_s: float


@dataclass(frozen=True, slots=True)
class Final:
    """How a session ended: the reason in lower case (finished, deadline, host_died) and its counters."""

    reason: str
    frames_in: int
    bytes_in: int
    frames_out: int
    bytes_out: int
    queue_s: float
    first_result_s: float
    duration_s: float


def to_target(target: str | Target, which: Which) -> Target:
    """What the caller asks for."""
    return replace(Target(target) if isinstance(target, str) else target, **which)


def _on_wire(target: Target) -> loader_pb2.Target:
    return loader_pb2.Target(
        engine=target.engine,
        version=target.version,
        selector=dict(target.selector),
        labels=dict(target.labels),
        priority=target.priority,
        tenant=target.tenant,
        trace_context=dict(target.trace_context),
    )


def exec_request(
    target: Target, items: Items, parameters: Mapping[str, object] | None
) -> loader_pb2.ExecRequest:
    """One call with one response."""
    return loader_pb2.ExecRequest(
        target=_on_wire(target), parameters=to_parameters(parameters), frame=to_frame(items)
    )


def stream_request(
    target: Target, items: Items, parameters: Mapping[str, object] | None
) -> loader_pb2.ExecStreamRequest:
    """One call with streamed results."""
    return loader_pb2.ExecStreamRequest(
        target=_on_wire(target), parameters=to_parameters(parameters), frame=to_frame(items)
    )


def open_request(target: Target, parameters: Mapping[str, object] | None) -> loader_pb2.SessionRequest:
    """The first message of a session."""
    opening = loader_pb2.Open(target=_on_wire(target), parameters=to_parameters(parameters))
    return loader_pb2.SessionRequest(open=opening)


def to_engine(description: loader_pb2.EngineDescription) -> Engine:
    """What Describe says of one engine."""
    return Engine(
        description.name,
        description.version,
        description.state,
        json.loads(description.declaration_json or "{}"),
        description.slots,
        description.has_exec,
        description.has_sessions,
    )


def to_opened(opened: loader_pb2.Opened) -> Opened:
    """The first message of the loader in a session."""
    limits = opened.limits
    return Opened(
        opened.session_id,
        opened.engine_version,
        limits.message_bytes,
        limits.window_bytes,
        limits.idle_timeout_s,
    )


def to_final(final: loader_pb2.Final) -> Final:
    """The last message of the loader in a session."""
    name = (
        loader_pb2.CloseReason.Name(final.reason) if final.reason in loader_pb2.CloseReason.values() else ""
    )
    counters = final.statistics
    return Final(
        name.removeprefix("CLOSE_REASON_").lower(),
        counters.frames_in,
        counters.bytes_in,
        counters.frames_out,
        counters.bytes_out,
        counters.queue_s,
        counters.first_result_s,
        counters.duration_s,
    )
