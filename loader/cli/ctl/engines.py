"""`loader ctl engines` and `loader ctl instances`: what every loader serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loader.cli.connection import Authority, ClientCertificate, ClientKey
from loader.cli.operating import Addresses, CenterUrl, ConfigFile, Where, run, told, where
from loader.cli.output import Column, Output, OutputForm, show_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENGINE_COLUMNS = (
    "node", "engine", "version", "state", Column("weight", is_right=True), Column("open", is_right=True),
    Column("slots", is_right=True), "ended", "labels", "error",
)  # fmt: skip
INSTANCE_COLUMNS = (
    "node", "engine", "version", Column("index", is_right=True), "state", Column("pid", is_right=True),
    Column("slots_used", is_right=True), Column("slots", is_right=True), Column("restarts", is_right=True),
    Column("rss_mib", is_right=True), "error",
)  # fmt: skip


def engines(
    center: CenterUrl = "",
    config: ConfigFile = "",
    address: Addresses = None,
    ca: Authority = None,
    certificate: ClientCertificate = None,
    key: ClientKey = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """List the versions of all engines on every loader, with what is open and how sessions ended.

    Exit codes: 0 listed; 1 a loader does not answer, of which the others are listed, or the registry; 2 the command
    line is wrong.
    """
    place = where(center, config, address, ca, certificate, key)
    run(_list(place, engine_rows, ENGINE_COLUMNS, output))


def instances(
    center: CenterUrl = "",
    config: ConfigFile = "",
    address: Addresses = None,
    ca: Authority = None,
    certificate: ClientCertificate = None,
    key: ClientKey = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """List the instances of all engines on every loader: state, process, slots, memory.

    Exit codes: as `engines`.
    """
    place = where(center, config, address, ca, certificate, key)
    run(_list(place, instance_rows, INSTANCE_COLUMNS, output))


async def _list(
    place: Where, rows: Callable[[Any], Iterator[dict[str, Any]]], columns: Any, output: Output
) -> int:
    from loader.v1 import admin_pb2

    async with place.nodes() as nodes:
        answers, errors = await nodes.answering("ListEngines", admin_pb2.ListEnginesRequest())
    show_rows([row for _, answer in answers for row in rows(answer)], columns, output)
    return told(errors)


def engine_rows(answer: Any) -> Iterator[dict[str, Any]]:
    """One row for each version."""
    for one in answer.engines:
        yield {
            "node": answer.node,
            "engine": one.description.name,
            "version": one.description.version,
            "state": one.description.state,
            "weight": one.weight if one.is_routed else None,
            "is_routed": one.is_routed,
            "open": one.open_sessions,
            "slots": one.description.slots,
            "ended": {reason: count for reason, count in sorted(one.closed.items()) if count},
            "labels": dict(one.labels),
            "capabilities": dict(one.capabilities),
            "error": one.error,
        }


def instance_rows(answer: Any) -> Iterator[dict[str, Any]]:
    """One row for each instance."""
    for engine in answer.engines:
        for one in engine.instances:
            yield {
                "node": answer.node,
                "engine": engine.description.name,
                "version": engine.description.version,
                "index": one.index,
                "state": one.state,
                "pid": one.pid,
                "slots_used": one.slots_used,
                "slots": one.slots,
                "restarts": one.restarts,
                "rss_mib": round(one.rss_bytes / (1 << 20), 1),
                "error": one.error,
            }
