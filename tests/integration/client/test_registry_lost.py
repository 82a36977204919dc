"""A client whose registry is a real Consul that dies, hangs and forgets: opens go on, and changes are seen again."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from consul_agent import ConsulAgent
from fleet import TIMEOUT_S, Fleet, echoes, held, until

from loader.client import Client

LEASE_S = 12
SEEN_S = 60  # a blocking query that hangs, a lease that ends


@pytest.fixture
def consul(start_consul: Callable[..., ConsulAgent]) -> ConsulAgent:
    return start_consul()


@pytest.fixture
def fleet(consul: ConsulAgent, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(tmp_path, consul.url("speech")) as fleet:
        for name in "abc":
            fleet.add(name)
        yield fleet.ready()


@pytest.fixture
def client(fleet: Fleet) -> Iterator[Client]:
    with Client(fleet.registry) as client:
        yield client


def serving(fleet: Fleet, client: Client, count: int = 12) -> set[str]:
    """The nodes that take sessions beside each other; every open must succeed."""
    with held(client.session("echo", timeout_s=TIMEOUT_S) for _ in range(count)) as sessions:
        assert all(echoes(session, "hello") for session in sessions)
        return {fleet.name_of(session) for session in sessions}


def test_nodes_are_found_in_consul(fleet: Fleet, client: Client) -> None:
    assert serving(fleet, client) == {"a", "b", "c"}


def test_consul_may_be_killed_and_forget_everything(
    consul: ConsulAgent, fleet: Fleet, client: Client
) -> None:
    """Without a registry the nodes known last are used; from an empty one they are, until they announce again."""
    assert serving(fleet, client) == {"a", "b", "c"}
    consul.kill()
    for _ in range(5):
        assert serving(fleet, client) == {"a", "b", "c"}
    consul.restart(is_empty=True)
    listed = False
    for _ in range(200):
        serving(fleet, client)
        if not listed:
            listed = {one.node for one in client.nodes} == {"a", "b", "c"}
        if listed:
            break
    fleet.wait_listed("a", "b", "c")
    until(lambda: serving(fleet, client) == {"a", "b", "c"}, "all nodes serve again", SEEN_S)


def test_a_node_that_dies_while_consul_is_gone_is_passed_over(
    consul: ConsulAgent, fleet: Fleet, client: Client
) -> None:
    """The registry cannot tell; the refused connection does."""
    assert serving(fleet, client) == {"a", "b", "c"}
    consul.kill()
    fleet.nodes["b"].kill()
    for _ in range(5):
        assert serving(fleet, client) == {"a", "c"}
    fleet.nodes["b"].start().wait_ready()
    consul.restart()
    until(lambda: "b" in serving(fleet, client), "the new process is found", SEEN_S)


def test_consul_may_hang_longer_than_its_leases(consul: ConsulAgent, fleet: Fleet, client: Client) -> None:
    """SIGSTOP until the client has given the registry up, then SIGCONT: every lease has run out, no open fails."""
    assert serving(fleet, client) == {"a", "b", "c"}
    consul.pause()
    ended_s = time.monotonic() + LEASE_S
    try:
        until(
            lambda: not client.is_registry_reachable and time.monotonic() > ended_s,
            "the client has noticed, and leases have run out",
            SEEN_S,
        )
        assert serving(fleet, client) == {"a", "b", "c"}
    finally:
        consul.resume()
    until(lambda: client.is_registry_reachable, "the registry is back", SEEN_S)
    for _ in range(10):
        serving(fleet, client)
    until(lambda: serving(fleet, client) == {"a", "b", "c"}, "all nodes serve again", SEEN_S)


def test_a_drain_reaches_clients_through_consul(fleet: Fleet, client: Client) -> None:
    """The withdrawal is seen by the blocking query."""
    assert serving(fleet, client) == {"a", "b", "c"}
    fleet.nodes["a"].drain()
    until(lambda: {one.node for one in client.nodes} == {"b", "c"}, "the withdrawal is seen")
    assert serving(fleet, client) == {"b", "c"}
