"""The address under which others reach a node."""

from __future__ import annotations

import socket

import pytest

from loader.errors import BadConfigError
from loader.registry import advertise, advertised, is_loopback


@pytest.mark.parametrize(
    ("wanted", "bound", "expected"),
    [
        (None, "192.0.2.1:50051", "192.0.2.1:50051"),
        (None, "127.0.0.1:50051", "127.0.0.1:50051"),
        ("speech.example:443", "0.0.0.0:50051", "speech.example:443"),
        ("speech.example:0", "0.0.0.0:50051", "speech.example:50051"),
        ("[2001:db8::1]:0", "[::]:50051", "[2001:db8::1]:50051"),
        ("speech.example:443", "unix:/run/x", "speech.example:443"),
    ],
)
def test_what_is_written_wins_and_a_bound_address_is_told(
    wanted: str | None, bound: str, expected: str
) -> None:
    """Port 0 of the key stands for the bound port: NAT may change the name only."""
    assert advertised(wanted, bound) == expected


@pytest.mark.parametrize(
    ("address", "is_local"),
    [
        ("127.0.0.2:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("192.0.2.1:1", False),
        ("a.example:1", False),
    ],
)
def test_a_loopback_address_is_known_as_one(address: str, is_local: bool) -> None:
    assert is_loopback(address) is is_local


@pytest.mark.parametrize("bound", ["0.0.0.0:50051", "[::]:50051"])
def test_behind_every_address_stands_the_one_that_leads_out(
    bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never 0.0.0.0, never localhost."""
    monkeypatch.setattr(advertise, "_source_of", lambda family, probe: "198.51.100.4")
    assert advertised(None, bound) == "198.51.100.4:50051"


@pytest.mark.parametrize("source", ["", "127.0.0.1"])
def test_where_nothing_leads_out_it_is_asked_for(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guess that others cannot reach is worse than an error."""
    monkeypatch.setattr(advertise, "_source_of", lambda family, probe: source)
    with pytest.raises(BadConfigError, match=r"0\.0\.0\.0:1 .*write `advertise: HOST:PORT`"):
        advertised(None, "0.0.0.0:1")


def test_a_machine_with_ipv6_only_tells_it_in_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    """[::] takes both: IPv4 first, else IPv6."""
    monkeypatch.setattr(
        advertise, "_source_of", lambda family, probe: "2001:db8::4" if family == socket.AF_INET6 else ""
    )
    assert advertised(None, "[::]:1") == "[2001:db8::4]:1"
    with pytest.raises(BadConfigError):
        advertised(None, "0.0.0.0:1")


def test_a_unix_socket_cannot_be_announced() -> None:
    """Nobody else can reach it."""
    with pytest.raises(BadConfigError, match=r"unix:/run/x cannot be announced"):
        advertised(None, "unix:/run/x")
