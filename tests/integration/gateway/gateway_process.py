"""A `loader gateway` process for tests: started on a free port, waited for by its ready line."""

from __future__ import annotations

import json
import selectors
import signal
import subprocess
from pathlib import Path

from running import command
from web_client import Web

READY_S = 60
END_S = 40


class GatewayProcess:
    """One gateway; whoever leaves the block without ending it ends it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._log = folder / "gateway.log"
        self._arguments = ("gateway", "--listen", "127.0.0.1:0", *arguments)

    def __enter__(self) -> GatewayProcess:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command(*self._arguments), stdout=subprocess.PIPE, stderr=log)
        try:
            self.web = Web(json.loads(self._ready_line())["http"])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdout is not None
        self.process.terminate()
        try:
            self.process.wait(END_S)
        finally:
            self.process.kill()
            self.process.wait(END_S)
            self.process.stdout.close()

    def _ready_line(self) -> bytes:
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            assert selector.select(READY_S), self.log_text()
        line = self.process.stdout.readline()
        assert line, self.log_text()
        return line

    def log_text(self) -> str:
        return self._log.read_text()

    def signal(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        return self.process.wait(END_S)
