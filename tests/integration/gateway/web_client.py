"""What clients of the HTTP faces do: POST a JSON body, and speak JSON over a WebSocket."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from websockets.sync.client import ClientConnection, connect

TIMEOUT_S = 40


def b64(content: str | bytes) -> str:
    return base64.b64encode(content.encode() if isinstance(content, str) else content).decode()


def text_of(value: dict[str, Any]) -> str:
    """The text of a session's result."""
    return base64.b64decode(value["text"]).decode()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def code(self) -> int:
        return int(self.json["header"]["code"])

    @property
    def message(self) -> str:
        return str(self.json["header"]["message"])


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


class Web:
    """One HTTP port."""

    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        url = f"http://{self.address}{path}"
        request = urllib.request.Request(url, body, headers, method=method)
        opener = urllib.request.build_opener(NoRedirect)
        try:
            with opener.open(request, timeout=TIMEOUT_S) as answer:
                return Answer(answer.status, dict(answer.headers.items()), answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, dict(error.headers.items()), error.read())

    def post(self, engine: str, body: Any = None, **parts: Any) -> Answer:
        """To /v1/private/ENGINE, or to a whole path."""
        path = engine if engine.startswith("/") else f"/v1/private/{engine}"
        content = body if isinstance(body, bytes) else json.dumps(parts if body is None else body).encode()
        return self.ask("POST", path, content)

    def do(self, engine: str, **parameters: Any) -> Answer:
        """A call with one text and these parameters."""
        payload = {"text": {"text": b64("x"), "status": 3}}
        return self.post(engine, parameter={engine: parameters}, payload=payload)

    def open(self, engine: str, **options: Any) -> Talk:
        path = engine if engine.startswith("/") else f"/v1/private/{engine}"
        url = f"ws://{self.address}{path}"
        options = {"open_timeout": TIMEOUT_S, "close_timeout": 5, "max_size": None, "proxy": None, **options}
        return Talk(connect(url, **options))


class Talk:
    """One WebSocket."""

    connection: ClientConnection

    def __init__(self, connecting: AbstractContextManager[ClientConnection]) -> None:
        self._connecting = connecting

    def __enter__(self) -> Talk:
        self.connection = self._connecting.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._connecting.__exit__(None, None, None)

    def say(self, payload: Any = None, **parts: Any) -> None:
        body = parts if payload is None else {"payload": payload, **parts}
        self.connection.send(json.dumps(body))

    def write(self, text: str, status: int = 1, key: str = "text", **parts: Any) -> None:
        self.say({key: {"text": b64(text), "status": status}}, **parts)

    def hear(self) -> Any:
        return json.loads(self.connection.recv(TIMEOUT_S))

    def rest(self) -> list[Any]:
        """Every frame until the server has closed."""
        return [json.loads(one) for one in self.connection]

    def summary(self) -> list[tuple[int, int, dict[str, str]]]:
        """Code, status and texts of every frame until the server has closed."""
        return [summary_of(one) for one in self.rest()]

    def vanish(self) -> None:
        """As a client whose process has died."""
        self.connection.socket.shutdown(2)


def summary_of(frame: Any) -> tuple[int, int, dict[str, str]]:
    header = frame["header"]
    texts = {key: text_of(value) for key, value in frame.get("payload", {}).items()}
    return header["code"], header["status"], texts
