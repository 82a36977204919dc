"""A finder's companion: says where ZooKeeper is and what lies where, and hears what became of a configuration.

Its last good answer is kept on disk and used while it is away. Knows HTTP; refuses to know ZooKeeper.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loader.compat.finder.layout import Storage, storage_from

if TYPE_CHECKING:
    import aiohttp

    from loader.compat.finder.location import FinderLocation
    from loader.errors import LoaderError

logger = logging.getLogger(__name__)

CALL_S = 3.0
MOST_BYTES = 1 << 20  # of an answer
NORMAL_GROUP = "0"  # where the consumer is in no gray group


@dataclass(frozen=True, slots=True)
class Feedback:
    """What became of a push on one consumer."""

    push_id: str
    address: str  # of the consumer
    gray_group: str  # empty: none
    seen_s: float  # seconds since the epoch
    loaded_s: float
    is_loaded: bool


class Companion:
    """The companion of one service. For one event loop."""

    def __init__(
        self, location: FinderLocation, unreachable: type[LoaderError], cache: Path | None = None
    ) -> None:
        self._location = location
        self._unreachable = unreachable
        name = hashlib.sha256(location.url.partition("#")[0].encode()).hexdigest()[:16]
        self._cached = cache / f"finder-{name}.json" if cache else None
        self._session: aiohttp.ClientSession | None = None
        self._is_away = False

    async def storage(self) -> Storage:
        """What it says now, or said last. Raises: the error class given, where it never said anything."""
        try:
            data = await self._call("GET", "query_zk_info", self._names)
            found = self._storage(data)
        except self._unreachable as error:
            kept = await asyncio.to_thread(self._load)
            if kept is None:
                raise
            if not self._is_away:
                logger.warning("the companion's last answer is used", extra={"error": error.message})
            self._is_away = True
            return kept
        self._is_away = False
        await asyncio.to_thread(self._save, data)
        return found

    async def tell(self, feedback: Feedback) -> None:
        """Says what became of a push. Raises: the error class given."""
        values = {
            "push_id": feedback.push_id,
            **self._names,
            "addr": feedback.address,
            "config": self._location.file,
            "update_time": str(int(feedback.seen_s)),
            "update_status": "1",
            "load_time": str(int(feedback.loaded_s)),
            "load_status": "1" if feedback.is_loaded else "-1",
            "gray_group_id": feedback.gray_group or NORMAL_GROUP,
        }
        await self._call("POST", "push_config_feedback", values)

    async def close(self) -> None:
        """Ends its connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # ---- inside

    @property
    def _names(self) -> dict[str, str]:
        at = self._location
        return {"project": at.project, "group": at.group, "service": at.service, "version": at.version}

    def _storage(self, data: object) -> Storage:
        try:
            return storage_from(data, self._location.project, self._location.group)
        except ValueError as error:
            raise self._unreachable(
                f"the companion {self._location.companion} is of no use: {error}"
            ) from None

    async def _call(self, method: str, name: str, values: dict[str, str]) -> object:
        """The `data` of its answer."""
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CALL_S))
        url = f"{self._location.companion}/finder/{name}"
        given: dict[str, Any] = {"params": values} if method == "GET" else {"data": values}
        try:
            async with self._session.request(method, url, **given) as answer:
                answer.raise_for_status()
                said = json.loads(await _body(answer.content))
            code, message, data = said["ret"], said.get("msg"), said.get("data")
        except TimeoutError:
            raise self._unreachable(f"{url}: no answer in {CALL_S:g} s: check -u, or `center`") from None
        except (OSError, aiohttp.ClientError) as error:
            raise self._unreachable(
                f"{url}: {error or type(error).__name__}: check -u, or `center`"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise self._unreachable(f"{url}: answers what no companion does: check -u, or `center`") from None
        if code not in (0, "0"):
            names = "/".join(self._names.values())
            raise self._unreachable(f"{url}: refuses {names}: ret {code}: {message}: check these names")
        return data

    def _load(self) -> Storage | None:
        if self._cached is None:
            return None
        try:
            return self._storage(json.loads(self._cached.read_text()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, self._unreachable) as error:
            logger.warning("not used", extra={"file": str(self._cached), "error": str(error)})
            return None

    def _save(self, data: object) -> None:
        """Replaces what was there; a disk that is full only costs a start without a companion."""
        if self._cached is None:
            return
        try:
            self._cached.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._cached.parent, prefix=".finder-") as beside:
                file = Path(beside) / self._cached.name
                file.write_text(json.dumps(data))
                file.replace(self._cached)
        except OSError as error:
            logger.warning("cannot be written", extra={"file": str(self._cached), "error": str(error)})


async def _body(content: aiohttp.StreamReader) -> bytes:
    """Raises: ValueError for more than a companion says."""
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > MOST_BYTES:
            raise ValueError
    return bytes(body)
