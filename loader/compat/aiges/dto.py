"""What AIGES wrappers exchange with their host: `aiges_embed` and `aiges.dto` are both made of these.

As lenient as everything that was ever published: data may be str, every attribute may be set, `len` may be
left out. Refuses to know who sends them; see convert.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from loader.compat.aiges.constants import DataOnce, DataText

__all__ = ["DataListCls", "DataListNode", "Response", "ResponseData", "SessionCreateResponse"]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "replace")
    if not hasattr(value, "__dict__"):
        return str(value)
    return {name: one for name, one in vars(value).items() if name != "_len"}


class _Shown:
    """Says what it holds."""

    def toJSON(self) -> str:
        """What it holds, as JSON; bytes as text."""
        return json.dumps(self, default=_plain, sort_keys=True, indent=4, ensure_ascii=False)

    def __repr__(self) -> str:
        said = ", ".join(f"{name}={one!r:.60}" for name, one in vars(self).items() if name != "_len")
        return f"{type(self).__name__}({said})"


class _Node(_Shown):
    """One keyed piece of data. `len` is what was said, else the length of `data`."""

    def __init__(self) -> None:
        self.key: Any = ""
        self.data: Any = b""
        self.type: Any = DataText
        self.status: Any = DataOnce
        self.desc: dict[str, str] = {}
        self._len: Any = None

    @property
    def len(self) -> Any:
        """What was set, else the length of the data."""
        return self._len if self._len is not None else len(self.data or b"")

    @len.setter  # noqa: A003  a published name
    def len(self, value: Any) -> None:
        self._len = value

    # The first generation of wrappers got dictionaries.
    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def __setitem__(self, name: str, value: Any) -> None:
        setattr(self, name, value)


class DataListNode(_Node):
    """One input."""

    def get_data(self) -> Any:
        """The bytes."""
        return self.data


class DataListCls(_Shown):
    """The input of one call: `get(key)`, or `list`."""

    def __init__(self) -> None:
        self.list: list[Any] = []

    def get(self, key: str) -> Any:
        """The first node of that key, or None."""
        return next((node for node in self.list if node.key == key), None)

    def __iter__(self) -> Any:
        return iter(self.list)

    def __len__(self) -> int:
        return len(self.list)

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, place: int) -> Any:
        return self.list[place]


class ResponseData(_Node):
    """One output."""

    def __init__(
        self,
        key: Any = "",
        data: Any = b"",
        length: Any = None,
        type: Any = DataText,  # noqa: A002  a published name
        status: Any = DataOnce,
    ) -> None:
        super().__init__()
        self.key = key
        self.data = data
        self.type = type
        self.status = status
        # The embedded module's own form is (key, number, number, number).
        if isinstance(data, int):
            self.data = b""
        elif length:
            self.len = length

    def setDataType(self, type: int) -> None:  # noqa: A002  published names
        """Sets the kind of data: 0 text, 1 audio, 2 image, 3 video."""
        self.type = type

    def setData(self, data: Any) -> None:
        """Sets the data and its length."""
        self.data = data
        self._len = None

    def get_data(self) -> Any:
        """The data as it was set."""
        return self.data


class _Coded(_Shown):
    """Has an error code, by each of the names that it had."""

    error_code: Any

    @property
    def errCode(self) -> Any:
        """error_code."""
        return self.error_code

    @errCode.setter
    def errCode(self, code: Any) -> None:
        self.error_code = code

    @property
    def err_code(self) -> Any:
        """error_code."""
        return self.error_code

    @err_code.setter
    def err_code(self, code: Any) -> None:
        self.error_code = code


class _ResponseError:
    """`response.response_err(code)`, which sets its code, and `Response.response_err(code)`, a new one with it."""

    def __get__(self, response: Response | None, class_: type[Response]) -> Callable[[Any], Response]:
        def response_err(error_code: Any) -> Response:
            answer = response if response is not None else class_()
            answer.error_code = error_code
            return answer

        return response_err


class Response(_Coded):
    """The output of one call."""

    def __init__(self) -> None:
        # Wrappers append to it, and wrappers fill the node that is there: an untouched one is not sent.
        self.list: list[Any] = [ResponseData()]
        self.error_code = 0

    response_err = _ResponseError()


class SessionCreateResponse(_Coded):
    """What wrapperCreate returns."""

    def __init__(self, handle: Any = "", error_code: Any = 0) -> None:
        self.handle = handle
        self.error_code = error_code
