"""Every key of the configuration: its type, default, range, and how a change of it is applied.

Values only: reading files is in read.py, comparing two configurations in plan.py.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from loader.config import checks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Change(Enum):
    """How a changed key reaches a running service."""

    LIVE = "live"  # at once
    PER_SESSION = "per-session"  # for sessions opened later
    REPLACE = "replace"  # the engine's instances (or, for a key of the service, the loader) are replaced


def _key(change: Change, default: Any, text: str, *, is_of_node: bool = False, **limits: Any) -> Any:
    extra: dict[str, Any] = {"change": change.value, "is_of_node": is_of_node}
    return Field(default, description=text, json_schema_extra=extra, **limits)


def live(default: Any, text: str, **limits: Any) -> Any:
    """A key that applies at once."""
    return _key(Change.LIVE, default, text, **limits)


def per_session(default: Any, text: str, **limits: Any) -> Any:
    """A key that applies to sessions opened later."""
    return _key(Change.PER_SESSION, default, text, **limits)


def replace(default: Any, text: str, **limits: Any) -> Any:
    """A key whose change needs new instances."""
    return _key(Change.REPLACE, default, text, **limits)


class Section(BaseModel):
    """A frozen group of keys in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=False, allow_inf_nan=False)


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")]
VersionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}$")]
Labels = dict[Name, Annotated[str, StringConstraints(min_length=1, max_length=256)]]
Address = Annotated[str, AfterValidator(checks.address)]
HttpAddress = Annotated[str, AfterValidator(checks.http_address)]
OptionalAddress = Annotated[str, AfterValidator(checks.optional_address)]
Command = Annotated[tuple[str, ...], BeforeValidator(checks.command)]
VariableName = Annotated[str, AfterValidator(checks.variable_name)]

# Upper bounds: what the data plane counts in, and beyond which a number is a slip of the hand.
YEAR_S = 365 * 24 * 3_600
YEAR_MS = YEAR_S * 1_000
MOST_COUNT = 1_000_000
MOST_WINDOW_BYTES = (1 << 31) - 1  # HTTP/2's own limit
MOST_ARENA_BYTES = 1 << 36
MOST_MEMORY_BYTES = 1 << 50


class RestartConfig(Section):
    """When the supervisor starts a dead instance again, and when it gives up."""

    backoff_s: float = live(
        0.05, "Wait before the first restart; doubles with each further one.", ge=0, le=YEAR_S
    )
    backoff_max_s: float = live(30.0, "The longest wait before a restart.", ge=0, le=YEAR_S)
    intensity: int = live(
        10, "Restarts of one instance within period_s before it is given up.", ge=0, le=MOST_COUNT
    )
    period_s: float = live(300.0, "The time over which restarts are counted.", gt=0, le=YEAR_S)


class ResourcesConfig(Section):
    """Personal resources that an engine may hold, such as vocabularies of single users."""

    count: int = live(1_000, "Resources, at most.", ge=0, le=MOST_COUNT)
    total_bytes: int = live(256 << 20, "Their data together, at most.", ge=0, le=MOST_MEMORY_BYTES)


