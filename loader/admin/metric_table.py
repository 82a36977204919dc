"""Every metric: its kind, labels and text. The page docs/reference/metrics.md is generated from it.

The names are those of the data plane's counters (cpp/server/statistics.cpp). Imports nothing but enum.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What Prometheus calls it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One row."""

    kind: Kind
    labels: tuple[str, ...]
    text: str


def _whole(kind: Kind, text: str) -> Metric:
    return Metric(kind, (), text)


def _engine(kind: Kind, text: str) -> Metric:
    return Metric(kind, ("engine", "version"), text)


METRICS: dict[str, Metric] = {
    "connections": _whole(Kind.COUNTER, "Connections accepted."),
    "connections_open": _whole(Kind.GAUGE, "Connections open now."),
    "connections_refused": _whole(Kind.COUNTER, "Connections over a limit, closed at once."),
    "connections_misbehaved": _whole(Kind.COUNTER, "Connections closed for floods or broken HTTP/2."),
    "streams_open": _whole(Kind.GAUGE, "gRPC calls open now."),
    "calls": _whole(Kind.COUNTER, "gRPC calls of any method."),
    "messages_received": _whole(Kind.COUNTER, "gRPC messages from clients."),
    "messages_sent": _whole(Kind.COUNTER, "gRPC messages to clients."),
    "socket_bytes_received": _whole(Kind.COUNTER, "Bytes read from clients' sockets."),
    "socket_bytes_sent": _whole(Kind.COUNTER, "Bytes written to clients' sockets."),
    "resets_received": _whole(Kind.COUNTER, "Streams reset by clients."),
    "resets_sent": _whole(Kind.COUNTER, "Streams reset by us."),
    "loop_rounds": _whole(Kind.COUNTER, "Wake-ups of the data plane's loops."),
    "events_dropped": _whole(Kind.COUNTER, "Log lines of engines dropped because they came too fast."),
    "shards": _whole(Kind.GAUGE, "Threads of the data plane."),
    "shards_silent": _whole(
        Kind.GAUGE, "Threads too busy to answer now: what they count is as of the last time they did."
    ),
    "refusals": Metric(
        Kind.COUNTER, ("error",), "Calls refused before they became a session or exec, by error."
    ),
    "slots": _engine(Kind.GAUGE, "Slots of all ready instances."),
    "slots_used": _engine(Kind.GAUGE, "Slots in use."),
    "queue_depth": _engine(Kind.GAUGE, "Sessions and calls that wait for a slot."),
    "instances_ready": _engine(Kind.GAUGE, "Instances that take work."),
    "sessions_opened": _engine(Kind.COUNTER, "Sessions opened."),
    "sessions_open": _engine(Kind.GAUGE, "Sessions and calls open now, waiting ones included."),
    "execs": _engine(Kind.COUNTER, "One-shot calls begun."),
    "frames_in": _engine(Kind.COUNTER, "Frames from clients."),
    "frames_out": _engine(Kind.COUNTER, "Frames to clients."),
    "bytes_in": _engine(Kind.COUNTER, "Bytes of frames from clients."),
    "bytes_out": _engine(Kind.COUNTER, "Bytes of frames to clients."),
    "queued_input_bytes": _engine(Kind.GAUGE, "Input that waits for its engine."),
    "queued_result_bytes": _engine(Kind.GAUGE, "Results that wait for their client."),
    "events_ignored": _engine(Kind.COUNTER, "Events that the session table ignores in their state."),
    "events_refused": _engine(Kind.COUNTER, "Events that the session table refuses in their state."),
    "calls_hung": _engine(Kind.COUNTER, "Calls into the engine that hung."),
    "unknown_fields": _engine(Kind.COUNTER, "Fields of clients' messages that this version does not know."),
    "invalid_requests": _engine(Kind.COUNTER, "Frames and parameters that are not as the engine declares."),
    "sessions_closed": Metric(
        Kind.COUNTER, ("engine", "version", "reason"), "Sessions and calls closed, by reason."
    ),
    "queue_wait_seconds": _engine(Kind.HISTOGRAM, "Wait for a slot."),
    "first_result_seconds": _engine(Kind.HISTOGRAM, "From open to the first result."),
    "call_latency_seconds": _engine(Kind.HISTOGRAM, "Calls into the engine, from start to completion."),
}

INSTANCE_GAUGES = {
    "slots": "Slots of an instance.",
    "slots_used": "Slots in use.",
    "channel_bytes_queued": "Bytes that wait for an instance to read its channel.",
    "arena_bytes_used": "Shared memory in use.",
    "arena_bytes": "Shared memory of an instance's channels, one direction.",
}

SUPERVISOR_METRICS: dict[str, Metric] = {
    "engine_state": Metric(Kind.GAUGE, ("engine", "version", "state"), "1 for the state an engine is in."),
    "engine_weight": _engine(Kind.GAUGE, "Share of new sessions; 0 while none are routed to it."),
    "resources": Metric(Kind.GAUGE, ("engine",), "Personal resources of an engine."),
    "resource_bytes": Metric(Kind.GAUGE, ("engine",), "Their data together."),
    "center_reachable": _whole(Kind.GAUGE, "0 while the config center does not answer."),
    "registry_reachable": _whole(
        Kind.GAUGE, "0 while the registry does not answer; 1 also where there is none."
    ),
    "revision_info": Metric(
        Kind.GAUGE, ("revision",), "1 for the revision of the configuration that serves."
    ),
    "rollouts": Metric(Kind.COUNTER, ("state",), "Revisions by what became of them."),
    "instance_restarts": Metric(Kind.COUNTER, ("engine", "version", "instance"), "Restarts of an instance."),
    "instance_rss_bytes": Metric(
        Kind.GAUGE, ("engine", "version", "instance"), "Resident memory of an instance's process."
    ),
    "output_dropped_bytes": Metric(
        Kind.COUNTER, ("engine", "version", "instance"), "Engine output and log over the limit, not logged."
    ),
}
