"""The fields with which an AIGES wrapper describes its requests and responses, as `aiges.sdk` has them.

They take what any version took: text or bytes, more or fewer arguments, files that are not there.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from loader.compat.aiges.constants import AUDIO, IMAGE, STRING, VIDEO

__all__ = [
    "AudioBodyField",
    "BooleanParamField",
    "Field",
    "ImageBodyField",
    "IntegerParamField",
    "JsonBodyField",
    "NumberParamField",
    "ParamField",
    "PayloadField",
    "StringBodyField",
    "StringParamField",
    "VideoBodyField",
]

NO_FILE = b"placeholder"


class Field:
    """A key and its kind: a number for data, a word of JSON for parameters."""

    def __init__(self, key: str, data_type: Any, **said: Any) -> None:
        self.key = key
        self.data_type = data_type
        self.description = said.pop("description", "")
        self.title = said.pop("title", "")
        vars(self).update(said)

    @property
    def test_value(self) -> Any:
        """What a local run sends."""
        return getattr(self, "value", "")

    def __str__(self) -> str:
        return f"<{type(self).__name__}:{self.key}>"


class ParamField(Field):
    """A parameter."""


class PayloadField(Field):
    """A piece of data."""

    def __init__(self, key: str, data_type: int, **said: Any) -> None:
        said.setdefault("status", 3)
        super().__init__(key, data_type, **said)


def _bytes(value: Any, encoding: str) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8" if encoding in ("utf8", "") else encoding, "replace")
    return bytes(value)


class StringBodyField(PayloadField):
    """Text."""

    text = b"value"

    def __init__(
        self,
        key: str,
        value: Any = b" ",
        need_base64: bool = False,
        encoding: str = "utf8",
        format: str = "plain",  # noqa: A002  a published name
        compress: str = "raw",
        status: int = 3,
        **said: Any,
    ) -> None:
        super().__init__(
            key, STRING, value=value, need_base64=need_base64, encoding=encoding, format=format,
            compress=compress, status=status, **said,
        )  # fmt: skip

    @property
    def test_value(self) -> bytes:
        """The value as bytes, in base64 where that was asked for."""
        plain = _bytes(getattr(self, "value", b""), getattr(self, "encoding", "utf8"))
        return base64.b64encode(plain) if getattr(self, "need_base64", False) else plain


class JsonBodyField(StringBodyField):
    """Text that is JSON."""

    def __init__(self, key: str, value: Any = "", need_base64: bool = False, **said: Any) -> None:
        super().__init__(key, value, need_base64, **said)


class _FileField(PayloadField):
    @property
    def test_value(self) -> bytes:
        """The file's bytes; something where there is no such file."""
        path = Path(str(getattr(self, "path", "")))
        plain = path.read_bytes() if path.is_file() else NO_FILE
        return base64.b64encode(plain) if getattr(self, "need_base64", False) else plain


class AudioBodyField(_FileField):
    """Audio, from a file."""

    audio = b"value"

    def __init__(
        self,
        key: str,
        path: str = "",
        encoding: str = "raw",
        format: str = "plain",  # noqa: A002  a published name
        compress: str = "raw",
        status: int = 3,
        **said: Any,
    ) -> None:
        said |= {"path": path, "encoding": encoding, "format": format, "compress": compress}
        super().__init__(key, AUDIO, status=status, **said)


class ImageBodyField(_FileField):
    """An image, from a file."""

    image = b"value"

    def __init__(
        self,
        key: str,
        path: str = "",
        need_base64: bool = False,
        encoding: str = "jpg",
        status: int = 3,
        **said: Any,
    ) -> None:
        said |= {"path": path, "need_base64": need_base64, "encoding": encoding}
        super().__init__(key, IMAGE, status=status, **said)


class VideoBodyField(_FileField):
    """Video, from a file."""

    def __init__(self, key: str, path: str = "", **said: Any) -> None:
        super().__init__(key, VIDEO, path=path, **said)


class StringParamField(ParamField):
    """A parameter that is text."""

    def __init__(
        self,
        key: str,
        minLength: int = 0,
        maxLength: int = 1024,
        enums: Any = (),
        required: bool = False,
        value: Any = "",
        description: str = "",
        title: str = "",
        **said: Any,
    ) -> None:
        said |= {"min_length": minLength, "max_length": maxLength, "enums": list(enums), "required": required}
        super().__init__(key, "string", value=value, description=description, title=title, **said)


class NumberParamField(ParamField):
    """A parameter that is a number."""

    json_type = "number"

    def __init__(
        self,
        key: str,
        minimum: float = 0,
        maximum: float = 100,
        enums: Any = (),
        required: bool = False,
        value: Any = 0,
        **said: Any,
    ) -> None:
        said |= {"minimum": minimum, "maximum": maximum, "enums": list(enums), "required": required}
        super().__init__(key, self.json_type, value=value, **said)


class IntegerParamField(NumberParamField):
    """A parameter that is a whole number."""

    json_type = "integer"


class BooleanParamField(ParamField):
    """A parameter that is true or false."""

    def __init__(
        self, key: str, title: Any = "", default: bool = False, required: bool = False, **said: Any
    ) -> None:
        if isinstance(title, bool):  # the order of older versions
            title, default, required = "", title, bool(default)
        said |= {"default": default, "required": required, "value": default}
        super().__init__(key, "boolean", title=title, **said)
