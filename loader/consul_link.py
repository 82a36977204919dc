"""One connection to Consul for centers and registries: several addresses, bounded calls, plain errors.

Knows Consul's HTTP client; refuses to know what is kept there. Uses only what Consul 1.8 and today's share.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from loader.errors import BadConfigError, LoaderError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

logger = logging.getLogger(__name__)

URL = re.compile(r"^consul(?P<tls>\+https)?://(?P<addresses>[^/]+)(?:/(?P<path>[^?#]*))?$")
ADDRESS = re.compile(r"^(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(?P<port>[0-9]{1,5}))?$")
# For each address: one that takes connections and answers nothing must not eat the time of the next.
CALL_S = 4.0
PORT = 8500
RETRY_S = 0.5  # until an address answers again, doubled each time
RETRY_MAX_S = 5.0

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class ConsulAccess:
    """What lets us in. Files; empty: not given."""

    token: str = field(default="", repr=False)
    ca: str = ""
    certificate: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class ConsulLocation:
    """An URL in parts."""

    addresses: tuple[tuple[str, int], ...]
    path: str  # without slashes at its ends
    is_tls: bool

    @classmethod
    def parse(cls, url: str) -> ConsulLocation:
        """Raises: BadConfigError."""
        match = URL.match(url)
        if match is None or not (match["path"] or "").strip("/"):
            raise BadConfigError(
                f"{url}: is no address of Consul: write consul://HOST:PORT[,HOST:PORT]/PREFIX"
            )
        addresses = tuple(_address(url, one) for one in match["addresses"].split(","))
        return cls(addresses, match["path"].strip("/"), bool(match["tls"]))


def _address(url: str, text: str) -> tuple[str, int]:
    match = ADDRESS.match(text)
    port = int(match["port"] or PORT) if match else 0
    if match is None or not 0 < port < 65536:
        raise BadConfigError(f"{url}: {text!r} is no HOST:PORT")
    return match["host"], port


class ConsulLink:
    """Calls the address that answered last; another one when it does not. For one event loop."""

    def __init__(
        self, location: ConsulLocation, access: ConsulAccess, unreachable: type[LoaderError]
    ) -> None:
        # Read before any clock runs: on a busy machine that takes longer than a call may.
        import aiohttp  # noqa: F401
        import consul.aio  # noqa: F401

        self._location = location
        self._access = access
        self._unreachable = unreachable
        self._clients: dict[tuple[str, int], Any] = {}
        self._at = 0

    async def call(self, use: Callable[[Any], Awaitable[Answer]], limit_s: float = CALL_S) -> Answer:
        """What `use` gets from a client of py-consul. Raises: the error class given, when no address answers."""
        addresses, first = self._location.addresses, self._at
        failures: list[str] = []
        for step in range(len(addresses)):
            at = (first + step) % len(addresses)
            host, port = addresses[at]
            try:
                async with asyncio.timeout(limit_s):
                    answer = await use(self._client(addresses[at]))
            except _failures() as error:
                failures.append(f"{host}:{port}: {self._text(error, limit_s)}")
                continue
            self._at = at
            return answer
        raise self._unreachable(f"Consul does not serve us: {'; '.join(failures)}")

    async def follow(
        self, read: Callable[[int], Awaitable[tuple[int, Answer]]]
    ) -> AsyncGenerator[Answer | LoaderError, None]:
        """Each answer of a blocking query, without end; `read` makes one call from an index, 0 for at once.

        While no address answers the error is told once.
        """
        index, is_out, wait_s = 0, False, RETRY_S
        while True:
            try:
                now, answer = await read(index)
            except self._unreachable as error:
                if not is_out:
                    yield error
                index, is_out = 0, True
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, RETRY_MAX_S)
                continue
            # An index that goes back, or is 0, belongs to a Consul that lost its state: ask without one.
            index = now if now >= index else 0
            is_out, wait_s = False, RETRY_S
            yield answer

    async def close(self) -> None:
        """Ends every connection."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.close()

    def _client(self, address: tuple[str, int]) -> Any:
        if address not in self._clients:
            self._clients[address] = _make_client(address, self._location.is_tls, self._access)
        return self._clients[address]

    def _text(self, error: BaseException, limit_s: float) -> str:
        """What happened, and what to change where we know. Never the token."""
        import consul

        if isinstance(error, TimeoutError):
            return f"no answer in {limit_s:g} s"
        if isinstance(error, consul.ACLPermissionDenied):
            if not self._access.token:
                return f"{error}: no token was given: write `center_token`, or set CONSUL_HTTP_TOKEN"
            return (
                f"{error}: the token is not known, or may not do this: correct `center_token` or its policy"
            )
        text = f"{type(error).__name__}: {error}".rstrip(": ")
        cures = (
            ("CERTIFICATE_VERIFY_FAILED", "give the authority that signed it as `center_ca`"),
            ("certificate required", "give `center_certificate` and `center_key`"),  # TLS 1.3
            (
                "bad certificate",
                "give `center_certificate` and `center_key`",
            ),  # TLS 1.2: none, or another authority's
            ("WRONG_VERSION_NUMBER", "it speaks no TLS there: write consul:// without +https"),
            ("HTTP request to an HTTPS server", "it speaks TLS there: write consul+https://"),
        )
        return next((f"{text}: {cure}" for sign, cure in cures if sign.lower() in text.lower()), text)


def _failures() -> tuple[type[BaseException], ...]:
    import aiohttp
    import consul

    # A refusal (no permission) is a failure too: without the right token nothing can be read from any address.
    # ValueError: an answer that is not Consul's, of a proxy for example.
    return (OSError, TimeoutError, ValueError, aiohttp.ClientError, consul.ConsulException)


def _make_client(address: tuple[str, int], is_tls: bool, access: ConsulAccess) -> Any:
    import aiohttp
    import consul.aio

    context = _tls_context(access) if is_tls else None

    class Http(consul.aio.HTTPClient):  # type: ignore[misc]
        """py-consul's own makes its session with options that today's aiohttp refuses."""

        def __init__(self, host: str, port: int, scheme: str, **_: Any) -> None:
            consul.base.HTTPClient.__init__(self, host, port, scheme)
            connector = aiohttp.TCPConnector(ssl=context if context is not None else True)
            timeout = aiohttp.ClientTimeout(total=None)  # each call is bounded by ConsulLink
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)

    class Client(consul.aio.Consul):  # type: ignore[misc]
        def http_connect(self, host: str, port: int, scheme: str, *_: Any, **__: Any) -> Http:
            return Http(host, port, scheme)

    client = Client(host=address[0], port=address[1], scheme="https" if is_tls else "http")
    client.token = access.token or None  # the constructor prefers the environment's
    return client


def _tls_context(access: ConsulAccess) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=access.ca or None)
        if access.certificate:
            context.load_cert_chain(access.certificate, access.key or None)
    except (OSError, ssl.SSLError) as error:
        raise BadConfigError(
            f"center_ca {access.ca!r}, center_certificate {access.certificate!r}: {error}"
        ) from None
    return context
