"""A client with a registry against three real loaders: who gets a session, and what refusals, drains and deaths do."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from consul_agent import make_certificates
from fleet import NOBODY, TIMEOUT_S, Fleet, announce, echo, echoes, entries_of, held, until

from loader import errors
from loader.client import AsyncClient, Client, ConnectionFailedError, Target
from loader.registry import EngineEntry, NodeEntry

ALL = 14


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Three unequal nodes in two zones."""
    folder = tmp_path_factory.mktemp("fleet")
    with Fleet(folder, f"file:{folder}/registry") as fleet:
        fleet.add("a", slots=2, zone="z1")
        fleet.add("b", slots=4, zone="z1")
        fleet.add("c", slots=8, zone="z2")
        yield fleet.ready()


@pytest.fixture
def client(fleet: Fleet) -> Iterator[Client]:
    until(lambda: free(fleet.registry) == ALL, "every slot is free again")
    with Client(fleet.registry) as client:
        yield client


def free(registry: str) -> int:
    return sum(engine.slots_free for entry in entries_of(registry) for engine in entry.engines)


def opened(fleet: Fleet, client: Client, count: int, **which: Any) -> Counter[str]:
    """Opens sessions beside each other; who got them."""
    with held(client.session("echo", timeout_s=TIMEOUT_S, **which) for _ in range(count)) as sessions:
        return Counter(fleet.name_of(session) for session in sessions)


def listed(folder: Path, *entries: NodeEntry) -> str:
    """A registry that lists what the test says."""
    announce(f"file:{folder}", *entries)
    return f"file:{folder}"


def claim(node: str, address: str, slots_free: int = 1_000, **keys: Any) -> NodeEntry:
    return NodeEntry(
        node, address, engines=(EngineEntry("echo", "1", slots=1_000, slots_free=slots_free),), **keys
    )


# ---- the choice


def test_sessions_fill_unequal_nodes_without_one_that_waits(fleet: Fleet, client: Client) -> None:
    """As many sessions as there are slots are all admitted at once, none by a second node."""
    assert opened(fleet, client, ALL) == {"a": 2, "b": 4, "c": 8}


def test_two_clients_share_the_nodes_by_what_is_reported(fleet: Fleet, client: Client) -> None:
    """What one client holds the other learns from the registry."""
    with held(client.session("echo", timeout_s=TIMEOUT_S) for _ in range(10)):
        until(lambda: free(fleet.registry) == ALL - 10, "the load is told")
        with Client(fleet.registry) as other:
            assert sum(opened(fleet, other, 4).values()) == 4


def test_the_own_zone_comes_first_and_its_overflow_goes_elsewhere(fleet: Fleet, client: Client) -> None:
    with Client(fleet.registry, zone="z1") as near:
        assert opened(fleet, near, 8) == {"a": 2, "b": 4, "c": 2}


def test_a_session_stays_on_its_node(fleet: Fleet, client: Client) -> None:
    with client.session("echo", timeout_s=TIMEOUT_S) as session:
        address = session.address
        assert all(echoes(session, str(number)) for number in range(20))
        assert session.address == address
        assert list(session) == []
    assert session.final is not None
    assert session.final.reason == "finished"


def test_calls_of_every_kind_are_balanced(fleet: Fleet, client: Client) -> None:
    """exec, exec_stream and describe find a node, too."""
    for number in range(20):
        assert client.exec("echo", {"n": number}, timeout_s=TIMEOUT_S)[0]["n"] == number
        assert [one["n"] for one in client.exec_stream("echo", {"n": number}, timeout_s=TIMEOUT_S)] == [
            number
        ]
    assert [one.name for one in client.describe(timeout_s=TIMEOUT_S)] == ["echo"]


def test_the_asyncio_client_does_the_same(fleet: Fleet, client: Client) -> None:
    async def run() -> Counter[str]:
        async with AsyncClient(fleet.registry) as client:
            assert (await client.exec("echo", {"n": 1}, timeout_s=TIMEOUT_S))[0]["n"] == 1
            assert [one["n"] async for one in client.exec_stream("echo", {"n": 2})] == [2]
            sessions = [client.session("echo", timeout_s=TIMEOUT_S) for _ in range(ALL)]
            for session in sessions:
                await session.__aenter__()
            names = Counter(fleet.name_of(session) for session in sessions)
            for session in sessions:
                await session.__aexit__()
            return names

    assert asyncio.run(run()) == {"a": 2, "b": 4, "c": 8}


def test_close_ends_the_thread(fleet: Fleet) -> None:
    """A client owns one thread, from the first moment, and ends it."""
    with Client(fleet.registry):
        assert [one.name for one in threading.enumerate()].count("loader-client-registry") == 1
    assert "loader-client-registry" not in [one.name for one in threading.enumerate()]
    client = Client(fleet.registry)
    client.close()
    client.close()
    with pytest.raises(ValueError, match="closed"):
        client.exec("echo", {"n": 1})


# ---- which engine


