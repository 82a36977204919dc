"""A configuration in a finder: read, followed, gray, acknowledged; with a companion or a ZooKeeper that is away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from finder_console import Console, framed
from running import until

from loader.center import Acknowledgement, AckState, Center, Document, Revision, open_center
from loader.consul_link import ConsulAccess
from loader.errors import BadConfigError, CenterUnreachableError, LoaderError
from loader.registry import NodeEntry
from loader.registry.finder import FinderRegistry

LIMIT_S = 120
NEWS_LIMIT_S = 30
AWAY_LIMIT_S = 40  # the silence that kazoo allows, and one call
LOCAL = "127.0.0.1"


def toml(service: str, value: str = "10", *, port: int = 0, more: str = "") -> str:
    return (
        f'[{service}]\nhost = "{LOCAL}"\nport = {port}\n{more}\n[aiges]\nsub = "ase"\n'
        f'[wrapper]\n"common.lic" = "{value}"\n[fc]\nable = 1\nmax = 4\n'
    )


def check(
    console: Console, scenario: Callable[[Center], Coroutine[Any, Any, None]], cache: Path | None = None,
    more: str = "",
) -> None:  # fmt: skip
    """Runs a scenario with a center, which is closed after it, in bounded time."""

    async def bounded() -> None:
        center = open_center(console.url + more, ConsulAccess(), cache)
        try:
            async with asyncio.timeout(LIMIT_S):
                await scenario(center)
        finally:
            await center.close()

    asyncio.run(bounded())


async def told(news: AsyncIterator[Revision | LoaderError], limit_s: float = NEWS_LIMIT_S) -> Any:
    async with asyncio.timeout(limit_s):
        return await anext(news)


def value_of(revision: Revision) -> str:
    """What the wrapper would get as common.lic."""
    (engine,) = yaml.safe_load(revision.root.text)["engines"].values()
    return str(engine["config"]["common.lic"])


def acknowledgement(revision: Revision, state: AckState, serving: str = "") -> Acknowledgement:
    return Acknowledgement(
        "n1", revision.name, state, serving=serving or revision.name, time_s=1_700_000_000.5
    )


# ---- read and followed


def test_an_aiges_toml_is_read_as_our_configuration(console: Console) -> None:
    """Asked for by project, group, service and version; `finder = 1` names the registry."""
    console.push(toml(console.service, more="finder = 1"))

    async def scenario(center: Center) -> None:
        revision = await center.load()
        values = yaml.safe_load(revision.root.text)
        assert (values["service"], value_of(revision)) == (console.service, "10")
        assert values["registry"] == f"{console.url}#aiges.toml"
        assert center.origin_of("aiges.toml") == f"{console.config_path}/aiges.toml as YAML"
        assert console.companion.queries[0] == {
            "project": "AIpaas", "group": "hu", "service": console.service, "version": "3.2",
        }  # fmt: skip
        assert console.consumers() == [], "who only reads is no consumer"

    check(console, scenario)


def test_without_finder_nothing_is_registered(console: Console) -> None:
    """As AIGES: the key says it."""
    console.push(toml(console.service, more="finder = 0"))

    async def scenario(center: Center) -> None:
        assert "registry" not in yaml.safe_load((await center.load()).root.text)

    check(console, scenario)


def test_files_of_the_finder_come_before_those_here(console: Console, tmp_path: Path) -> None:
    """usrCfg and headerPass.wrapper lie beside the file; their changes are changes."""
    text = toml(console.service).replace('sub = "ase"', 'usrCfg = "user.toml"')
    console.push("[common]\nlic = 7\n", file="user.toml")
    console.push("trace\n", file="headerPass.wrapper")
    console.push(text)

    async def scenario(center: Center) -> None:
        revision = await center.load()
        assert value_of(revision) == "7"
        assert yaml.safe_load(revision.root.text)["aiges"]["header_pass"] == ["trace"]
        async with contextlib.aclosing(center.watch(revision.name)) as news:
            waiting = asyncio.ensure_future(told(news))
            await asyncio.wait((waiting,), timeout=0.3)
            await asyncio.to_thread(console.push, "[common]\nlic = 8\n", file="user.toml")
            assert value_of(await waiting) == "8"

    check(console, scenario)


def test_a_file_that_cannot_be_a_node_is_not_asked_for(console: Console) -> None:
    """usrCfg may say anything: it is missing then."""
    console.push(toml(console.service).replace('sub = "ase"', 'usrCfg = ".."'))

    async def scenario(center: Center) -> None:
        with pytest.raises(BadConfigError, match=r"aiges\.usrCfg: there is no file \.\."):
            await center.load()

    check(console, scenario)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda text: b"", "has 0 bytes: a finder's content begins with 4 bytes of length"),
        (lambda text: None, "has 0 bytes: a finder's content begins with 4 bytes of length"),
        (lambda text: text.encode(), r"says that its push id has \d+ bytes, and has \d+: no finder wrote it"),
        (lambda text: framed("2", b"\xff"), "is not UTF-8 text: invalid start byte at byte 0"),
        (lambda text: framed("2", b"[broken"), "not valid TOML"),
        (lambda text: framed("2", b"[other]\n"), r"there is no section \["),
    ],
)
def test_bad_bytes_are_told_and_what_was_good_comes_back(
    console: Console, spoil: Callable[[str], bytes | None], expected: str
) -> None:
    """One error with the node's path; after a good push the configuration again, also the same one."""
    text = toml(console.service)
    path = f"{console.config_path}/aiges.toml"
    console.push(text)

    async def scenario(center: Center) -> None:
        first = await center.load()
        async with contextlib.aclosing(center.watch(first.name)) as news:
            waiting = asyncio.ensure_future(told(news))
            await asyncio.wait((waiting,), timeout=0.3)
            await asyncio.to_thread(console.put, path, spoil(text))
            error = await waiting
            assert isinstance(error, BadConfigError)
            assert path in error.message
            with pytest.raises(BadConfigError, match=expected):
                await center.load()
            await asyncio.to_thread(console.push, text, "3")
            assert await told(news) == first

    check(console, scenario)


