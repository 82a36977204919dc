"""The address that a handle of an AIGES session carries."""

from __future__ import annotations

import socket

import pytest

from loader.registry import advertise
from loader.registry.dialable import dialable


@pytest.mark.parametrize(
    ("wanted", "bound", "expected"),
    [
        (None, "127.0.0.1:8001", "127.0.0.1:8001"),
        (None, "10.1.2.3:8001", "10.1.2.3:8001"),
        ("10.9.8.7:9000", "0.0.0.0:8001", "10.9.8.7:9000"),
        ("10.9.8.7:0", "0.0.0.0:8001", "10.9.8.7:8001"),
        ("localhost:7", "0.0.0.0:8001", "127.0.0.1:7"),
        (None, "[::1]:8001", "127.0.0.1:8001"),
        (None, "unix:/run/loader.sock", "127.0.0.1:0"),
        ("10.9.8.7:9000", "unix:/run/loader.sock", "10.9.8.7:9000"),
    ],
)
def test_a_handle_carries_an_ipv4_address_that_can_be_dialled(
    wanted: str | None, bound: str, expected: str
) -> None:
    """What is announced, as IPv4; loopback where there is none."""
    assert dialable(wanted, bound) == expected


@pytest.mark.parametrize(("source", "expected"), [("10.4.5.6", "10.4.5.6:8001"), ("", "127.0.0.1:8001")])
def test_behind_every_address_it_is_the_one_that_leads_out(
    source: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never 0.0.0.0, which clients would dial on their own machine."""
    monkeypatch.setattr(
        advertise, "_source_of", lambda family, _probe: source if family == socket.AF_INET else ""
    )
    assert dialable(None, "0.0.0.0:8001") == expected