def test_versions_labels_and_capabilities_lead_to_the_nodes_that_have_them(tmp_path: Path) -> None:
    """A caller says what it needs, and neither the client nor the node gives it anything else."""
    both = {"type": "asr", "language": "en"}
    with Fleet(tmp_path, f"file:{tmp_path}/registry") as fleet:
        fleet.add("old", {"echo": echo(version="1", capabilities={**both, "language": "de"})})
        beta = {"weight": 100, "labels": {"group": "beta"}}
        versions = {"1": {}, "2": beta, "3": {"weight": 0}}
        fleet.add("new", {"echo": echo(versions=versions, capabilities=both), "other": echo()})
        fleet.ready()
        with Client(fleet.registry) as client:

            def serving(target: str | Target = "", **which: Any) -> set[tuple[str, str]]:
                found = set()
                for _ in range(6):
                    with client.session(target, timeout_s=TIMEOUT_S, **which) as session:
                        found.add((fleet.name_of(session), session.opened.engine_version))
                return found

            assert serving("echo", version="3") == {("new", "3")}
            assert serving(Target("echo", "2")) == {("new", "2")}
            assert serving("echo", labels={"group": "beta", "more": "x"}) == {("new", "2")}
            assert serving(selector={"type": "asr", "language": "de"}) == {("old", "1")}
            assert serving(selector=both) == {("new", "1")}
            assert serving("echo") <= {("old", "1"), ("new", "1")}
            assert client.exec(items={"n": 1}, selector=both, timeout_s=TIMEOUT_S)[0]["n"] == 1
            with pytest.raises(
                errors.UnknownEngineError, match=r"none of 2 nodes announces echo with type=tts"
            ):
                client.exec("echo", {"n": 1}, selector={"type": "tts"}, timeout_s=0.3)


# ---- refusals


def test_a_refused_open_and_a_refused_call_go_to_another_node(
    fleet: Fleet, client: Client, tmp_path: Path
) -> None:
    """A node whose slots are taken, whatever the registry says of it, costs time and no error."""
    full, other = fleet.nodes["a"], fleet.nodes["c"]
    registry = listed(tmp_path, claim("full", full.address), claim("other", other.address, 1))
    with (
        Client(full.address) as direct,
        held(direct.session("echo", timeout_s=TIMEOUT_S) for _ in range(2)),
        Client(registry) as balanced,
    ):
        assert opened(fleet, balanced, 4) == {"c": 4}
        assert balanced.exec("echo", {"n": 1}, timeout_s=TIMEOUT_S)[0]["n"] == 1


def test_a_node_that_refuses_connections_is_passed_over(fleet: Fleet, client: Client, tmp_path: Path) -> None:
    registry = listed(tmp_path, claim("dead", NOBODY), claim("living", fleet.nodes["c"].address, 1))
    with Client(registry) as balanced:
        assert opened(fleet, balanced, 4) == {"c": 4}
        assert balanced.exec("echo", {"n": 1}, timeout_s=TIMEOUT_S)[0]["n"] == 1


def test_where_nobody_answers_the_last_refusal_is_told_after_three_nodes(tmp_path: Path) -> None:
    """The number of nodes asked for one call is bounded."""
    registry = listed(tmp_path, *(claim(f"dead{number}", f"127.0.0.1:{number}") for number in range(1, 7)))
    with Client(registry) as balanced, pytest.raises(ConnectionFailedError, match="failed to connect"):
        balanced.exec("echo", {"n": 1}, timeout_s=TIMEOUT_S)


def test_the_deadline_holds_over_all_nodes(fleet: Fleet, client: Client, tmp_path: Path) -> None:
    """Nodes that let a call wait do not each get the whole time."""
    full = fleet.nodes["a"]
    registry = listed(tmp_path, *(claim(f"same{number}", full.address) for number in range(3)))
    with (
        Client(full.address) as direct,
        held(direct.session("echo", timeout_s=TIMEOUT_S) for _ in range(2)),
        Client(registry) as balanced,
    ):
        began_s = time.monotonic()
        with pytest.raises((errors.DeadlineExceededError, errors.NoFreeSlotError)):
            balanced.exec("echo", {"n": 1}, timeout_s=0.3)
        assert time.monotonic() - began_s < 15


def test_the_callers_mistake_is_not_repeated_elsewhere(fleet: Fleet, client: Client) -> None:
    """What no node can do is said by the first."""
    with pytest.raises(errors.MessageTooLargeError):
        client.exec("echo", {"x": bytes(5 << 20)}, timeout_s=TIMEOUT_S)


def test_a_registry_without_nodes_says_so(tmp_path: Path) -> None:
    with (
        Client(f"file:{tmp_path}") as client,
        pytest.raises(errors.EngineUnavailableError, match="no node is announced"),
    ):
        client.exec("echo", {"n": 1}, timeout_s=TIMEOUT_S)


def test_a_registry_out_of_reach_says_so() -> None:
    with (
        Client(f"consul://{NOBODY}/speech") as client,
        pytest.raises(errors.RegistryUnreachableError, match="no node is known from before"),
    ):
        client.exec("echo", {"n": 1}, timeout_s=5)