def test_a_file_that_is_missing_is_named(console: Console) -> None:
    """And a service that the companion knows no configuration of."""

    async def nothing(center: Center) -> None:
        with pytest.raises(BadConfigError, match=rf"has no {console.config_path}/aiges\.toml: push"):
            await center.load()

    check(console, nothing)
    console.companion.answer["data"]["config_path"] = ""

    async def no_path(center: Center) -> None:
        with pytest.raises(BadConfigError, match="names no config_path"):
            await center.load()

    check(console, no_path)


# ---- gray


@pytest.mark.parametrize(("name", "port"), [(LOCAL, 0), (f"{LOCAL}:5090", 5090)])
def test_a_member_of_a_gray_group_reads_the_groups_file(console: Console, name: str, port: int) -> None:
    """By IP, as AIGES's consumers are called, or with the port; in, from group to group, and out again, while it
    runs. As a consumer it is seen where it reads."""
    console.push(toml(console.service, "normal", port=port))
    for group in ("g1", "g2"):
        console.push(toml(console.service, group, port=port), group, group=group)

    async def scenario(center: Center) -> None:
        async def after(groups: dict[str, str], news: Any, group: str) -> str:
            await asyncio.to_thread(console.set_gray, groups)
            found = await told(news)
            assert isinstance(found, Revision), found
            assert await asyncio.to_thread(console.consumers, group) == [name]
            return value_of(found)

        first = await center.load()
        assert value_of(first) == "normal"
        async with contextlib.aclosing(center.watch("")) as news:
            assert await told(news) == first
            assert console.consumers() == [name]
            assert await after({"g1": f"10.0.0.9,{name}"}, news, "g1") == "g1"
            assert console.consumers() == [], "it is a consumer twice"
            assert await after({"g1": "10.0.0.9:5090", "g2": name}, news, "g2") == "g2"
            assert await after({}, news, "") == "normal"
            assert console.consumers("g1") == console.consumers("g2") == []
        assert center.origin_of("aiges.toml").startswith(f"{console.config_path}/aiges.toml")

    check(console, scenario)


def test_gray_groups_that_cannot_be_read_leave_what_was_good(console: Console) -> None:
    """One error; an empty node is no group."""
    console.push(toml(console.service))
    gray = f"{console.config_path}/gray"

    async def scenario(center: Center) -> None:
        first = await center.load()
        async with contextlib.aclosing(center.watch(first.name)) as news:
            waiting = asyncio.ensure_future(told(news))
            await asyncio.wait((waiting,), timeout=0.3)
            await asyncio.to_thread(console.put, gray, framed("1", b'[{"server_list": []}]'))
            error = await waiting
            assert isinstance(error, BadConfigError)
            assert "a gray group has a group_id" in error.message
            await asyncio.to_thread(console.put, gray, b"")
            assert await told(news) == first

    check(console, scenario)


# ---- acknowledged


