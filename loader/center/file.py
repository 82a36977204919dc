"""A config center on disk: one file with what it includes, or a directory of files; watched.

What nodes say and what once was lies in `.loader/` beside them. Knows files and no configuration keys but `include`.
Survives editors that replace files and ConfigMaps that swap links.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

import yaml

from loader.center.protocol import Acknowledgement, Document, HistoryEntry, Revision
from loader.center.values import (
    HISTORY_KEPT,
    ROOT,
    News,
    acknowledgement_from,
    acknowledgement_text,
    history_from,
    history_text,
    is_document,
    revision_of,
    with_changes,
)
from loader.errors import BadConfigError, ConflictError, LoaderError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

logger = logging.getLogger(__name__)

DEBOUNCE_MS = 50
LOOK_MS = 400
LOCK_S = 5.0
LOCK_RETRY_S = 0.02
STEADY_S = 0.02
MOST_INCLUDED = 64


class FileCenter:
    """The configuration in a file or a directory."""

    def __init__(self, url: str) -> None:
        self.url = url
        # abspath, as names are joined by text: an include of ../conf/service.yaml is found where it is. Not resolve():
        # a ConfigMap's links are to be followed anew at each look.
        self._path = Path(os.path.abspath(url.removeprefix("file:")))  # noqa: PTH100
        self._is_directory = os.path.isdir(self._path)  # noqa: PTH112 - false, too, where it cannot be looked at
        self._folder = self._path if self._is_directory else self._path.parent
        self._root = ROOT if self._is_directory else self._path.name
        self._state = self._folder / ".loader" / ("" if self._is_directory else self._root)
        self._is_told = False

    def origin_of(self, name: str) -> str:
        """The path."""
        return str(self._folder / name)

    async def load(self) -> Revision:
        """What the files say now. Raises: BadConfigError when one cannot be read."""
        return await asyncio.to_thread(self._load_whole)

    async def watch(self, known: str) -> AsyncGenerator[Revision | LoaderError, None]:
        """As Center.watch. A file that is gone for a moment is waited for."""
        news = News(known)
        async with contextlib.aclosing(self._looks()) as looks:
            async for _ in looks:
                try:
                    found: Revision | LoaderError = await self._steady(news.known)
                except BadConfigError as error:
                    found = error
                if news.takes(found):
                    yield found

    async def put(
        self, documents: Sequence[Document], expected: str, author: str, message: str = ""
    ) -> Revision:
        """As Center.put. Raises: ConflictError, BadConfigError."""
        return await asyncio.to_thread(self._put, documents, expected, author, message)

    async def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        """As Center.acknowledge; in a folder that cannot be written it goes to the log only."""
        name = f"acknowledgements/{acknowledgement.node}.json"
        await asyncio.to_thread(self._note, name, acknowledgement_text(acknowledgement))

    async def acknowledgements(self) -> list[Acknowledgement]:
        """As Center.acknowledgements."""
        texts = await asyncio.to_thread(self._notes, "acknowledgements")
        return [one for text in texts if (one := acknowledgement_from(text))]

    async def forget(self, node: str) -> None:
        """As Center.forget. Raises: BadConfigError."""
        await asyncio.to_thread(self._forget, node)

    async def history(self) -> list[HistoryEntry]:
        """As Center.history."""
        texts = await asyncio.to_thread(self._notes, "history")
        return [one for text in reversed(texts) if (one := history_from(text))]

    async def record(self, revision: Revision, author: str) -> None:
        """As Center.record."""
        text = history_text(revision, author, "seen")
        with contextlib.suppress(BadConfigError):  # a ConfigMap keeps no history
            await asyncio.to_thread(self._record_seen, revision, text)

    async def close(self) -> None:
        """Nothing is kept open."""

    # ---- documents

    async def _looks(self) -> AsyncGenerator[None, None]:
        """A moment to look at the files: after each change, and now and then.

        Now and then, as a change is not told that came before the watch, in a folder that is not there yet or that a
        link leads to. The folder is watched, not the file: most ways of writing give a file a new inode.
        """
        from watchfiles import awatch

        while True:
            changes = awatch(
                self._folder,
                watch_filter=lambda _, path: ".loader" not in Path(path).relative_to(self._folder).parts,
                debounce=DEBOUNCE_MS,
                step=DEBOUNCE_MS,
                recursive=self._is_directory,
                rust_timeout=LOOK_MS,
                yield_on_timeout=True,
            )
            try:
                async with contextlib.aclosing(changes):
                    async for _ in changes:
                        yield
            except (OSError, ExceptionGroup) as error:  # there is no such folder now, or a name is not UTF-8
                logger.debug("cannot be watched", extra={"folder": str(self._folder), "error": str(error)})
            yield
            await asyncio.sleep(LOOK_MS / 1000)

    async def _steady(self, known: str) -> Revision:
        """What the files say, once two looks agree: a file may be half written."""
        before = await self.load()
        if before.name == known:
            return before
        for _ in range(10):
            await asyncio.sleep(STEADY_S)
            now = await self.load()
            if now == before:
                return now
            before = now
        return before

    def _load_whole(self) -> Revision:
        """Not between two documents of one put; a writer that hangs is not waited for."""
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError, ConflictError):  # nobody has ever put anything here
                stack.enter_context(_flock((self._state / "lock").open(), fcntl.LOCK_SH))
            return self._load()

    def _load(self) -> Revision:
        try:
            documents = self._all() if self._is_directory else self._included()
        except OSError as error:  # of a folder, or of a name that no file can have
            raise BadConfigError(
                f"{error.filename or self._folder}: cannot be looked at: {error.strerror}: check its mode, and the "
                "names under `include`"
            ) from None
        found = revision_of(documents, self._root)
        if found is None:
            raise BadConfigError(f"{self._folder}: has no {self._root}: put the configuration there")
        return found

    def _all(self) -> list[Document]:
        """Every document of the directory. Hidden folders are skipped: a ConfigMap keeps its past in them."""
        with contextlib.suppress(FileNotFoundError):
            os.listdir(self._folder)  # may it be? rglob passes over what it may not look into
        out = []
        for path in sorted(self._folder.rglob("*")):
            name = path.relative_to(self._folder).as_posix()
            if is_document(name):
                out.append(self._document(name))
        return out

    def _included(self) -> list[Document]:
        """The file and everything that it includes, at any depth."""
        found: dict[str, Document] = {}
        waiting = [self._root]
        while waiting and len(found) < MOST_INCLUDED:
            name = waiting.pop(0)
            if name not in found:
                path = self._folder / name
                if name != self._root and not path.is_file():
                    continue  # whoever reads the documents says which line asks for it
                found[name] = self._document(name)
                waiting += _includes(name, found[name].text)
        return list(found.values())

    def _document(self, name: str) -> Document:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise BadConfigError(
                f"{self._folder}: the name {name!a} is not UTF-8: rename that file"
            ) from None
        return Document(name, self._text(self._folder / name))

    def _text(self, path: Path) -> str:
        try:
            return path.read_bytes().decode()
        except OSError as error:
            raise BadConfigError(
                f"{path}: cannot be read: {error.strerror}: check its path and mode"
            ) from None
        except UnicodeDecodeError as error:
            raise BadConfigError(f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}") from None

    def _put(self, documents: Sequence[Document], expected: str, author: str, message: str) -> Revision:
        with self._locked():
            held = self._load() if (self._folder / self._root).exists() else None
            if (held.name if held else "") != expected:
                raise ConflictError(
                    f"{self.url}: holds {held.name if held else 'nothing'}, not {expected or 'nothing'}: read it again"
                )
            wanted = with_changes(held, documents, self._root)
            # The root last: what it includes is there when it is read.
            for one in sorted(documents, key=lambda one: one.name == self._root):
                self._write(one)
            wanted = self._load()  # without what nothing includes
            self._record(wanted, history_text(wanted, author, message), is_new=True)
        return wanted

    def _write(self, document: Document) -> None:
        path = (self._folder / document.name).resolve()
        if not path.is_relative_to(self._folder.resolve()):
            raise BadConfigError(f"{document.name}: is outside of {self._folder}: give a name inside it")
        try:
            if document.text:
                path.parent.mkdir(parents=True, exist_ok=True)
                _replace(path, document.text)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise BadConfigError(f"{path}: cannot be written: {error.strerror}: check its mode") from None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Among loaders and those who put; an editor takes no lock."""
        try:
            self._make_state()
            lock = (self._state / "lock").open("w")
        except OSError as error:
            raise BadConfigError(
                f"{self._folder}: cannot be written: {error.strerror}: check its mode"
            ) from None
        with _flock(lock, fcntl.LOCK_EX):
            yield

    # ---- what nodes say, and what once was

    def _record_seen(self, revision: Revision, text: str) -> None:
        with self._locked():
            self._record(revision, text, is_new=False)

    def _record(self, revision: Revision, text: str, *, is_new: bool) -> None:
        folder = self._state / "history"
        # What else may lie there is nobody's entry.
        known = sorted(path for path in folder.glob("*-*.json") if path.stem.partition("-")[0].isdecimal())
        same = [path for path in known if path.stem.endswith(f"-{revision.name}")]
        if same and not is_new:
            return
        for path in [*same, *known[: max(0, len(known) + 1 - HISTORY_KEPT)]]:
            with contextlib.suppress(OSError):
                path.unlink()
        number = int(known[-1].stem.partition("-")[0]) + 1 if known else 1
        self._note(f"history/{number:08d}-{revision.name}.json", text)

    def _note(self, name: str, text: str) -> None:
        path = self._state / name
        try:
            self._make_state()
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, text)
        except OSError as error:
            if (
                not self._is_told
            ):  # a ConfigMap cannot be written: the log and AdminService tell it all the same
                logger.info("the center is read-only", extra={"file": str(path), "error": error.strerror})
            self._is_told = True

    def _notes(self, kind: str) -> list[str]:
        folder = self._state / kind
        out = []
        try:
            paths = sorted(path for path in folder.iterdir() if path.suffix == ".json")
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise BadConfigError(f"{folder}: cannot be read: {error.strerror}: check its mode") from None
        for path in paths:
            with contextlib.suppress(OSError, UnicodeDecodeError):
                out.append(path.read_text())
        return out

    def _forget(self, node: str) -> None:
        for path in (self._state / "acknowledgements").glob("*.json"):
            try:
                said = acknowledgement_from(path.read_text())
                if said is not None and said.node == node:
                    path.unlink(missing_ok=True)
            except OSError as error:
                raise BadConfigError(f"{path}: cannot be removed: {error.strerror}: check its mode") from None

    def _make_state(self) -> None:
        self._state.mkdir(parents=True, exist_ok=True)
        ignore = self._folder / ".loader" / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")


