"""What a single value must be: addresses, names of environment variables, commands.

Pure functions that raise ValueError with the cure. Knows no key of the configuration, and looks nothing up.
"""

from __future__ import annotations

import ipaddress

MOST_PORT = 65_535
UNIX_PREFIX = "unix:"
UNIX_PATH_BYTES = 107  # what the kernel takes


def tcp_address(text: str) -> str:
    """HOST:PORT. Raises: ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ValueError("write HOST:PORT, as 127.0.0.1:8001")
    if not (port.isascii() and port.isdigit() and int(port[:9]) <= MOST_PORT):
        raise ValueError(f"the port must be a number from 0 (picks a free one) to {MOST_PORT}")
    if host.startswith("["):
        _check_ipv6(host)
    elif ":" in host:
        raise ValueError("put an IPv6 address in brackets, as [::1]:8001")
    elif not _can_be_name(host):
        raise ValueError("the host must be a name or an address, as 127.0.0.1:8001")
    return text


def address(text: str) -> str:
    """HOST:PORT or unix:PATH. Raises: ValueError."""
    if not text.startswith(UNIX_PREFIX):
        return tcp_address(text)
    size = len(text.removeprefix(UNIX_PREFIX).encode())
    if not 1 <= size <= UNIX_PATH_BYTES:
        raise ValueError(f"the path of a socket must have 1 to {UNIX_PATH_BYTES} bytes: it has {size}")
    return text


def http_address(text: str) -> str:
    """HOST:PORT: this port has no Unix socket. Raises: ValueError."""
    if text.startswith(UNIX_PREFIX):
        raise ValueError("the HTTP port cannot be a Unix socket: write HOST:PORT, as 127.0.0.1:8000")
    return tcp_address(text)


def optional_address(text: str) -> str:
    """As address(), or nothing. Raises: ValueError."""
    return address(text) if text else text


def variable_name(text: str) -> str:
    """The name of an environment variable. Raises: ValueError."""
    if not text or "=" in text:
        raise ValueError("the name of a variable is not empty and has no `=`: correct it")
    return text


def command(value: object) -> object:
    """A command as a list of words; a text is one for a shell, as in AIGES. Raises: ValueError."""
    words = ["bash", "-c", value] if isinstance(value, str) and value.strip() else value
    if isinstance(words, list | tuple) and words and words[0]:  # an argument may be empty
        return words
    raise ValueError("write a list of words, as [python, -m, aiges.serve], or a text for a shell")


def _can_be_name(host: str) -> bool:
    try:
        host.encode("idna")  # what asks for its address does so, too
    except UnicodeError:
        return False
    return not any(letter.isspace() or letter in "[]/@" for letter in host)


def _check_ipv6(host: str) -> None:
    inside = host[1:-1] if host.endswith("]") else ""
    try:
        ipaddress.IPv6Address(inside)
    except ValueError:
        raise ValueError("what stands in brackets must be an IPv6 address, as [::1]:8001") from None
