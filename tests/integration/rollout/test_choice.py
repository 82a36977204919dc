"""Which version a session gets: exact shares, labels, pins and capabilities, over one shard and over several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from running import Running
from watching import change, version_of

Start = Callable[..., Running]
Write = Callable[..., Path]


def config(wrapper: Path, versions: dict[str, str], shards: int = 1) -> str:
    text = f"data_plane_threads: {shards}\nengines:\n  echo:\n    wrapper: {wrapper}\n    versions:\n"
    for version, keys in versions.items():
        text += f"      '{version}': {{config: {{says: '{version}'}}, {keys}}}\n"
    return text


@pytest.mark.parametrize("shards", [1, 3])
def test_weights_are_exact_shares(shards: int, start: Start, wrapper: Write) -> None:
    """By session, on every shard by itself: one connection is one shard, so its shares are exact."""
    running = start(config(wrapper(), {"1": "weight: 95", "2": "weight: 5"}, shards))
    shares = Counter(version_of(running, engine="echo") for _ in range(100))
    assert shares == {"1": 95, "2": 5}
    with grpc.insecure_channel(running.ready["grpc"], [("grpc.use_local_subchannel_pool", 1)]) as other:
        from loader.v1 import loader_pb2_grpc

        running.engine = loader_pb2_grpc.LoaderServiceStub(other)
        assert Counter(version_of(running, engine="echo") for _ in range(20)) == {"1": 19, "2": 1}


def test_weights_change_while_it_runs(start: Start, wrapper: Write) -> None:
    """No process is started or ended for it; weight 0 gets nobody but those who ask for it."""
    running = start(config(wrapper(), {"1": "weight: 100", "2": "weight: 0"}))
    before = {host.pid for host in running.hosts()}
    assert Counter(version_of(running, engine="echo") for _ in range(10)) == {"1": 10}
    assert version_of(running, engine="echo", version="2") == "2"
    assert change(running, config(wrapper(), {"1": "weight: 1", "2": "weight: 3"})).state == "applied"
    assert Counter(version_of(running, engine="echo") for _ in range(20)) == {"1": 5, "2": 15}
    assert {host.pid for host in running.hosts()} == before


def test_labels_and_pins(start: Start, wrapper: Write) -> None:
    """Who has all the labels of a version goes to it; others never do; a pin wins."""
    running = start(config(wrapper(), {"1": "", "2": "labels: {group: beta, site: north}"}))
    asks = {"engine": "echo"}
    assert version_of(running, **asks, labels={"group": "beta", "site": "north", "more": "x"}) == "2"
    assert version_of(running, **asks, labels={"group": "beta"}) == "1"
    assert {version_of(running, **asks) for _ in range(6)} == {"1"}
    assert version_of(running, **asks, version="1", labels={"group": "beta", "site": "north"}) == "1"


def test_a_selector_finds_by_capability(start: Start, wrapper: Write) -> None:
    """Without a name; every word of the selector must be announced."""
    running = start(
        config(wrapper(), {"1": "capabilities: {type: asr, language: en}", "2": "capabilities: {type: tts}"})
    )
    assert version_of(running, selector={"language": "en"}) == "1"
    assert version_of(running, selector={"type": "tts"}) == "2"
    with pytest.raises(grpc.RpcError) as caught:
        version_of(running, selector={"type": "tts", "language": "en"})
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
