"""The choice of a node: who may get a call, who gets how much, and what refusals and reports do to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.client.balancer import may_call_elsewhere, may_open_elsewhere
from loader.client.discovery import FORGET_S, Node, Nodes, Pick
from loader.client.failures import ConnectionFailedError
from loader.client.messages import Target
from loader.errors import (
    BY_CODE,
    DrainingError,
    EngineDiedError,
    InvalidArgumentError,
    LoaderError,
    NoFreeSlotError,
)
from loader.registry import EngineEntry, NodeEntry

ASR = Target("asr")
NONE: dict[str, str] = {}


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def engine(
    free: int = 10,
    slots: int = 10,
    *,
    name: str = "asr",
    version: str = "1",
    weight: int = 100,
    capabilities: Mapping[str, str] = NONE,
    labels: Mapping[str, str] = NONE,
) -> EngineEntry:
    return EngineEntry(name, version, weight, slots, free, capabilities, labels)


def node(name: str, *engines: EngineEntry, weight: int = 100, zone: str = "", tls: bool = False) -> NodeEntry:
    return NodeEntry(name, f"{name}:1", zone, weight, tls, engines or (engine(),))


def made(*entries: NodeEntry, zone: str = "", needs_tls: bool = False, clock: Clock | None = None) -> Nodes:
    nodes = Nodes(zone, needs_tls=needs_tls, random=Random(1), clock=clock or Clock())
    nodes.update(entries)
    return nodes


def chosen(nodes: Nodes, count: int = 300, target: Target = ASR) -> Counter[str]:
    """How often each node was chosen, with each call over before the next."""
    found: Counter[str] = Counter()
    for _ in range(count):
        pick = nodes.pick(target)
        if pick is not None:
            found[pick.node.entry.node] += 1
            nodes.release(pick)
    return found


def picked(nodes: Nodes, name: str, target: Target = ASR) -> Pick:
    """A pick of that node."""
    others: list[Node] = []
    while (pick := nodes.pick(target, others)) is not None:
        if pick.node.entry.node == name:
            return pick
        nodes.release(pick)
        others.append(pick.node)
    raise AssertionError(f"{name} is not to be had")


def test_a_node_with_free_slots_comes_before_a_full_one() -> None:
    assert chosen(made(node("full", engine(0)), node("free", engine(1)))) == {"free": 300}


def test_more_free_slots_get_more_calls() -> None:
    found = chosen(made(node("small", engine(2)), node("large", engine(8))))
    assert found["large"] > 4 * found["small"] > 0


def test_open_calls_of_this_client_count_until_the_next_report() -> None:
    """Ten calls at once find ten slots, whoever has them, without any report in between."""
    nodes = made(node("a", engine(3)), node("b", engine(7)))
    picks = [nodes.pick(ASR) for _ in range(10)]
    assert Counter(pick.node.entry.node for pick in picks if pick) == {"a": 3, "b": 7}


def test_a_report_counts_what_was_open_before_it() -> None:
    """The slots of calls that the report has seen are not subtracted a second time."""
    nodes = made(node("a", engine(10)))
    held = [nodes.pick(ASR) for _ in range(4)]
    nodes.update([node("a", engine(6)), node("b", engine(1))])
    assert sum(nodes.pick(ASR).node.entry.node == "a" for _ in range(7)) == 6  # type: ignore[union-attr]
    assert all(held)


def test_calls_that_ended_since_the_report_give_their_slots_back() -> None:
    nodes = made(node("a", engine(1, 2)))
    pick = nodes.pick(ASR)
    assert pick is not None
    nodes.update([node("a", engine(0, 2)), node("b", engine(0, 2))])
    nodes.release(pick)
    assert chosen(nodes) == {"a": 300}


def test_weights_of_nodes_share_equal_nodes() -> None:
    found = chosen(made(node("heavy", weight=100), node("light", weight=25)), 2_000)
    assert 0.10 < found["light"] / 2_000 < 0.30


def test_weight_0_never_gets_a_call() -> None:
    assert chosen(made(node("no", weight=0), node("none", engine(weight=0)))) == {}
    assert chosen(made(node("no", weight=0), node("full", engine(0)))) == {"full": 300}


def test_a_pinned_version_is_found_whatever_its_weight() -> None:
    nodes = made(node("a", engine(version="1")), node("b", engine(version="2", weight=0)))
    assert chosen(nodes, target=Target("asr", "2")) == {"b": 300}
    assert chosen(nodes, target=Target("asr", "3")) == {}


def test_versions_count_by_their_share() -> None:
    """The version that gets nearly all sessions is full: its node is worse than one with some room."""
    nodes = made(
        node("a", engine(0, version="1", weight=99), engine(8, version="2", weight=1)),
        node("b", engine(4, version="1", weight=99), engine(0, version="2", weight=1)),
    )
    assert chosen(nodes)["b"] > 290


def test_labels_choose_as_loaders_do() -> None:
    """A version with labels is for sessions that carry all of them, and for these before the others."""
    nodes = made(node("plain"), node("beta", engine(labels={"group": "beta"})))
    assert chosen(nodes) == {"plain": 300}
    assert chosen(nodes, target=Target("asr", labels={"group": "beta", "x": "y"})) == {"beta": 300}
    assert chosen(nodes, target=Target("asr", labels={"group": "alpha"})) == {"plain": 300}


def test_a_selector_is_a_subset_of_the_capabilities() -> None:
    nodes = made(
        node("en", engine(capabilities={"type": "asr", "language": "en"})),
        node("de", engine(capabilities={"type": "asr", "language": "de"})),
        node("tts", engine(name="tts", capabilities={"type": "tts", "language": "en"})),
    )
    assert chosen(nodes, target=Target(selector={"type": "asr", "language": "en"})) == {"en": 300}
    assert set(chosen(nodes, target=Target(selector={"language": "en"}))) == {"en", "tts"}
    assert chosen(nodes, target=Target("asr", selector={"type": "tts"})) == {}


def test_the_own_zone_is_preferred_while_it_has_room() -> None:
    near, far = node("near", zone="z1"), node("far", engine(100, 100), zone="z2")
    assert chosen(made(near, far, zone="z1")) == {"near": 300}
    assert chosen(made(node("near", engine(0), zone="z1"), far, zone="z1")) == {"far": 300}
    assert chosen(made(node("near", engine(0), zone="z1"), node("far", engine(0), zone="z2"), zone="z1")) == {
        "near": 300
    }


def test_credentials_mean_encryption() -> None:
    """A client that was given credentials never speaks to a node without TLS."""
    assert chosen(made(node("plain"), node("tls", tls=True), needs_tls=True)) == {"tls": 300}


def test_a_withdrawn_node_gets_nothing_while_another_is_listed() -> None:
    nodes = made(node("a"), node("b"))
    nodes.update([node("b", engine(0))])
    assert chosen(nodes) == {"b": 300}
    assert [entry.node for entry in nodes.known] == ["b"]


def test_an_empty_registry_leaves_the_nodes_known_last_for_a_while() -> None:
    """A registry that was restarted without its memory lists nobody until the nodes announce themselves again."""
    clock = Clock()
    nodes = made(node("a"), clock=clock)
    assert nodes.update([]) == []
    assert chosen(nodes) == {"a": 300}
    clock.now_s += FORGET_S + 1
    assert [one.entry.node for one in nodes.update([])] == ["a"]
    assert chosen(nodes) == {}


def test_a_node_is_forgotten_only_when_its_last_call_is_over() -> None:
    nodes = made(node("a"))
    pick = nodes.pick(ASR)
    assert pick is not None
    moved = NodeEntry("a", "elsewhere:1", engines=(engine(),))
    assert nodes.update([moved]) == []
    nodes.release(pick)
    assert nodes.update([moved]) == [pick.node]


def test_a_node_that_refuses_connections_is_asked_last_and_ever_more_seldom() -> None:
    clock = Clock()
    nodes = made(node("dead", engine(100, 100)), node("full", engine(0)), clock=clock)
    waits = []
    for _ in range(3):
        nodes.note(picked(nodes, "dead"), ConnectionFailedError("failed to connect"))
        assert chosen(nodes, 50) == {"full": 50}
        began_s = clock.now_s
        while chosen(nodes, 1) == {"full": 1}:
            clock.now_s += 0.05
        waits.append(clock.now_s - began_s)
    assert 0.3 < waits[0] < waits[1] < waits[2] < 5
    nodes.note(picked(nodes, "dead"), None)
    assert chosen(nodes, 50)["dead"] == 50


def test_a_node_that_drains_is_set_aside_before_the_registry_says_so() -> None:
    nodes = made(node("draining", engine(100, 100)), node("other", engine(1)))
    nodes.note(picked(nodes, "draining"), DrainingError("draining"))
    assert chosen(nodes, 50) == {"other": 50}


def test_a_refusal_for_want_of_a_slot_counts_as_full_for_a_second() -> None:
    clock = Clock()
    nodes = made(node("a", engine(100, 100)), node("b", engine(1)), clock=clock)
    nodes.note(picked(nodes, "a"), NoFreeSlotError("full"))
    assert chosen(nodes, 50) == {"b": 50}
    clock.now_s += 1.1
    assert chosen(nodes, 50)["a"] > 40


def test_the_callers_own_mistakes_say_nothing_of_the_node() -> None:
    nodes = made(node("a", engine(100, 100)), node("b", engine(1)))
    nodes.note(picked(nodes, "a"), InvalidArgumentError("wrong"))
    assert chosen(nodes, 50)["a"] > 40


def test_what_was_tried_is_not_chosen_again() -> None:
    nodes = made(node("a"), node("b"))
    tried: list[Node] = []
    for _ in range(2):
        pick = nodes.pick(ASR, tried)
        assert pick is not None
        tried.append(pick.node)
    assert {one.entry.node for one in tried} == {"a", "b"}
    assert nodes.pick(ASR, tried) is None


entries = st.lists(
    st.builds(
        node,
        st.sampled_from("abcdef"),
        st.builds(
            engine,
            st.integers(0, 4),
            st.integers(1, 4),
            weight=st.sampled_from([0, 1, 100]),
            version=st.sampled_from(["1", "2"]),
        ),
        weight=st.sampled_from([0, 1, 100]),
        zone=st.sampled_from(["", "z1", "z2"]),
    ),
    max_size=6,
    unique_by=lambda entry: entry.node,
)
refusals = st.sampled_from([None, ConnectionFailedError("x"), DrainingError("x"), NoFreeSlotError("x")])


@given(st.lists(st.tuples(entries, st.lists(st.tuples(refusals, st.booleans()), max_size=8)), max_size=6))
def test_whatever_happens_there_is_a_node_as_long_as_one_may_serve(
    story: list[tuple[list[NodeEntry], list[tuple[LoaderError | None, bool]]]],
) -> None:
    """No report, refusal or release leaves a target without a node, or gives it one that must not have it."""
    nodes = made(zone="z1")
    held: list[Pick] = []
    for listed, calls in story:
        nodes.update(listed)
        able = {one.node for one in listed if one.weight and any(kind.weight for kind in one.engines)}
        for answer, is_over in calls:
            pick = nodes.pick(ASR)
            assert pick is not None or not able
            if pick is None:
                continue
            assert pick.node.entry.weight > 0
            assert any(one.weight > 0 for one in pick.node.entry.engines)
            nodes.note(pick, answer)
            held.append(pick)
            if is_over:
                nodes.release(held.pop(0))
    for pick in held:
        nodes.release(pick)
    assert all(not pick.node.uses and not any(pick.node.own.values()) for pick in held)


@given(st.lists(st.integers(1, 8), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_one_client_fills_every_slot_before_a_call_waits(frees: list[int], random: Random) -> None:
    """As many calls as there are free slots find one each, in any order of draws."""
    nodes = Nodes(random=random)
    nodes.update(node(str(number), engine(free, 8)) for number, free in enumerate(frees))
    picks = [nodes.pick(ASR) for _ in range(sum(frees))]
    taken = Counter(pick.node.entry.node for pick in picks if pick)
    assert taken == {str(number): free for number, free in enumerate(frees)}


@pytest.mark.parametrize("kind", BY_CODE.values())
def test_a_one_shot_call_is_repeated_only_where_a_session_would_be(kind: type[LoaderError]) -> None:
    """What may have reached an engine is never sent twice."""
    error = kind("x")
    assert may_open_elsewhere(error) or not may_call_elsewhere(error)


def test_a_broken_connection_repeats_opens_and_no_calls() -> None:
    broken, refused = (
        ConnectionFailedError("Socket closed"),
        ConnectionFailedError("failed to connect to all"),
    )
    assert may_open_elsewhere(broken) and may_open_elsewhere(refused)
    assert may_call_elsewhere(refused) and not may_call_elsewhere(broken)
    assert not may_call_elsewhere(EngineDiedError("x"))