def test_a_call_waits_for_the_first_node(fleet: Fleet, client: Client, tmp_path: Path) -> None:
    """A service that is just starting is found."""
    with Client(f"file:{tmp_path}") as early:
        results: list[Any] = []
        thread = threading.Thread(
            target=lambda: results.extend(early.exec("echo", {"n": 1}, timeout_s=TIMEOUT_S))
        )
        thread.start()
        listed(tmp_path, claim("late", fleet.nodes["c"].address))
        thread.join(TIMEOUT_S)
        assert [one["n"] for one in results] == [1]


# ---- drain and death


def test_a_drain_is_honoured_at_once_and_its_sessions_go_on(fleet: Fleet, client: Client) -> None:
    """From the answer to Drain on nothing new reaches the node, and nobody sees an error; after Undrain it serves."""
    with held(client.session("echo", timeout_s=TIMEOUT_S) for _ in range(4)) as sessions:
        drained = fleet.nodes["c"]
        there = [session for session in sessions if fleet.name_of(session) == "c"]
        assert there
        drained.drain()
        try:
            until(lambda: len(entries_of(fleet.registry)) == 2, "the node is withdrawn")
            assert "c" not in opened(fleet, client, 2)
            assert all(echoes(session, "still here") for session in there)
        finally:
            drained.undrain()
    fleet.wait_listed("a", "b", "c")
    until(lambda: "c" in opened(fleet, client, 6), "it gets sessions again")


def test_a_drain_between_two_looks_at_the_registry_costs_no_open(
    fleet: Fleet, client: Client, tmp_path: Path
) -> None:
    """A node that still is listed while it drains refuses, and another one is asked."""
    draining, other = fleet.nodes["b"], fleet.nodes["c"]
    registry = listed(tmp_path, claim("draining", draining.address), claim("other", other.address, 1))
    with Client(registry) as balanced:
        draining.drain()
        try:
            assert opened(fleet, balanced, 6) == {"c": 6}
        finally:
            draining.undrain()
    fleet.wait_listed("a", "b", "c")


def test_the_death_of_a_node_ends_its_sessions_and_no_others(tmp_path: Path) -> None:
    """SIGKILL: sessions elsewhere go on, those there are told, and every later open succeeds."""
    with Fleet(tmp_path, f"file:{tmp_path}/registry") as fleet:
        for name in "abc":
            fleet.add(name)
        fleet.ready()
        with (
            Client(fleet.registry) as client,
            held(client.session("echo", timeout_s=TIMEOUT_S) for _ in range(12)) as sessions,
        ):
            by_node = {name: [one for one in sessions if fleet.name_of(one) == name] for name in "abc"}
            assert all(by_node.values()), "each node has sessions"
            fleet.nodes["b"].kill()
            for _ in range(6):
                assert "b" not in opened(fleet, client, 2)
            assert all(echoes(session, "alive") for name in "ac" for session in by_node[name])
            for session in by_node["b"]:
                with pytest.raises(ConnectionFailedError):
                    list(session)
            fleet.nodes["b"].start().wait_ready()
            until(lambda: "b" in opened(fleet, client, 6), "the new process gets sessions", 30)


def test_a_node_that_hangs_is_given_up_and_an_idle_session_is_not(tmp_path: Path) -> None:
    """SIGSTOP: what was asked of it unanswered is asked elsewhere; a session without traffic outlives the pings."""
    with Fleet(tmp_path, f"file:{tmp_path}/registry") as fleet:
        fleet.add("a")
        fleet.add("b")
        fleet.ready()
        one, other = fleet.nodes["a"], fleet.nodes["b"]
        calm_one = listed(tmp_path / "calm", claim("a", one.address))
        both = listed(tmp_path / "both", claim("a", one.address, 1), claim("b", other.address))
        with Client(calm_one) as calm, calm.session("echo") as idle, Client(both) as client:
            assert opened(fleet, client, 1) == {"b": 1}
            other.pause()
            try:
                assert opened(fleet, client, 1) == {"a": 1}
            finally:
                other.resume()
            assert echoes(idle, "still here")


def test_nodes_with_tls_are_spoken_to_with_tls(tmp_path: Path) -> None:
    """The registry says which node has TLS; the client's authority must know it."""
    made = make_certificates(tmp_path / "certificates")
    tls = {"certificate": str(made.certificate), "key": str(made.key)}
    with Fleet(tmp_path, f"file:{tmp_path}/registry") as fleet:
        fleet.add("plain")
        fleet.add("tls", tls=tls)
        fleet.ready()
        credentials = grpc.ssl_channel_credentials(made.ca.read_bytes())
        with Client(fleet.registry, credentials=credentials) as client:
            assert opened(fleet, client, 6) == {"tls": 6}


def test_weight_0_of_a_node_gets_nothing(fleet: Fleet, client: Client, tmp_path: Path) -> None:
    address = fleet.nodes["c"].address
    entry = claim("weightless", NOBODY, weight=0)
    registry = listed(tmp_path, entry, replace(claim("other", address), engines=entry.engines))
    with Client(registry) as balanced:
        assert opened(fleet, balanced, 6) == {"c": 6}
