"""An `aiges.toml` → our YAML, with a comment on every key that means something else here, or nothing.

What is unknown is never an error. Pure but for what place.py finds; refuses to know the schema of our keys.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from loader.compat.aiges_toml.keys import SECTIONS, reason
from loader.compat.aiges_toml.place import (
    HEADER_FILE,
    NUMA,
    PLUGIN_MODE,
    WRAPPER_VERSION,
    Place,
    address_of_card,
    parse_toml,
)
from loader.compat.aiges_toml.write import Page, quoted, scalar
from loader.errors import BadConfigError

DEFAULT_SERVICE: Final = "svcName"
CHANGED: Final = "changed"
UNKNOWN: Final = "unknown"
OWN_KEY: Final = "aiges"  # of an engine's config: the adapter's
MOST_SLOTS: Final = 100_000
MOST_HEADERS: Final = 64
MOST_MEGABYTES: Final = 2047
LEAST_TTL_MS: Final = 100
MOST_TTL_MS: Final = 365 * 24 * 3_600_000
MOST_PORT: Final = 65_535
# A wrapper that was never limited may well take longer than our defaults.
INIT_TIMEOUT_S: Final = 3600
CALL_TIMEOUT_MS: Final = 600_000
LEVELS: Final = {
    "debug": "debug", "info": "info", "warn": "warning", "warning": "warning", "error": "error", "fatal": "error",
    "none": "error", "off": "error",
}  # fmt: skip
SOCKET_KEYS: Final = {"ws_read_timeout_s": "readTimeout", "ws_session_timeout_s": "sessionTimeout"}
# With it and a wrapper.py nothing is gained by another process and another protocol.
USUAL_COMMAND: Final = re.compile(r"^(/usr/bin/env\s+)?python3?\s+-m\s+aiges\.serve(\s+(-c|-w\s*\d+))*$")
NAME: Final = re.compile(r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")
VERSION: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}$")


def _can_be_host(text: str) -> bool:
    try:
        text.encode("idna")  # what asks for its address does so, too
    except UnicodeError:
        return False
    return not re.search(r"[\s/@]", text)


@dataclass(frozen=True, slots=True)
class Note:
    """What became of one key that is not simply taken over."""

    key: str
    kind: str  # CHANGED, UNKNOWN, or as keys.py has it
    text: str

    def __str__(self) -> str:
        return f"{self.key}: {self.kind}: {self.text}"


@dataclass(frozen=True, slots=True)
class Converted:
    """Our configuration, and what its reader should know."""

    text: str
    notes: tuple[Note, ...]


def convert(text: str, origin: str, service: str, place: Place) -> Converted:
    """The configuration of `service`; empty: the only one in the file. Raises: BadConfigError."""
    values = parse_toml(text, origin)
    return _Conversion(values, origin, _service_in(values, origin, service), place).run()


def _service_in(values: dict[str, Any], origin: str, service: str) -> str:
    own = [name for name, section in values.items() if isinstance(section, dict) and name not in SECTIONS]
    if service:
        if service in own:
            return service
        raise BadConfigError(
            f"{origin}: there is no section [{service}]: name the service's section with -s: "
            f"there are {', '.join(own) or 'none'}"
        )
    if len(own) == 1 or DEFAULT_SERVICE in own:
        return own[0] if len(own) == 1 else DEFAULT_SERVICE
    raise BadConfigError(
        f"{origin}: say with -s which section is the service: {', '.join(own) or 'there is none'}"
    )


def text_of(value: Any) -> str | None:
    """A value as AIGES passes it to wrapperInit; None for what it does not pass."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(value)
    return _float_text(value) if isinstance(value, float) else None


