"""The addresses of a Consul in an URL."""

from __future__ import annotations

import pytest

from loader.consul_link import ConsulAccess, ConsulLocation
from loader.errors import BadConfigError


@pytest.mark.parametrize(
    ("url", "addresses", "path", "is_tls"),
    [
        ("consul://a:1/speech", (("a", 1),), "speech", False),
        ("consul://a/speech/eu/", (("a", 8500),), "speech/eu", False),
        ("consul+https://10.0.0.1:1,b.example:2/x", (("10.0.0.1", 1), ("b.example", 2)), "x", True),
        ("consul://[::1]:8501,[2001:db8::1]/x", (("[::1]", 8501), ("[2001:db8::1]", 8500)), "x", False),
    ],
)
def test_addresses_are_read(
    url: str, addresses: tuple[tuple[str, int], ...], path: str, is_tls: bool
) -> None:
    """Several, with and without a port, IPv6 in brackets."""
    assert ConsulLocation.parse(url) == ConsulLocation(addresses, path, is_tls)


@pytest.mark.parametrize(
    "url",
    ["consul://a", "consul://a/", "consul:///x", "consul://a:0/x", "consul://a:65536/x", "consul://a:b/x",
     "consul://,a/x", "consul://::1/x", "consul://[::1/x", "http://a/x", "consul://a/x?token=1"],
)  # fmt: skip
def test_what_is_no_address_is_told(url: str) -> None:
    """With the URL as it was written."""
    with pytest.raises(BadConfigError) as caught:
        ConsulLocation.parse(url)
    assert url in caught.value.message


def test_what_lets_us_in_is_never_shown() -> None:
    """Neither in a repr nor in an error that formats it."""
    assert "hush" not in f"{ConsulAccess(token='hush')!r} {ConsulAccess(token='hush')}"