def test_what_became_of_a_push_is_told_to_the_companion(console: Console) -> None:
    """Applied and refused, with the push, the consumer and the times; what is under way is not told."""
    console.push(toml(console.service, port=5090), "push-1")

    async def scenario(center: Center) -> None:
        revision = await center.load()
        await center.acknowledge(acknowledgement(revision, AckState.APPLYING))
        assert console.companion.feedback == []
        await center.acknowledge(acknowledgement(revision, AckState.APPLIED))
        (said,) = console.companion.feedback
        assert (
            abs(int(said.pop("update_time")) - 1_700_000_000) > 1000
        )  # when it was seen, not when it was applied
        assert said == {
            "push_id": "push-1", "project": "AIpaas", "group": "hu", "service": console.service, "version": "3.2",
            "addr": f"{LOCAL}:5090", "config": "aiges.toml", "update_status": "1", "load_time": "1700000000",
            "load_status": "1", "gray_group_id": "0",
        }  # fmt: skip
        await center.acknowledge(acknowledgement(revision, AckState.ROLLED_BACK, "other"))
        assert [one["load_status"] for one in console.companion.feedback] == ["1", "-1"]

    check(console, scenario)


def test_a_push_that_cannot_be_read_is_told_as_such(console: Console) -> None:
    """Not as a failure of the push that serves."""
    console.push(toml(console.service), "good")

    async def scenario(center: Center) -> None:
        revision = await center.load()
        console.push("[broken", "bad")
        with pytest.raises(BadConfigError):
            await center.load()
        await center.acknowledge(acknowledgement(revision, AckState.REFUSED))
        assert [(one["push_id"], one["load_status"]) for one in console.companion.feedback] == [("bad", "-1")]

    check(console, scenario)


def test_the_same_text_pushed_again_is_acknowledged_again(console: Console) -> None:
    """It is no change; its console waits for an answer all the same."""
    console.push(toml(console.service), "one")

    async def scenario(center: Center) -> None:
        revision = await center.load()
        await center.acknowledge(acknowledgement(revision, AckState.APPLIED))
        async with contextlib.aclosing(center.watch(revision.name)) as news:
            waiting = asyncio.ensure_future(anext(news))
            await asyncio.wait((waiting,), timeout=0.3)
            await asyncio.to_thread(console.push, toml(console.service), "two")
            assert (await asyncio.to_thread(console.feedback_of, "two"))["load_status"] == "1"
            assert not waiting.done(), "the same text was news"
            waiting.cancel()
            await asyncio.wait((waiting,))

    check(console, scenario)


def test_what_belongs_to_the_console_is_refused(console: Console) -> None:
    """Putting and the history; nobody's word is kept here."""
    console.push(toml(console.service))

    async def scenario(center: Center) -> None:
        revision = await center.load()
        with pytest.raises(BadConfigError, match="push it with the finder's console"):
            await center.put([Document("aiges.toml", "x")], revision.name, "me")
        with pytest.raises(BadConfigError, match="it is in the finder's console"):
            await center.history()
        await center.record(revision, "me")
        assert await center.acknowledgements() == []

    check(console, scenario)


# ---- away