class EngineConfig(Section):
    """One engine."""

    wrapper: str = replace(
        "",
        "Required, or `command`. Folder with engine.yaml, or wrapper.py or a .so. Relative to this file; a .so "
        "without a folder also by LD_LIBRARY_PATH.",
    )
    command: Command = replace(
        (),
        "In place of `wrapper`: a command that speaks AIGES's plug-in protocol, as [python, -m, aiges.serve]; a text "
        "is run by `bash -c`. It begins in this file's folder.",
    )
    version: str = replace("", "Version in the service. Empty: that of the manifest, or 1.")
    isolation: Literal["process", "inline"] = replace(
        "process", "Own process, or inside the loader (.so only)."
    )
    instances: int = replace(1, "Engine processes.", ge=1, le=1024)
    slots: int = live(1, "Open sessions and running calls of one instance, at most.", ge=1, le=100_000)
    threads: int = replace(
        0,
        "Calls that run at a time in one instance. 0: as many as slots, at most 32 (AIGES wrappers, `command`: 1024).",
        ge=0,
        le=1024,
    )
    config: dict[str, Any] = replace(
        {}, "Handed to the wrapper's init, as it is. Live where the wrapper has `update`."
    )
    python: str = replace("", "Python interpreter of this engine. Empty: the loader's own.")
    environment: dict[VariableName, str] = replace({}, "Environment variables of the engine's process.")
    admission_wait_ms: int = live(1_000, "Wait for a free slot.", ge=0, le=YEAR_MS)
    queue_limit: int = live(1_024, "Calls that may wait for a slot.", ge=0, le=MOST_COUNT)
    init_timeout_s: float = live(300.0, "Time for init and warm-up.", gt=0, le=YEAR_S)
    call_timeout_ms: int = live(30_000, "A call that has done nothing for so long is hung.", ge=1, le=YEAR_MS)
    create_timeout_ms: int = live(30_000, "The same for create.", ge=1, le=YEAR_MS)
    destroy_timeout_ms: int = live(10_000, "The same for destroy.", ge=1, le=YEAR_MS)
    host_timeout_ms: int = live(
        10_000, "A process that answers no ping for so long is hung.", ge=100, le=YEAR_MS
    )
    hang_grace_ms: int = live(5_000, "Time for the other sessions of a hung instance.", ge=0, le=YEAR_MS)
    idle_timeout_s: float = per_session(
        0.0, "A session without frame and result is closed. 0: never.", ge=0, le=YEAR_S
    )
    session_window_bytes: int = per_session(
        65_536, "Input of a session that may wait for the engine.", ge=1_024, le=MOST_WINDOW_BYTES
    )
    memory_limit_bytes: int = live(
        0, "Resident memory over which an instance is stopped. 0: none.", ge=0, le=MOST_MEMORY_BYTES
    )
    restart: RestartConfig = live(RestartConfig(), "Restarts after a death.")
    resources: ResourcesConfig = live(ResourcesConfig(), "Personal resources, of all versions together.")
    weight: int = live(
        100, "Share of new sessions among the engine's versions. 0: only when asked for.", ge=0, le=10_000
    )
    labels: Labels = live({}, "Sessions that carry all of these labels go to this version.")
    capabilities: Labels = live({}, "Announced to the registry, and matched by a caller's selector.")
    replace: Literal["surge", "in_place"] = live(
        "surge",
        "New instances beside the old, or, where there is room for one only, after the old have ended.",
    )
    replace_wait_ms: int = live(
        30_000, "Wait of new sessions while an in_place replacement runs.", ge=0, le=YEAR_MS
    )
    drain_timeout_s: float | None = live(
        None,
        "Time for the open sessions of a version that is replaced. Empty: the service's.",
        ge=0,
        le=YEAR_S,
    )
    versions: dict[VersionName, EngineConfig] = live(
        {}, "Versions side by side: each takes the keys of the engine and its own over them."
    )

    _folder: str = ""

    def begun_in(self, folder: str) -> EngineConfig:
        """The same, whose command begins in that folder."""
        copy = self.model_copy()
        copy._folder = folder
        return copy

    @property
    def folder(self) -> str:
        """Where `command` begins."""
        return self._folder

    @model_validator(mode="after")
    def _check_versions(self) -> EngineConfig:
        if not self.versions and not self.wrapper and not self.command:
            raise ValueError("there is no wrapper: add `wrapper`, or `command`")
        if not self.versions and self.wrapper and self.command:
            raise ValueError("`wrapper` and `command` exclude each other: remove one")
        if self.versions and self.version:
            raise ValueError("`version` and `versions` exclude each other: remove `version`")
        if any(one.versions for one in self.versions.values()):
            raise ValueError("a version has no versions of its own: remove the inner `versions`")
        return self


class TlsConfig(Section):
    """Encryption of the gRPC ports. The files may be replaced at any time: new connections use them."""

    certificate: str = replace(..., "PEM file: the chain, leaf first.")
    key: str = replace(..., "PEM file: the private key, without a passphrase.")
    client_ca: str = replace("", "PEM file: clients must show a certificate of this authority.")


class LimitsConfig(Section):
    """What a client may ask of the gRPC port."""

    message_bytes: int = replace(4 << 20, "The largest message accepted.", ge=1_024, le=(1 << 31) - 1)
    stream_window_bytes: int = replace(
        64 << 10, "What one stream may have in flight.", ge=16_384, le=MOST_WINDOW_BYTES
    )
    connections: int = replace(10_000, "Open connections.", ge=1, le=MOST_COUNT)
    streams_per_connection: int = replace(1_024, "Open streams of one connection.", ge=1, le=MOST_COUNT)
    header_bytes: int = replace(16 << 10, "Metadata of one call.", ge=1_024, le=1 << 24)
    deadline_ms: int = replace(0, "Caps every call's deadline. 0: no cap.", ge=0, le=YEAR_MS)


