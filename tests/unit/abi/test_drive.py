"""The echo wrappers driven through the C ABI alone: cffi plays the host, none of our C++ is near."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from abi_driver import CallFailed, Driver


def test_table_states_its_version(echo: Path) -> None:
    """The frozen prefix says which ABI, and how much of the table there is."""
    with Driver(echo) as engine:
        assert (engine.table.abi_major, engine.table.abi_minor) == (1, 1)
        assert engine.table.struct_size == engine.ffi.sizeof("loader_wrapper_t")
        assert engine.ffi.string(engine.table.name).decode() == echo.parent.name.rstrip("0")
        assert engine.describe()["properties"]["non_blocking"] is True


def test_exec_gives_back_the_request(echo: Path) -> None:
    """One request, one result with the same items."""
    with Driver(echo) as engine:
        [result] = engine.exec({"a": b"\0\1\2", "b": "grüße".encode(), "empty": b""})
    assert result["a"] == b"\0\1\2"
    assert result["b"].decode() == "grüße"
    assert result["empty"] == b""
    assert result.position == -1


def test_session_gives_back_each_frame_in_order(echo: Path) -> None:
    """Frames come back one for one, and two sessions do not mix."""
    with Driver(echo, slots=2) as engine, engine.session() as one, engine.session() as other:
        for number in range(5):
            assert [r["n"] for r in one.write({"n": b"one %d" % number})] == [b"one %d" % number]
            assert [r["n"] for r in other.write({"n": b"other %d" % number})] == [b"other %d" % number]


def test_large_payloads_pass_unchanged(echo: Path) -> None:
    """A payload of megabytes is not cut, whatever it holds."""
    data = bytes(range(256)) * 8192
    with Driver(echo) as engine:
        assert engine.exec({"data": data})[0]["data"] == data


def test_a_failed_entry_reports_status_and_text(
    tmp_path: Path, compiler: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """An exception in a C++ wrapper leaves as a status and a text, cut to the caller's room."""
    source = tmp_path / "wrapper.cpp"
    source.write_text(
        """
#include "loader/wrapper.hpp"
class Thrower : public loader::Wrapper {
 public:
  loader_status_t exec(loader::Call&, const loader::Open&, loader::Frame& request) override {
    if (request.find("own")) throw loader::Error(42, "mine");
    if (request.find("standard")) throw std::runtime_error(std::string(100000, 'x'));
    if (request.find("odd")) throw 7;
    request.at("absent");
    return LOADER_OK;
  }
};
LOADER_WRAPPER(Thrower, "thrower", "1")
"""
    )
    library = tmp_path / "wrapper.so"
    built = compiler("c++17", source, "-fPIC", "-shared", "-include", "stdexcept", "-o", str(library))
    assert built.returncode == 0, built.stderr
    with Driver(library) as engine:
        assert failure(engine, "own") == (42, "mine")
        assert failure(engine, "standard") == (-8, "x" * 4096)
        assert failure(engine, "odd")[0] == -8
        assert failure(engine, "nothing") == (-7, "the frame has no item 'absent': send one under that key")
        assert not engine.table.create


@pytest.mark.parametrize("minor", [0, 1])
def test_a_session_fails_where_the_host_can_be_told(
    tmp_path: Path, compiler: Callable[..., subprocess.CompletedProcess[str]], minor: int
) -> None:
    """Call::fail reaches a host of 1.1; one of 1.0 has no such entry, and the wrapper is told that."""
    source = tmp_path / "wrapper.cpp"
    source.write_text(
        """
#include "loader/wrapper.hpp"
class Device : public loader::Session {
 public:
  loader_status_t write(loader::Call& call, loader::Frame&) override {
    const std::string status = std::to_string(call.fail(42, "the device is gone"));
    call.emit(loader::Result().text("status", status));
    return LOADER_OK;
  }
};
class Wrapper : public loader::Wrapper {
 public:
  std::unique_ptr<loader::Session> create(loader::Call&, const loader::Open&) override {
    return std::make_unique<Device>();
  }
};
LOADER_WRAPPER(Wrapper, "device", "1")
"""
    )
    library = tmp_path / "wrapper.so"
    built = compiler("c++17", source, "-fPIC", "-shared", "-o", str(library))
    assert built.returncode == 0, built.stderr
    with Driver(library, abi_minor=minor) as engine, engine.session() as session:
        [result] = session.write({"in": b""})
        told = [(one.status, one.text) for one in engine.failures]
    assert result["status"] == (b"0" if minor else b"-5")
    assert told == ([(42, "the device is gone")] if minor else [])


def failure(engine: Driver, key: str) -> tuple[int, str]:
    with pytest.raises(CallFailed) as caught:
        engine.exec({key: b""})
    return caught.value.status, caught.value.text
