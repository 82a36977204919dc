"""The engine and session objects of loader.testing, over the compiled LocalHost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loader._host import EngineFailure, Frame, LocalHost
from loader.host.driver import Driver
from loader.host.load import check_class
from loader.wrapper import CloseReason, Wrapper

__all__ = ["EngineFailure", "TestEngine", "TestSession", "open_wrapper"]

CALL_TIMEOUT_S = 30.0


class ClassDriver(Driver):
    """Runs a class that the test already has, instead of a file."""

    def __init__(self, found: type[Wrapper]) -> None:
        super().__init__()
        self._given = found

    def load(self, directory: str, entry: str) -> None:
        """Takes the class; raises what loading it from a file would raise."""
        check_class(self._given, Path(directory) / entry)
        self.accept(self._given)


class TestSession:
    """One open session; each call returns what the wrapper emitted until it completed."""

    __test__ = False

    def __init__(self, host: LocalHost, handle: int, timeout_s: float) -> None:
        self._host = host
        self._handle = handle
        self._timeout_s = timeout_s
        self._is_open = True

    def write(self, frame: object) -> list[Frame]:
        """Sends one frame: a mapping of key to value, as a wrapper would return it."""
        return self._host.write(self._handle, frame, self._timeout_s)

    def end(self) -> list[Frame]:
        """Ends the input."""
        return self._host.end(self._handle, self._timeout_s)

    def take(self) -> list[Frame]:
        """What has been emitted since the last call, from whatever thread.

        Raises: EngineFailure when that is nothing, and the wrapper has ended the session by `fail`.
        """
        return self._host.take(self._handle)

    def cancel(self, reason: CloseReason = CloseReason.CLIENT_CANCEL) -> None:
        """What a wrapper sees when the client goes: `is_cancelled`, then `cancel`."""
        self._host.cancel(self._handle, number_of(reason))

    def destroy(self, reason: CloseReason = CloseReason.FINISHED) -> None:
        """Closes the session; the second time does nothing."""
        if self._is_open:
            self._is_open = False
            self._host.destroy(self._handle, number_of(reason))

    @property
    def usage(self) -> list[tuple[str, float]]:
        """What the wrapper metered: (unit, amount)."""
        return self._host.usage(self._handle)


class TestEngine:
    """One initialised wrapper."""

    __test__ = False

    def __init__(self, host: LocalHost, timeout_s: float) -> None:
        self._host = host
        self._timeout_s = timeout_s

    def exec(self, frame: object, **parameters: Any) -> list[Frame]:
        """The results of one call. Raises: EngineFailure(status, message)."""
        return self._host.exec(frame, as_json(parameters), self._timeout_s)

    def create(self, **parameters: Any) -> TestSession:
        """Opens a session; call its destroy."""
        handle = self._host.create(as_json(parameters), self._timeout_s)
        return TestSession(self._host, handle, self._timeout_s)

    @contextmanager
    def session(self, **parameters: Any) -> Iterator[TestSession]:
        """A session that is destroyed at the end of the block."""
        session = self.create(**parameters)
        try:
            yield session
        except BaseException:
            session.destroy(CloseReason.ENGINE_ERROR)
            raise
        session.destroy()

    def update(self, config: Mapping[str, Any]) -> None:
        """A live change of config. Raises: EngineFailure where the wrapper takes none."""
        self._host.update(json.dumps(config))

    def health(self) -> None:
        """Raises: EngineFailure when the wrapper says that it cannot serve."""
        self._host.health()

    @property
    def log_lines(self) -> list[tuple[int, str]]:
        """(level, text) of each line so far; level as in the module logging."""
        return self._host.log_lines()


@contextmanager
def open_wrapper(
    wrapper: type[Wrapper] | str | Path,
    config: Mapping[str, Any] | None = None,
    *,
    window: int = 0,
    timeout_s: float = CALL_TIMEOUT_S,
) -> Iterator[TestEngine]:
    """Initialises a wrapper class, a folder with wrapper.py or a file, and finalises it at the end.

    `window`: results that may wait before emit has no credit; 0: no limit. Raises: EngineFailure
    where load or init fails.
    """
    if isinstance(wrapper, type):
        driver: Driver = ClassDriver(wrapper)
        path = Path.cwd() / "wrapper.py"
    else:
        driver = Driver()
        path = Path(wrapper).resolve()
        path = path / "wrapper.py" if path.is_dir() else path
    host = LocalHost(driver, str(path.parent), path.name, json.dumps(dict(config or {})), window)
    try:
        yield TestEngine(host, timeout_s)
    finally:
        host.close()


def as_json(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as they travel: each value a JSON text."""
    return {name: json.dumps(value) for name, value in parameters.items()}


def number_of(reason: CloseReason) -> int:
    """The number of a reason in wrapper.h."""
    return list(CloseReason).index(reason)