class AigesConfig(Section):
    """Clients of AIGES: utils.XsfCall on the gRPC port, JSON and WebSockets on the HTTP port."""

    header_pass: tuple[Annotated[str, StringConstraints(min_length=1, max_length=256)], ...] = live(
        (), "Headers of their requests that become parameters. `sid` always does.", max_length=64
    )
    session_ttl_ms: int = live(
        15_000, "A session of the gRPC port without a call for so long is closed.", ge=100, le=YEAR_MS
    )
    http: bool | None = live(
        None,
        "Whether engines answer on the HTTP port. Empty: unless `tls` is set, for `http` is not encrypted, and others "
        "than this machine reach it.",
    )
    ws_read_timeout_s: float = live(
        15.0,
        "A WebSocket whose input has not ended and has no frame for so long is closed; so is a POST that stops.",
        gt=0,
        le=YEAR_S,
    )
    ws_session_timeout_s: float = live(180.0, "A WebSocket is closed after so long.", gt=0, le=YEAR_S)


class LogConfig(Section):
    """The loader's own log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = live("info", "The least that is written.")
    format: Literal["auto", "json", "console"] = live("auto", "auto: console on a terminal, else json.")


class ServiceConfig(Section):
    """The whole configuration of one service."""

    service: Name = replace("loader", "The service's name.")
    grpc: Address = replace(
        "127.0.0.1:8001", "Address of the gRPC port; port 0 picks a free one.", is_of_node=True
    )
    http: HttpAddress = replace(
        "127.0.0.1:8000", "Address of the HTTP port: engines, metrics and readiness.", is_of_node=True
    )
    admin_listen: OptionalAddress = replace(
        "",
        "Also serves AdminService and reflection to whoever connects; encrypted by `tls`, unless it is loopback or "
        "a socket file. Elsewhere they want loopback or a client's certificate.",
        is_of_node=True,
    )
    tls: TlsConfig | None = replace(
        None,
        "Encryption of the gRPC port, and of admin_listen where others reach it. Empty: none.",
        is_of_node=True,
    )
    data_plane_threads: int = replace(
        0, "Threads of the data plane. 0: an eighth of the cores, at least 1.", ge=0, le=1024, is_of_node=True
    )
    busy_poll_us: int = replace(
        0, "Spin so long before sleeping; costs a core a thread.", ge=0, le=1_000_000, is_of_node=True
    )
    arena_bytes: int = replace(
        64 << 20,
        "Shared memory of each direction of each channel.",
        ge=1 << 20,
        le=MOST_ARENA_BYTES,
        is_of_node=True,
    )
    drain_timeout_s: float = live(30.0, "Time for open sessions when the loader ends.", ge=0, le=YEAR_S)
    limits: LimitsConfig = replace(LimitsConfig(), "Limits of the gRPC port.")
    aiges: AigesConfig = live(AigesConfig(), "Clients of AIGES.")
    log: LogConfig = live(LogConfig(), "The log.", is_of_node=True)
    node: Name | None = replace(
        None, "The node's name. Empty: the host's name and the gRPC port.", is_of_node=True
    )
    zone: str = live("", "Where the node is; clients prefer their own.", is_of_node=True)
    metadata: Labels = live({}, "Announced with the node.", is_of_node=True)
    node_weight: int = live(
        100, "Share of new sessions among the nodes. 0: none.", ge=0, le=10_000, is_of_node=True
    )
    advertise: Address | None = replace(
        None, "Address at which clients reach the gRPC port. Empty: derived from `grpc`.", is_of_node=True
    )
    registry: str = replace(
        "",
        "Where the node is announced: consul://…, file:… or finder:…. Empty: the center's, if Consul.",
        is_of_node=True,
    )
    cache: str = replace(
        "", "Folder of the last good configuration. Empty: the user's cache folder.", is_of_node=True
    )
    engines: dict[Name, EngineConfig] = replace(..., "The engines by name.", min_length=1)

    _secrets: frozenset[tuple[str | int, ...]] = frozenset()
    _places: dict[tuple[str, str], str] = {}

    def with_secrets(self, paths: Iterable[tuple[str | int, ...]]) -> ServiceConfig:
        """The same, remembering which keys came from the environment: their values are never printed."""
        copy = self.model_copy()
        copy._secrets = frozenset(paths)
        return copy

    def with_places(self, places: Mapping[tuple[str, str], str]) -> ServiceConfig:
        """The same, remembering where each engine (version "") and version of an engine is written."""
        copy = self.model_copy()
        copy._places = dict(places)
        return copy

    def place_of(self, engine: str, version: str) -> str:
        """DOCUMENT:LINE of a version of an engine; empty when it is not known."""
        return self._places.get((engine, version), self._places.get((engine, ""), ""))

    def has_secret(self, *keys: str) -> bool:
        """Something at or below a key came from the environment; an engine's versions count with the engine."""
        return any(set(keys) <= set(map(str, path)) for path in self._secrets)