def test_the_companions_last_answer_is_used_while_it_is_away(
    console: Console, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Kept on disk for the service that was asked for; without it the error names the companion."""
    console.push(toml(console.service))

    async def loads(center: Center) -> None:
        assert value_of(await center.load()) == "10"

    async def fails(center: Center) -> None:
        with pytest.raises(CenterUnreachableError, match=r"query_zk_info.*check -u"):
            await center.load()

    check(console, loads, tmp_path)
    console.companion.stop()
    with caplog.at_level(logging.WARNING):
        check(console, loads, tmp_path)
    assert [one.message for one in caplog.records] == ["the companion's last answer is used"]
    check(console, fails)
    (kept,) = tmp_path.iterdir()
    assert json.loads(kept.read_text()) == console.companion.answer["data"]
    kept.write_text("{half")
    check(console, fails, tmp_path)
    console.companion.start()
    kept.unlink()
    kept.mkdir()  # cannot be replaced
    check(console, loads, tmp_path)
    assert [*tmp_path.iterdir()] == [kept], "half of it stays there"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"ret": 10003, "msg": "no such service"}, "refuses AIpaas/hu/.*ret 10003: no such service"),
        ({"ret": 0, "data": {}}, "zk_addr is null"),
        ({"ret": 0, "data": {"zk_addr": ["a:b"]}}, "zk_addr has 'a:b'"),
        ({"ret": 0, "data": {"zk_addr": ["a:1"], "config_path": "x"}}, 'config_path is "x"'),
        ({}, "answers what no companion does"),
        ({"ret": 0, "data": {"zk_addr": ["a:1"]}, "more": "x" * (2 << 20)}, "answers what no companion does"),
    ],
)
def test_an_answer_that_is_of_no_use_is_told(console: Console, answer: dict[str, Any], expected: str) -> None:
    """With what is wrong in it."""
    console.companion.answer = answer

    async def scenario(center: Center) -> None:
        with pytest.raises(CenterUnreachableError, match=expected):
            await center.load()

    check(console, scenario)


def test_a_zookeeper_that_is_killed_is_told_once_and_comes_back(
    lone_console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of reach is one error; then the configuration again, and what changed meanwhile."""
    monkeypatch.setattr("loader.compat.finder.link.CALL_S", 1.0)
    console = lone_console
    console.push(toml(console.service))

    async def scenario(center: Center) -> None:
        first = await center.load()
        async with contextlib.aclosing(center.watch(first.name)) as news:
            waiting = asyncio.ensure_future(anext(news))
            await asyncio.wait((waiting,), timeout=0.3)
            await asyncio.to_thread(console.zookeeper.kill)
            async with asyncio.timeout(AWAY_LIMIT_S):
                error = await waiting
            assert isinstance(error, CenterUnreachableError)
            assert f"ZooKeeper at {console.zookeeper.address}" in error.message
            waiting = asyncio.ensure_future(anext(news))
            await asyncio.to_thread(console.zookeeper.restart)
            async with asyncio.timeout(AWAY_LIMIT_S):
                assert await waiting == first
            await asyncio.to_thread(console.push, toml(console.service, "11"), "2")
            while not isinstance(found := await told(news), Revision):
                pass  # a call takes a second at most here: too little for a machine that stands still
            assert value_of(found) == "11"
            await asyncio.to_thread(until, lambda: console.consumers() == [LOCAL], "it is a consumer again")

    check(console, scenario)


def test_a_zookeeper_that_hangs_is_out_of_reach(
    lone_console: Console, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes connections and answers nothing: a call is bounded, and so is close()."""
    for name in ("SESSION_S", "CALL_S", "CLOSE_S"):
        monkeypatch.setattr(f"loader.compat.finder.link.{name}", 2.0)
    console = lone_console
    console.push(toml(console.service))

    async def scenario(center: Center) -> None:
        first = await center.load()
        async with contextlib.aclosing(center.watch(first.name)) as news:
            waiting = asyncio.ensure_future(anext(news))
            await asyncio.to_thread(until, console.consumers, "it follows")
            console.zookeeper.pause()
            try:
                async with asyncio.timeout(AWAY_LIMIT_S):
                    assert isinstance(await waiting, CenterUnreachableError)
                async with asyncio.timeout(AWAY_LIMIT_S):
                    await center.close()
            finally:
                console.zookeeper.resume()

    check(console, scenario)
    mine = [
        one for one in caplog.records if one.name.endswith(".link.kazoo") and one.levelno >= logging.WARNING
    ]
    assert not mine, "kazoo said more than we do"


def test_a_zookeeper_that_has_moved_is_found(
    lone_console: Console, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The companion is asked again while the old one is away."""
    monkeypatch.setattr("loader.compat.finder.link.OPEN_AGAIN_S", 0.5)
    monkeypatch.setattr("loader.compat.finder.link.CALL_S", 1.0)
    old, new = lone_console, console
    old.push(toml(old.service))

    async def scenario(center: Center) -> None:
        first = await center.load()
        async with contextlib.aclosing(center.watch(first.name)) as news:
            waiting = asyncio.ensure_future(anext(news))
            await asyncio.wait((waiting,), timeout=0.3)
            new.put(f"{old.config_path}/aiges.toml", framed("2", toml(old.service, "moved").encode()))
            old.companion.answer["data"]["zk_addr"] = [new.zookeeper.address]
            await asyncio.to_thread(old.zookeeper.kill)
            found = None
            async with asyncio.timeout(AWAY_LIMIT_S):
                found = await waiting
                while not isinstance(found, Revision):
                    found = await anext(news)
            assert value_of(found) == "moved"

    check(old, scenario)


def test_a_zookeeper_that_lost_everything_hears_of_it_again(
    lone_console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes no session that it does not know: with a new one the node is registered again, and the file followed."""
    monkeypatch.setattr("loader.compat.finder.link.OPEN_AGAIN_S", 0.5)
    monkeypatch.setattr("loader.compat.finder.link.CALL_S", 1.0)
    console = lone_console
    console.push(toml(console.service))

    async def scenario(center: Center) -> None:
        registry = FinderRegistry(console.url)
        first = await center.load()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(registry.close)
            news = await stack.enter_async_context(contextlib.aclosing(center.watch(first.name)))
            await registry.announce(NodeEntry("n1", "192.0.2.7:50051"))
            waiting = asyncio.ensure_future(anext(news))
            await asyncio.wait((waiting,), timeout=0.3)
            await asyncio.to_thread(console.zookeeper.restart, is_empty=True)
            await asyncio.to_thread(console.connect)
            await asyncio.to_thread(console.push, toml(console.service, "again"))
            async with asyncio.timeout(AWAY_LIMIT_S):
                found = await waiting
                while not isinstance(found, Revision) or value_of(found) != "again":
                    found = await anext(news)
                while not console.providers():
                    with contextlib.suppress(LoaderError):
                        await registry.beat()
            assert console.consumers() == [LOCAL]

    check(console, scenario)


def test_several_loaders_of_one_address_do_not_fight(console: Console) -> None:
    """One is the consumer; when it ends, another is."""
    console.push(toml(console.service))
    path = f"{console.config_path}/consumer/normal/{LOCAL}"

    async def scenario(center: Center) -> None:
        first = open_center(console.url, ConsulAccess())
        async with contextlib.aclosing(first.watch("")) as one, contextlib.aclosing(center.watch("")) as two:
            known = await told(one)
            assert await told(two) == known
            waiting = [asyncio.ensure_future(anext(news)) for news in (one, two)]
            owner = console.owner(path)
            await asyncio.wait(waiting, timeout=0.5)
            assert console.owner(path) == owner
            waiting[0].cancel()
            await asyncio.wait(waiting[:1])
            await first.close()

            await asyncio.to_thread(until, lambda: console.owner(path) not in (0, owner), "another consumer")
            waiting[1].cancel()
            await asyncio.wait(waiting[1:])

    check(console, scenario)


def test_who_may_only_read_is_configured_all_the_same(
    console: Console, caplog: pytest.LogCaptureFixture
) -> None:
    """It cannot be seen as a consumer; told once."""
    from kazoo.security import make_acl

    console.push(toml(console.service))
    folder = f"{console.config_path}/consumer"
    console.ask("create", folder, b"", acl=[make_acl("world", "anyone", read=True)])

    async def scenario(center: Center) -> None:
        async with contextlib.aclosing(center.watch("")) as news:
            assert value_of(await told(news)) == "10"
            waiting = asyncio.ensure_future(told(news))
            await asyncio.to_thread(console.push, toml(console.service, "11"))
            assert value_of(await waiting) == "11"

    check(console, scenario)
    assert [one.message for one in caplog.records if one.name == "loader.center.finder"] == [
        "not seen as a consumer"
    ]


def test_nothing_is_left_after_close(console: Console) -> None:
    """No thread, no file, no socket; a watch is cancelled in the middle."""
    console.push(toml(console.service))
    process = psutil.Process()

    async def scenario(center: Center) -> None:
        async with contextlib.aclosing(center.watch("")) as news:
            revision = await told(news)
            await center.acknowledge(acknowledgement(revision, AckState.APPLIED))
            waiting = asyncio.ensure_future(anext(news))
            await asyncio.wait((waiting,), timeout=0.3)
            waiting.cancel()
            await asyncio.wait((waiting,))

    check(console, scenario)  # what the first use of a library leaves open is not ours
    threads, files = threading.active_count(), process.num_fds()
    check(console, scenario)
    until(lambda: (threading.active_count(), process.num_fds()) <= (threads, files), "all is closed", 30)


def test_what_comes_after_close_opens_nothing(console: Console) -> None:
    """A reader of a watch that ended may still be on its way."""
    console.push(toml(console.service))

    async def scenario() -> None:
        center = open_center(console.url, ConsulAccess(), None)
        await center.load()
        await center.close()
        queries = len(console.companion.queries)
        with pytest.raises(CenterUnreachableError, match="closed"):
            await center.load()
        assert len(console.companion.queries) == queries

    asyncio.run(scenario())


def test_without_kazoo_the_extra_is_named(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is optional."""
    monkeypatch.setitem(sys.modules, "kazoo.client", None)
    with pytest.raises(BadConfigError, match=r"pip install 'engine-loader\[zookeeper\]'"):
        open_center(console.url, ConsulAccess())