@contextlib.contextmanager
def _flock(file: IO[str], kind: int) -> Iterator[None]:
    """Holds the lock; takes the file over. Raises: ConflictError when another holds it for too long."""
    with file:
        end_s = time.monotonic() + LOCK_S
        while True:
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end_s:
                    raise ConflictError(
                        f"{file.name}: another has held it for {LOCK_S:g} s: try again, or end that process"
                    ) from None
                time.sleep(LOCK_RETRY_S)
        yield


@functools.lru_cache(maxsize=MOST_INCLUDED)
def _includes(name: str, text: str) -> list[str]:
    """The documents that one asks for; nothing where it is not to be understood: reading it says why."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)  # no values: a date that is none would be an error
    except (yaml.YAMLError, RecursionError, ValueError):
        return []
    pairs = root.value if isinstance(root, yaml.MappingNode) else ()
    found = next((node for key, node in pairs if key.value == "include"), None)
    nodes = found.value if isinstance(found, yaml.SequenceNode) else [found]
    folder = Path(name).parent
    return [os.path.normpath(folder / one.value) for one in nodes if isinstance(one, yaml.ScalarNode)]


def _replace(path: Path, text: str) -> None:
    """Writes beside and renames: nobody ever reads half of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        mode = path.stat().st_mode if path.exists() else 0o644
        Path(name).chmod(mode & 0o777)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
