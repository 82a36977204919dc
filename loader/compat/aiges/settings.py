"""The engine's `config` as an AIGES wrapper gets it, and the key `aiges`, which is the adapter's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loader.compat.aiges.convert import text_of, texts_of

KNOWN = ("async_mode", "real_time_result", "debug_info")


class BadSettingError(Exception):
    """The configuration says what no AIGES wrapper takes; the text names the key and the cure."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`config.aiges`."""

    async_mode: bool | None = None  # None: by what the wrapper defines
    real_time_result: bool = True


def read_config(config: Mapping[str, Any]) -> tuple[Settings, dict[str, str]]:
    """The settings and what wrapperInit gets: texts. Raises: BadSettingError."""
    rest = {key: value for key, value in config.items() if key != "aiges"}
    for key, value in rest.items():
        if isinstance(value, dict | list) or value is None:
            raise BadSettingError(
                f"config.{key} is {text_of(value)[:40]!r}: an AIGES wrapper takes texts, numbers and true or "
                'false: write nested keys as one, such as "a.b"'
            )
    return _read_settings(config.get("aiges", {})), texts_of(rest)


def _read_settings(said: Any) -> Settings:
    if not isinstance(said, Mapping):
        raise BadSettingError(
            f"config.aiges is {said!r}: write it as {{async_mode: false, real_time_result: true}}"
        )
    for key, value in said.items():
        if key not in KNOWN:
            raise BadSettingError(f"config.aiges.{key} is unknown: known are {', '.join(KNOWN)}")
        if not isinstance(value, bool):
            raise BadSettingError(f"config.aiges.{key} is {value!r}: write true or false")
    return Settings(said.get("async_mode"), said.get("real_time_result", True))
