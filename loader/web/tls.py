"""The certificate of a web server: the one that its files hold when a client connects. Knows no server."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from loader.certificates import Certificates
from loader.errors import BadConfigError

if TYPE_CHECKING:
    from pathlib import Path


class ServerTls:
    """`context` is what a server listens with. Raises: BadConfigError for files that are no certificate and its key."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._files = Certificates((certificate, key), self._take)
        self._newest = self.context = self._loaded()
        self.context.sni_callback = self._choose  # of each client, whether it says a name or not

    async def watch(self) -> None:
        """Follows the files for ever."""
        await self._files.watch()

    def _take(self) -> None:
        self._newest = self._loaded()

    def _choose(self, connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        connection.context = self._newest

    def _loaded(self) -> ssl.SSLContext:
        """A new one: a failure in the middle would leave half of it in the old one."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # Without a password the terminal is asked.
            context.load_cert_chain(self._certificate, self._key, password=lambda: b"")
        except (OSError, ValueError) as error:
            raise BadConfigError(
                f"{self._certificate} and {self._key} are no certificate and its key: {error}: give PEM files, the key "
                "unencrypted"
            ) from None
        return context
