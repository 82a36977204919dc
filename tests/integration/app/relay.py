"""A TCP relay between a client and the loader that can cut the loader's side: by FIN, or by RST."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from types import TracebackType


class Relay:
    """Passes one connection on. One thread owns both sockets, so that closing one really closes it."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._ask, self._asked = socket.socketpair()
        self._cut_ns = 0
        self._is_cut = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Relay:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ask.close()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def cut(self, how: str) -> int:
        """Ends the loader's side by `fin` or `rst`; the monotonic moment just before, in nanoseconds."""
        self._ask.send(how[:1].encode())
        assert self._is_cut.wait(20)
        return self._cut_ns

    def _run(self) -> None:
        with self._listener, self._asked, selectors.DefaultSelector() as selector:
            selector.register(self._asked, selectors.EVENT_READ)
            selector.register(self._listener, selectors.EVENT_READ)
            if self._asked in {key.fileobj for key, _ in selector.select(20)}:
                return
            near, _ = self._listener.accept()
            selector.unregister(self._listener)
            with near, socket.create_connection(self._target, 20) as far:
                selector.register(near, selectors.EVENT_READ, far)
                selector.register(far, selectors.EVENT_READ, near)
                while self._pass_on(selector):
                    pass
                how = self._asked.recv(1)
                if how == b"r":
                    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._cut_ns = time.monotonic_ns()
                far.close()
                self._is_cut.set()

    def _pass_on(self, selector: selectors.BaseSelector) -> bool:
        """One round; False: told to stop."""
        for key, _ in selector.select():
            if key.fileobj is self._asked:
                return False
            assert isinstance(key.fileobj, socket.socket)
            data = key.fileobj.recv(1 << 16)
            if data:
                key.data.sendall(data)
            else:
                selector.unregister(key.fileobj)
        return True
