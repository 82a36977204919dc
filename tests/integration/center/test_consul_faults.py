"""A Consul that is killed, paused, emptied and restarted, with ACLs and with TLS: the center goes on by itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from consul_agent import Certificates, ConsulAgent, free_ports, make_certificates

from loader.center import Acknowledgement, AckState, Center, Document, Revision, open_center
from loader.consul_link import CALL_S, ConsulAccess
from loader.errors import BadConfigError, CenterUnreachableError, LoaderError

ROOT = "service.yaml"
LIMIT_S = 180
UNREACHABLE_LIMIT_S = 40  # a blocking query of 5 s, a sixteenth more, and the time of one call
BACK_LIMIT_S = 30
STILL_S = 4  # for which the machine may stand still; less than a blocking query, or one more call


def check(center: Center, scenario: Callable[[Center], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        try:
            async with asyncio.timeout(LIMIT_S):
                await scenario(center)
        finally:
            await center.close()

    asyncio.run(bounded())


def center_of(agent: ConsulAgent, prefix: str = "speech", **access: str) -> Center:
    return open_center(agent.url(prefix), ConsulAccess(**access))


async def within(limit_s: float, news: AsyncIterator[Revision | LoaderError]) -> Revision | LoaderError:
    async with asyncio.timeout(limit_s):
        return await anext(news)


async def nothing_for(limit_s: float, waiting: asyncio.Future[Any]) -> None:
    await asyncio.wait((waiting,), timeout=limit_s)
    assert not waiting.done(), waiting


def text_of(item: Revision | LoaderError) -> str:
    assert isinstance(item, Revision), item
    return item.root.text


def test_a_server_that_goes_and_comes_is_told_once_each_time(
    start_consul: Callable[..., ConsulAgent],
) -> None:
    """Killed and restarted three times: each time one error, then the current revision, changed or not."""
    agent = start_consul()
    agent.put(f"speech/config/{ROOT}", "0")

    async def scenario(center: Center) -> None:
        known = (await center.load()).name
        async with contextlib.aclosing(center.watch(known)) as news:
            for number in range(3):
                waiting = asyncio.ensure_future(anext(news))
                await asyncio.to_thread(agent.kill)
                assert isinstance(
                    await asyncio.wait_for(waiting, UNREACHABLE_LIMIT_S), CenterUnreachableError
                )
                waiting = asyncio.ensure_future(anext(news))
                await nothing_for(1, waiting)
                await asyncio.to_thread(agent.restart)
                if number == 1:
                    agent.put(f"speech/config/{ROOT}", "1")
                item = await asyncio.wait_for(waiting, BACK_LIMIT_S)
                while isinstance(item, BadConfigError):  # Consul may answer before it has read its own log
                    item = await within(BACK_LIMIT_S, news)
                seen = text_of(item)
                while number == 1 and seen != "1":  # seen before it was put
                    seen = text_of(await within(BACK_LIMIT_S, news))
                assert seen == ("0" if number == 0 else "1")

    check(center_of(agent), scenario)


def test_a_server_that_lost_its_data_is_believed_again(start_consul: Callable[..., ConsulAgent]) -> None:
    """Its index begins anew, far below what the watch had: neither the empty state nor what comes then is missed."""
    agent = start_consul()
    for number in range(200):
        agent.put(f"speech/config/{ROOT}", str(number))

    async def scenario(center: Center) -> None:
        known = (await center.load()).name
        async with contextlib.aclosing(center.watch(known)) as news:
            waiting = asyncio.ensure_future(anext(news))
            await nothing_for(0.3, waiting)
            await asyncio.to_thread(agent.restart, is_empty=True)
            assert isinstance(await waiting, CenterUnreachableError)
            empty = await within(BACK_LIMIT_S, news)
            assert isinstance(empty, BadConfigError)
            assert f"has no speech/config/{ROOT}" in empty.message
            waiting = asyncio.ensure_future(anext(news))
            await nothing_for(0.3, waiting)
            began_s = time.monotonic()
            agent.put(f"speech/config/{ROOT}", "new")
            assert text_of(await waiting) == "new"
            assert time.monotonic() - began_s < STILL_S

    check(center_of(agent), scenario)


def test_a_server_that_hangs_is_noticed_and_believed_again(start_consul: Callable[..., ConsulAgent]) -> None:
    """SIGSTOP: connections open, nothing answers. Every call ends in time; after SIGCONT all goes on."""
    agent = start_consul()
    agent.put(f"speech/config/{ROOT}", "a")

    async def scenario(center: Center) -> None:
        known = (await center.load()).name
        async with contextlib.aclosing(center.watch(known)) as news:
            waiting = asyncio.ensure_future(anext(news))
            await nothing_for(0.3, waiting)
            agent.pause()
            began_s = time.monotonic()
            word = Acknowledgement("n", known, AckState.APPLIED)
            calls: list[Callable[[], Coroutine[Any, Any, Any]]] = [
                center.load,
                center.history,
                center.acknowledgements,
                lambda: center.acknowledge(word),
                lambda: center.put([Document(ROOT, "b")], known, "me"),
            ]
            results = await asyncio.gather(*(call() for call in calls), return_exceptions=True)
            assert all(isinstance(one, CenterUnreachableError) for one in results), results
            assert time.monotonic() - began_s < CALL_S + STILL_S
            assert isinstance(await asyncio.wait_for(waiting, UNREACHABLE_LIMIT_S), CenterUnreachableError)
            agent.resume()
            assert text_of(await within(BACK_LIMIT_S, news)) in ("a", "b")

    check(center_of(agent), scenario)


def test_a_dead_first_address_and_one_that_hangs_are_passed_over(
    start_consul: Callable[..., ConsulAgent],
) -> None:
    """Of three addresses the third serves: the first call finds it in time, later calls go there at once."""
    hanging, serving = start_consul(), start_consul()
    serving.put(f"speech/config/{ROOT}", "a")
    addresses = f"127.0.0.1:{free_ports(1)[0]},{hanging.address},{serving.address}"
    hanging.pause()

    async def scenario(center: Center) -> None:
        began_s = time.monotonic()
        known = (await center.load()).name
        assert time.monotonic() - began_s < CALL_S + STILL_S
        began_s = time.monotonic()
        for _ in range(5):
            await center.load()
        assert time.monotonic() - began_s < CALL_S + STILL_S
        async with contextlib.aclosing(center.watch(known)) as news:
            waiting = asyncio.ensure_future(anext(news))
            await nothing_for(0.3, waiting)
            serving.put(f"speech/config/{ROOT}", "b")
            assert text_of(await waiting) == "b"

    check(open_center(f"consul://{addresses}/speech", ConsulAccess()), scenario)


def test_when_no_address_serves_each_is_named(start_consul: Callable[..., ConsulAgent]) -> None:
    """The error says of every address what it did."""
    agent = start_consul()
    agent.pause()
    dead = free_ports(1)[0]

    async def scenario(center: Center) -> None:
        with pytest.raises(CenterUnreachableError) as caught:
            await center.load()
        assert f"127.0.0.1:{dead}: ClientConnectorError" in caught.value.message
        assert f"{agent.address}: no answer in {CALL_S:g} s" in caught.value.message

    check(open_center(f"consul://127.0.0.1:{dead},{agent.address}/speech", ConsulAccess()), scenario)


# ---- ACL


READ = 'key_prefix "speech/" { policy = "read" }'
WRITE = 'key_prefix "speech/" { policy = "write" }'


def test_without_a_token_it_says_so(start_consul: Callable[..., ConsulAgent]) -> None:
    """Consul shows an empty store to who may not read, and refuses who writes."""
    agent = start_consul(has_acl=True)
    agent.put(f"speech/config/{ROOT}", "a")

    async def scenario(center: Center) -> None:
        with pytest.raises(
            BadConfigError, match=r"has no .*or give a token that may read it as `center_token`"
        ):
            await center.load()
        with pytest.raises(CenterUnreachableError, match=r"no token was given: write `center_token`"):
            await center.acknowledge(Acknowledgement("n", "r", AckState.APPLIED))

    check(center_of(agent), scenario)


def test_an_unknown_token_is_told_and_never_printed(
    start_consul: Callable[..., ConsulAgent], caplog: pytest.LogCaptureFixture
) -> None:
    """The cure is named; the token stands neither in errors nor in logs, at any level."""
    agent = start_consul(has_acl=True)
    token = "11111111-2222-3333-4444-555555555555"
    caplog.set_level(logging.DEBUG)
    access = ConsulAccess(token=token)
    seen: list[str] = [repr(access)]

    async def scenario(center: Center) -> None:
        with pytest.raises(CenterUnreachableError, match=r"correct `center_token` or its policy") as caught:
            await center.load()
        seen.append(str(caught.value))
        async with contextlib.aclosing(center.watch("")) as news:
            seen.append(str(await anext(news)))

    check(center_of(agent, token=token), scenario)
    assert token not in "".join([*seen, caplog.text])


def test_a_token_that_may_read_watches_and_is_told_what_it_may_not(
    start_consul: Callable[..., ConsulAgent],
) -> None:
    """Reading works; writing names the policy, not a conflict."""
    agent = start_consul(has_acl=True)
    agent.put(f"speech/config/{ROOT}", "a")

    async def scenario(center: Center) -> None:
        held = await center.load()
        with pytest.raises(CenterUnreachableError, match="policy"):
            await center.acknowledge(Acknowledgement("n", held.name, AckState.APPLIED))
        with pytest.raises(CenterUnreachableError, match=r"Permission denied: .* policy"):
            await center.put([Document(ROOT, "b")], held.name, "me")
        async with contextlib.aclosing(center.watch(held.name)) as news:
            waiting = asyncio.ensure_future(anext(news))
            await nothing_for(0.3, waiting)
            agent.put(f"speech/config/{ROOT}", "b")
            assert text_of(await waiting) == "b"

    check(center_of(agent, token=agent.token_for(READ)), scenario)


def test_a_token_for_the_prefix_may_everything(start_consul: Callable[..., ConsulAgent]) -> None:
    """`key_prefix "PREFIX/" { policy = "write" }` is all that a center needs."""
    agent = start_consul(has_acl=True)

    async def scenario(center: Center) -> None:
        held = await center.put([Document(ROOT, "a")], "", "me")
        await center.acknowledge(Acknowledgement("n", held.name, AckState.APPLIED))
        await center.record(held, "n")
        assert await center.load() == held
        assert [one.node for one in await center.acknowledgements()] == ["n"]
        assert [one.author for one in await center.history()] == ["me"]

    check(center_of(agent, token=agent.token_for(WRITE)), scenario)


# ---- TLS


def test_tls_with_the_right_authority(
    start_consul: Callable[..., ConsulAgent], consul_certificates: Certificates
) -> None:
    """Loads, puts and watches."""
    agent = start_consul(certificates=consul_certificates)

    async def scenario(center: Center) -> None:
        held = await center.put([Document(ROOT, "a")], "", "me")
        async with contextlib.aclosing(center.watch(held.name)) as news:
            agent.put(f"speech/config/{ROOT}", "b")
            assert text_of(await anext(news)) == "b"

    check(center_of(agent, ca=str(consul_certificates.ca)), scenario)


def test_tls_errors_name_the_key_to_write(
    start_consul: Callable[..., ConsulAgent], consul_certificates: Certificates, tmp_path: Any
) -> None:
    """No authority, another one, no client certificate, no TLS, TLS where there is none."""
    agent = start_consul(certificates=consul_certificates, asks_client_certificate=True)
    plain = start_consul()
    other = make_certificates(tmp_path / "other")
    ca = str(consul_certificates.ca)

    async def scenario_for(center: Center, message: str) -> None:
        with pytest.raises(LoaderError, match=message) as caught:
            await center.load()
        assert caught.value.code in (CenterUnreachableError.code, BadConfigError.code)

    for center, message in (
        (center_of(agent), "`center_ca`"),
        (center_of(agent, ca=str(other.ca)), "`center_ca`"),
        (center_of(agent, ca=ca), "`center_certificate` and `center_key`"),
        (center_of(agent, ca=str(tmp_path / "none.pem")), "center_ca .*none.pem"),
        (open_center(f"consul://{agent.address}/speech", ConsulAccess()), r"consul\+https://"),
        (open_center(f"consul+https://{plain.address}/speech", ConsulAccess()), "without .https"),
    ):
        check(center, lambda center, message=message: scenario_for(center, message))  # type: ignore[misc]


def test_tls_with_a_client_certificate(
    start_consul: Callable[..., ConsulAgent], consul_certificates: Certificates
) -> None:
    """What Consul asks of its clients with `verify_incoming`."""
    agent = start_consul(certificates=consul_certificates, asks_client_certificate=True)
    made = consul_certificates

    async def scenario(center: Center) -> None:
        await center.put([Document(ROOT, "a")], "", "me")
        assert (await center.load()).root.text == "a"

    access = {"ca": made.ca, "certificate": made.client_certificate, "key": made.client_key}
    check(center_of(agent, **{name: str(path) for name, path in access.items()}), scenario)


# ---- what Consul cannot hold


def test_more_documents_than_a_transaction_holds_are_refused(shared_consul: ConsulAgent, prefix: str) -> None:
    """With what to do; the center holds what it held."""

    async def scenario(center: Center) -> None:
        held = await center.put([Document(ROOT, "a")], "", "me")
        many = [Document(f"d{number:02}.yaml", "x") for number in range(62)]
        with pytest.raises(BadConfigError, match="takes 62 in one transaction: join"):
            await center.put(many, held.name, "me")
        assert await center.load() == held
        await center.put(many[:61], held.name, "me")

    check(center_of(shared_consul, prefix), scenario)


def test_a_document_that_is_too_big_is_refused(shared_consul: ConsulAgent, prefix: str) -> None:
    """Consul's limit of one value, told as the configuration's error and not as a server out of reach."""

    async def scenario(center: Center) -> None:
        with pytest.raises(BadConfigError, match="it takes 524288 at once"):
            await center.put([Document(ROOT, "# " + "x" * 600_000)], "", "me")
        with pytest.raises(BadConfigError, match="has no"):
            await center.load()
        held = await center.put([Document(ROOT, "# " + "x" * 150_000)], "", "me")
        assert await center.load() == held

    check(center_of(shared_consul, prefix), scenario)


def test_words_that_are_no_acknowledgement_or_history_are_passed_over(
    shared_consul: ConsulAgent, prefix: str
) -> None:
    """Other programs write here, too."""

    async def scenario(center: Center) -> None:
        held = await center.put([Document(ROOT, "a")], "", "me")
        for folder in ("acknowledgements", "history"):
            for number, bad in enumerate((b"", b"{", b"\xff", b"[]", b'{"state": "no"}')):
                shared_consul.put(f"{prefix}/{folder}/bad{number}", bad)
        assert [one.revision for one in await center.history()] == [held]
        assert await center.acknowledgements() == []

    check(center_of(shared_consul, prefix), scenario)
