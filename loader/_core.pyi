"""The data plane (cpp/server) as the control plane sees it. Compiled; this file says what it offers."""

from typing import Any

__version__: str

def session_table() -> list[dict[str, Any]]:
    """Rows of the session table: variant, state, event, outcome, next, reason, error, actions."""

def error_table() -> list[dict[str, Any]]:
    """Rows of errors.def: code, name, grpc, http, actor, retry, text."""

class Tls:
    """Loaded key files: {"certificate", "key", "client_ca"}. Raises: RuntimeError naming the file at fault."""

    def __init__(self, files: dict[str, Any]) -> None: ...

class Server:
    """One data plane: shards, listeners, engines, instances. Never waits for Python."""

    def __init__(self, options: dict[str, Any]) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def listen(self, address: str, tag: str = "public", tls: Tls | None = None) -> str:
        """The bound "HOST:PORT". Raises: RuntimeError or ValueError naming the address."""

    def set_tls(self, tls: Tls) -> None:
        """For new connections of the public port; open ones keep theirs."""

    def set_aiges(self, options: dict[str, Any]) -> None:
        """{"address": "IPv4:PORT" for handles, "header_pass": [names], "session_ttl_ms": int}; live."""

    def add_engine(self, name: str, version: str, options: dict[str, Any]) -> int:
        """The engine's id. Several of one name and version may exist; only routed ones get new sessions."""

    def remove_engine(self, engine: int) -> None: ...
    def apply(self, changes: dict[str, Any]) -> None:
        """{"options": {id: options}, "routes": {name: [route]}, "hold": {name: wait_ms}}, all at once.

        A route is {"engine": id, "weight": int, "labels": {}, "capabilities": {}}. A name with an empty list is
        no longer served; one that is not named keeps its routes. Routing a held name admits what waits for it.
        """

    def prepare_instance(self, engine: int, index: int) -> dict[str, Any]:
        """{"instance", "fds", "arguments"} for the child; then attach_instance or abandon_instance."""

    def attach_instance(self, instance: int, pid: int) -> None: ...
    def abandon_instance(self, instance: int) -> None: ...
    def start_inline(self, engine: int, index: int, path: str) -> int: ...
    def stop_instance(self, instance: int, timeout_s: float, reason: str = "drain") -> None:
        """No new work; sessions still open after `timeout_s` close with `reason`: drain or replaced."""

    def kill_instance(self, instance: int, reason: str) -> None: ...
    def update_instance(self, instance: int, config_json: str) -> None: ...
    def open_instance(self, instance: int) -> None:
        """It has its resources: where the engine's options say `awaits_resources` it serves only from here on."""

    def load_resource(
        self, instance: int, call: int, number: int, key: str, data: bytes, attributes: dict[str, str]
    ) -> None:
        """An "instance_resource" event with the call's number follows, unless the instance ends first."""

    def unload_resource(self, instance: int, call: int, number: int) -> None: ...
    def event_fd(self) -> int: ...
    def take_events(self) -> list[dict[str, Any]]:
        """Everything since the last call, each with its "kind"; event_fd() is readable when there is some."""

    def answer_admin(
        self, call_id: int, payload: bytes | None, error: tuple[int, str, int, str] | None
    ) -> None:
        """The error: code, message, and the engine's own code and text, or 0 and nothing."""

    def set_serving(self, name: str, is_serving: bool) -> None: ...
    def drain(self, timeout_s: float, stay: bool = False) -> None: ...
    def undrain(self) -> None: ...
    def close_now(self) -> None: ...
    def statistics(self) -> dict[str, Any]: ...
    def sessions(self, engine: str = "") -> list[dict[str, Any]]: ...
    def kill_session(self, session_id: str, message: str = "") -> bool: ...
