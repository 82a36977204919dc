"""Every key of an `aiges.toml` that is not taken over, with the reason. A table; reads no file.

Keys that are taken over are in convert.py. A key in neither is unknown: that never is an error.
"""

from __future__ import annotations

from typing import Final

WHOLE: Final = "*"  # every key of the section

UNSUPPORTED: Final = "not supported"
IGNORED: Final = "ignored"

_NO_FINDER = "counts with -m 1 only; else the key `registry` says where the node is announced"
_NO_BALANCER = "load is announced in the registry, and clients balance: key `registry`"
_TUNING = "needs no setting here"
_METRICS = "metrics are served by the HTTP port at /metrics"
_RELEASE = "a slot is free as soon as its session has ended"

# section -> key -> (what became of it, why). The section of the service is "".
NOT_TAKEN: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "": {
        "reuseport": (IGNORED, "one loader serves the port with all of its threads"),
        "finder": (UNSUPPORTED, _NO_FINDER),
        "grpctimeout": (IGNORED, "the client's deadline counts; `limits.deadline_ms` caps it"),
        "maxsend": (IGNORED, "a result may have any size; the client says what it takes"),
        "conn-rbuf": (IGNORED, _TUNING),
        "conn-wbuf": (IGNORED, _TUNING),
        "rate": (UNSUPPORTED, "calls are limited by slots, not by a rate"),
        "burst": (UNSUPPORTED, "calls are limited by slots, not by a rate"),
        "http_listen": (IGNORED, "as in AIGES: it belongs into [wrapper]"),
    },
    "aiges": {
        "sub": (IGNORED, "a label of AIGES's metrics and load balancer"),
        "sessMode": (IGNORED, "each request says whether it is a session; over HTTP a WebSocket is one"),
        "sessDelGt": (IGNORED, _RELEASE),
        "asyncRelease": (IGNORED, _RELEASE),
        "wrapperTrace": (IGNORED, "AIGES does not use it"),
        "wrapperDelayDetectPeriod": (IGNORED, "a call that hangs is found: `call_timeout_ms`"),
        "storageData": (UNSUPPORTED, "inputs are never written to files"),
        "httpRetry": (UNSUPPORTED, "inputs are not downloaded: send the data itself"),
        "gray": (IGNORED, "a label of AIGES's metrics: see `versions` and `weight`"),
        "pythonPluginCmd": (
            IGNORED,
            "wrapper.py is served directly; the Python mode takes a command of your own",
        ),
        "gesMock": (IGNORED, "AIGES ignores it"),
        "numaNode": (IGNORED, "AIGES ignores it: set AIGES_ENV_NUMA"),
    },
    "fc": {
        "best": (IGNORED, _NO_BALANCER),
        "wave": (IGNORED, _NO_BALANCER),
        "strategy": (IGNORED, _NO_BALANCER),
        "roll": (IGNORED, "a session that waits too long is closed at once, not at the next look"),
        "report": (IGNORED, _NO_BALANCER),
        "tasksize": (IGNORED, _TUNING),
        "taskchsize": (IGNORED, _TUNING),
        "filterwin": (IGNORED, _TUNING),
    },
    "log": {
        "file": (IGNORED, "the log goes to standard error"),
        "size": (IGNORED, "the log goes to standard error"),
        "count": (IGNORED, "the log goes to standard error"),
        "die": (IGNORED, "the log goes to standard error"),
        "async": (IGNORED, "the log holds nothing up"),
        "cache": (IGNORED, _TUNING),
        "batch": (IGNORED, _TUNING),
        "caller": (IGNORED, _TUNING),
        "wash": (IGNORED, _TUNING),
    },
    "ws": {},  # both of its keys are taken over
    "pprof": {WHOLE: (UNSUPPORTED, "a profiler of Go")},
    "dataProcess": {WHOLE: (UNSUPPORTED, "inputs are passed as they come")},
    "downAsync": {WHOLE: (UNSUPPORTED, "there are no results through RabbitMQ")},
    "trace": {
        WHOLE: (
            UNSUPPORTED,
            "spans are not pushed to a collector; meter and trace of a session are in the log",
        )
    },
    "sonar": {WHOLE: (UNSUPPORTED, _METRICS)},
    "metrics": {WHOLE: (IGNORED, _METRICS)},
    "lb": {WHOLE: (UNSUPPORTED, _NO_BALANCER)},
    "lbv2": {WHOLE: (UNSUPPORTED, _NO_BALANCER)},
    "bvt": {WHOLE: (UNSUPPORTED, "`loader check` before the start, and the wrapper's `health`")},
    "auth": {WHOLE: (IGNORED, "AIGES ignores it")},
    "resource": {WHOLE: (IGNORED, "AIGES ignores it")},
    "elog": {WHOLE: (IGNORED, "AIGES ignores it")},
}
PREFIXES: Final = {"keepalive": (IGNORED, _TUNING), "vcpu": (IGNORED, _TUNING)}  # of the service's section
SECTIONS: Final = frozenset(NOT_TAKEN) | {"wrapper"}


def reason(section: str, key: str) -> tuple[str, str] | None:
    """What became of a key that is not taken over; None for one that AIGES does not know either."""
    known = NOT_TAKEN.get(section, {})
    found = known.get(key) or known.get(WHOLE)
    if found is None and not section:
        found = next((value for prefix, value in PREFIXES.items() if key.startswith(prefix)), None)
    return found