def _float_text(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'+' if value > 0 else '-'}Inf"
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def flattened(values: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Tables in tables as keys with dots."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            out |= flattened(value, f"{before}{key}.")
        else:
            out[before + key] = value
    return out


class _Conversion:
    """One file on its way. Each key is taken once; what is left is told."""

    def __init__(self, values: dict[str, Any], origin: str, service: str, place: Place) -> None:
        self._values = values
        self._origin = origin
        self._service = service
        self._place = place
        self._left = {name: dict(one) for name, one in values.items() if isinstance(one, dict)}
        self._notes: list[Note] = []
        self._page = Page()

    def run(self) -> Converted:
        """The page and the notes."""
        self._page.comment(f"Converted from {self._origin}, service {self._service}.")
        self._write_service()
        self._write_aiges()
        self._write_log()
        self._write_engine()
        self._note_rest()
        return Converted(self._page.text, tuple(self._notes))

    # ---- taking keys

    def _note(self, key: str, text: str, kind: str = CHANGED) -> str:
        self._notes.append(Note(key, kind, text))
        return text

    def _take(self, section: str, key: str) -> Any:
        return self._left.get(section, {}).pop(key, None)

    def _text(self, section: str, key: str) -> str:
        value = self._take(section, key)
        return (text_of(value) or "").strip()

    def _flag(self, section: str, key: str, otherwise: bool) -> tuple[bool, list[str]]:
        value = self._take(section, key)
        word = (text_of(value) or "").lower() if value is not None else None
        if word in ("true", "1", "false", "0"):
            return word in ("true", "1"), []
        if word is None:
            return otherwise, []
        return otherwise, [
            self._note(f"[{section}].{key}", f"{value!r} is neither true nor false: {otherwise}")
        ]

    def _number(
        self, section: str, key: str, otherwise: int | None, least: int, most: int
    ) -> tuple[int | None, list[str]]:
        value = self._take(section, key)
        if value is None:
            return otherwise, []
        try:
            number = int(float(value)) if isinstance(value, float) else int(value)
        except (ValueError, TypeError, OverflowError):
            return otherwise, [self._note(f"[{section}].{key}", f"{value!r} is no number: {otherwise}")]
        kept = min(max(number, least), most)
        if kept != number:
            return kept, [self._note(f"[{section}].{key}", f"was {number}; here {least} to {most}")]
        return kept, []

    # ---- the service

    def _write_service(self) -> None:
        page = self._page
        page.key(0, "service", quoted(self._name), self._name_comments())
        grpc, comments = self._grpc()
        page.key(0, "grpc", quoted(grpc), comments)
        http, comments = self._http()
        page.key(0, "http", quoted(http), comments)
        self._write_registry()
        megabytes, comments = self._number(self._service, "maxreceive", None, 1, MOST_MEGABYTES)
        if megabytes is not None:
            page.section(0, "limits")
            comments = [f"[{self._service}].maxreceive, in bytes", *comments]
            page.key(1, "message_bytes", scalar(megabytes << 20), comments)

    def _write_registry(self) -> None:
        if not self._place.finder:
            return  # keys.py says where else a node can be announced
        is_on, comments = self._flag(self._service, "finder", False)
        if is_on:
            self._page.key(
                0, "registry", quoted(self._place.finder), [f"[{self._service}].finder", *comments]
            )

    @property
    def _name(self) -> str:
        if NAME.match(self._service):
            return self._service
        kept = re.sub(r"[^A-Za-z0-9_.-]", "_", self._service)[:60]
        return kept if NAME.match(kept) else f"s_{kept}"

    def _name_comments(self) -> list[str]:
        if self._name == self._service:
            return []
        return [self._note(f"[{self._service}]", f"a name has letters, digits, _ . and -: {self._name}")]

    def _grpc(self) -> tuple[str, list[str]]:
        host, card = self._text(self._service, "host"), self._text(self._service, "netcard")
        port, comments = self._number(self._service, "port", 0, 0, MOST_PORT)
        if not host and card:
            host = address_of_card(card) or ""
            key = f"[{self._service}].netcard"
            comments.append(
                f"the address of {card}"
                if host
                else self._note(key, f"there is no {card} here: every address")
            )
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        if not _can_be_host(host):
            comments.append(self._note(f"[{self._service}].host", f"{host!r} is no host: every address"))
            host = ""
        if not port:
            comments.append("port 0: any free one, told in the ready line")
        return f"{host or '0.0.0.0'}:{port}", comments  # noqa: S104 - where AIGES listens, too

    def _http(self) -> tuple[str, list[str]]:
        said = text_of(self._values.get("wrapper", {}).get("http_listen")) if self._has("wrapper") else None
        listen = (said or "").strip()
        if not listen:
            return "127.0.0.1:0", ["no [wrapper].http_listen: any free port, told in the ready line"]
        host, _, port = listen.rpartition(":")
        if not port.isascii() or not port.isdigit() or int(port[:9]) > MOST_PORT or not _can_be_host(host):
            return "127.0.0.1:0", [
                self._note("[wrapper].http_listen", f"{listen!r} is no address: a free port")
            ]
        return f"{host or '0.0.0.0'}:{port}", ["[wrapper].http_listen"]  # noqa: S104

    def _has(self, section: str) -> bool:
        return isinstance(self._values.get(section), dict)

    def _write_aiges(self) -> None:
        ttl, comments = self._number("fc", "ttl", None, LEAST_TTL_MS, MOST_TTL_MS)
        headers, said = self._headers()
        sockets = {
            ours: self._number("ws", key, None, 1, MOST_TTL_MS // 1000) for ours, key in SOCKET_KEYS.items()
        }
        if ttl is None and not headers and all(value is None for value, _ in sockets.values()):
            return
        self._page.section(0, "aiges")
        if headers:
            self._page.key(1, "header_pass", f"[{', '.join(map(quoted, headers))}]", said)
        if ttl is not None:
            self._page.key(1, "session_ttl_ms", scalar(ttl), ["[fc].ttl", *comments])
        for ours, (seconds, told) in sockets.items():
            if seconds is not None:
                self._page.key(1, ours, scalar(seconds), [f"[ws].{SOCKET_KEYS[ours]}", *told])

    def _headers(self) -> tuple[list[str], list[str]]:
        file = self._place.text_of(HEADER_FILE)
        words = [*self._text("aiges", "headerPass").split(";"), *(file or "").splitlines()]
        found = [one for one in dict.fromkeys(word.strip() for word in words) if one and len(one) <= 256]
        comments = [f"with those of {HEADER_FILE}"] if file is not None else []
        if len(found) > MOST_HEADERS:
            comments.append(self._note("[aiges].headerPass", f"only the first {MOST_HEADERS} are passed"))
        return found[:MOST_HEADERS], comments

    def _write_log(self) -> None:
        said = self._text("log", "level")
        if not said:
            return
        level = LEVELS.get(said.lower())
        comments = []
        if level is None:
            comments.append(self._note("[log].level", f"{said!r} is no level: info"))
        self._page.section(0, "log")
        self._page.key(1, "level", level or "info", comments)

    # ---- the engine

    def _write_engine(self) -> None:
        page = self._page
        page.section(0, "engines")
        page.section(1, quoted(self._name))
        self._write_source()
        version = self._place.environment.get(WRAPPER_VERSION, "")
        if VERSION.match(version):
            page.key(2, "version", quoted(version), [WRAPPER_VERSION])
        elif version:
            page.comment(self._note(WRAPPER_VERSION, f"{version!r} is no version: left out"))
        slots, comments = self._slots()
        page.key(2, "slots", scalar(slots), comments)
        page.key(2, "init_timeout_s", scalar(INIT_TIMEOUT_S), ["AIGES waits without limit"])
        page.key(2, "call_timeout_ms", scalar(CALL_TIMEOUT_MS), ["AIGES waits without limit"])
        page.section(2, "config")
        self._write_modes()
        for key, value in self._wrapper_values().items():
            page.key(3, quoted(key), quoted(value))

    def _write_source(self) -> None:
        """The wrapper; in the Python mode the command, where it is one of one's own or there is no wrapper.py."""
        command = (text_of(self._left.get("aiges", {}).get("pythonPluginCmd")) or "").strip()
        is_usual = USUAL_COMMAND.match(command) and self._place.find("wrapper.py", "PYTHONPATH")
        if not self._place.is_python or not command or is_usual:
            wrapper, comments = self._wrapper()
            self._page.key(2, "wrapper", quoted(wrapper), comments)
            return
        self._take("aiges", "pythonPluginCmd")
        begun = f"cd {shlex.quote(str(self._place.current))} && {command}"
        self._page.key(2, "command", quoted(begun), ["[aiges].pythonPluginCmd"])

    def _wrapper(self) -> tuple[str, list[str]]:
        script = self._place.find("wrapper.py", "PYTHONPATH")
        if self._place.is_python:
            return (
                (str(script), []) if script else ("wrapper.py", [self._not_found("wrapper.py", "PYTHONPATH")])
            )
        library = self._place.find("libwrapper.so", "LD_LIBRARY_PATH")
        if library:
            if library.parent == self._place.current:
                return str(library), []
            text = f"runs in {library.parent}: relative paths of the library begin there"
            return str(library), [self._note("libwrapper.so", text)]
        if script:
            text = f"there is no libwrapper.so; {PLUGIN_MODE}=python says it is meant"
            return str(script), [self._note("wrapper.py", text)]
        return "libwrapper.so", [self._not_found("libwrapper.so", "LD_LIBRARY_PATH")]

    def _not_found(self, name: str, variable: str) -> str:
        return self._note(name, f"is neither in {variable} nor in {self._place.current}")

    def _slots(self) -> tuple[int, list[str]]:
        slots, comments = self._number("fc", "max", None, 1, MOST_SLOTS)
        if slots is None and not comments:
            comments = [self._note("[fc].max", "is missing, and required in AIGES: 1 session at a time")]
        able, router = self._take("fc", "able"), self._take("fc", "router")
        if able is not None and text_of(able) in ("0", "false"):
            comments.append(self._note("[fc].able", "cannot be turned off: slots always limit"))
        if router not in (None, "sessionManager"):
            comments.append(self._note("[fc].router", "there is one way here: a session holds a slot"))
        return slots or 1, ["[fc].max", *comments]

    def _write_modes(self) -> None:
        is_real_time, comments = self._flag("aiges", "realTimeRlt", True)
        modes = [("real_time_result", is_real_time, ["[aiges].realTimeRlt", *comments])]
        is_async, comments = self._flag("aiges", "asyncMode", False)
        if self._place.is_python:
            self._note(
                "[aiges].asyncMode", "as AIGES forces it: sessions by callback, calls by wrapperOnceExec"
            )
        else:
            modes.insert(0, ("async_mode", is_async, ["[aiges].asyncMode", *comments]))
        self._page.section(3, OWN_KEY)
        for key, value, said in modes:
            self._page.key(4, key, scalar(value), said)

    def _wrapper_values(self) -> dict[str, str]:
        """What wrapperInit gets. Raises: BadConfigError for a list, with which AIGES does not start either."""
        out: dict[str, str] = {}
        for key, value in self._wrapper_source().items():
            text = text_of(value)
            if text is None:
                shown = json.dumps(value, default=str, ensure_ascii=False)[:60]
                raise BadConfigError(
                    f"{self._origin}: wrapper.{key} is {shown}: a wrapper takes texts, numbers, true and false: "
                    "put it in quotes"
                )
            if key == OWN_KEY:
                self._note(f"[wrapper].{key}", "this name is the loader's: not passed")
            else:
                out[key] = text
        return out

    def _wrapper_source(self) -> dict[str, Any]:
        own = self._left.pop("wrapper", {})
        name = self._text("aiges", "usrCfg")
        if name:
            file = self._place.text_of(name)
            if file is None:
                raise BadConfigError(
                    f"{self._origin}: aiges.usrCfg: there is no file {name}: put it beside this one"
                )
            self._page.comment(self._note("[aiges].usrCfg", f"in place of [wrapper]: the keys of {name}"))
            return flattened(parse_toml(file, name))
        if any(isinstance(value, dict) for value in own.values()):
            nested = next(key for key, value in own.items() if isinstance(value, dict))
            text = f'tables become "{nested}.NAME"; AIGES does not start with them: quote keys with dots'
            self._page.comment(f"[wrapper].{nested}: {self._note(f'[wrapper].{nested}', text)}")
        return flattened(own)

    # ---- the rest

    def _note_rest(self) -> None:
        numa = self._place.environment.get(NUMA)
        if numa is not None:
            self._note(NUMA, f"node {numa}: `loader aiges` runs on its processors; a YAML file cannot say it")
        for section, left in self._left.items():
            inner = "" if section == self._service else section
            for key in left:
                kind, text = reason(inner, key) or (UNKNOWN, "AIGES does not know it either: ignored")
                self._note(f"[{section}].{key}", text, kind)
        for key in self._values:
            if key not in self._left and key != "wrapper":
                self._note(key, "it is in no section: ignored", UNKNOWN)
        if self._notes:
            self._page.blank()
            self._page.comment("What is different from AIGES, and what is not taken over:")
            for note in self._notes:
                self._page.comment(str(note))
