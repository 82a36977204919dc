"""Client and AsyncClient against a running loader with the echo engine in Python."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from loader import errors
from loader.client import AsyncClient, Client, ConnectionFailedError

TIMEOUT_S = 30.0


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address) as client:
        yield client


def test_values_of_every_kind_come_back(client: Client) -> None:
    """Text, JSON, bytes and arrays survive the way through the engine."""
    array = np.arange(6, dtype="float32").reshape(2, 3)
    sent = {"text": "hello", "json": {"a": [1, None]}, "bytes": b"\0\1", "tensor": array}
    (result,) = client.exec("echo", sent, timeout_s=TIMEOUT_S)
    assert result["text"] == "hello"
    assert result["json"] == {"a": [1, None]}
    assert result["bytes"] == b"\0\1"
    assert np.array_equal(result["tensor"], array)


def test_a_session_gives_a_result_for_each_frame_and_a_final(client: Client) -> None:
    """Iterating ends the input; afterwards the counters are known."""
    with client.session("echo", timeout_s=TIMEOUT_S) as session:
        for number in range(100):
            session.write({"n": number})
        assert [result["n"] for result in session] == list(range(100))
    assert session.final is not None
    assert (session.final.reason, session.final.frames_in, session.final.frames_out) == ("finished", 100, 100)


def test_stream_reads_while_it_writes(client: Client) -> None:
    """More data than all windows together pass: writing alone would stand still."""
    with client.session("echo", timeout_s=TIMEOUT_S) as session:
        sizes = [len(r["x"]) for r in session.stream({"x": bytes(20_000)} for _ in range(300))]
    assert sizes == [20_000] * 300


def test_what_the_frames_raise_is_raised_and_cancels(client: Client) -> None:
    """A defect of the caller's own generator does not hang the session."""

    def frames() -> Iterator[dict[str, int]]:
        yield {"n": 1}
        raise KeyError("microphone")

    with client.session("echo", timeout_s=TIMEOUT_S) as session, pytest.raises(KeyError, match="microphone"):
        list(session.stream(frames()))


def test_fifty_sessions_share_one_channel(client: Client) -> None:
    """Sessions do not mix."""

    def run(number: int) -> list[int]:
        with client.session("echo", timeout_s=TIMEOUT_S) as session:
            for i in range(20):
                session.write({"n": number * 1000 + i})
            return [result["n"] for result in session]

    with ThreadPoolExecutor(50) as pool:
        for number, values in enumerate(pool.map(run, range(50))):
            assert values == [number * 1000 + i for i in range(20)]


def test_errors_have_their_class(client: Client) -> None:
    """A one-shot call and a session that is refused raise the class of the loader's code."""
    with pytest.raises(errors.UnknownEngineError, match="nobody"):
        client.exec("nobody", {}, timeout_s=TIMEOUT_S)
    with pytest.raises(errors.UnknownEngineError), client.session("nobody", timeout_s=TIMEOUT_S):
        pass
    with pytest.raises(errors.MessageTooLargeError):
        client.exec("echo", {"x": bytes(5 << 20)}, timeout_s=TIMEOUT_S)


def test_writing_after_end_is_refused(client: Client) -> None:
    """Before it reaches the loader."""
    with client.session("echo", timeout_s=TIMEOUT_S) as session:
        session.end()
        with pytest.raises(errors.ProtocolViolationError, match="ended"):
            session.write({"n": 1})


def test_a_deadline_ends_a_session_that_waits(client: Client) -> None:
    """The whole session has timeout_s, whatever it waits for."""
    with pytest.raises(errors.DeadlineExceededError), client.session("echo", timeout_s=0.5) as session:
        list(session.results())


def test_nobody_at_the_address_is_its_own_error() -> None:
    """The address is in the text."""
    with Client("127.0.0.1:1") as client, pytest.raises(ConnectionFailedError, match=r"127\.0\.0\.1:1"):
        client.describe(timeout_s=30)


def test_describe_names_the_engine(client: Client) -> None:
    """What the wrapper declares is readable."""
    engine, _ = client.describe(timeout_s=TIMEOUT_S)
    assert (engine.name, engine.state, engine.slots) == ("echo", "ready", 64)
    assert engine.has_exec
    assert engine.has_sessions


def test_the_asyncio_client_does_the_same(address: str) -> None:
    """One-shot, a session, ten sessions at a time, an error."""

    async def one(client: AsyncClient, number: int) -> list[int]:
        async with client.session("echo", timeout_s=TIMEOUT_S) as session:
            frames = ({"n": number + i} for i in range(10))
            return [result["n"] async for result in session.stream(frames)]

    async def run() -> None:
        async with AsyncClient(address) as client:
            (result,) = await client.exec("echo", {"text": "hello"}, timeout_s=TIMEOUT_S)
            assert result["text"] == "hello"
            async with client.session("echo", timeout_s=TIMEOUT_S) as session:
                await session.write({"n": 1})
                assert [r["n"] async for r in session] == [1]
            assert session.final is not None
            assert session.final.reason == "finished"
            all_values = await asyncio.gather(*(one(client, 100 * n) for n in range(10)))
            assert all_values == [[100 * n + i for i in range(10)] for n in range(10)]
            with pytest.raises(errors.UnknownEngineError):
                await client.exec("nobody", {}, timeout_s=TIMEOUT_S)

    asyncio.run(run())
