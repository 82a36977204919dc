"""A config center in Consul: documents, acknowledgements and history as keys under one prefix.

PREFIX/config/NAME, PREFIX/acknowledgements/NODE, PREFIX/history/REVISION, and PREFIX/newest: what was put last, which
makes those who put wait for each other. Knows Consul's KV, no configuration keys.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
from typing import TYPE_CHECKING, Any

from loader.center.protocol import Acknowledgement, Document, HistoryEntry, Revision
from loader.center.values import (
    HISTORY_KEPT,
    News,
    acknowledgement_from,
    acknowledgement_text,
    history_from,
    history_text,
    is_document,
    revision_of,
    with_changes,
)
from loader.consul_link import CALL_S, ConsulLink, ConsulLocation
from loader.errors import BadConfigError, CenterUnreachableError, ConflictError, LoaderError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from loader.consul_link import ConsulAccess

logger = logging.getLogger(__name__)

WAIT_S = 5  # of a blocking query; Consul adds up to a sixteenth. Bounds how long a server that hangs goes unnoticed
MOST_OPERATIONS = 64  # of a transaction
MOST_BYTES = 512 * 1024  # of a value and of a transaction


class ConsulCenter:
    """One service's configuration in Consul."""

    def __init__(self, url: str, access: ConsulAccess) -> None:
        self.url = url
        self._prefix = ConsulLocation.parse(url).path
        self._link = ConsulLink(ConsulLocation.parse(url), access, CenterUnreachableError)

    def origin_of(self, name: str) -> str:
        """The key, as `consul kv get` takes it."""
        return f"{self._prefix}/config/{name}"

    async def load(self) -> Revision:
        """The documents now. Raises: BadConfigError, CenterUnreachableError."""
        _, rows = await self._read("config/")
        return self._revision(rows)

    async def watch(self, known: str) -> AsyncGenerator[Revision | LoaderError, None]:
        """As Center.watch: blocking queries on all documents."""
        news = News(known)
        reads = self._link.follow(lambda index: self._read("config/", index))
        async with contextlib.aclosing(reads) as answers:
            async for rows in answers:
                try:
                    found = rows if isinstance(rows, LoaderError) else self._revision(rows)
                except BadConfigError as error:
                    found = error
                if news.takes(found):
                    yield found

    async def put(
        self, documents: Sequence[Document], expected: str, author: str, message: str = ""
    ) -> Revision:
        """As Center.put: one transaction over every key's ModifyIndex."""
        # Before the documents: one that somebody adds after we have read them is not among the keys we check.
        _, newest = await self._read("newest")
        _, rows = await self._read("config/")
        held = revision_of([Document(name, text) for name, (text, _) in self._texts(rows).items()])
        if (held.name if held else "") != expected:
            raise ConflictError(
                f"{self.url}: holds {held.name if held else 'nothing'}, not {expected or 'nothing'}: read it again"
            )
        wanted = with_changes(held, documents)
        operations = [
            *self._operations(rows, documents),
            _cas(f"{self._prefix}/newest", wanted.name, newest[0]["ModifyIndex"] if newest else 0),
            _set(f"{self._prefix}/history/{wanted.name}", history_text(wanted, author, message)),
        ]
        if len(operations) > MOST_OPERATIONS:
            raise BadConfigError(
                f"{self.url}: a change beside {len(operations) - 2} documents: Consul takes "
                f"{MOST_OPERATIONS - 2} in one transaction: join some of them"
            )
        await self._transact(operations, expected)
        await self._prune()
        return wanted

    async def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        """As Center.acknowledge."""
        key = f"{self._prefix}/acknowledgements/{acknowledgement.node}"
        text = acknowledgement_text(acknowledgement)
        await self._link.call(lambda consul: consul.kv.put(key, text))

    async def acknowledgements(self) -> list[Acknowledgement]:
        """As Center.acknowledgements."""
        _, rows = await self._read("acknowledgements/")
        found = [acknowledgement_from(_note(row)) for row in rows]
        return sorted((one for one in found if one), key=lambda one: one.node)

    async def forget(self, node: str) -> None:
        """As Center.forget."""
        await self._delete(f"{self._prefix}/acknowledgements/{node}")

    async def history(self) -> list[HistoryEntry]:
        """As Center.history."""
        _, rows = await self._read("history/")
        found = [history_from(_note(row)) for row in sorted(rows, key=_age, reverse=True)]
        return [one for one in found if one]

    async def record(self, revision: Revision, author: str) -> None:
        """As Center.record: made only where it is not there."""
        key, text = f"{self._prefix}/history/{revision.name}", history_text(revision, author, "seen")
        if len(text) > MOST_BYTES:
            logger.warning("too big for the history", extra={"revision": revision.name, "bytes": len(text)})
            return
        if await self._link.call(lambda consul: consul.kv.put(key, text, cas=0)):
            await self._prune()

    async def close(self) -> None:
        """As Center.close."""
        await self._link.close()

    # ---- inside

    async def _read(self, folder: str, index: int = 0) -> tuple[int, list[dict[str, Any]]]:
        """All keys of a folder as one state, and the index of that state."""
        key = f"{self._prefix}/{folder}"
        limit_s = WAIT_S * 17 / 16 + CALL_S if index else CALL_S
        now, rows = await self._link.call(
            lambda consul: consul.kv.get(key, recurse=True, index=index or None, wait=f"{WAIT_S}s"), limit_s
        )
        return int(now or 0), rows or []

    def _texts(self, rows: list[dict[str, Any]]) -> dict[str, tuple[str, int]]:
        """Documents with their ModifyIndex. Raises: BadConfigError for one that is not text."""
        start = len(f"{self._prefix}/config/")
        out: dict[str, tuple[str, int]] = {}
        for row in rows:
            name = row["Key"][start:]
            if is_document(name):
                try:
                    out[name] = (_text(row), row["ModifyIndex"])
                except UnicodeDecodeError as error:
                    where = f"byte {error.start}"
                    raise BadConfigError(f"{self.origin_of(name)}: is not UTF-8 text: {where}") from None
        return out

    def _revision(self, rows: list[dict[str, Any]]) -> Revision:
        found = revision_of([Document(name, text) for name, (text, _) in self._texts(rows).items()])
        if found is None:
            raise BadConfigError(
                f"{self.url}: has no {self.origin_of('service.yaml')}: put the configuration there, or give "
                "a token that may read it as `center_token`"
            )
        return found

    def _operations(self, rows: list[dict[str, Any]], documents: Sequence[Document]) -> list[dict[str, Any]]:
        """Compare-and-set for what changes, and a check of everything that does not."""
        indexes = {name: index for name, (_, index) in self._texts(rows).items()}
        changed = {one.name: one.text for one in documents}
        out: list[dict[str, Any]] = []
        for name, text in changed.items():
            key, index = f"{self._prefix}/config/{name}", indexes.get(name, 0)
            if text:
                out.append(_cas(key, text, index))
            elif index:
                out.append({"KV": {"Verb": "delete-cas", "Key": key, "Index": index}})
        for name, index in indexes.items():
            if name not in changed:
                key = f"{self._prefix}/config/{name}"
                out.append({"KV": {"Verb": "check-index", "Key": key, "Index": index}})
        return out

    async def _transact(self, operations: list[dict[str, Any]], expected: str) -> None:
        data = json.dumps(operations)
        if len(data) > MOST_BYTES:
            raise BadConfigError(
                f"{self.url}: the change and its entry in the history are {len(data)} bytes as Consul keeps them: "
                f"it takes {MOST_BYTES} at once: put fewer or smaller documents"
            )

        def use(consul: Any) -> Any:
            # Not consul.txn.put: it sends no token.
            headers = consul.prepare_headers(None)
            return consul.http.put(_status, "/v1/txn", data=data, headers=headers)

        status, body = await self._link.call(use)
        if status == 409:
            raise ConflictError(f"{self.url}: has changed since {expected or 'it was empty'}: read it again")
        if status != 200:
            raise BadConfigError(f"{self.url}: Consul refuses the change: {status} {body.strip()}")

    async def _prune(self) -> None:
        _, rows = await self._read("history/")
        for row in sorted(rows, key=_age)[: max(0, len(rows) - HISTORY_KEPT)]:
            await self._delete(row["Key"])

    async def _delete(self, key: str) -> None:
        await self._link.call(lambda consul: consul.kv.delete(key))


def _status(response: Any) -> tuple[int, str]:
    """The answer to a transaction. Raises: what py-consul raises for an error that another address may not have."""
    from consul import ACLPermissionDenied
    from consul.callback import CB

    if response.code == 409 and "ermission denied" in response.body:
        raise ACLPermissionDenied("Permission denied")
    if response.code == 403 or response.code >= 500:
        CB._status(response)
    return response.code, response.body


def _cas(key: str, text: str, index: int) -> dict[str, Any]:
    return {"KV": {"Verb": "cas", "Key": key, "Value": _base64(text), "Index": index}}


def _set(key: str, text: str) -> dict[str, Any]:
    return {"KV": {"Verb": "set", "Key": key, "Value": _base64(text)}}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _text(row: dict[str, Any]) -> str:
    return bytes(row["Value"] or b"").decode()


def _note(row: dict[str, Any]) -> str:
    """Text of which something else than a text may be read, which then is passed over."""
    return bytes(row["Value"] or b"").decode(errors="replace")


def _age(row: dict[str, Any]) -> int:
    return int(row["ModifyIndex"])
