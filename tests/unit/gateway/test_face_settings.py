"""Whether engines answer on the HTTP port where the configuration does not say."""

from __future__ import annotations

import json

import pytest

from loader.config import read_config
from loader.startup import face_settings

TLS = {"certificate": "c.pem", "key": "k.pem"}


@pytest.mark.parametrize(
    ("http", "tls", "said", "is_on"),
    [
        ("127.0.0.1:8000", None, None, True),
        ("0.0.0.0:8000", None, None, True),
        ("127.0.0.1:8000", TLS, None, True),
        ("0.0.0.0:8000", TLS, None, False),
        ("[::]:8000", TLS, None, False),
        ("0.0.0.0:8000", TLS, True, True),
        ("127.0.0.1:8000", None, False, False),
    ],
)
def test_what_is_encrypted_is_not_served_in_plain_text_unasked(
    http: str, tls: dict[str, str] | None, said: bool | None, is_on: bool
) -> None:
    """Unless it is loopback."""
    config = {"http": http, "tls": tls, "aiges": {"http": said}, "engines": {"e": {"wrapper": "w.py"}}}
    service = read_config(json.dumps(config), "service.yaml", {})
    assert face_settings(service, takes_new=True).is_on is is_on
