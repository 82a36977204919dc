"""`loader ctl` and `loader status` with real loaders: changes are checked, followed and taken back; nodes are asked."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from freezing import freeze
from services import LIMIT_S, PROGRAM, Service, answer, ctl, until, write_wrapper

from loader.center import Acknowledgement, AckState
from loader.client import Client
from loader.errors import KickedError, LoaderError
from loader.registry import NodeEntry
from loader.registry.values import entry_text

NOBODY = "127.0.0.1:1"  # refuses connections

# ---- the configuration


def test_a_put_is_shown_as_a_plan_and_asked_for(service: Service, tmp_path: Path) -> None:
    """Without an answer, or with no, nothing is changed."""
    before = service.held()
    wanted = tmp_path / "next.yaml"
    wanted.write_text(before.replace("slots: 8", "slots: 9"))
    for stdin in ("", "n\n"):
        done = ctl("ctl", "put", wanted, *service.where, stdin=stdin)
        assert done.returncode == 1
        assert "slots: 8 → 9" in done.stderr
        assert service.held() == before
    done = ctl("ctl", "put", wanted, *service.where, "--message", "more slots", stdin="y\n")
    assert done.returncode == 0
    assert service.held() == wanted.read_text()
    history = answer("ctl", "history", *service.where)
    assert (history[0]["now"], history[0]["message"]) == (True, "more slots")
    assert [one["now"] for one in history[1:]] == [False]


def test_what_is_not_valid_is_not_put(service: Service, tmp_path: Path) -> None:
    """Every mistake with its line, exit code 3."""
    before = service.held()
    wanted = tmp_path / "next.yaml"
    wanted.write_text(before.replace("slots: 8", "slots: none\n    slotz: 1"))
    done = ctl("ctl", "put", wanted, "--yes", *service.where)
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 2
    assert re.search(r"service\.yaml:6: engines\.echo\.slots: .*'none'", done.stderr)
    assert service.held() == before


def test_the_same_again_changes_nothing(service: Service, tmp_path: Path) -> None:
    """And puts nothing into the history."""
    wanted = tmp_path / "next.yaml"
    wanted.write_text(service.held())
    before = service.revisions()
    done = ctl("ctl", "put", wanted, "--yes", *service.where)
    assert done.returncode == 0
    assert "nothing changes" in done.stderr
    assert service.revisions() == before


def test_a_refused_edit_is_kept_and_named(service: Service, tmp_path: Path) -> None:
    """Its author loses nothing, and is told how to go on."""
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/slots: 8/slotz: 8/' $1\n")
    editor.chmod(0o755)
    done = ctl("ctl", "edit", "--yes", *service.where, env={"EDITOR": str(editor), "PATH": "/usr/bin:/bin"})
    assert done.returncode == 3
    assert "did you mean `slots`?" in done.stderr
    kept = Path(re.search(r"your edit is kept: (\S+):", done.stderr)[1])  # type: ignore[index]
    try:
        assert "slotz: 8" in kept.read_text()
    finally:
        kept.unlink()


def test_an_edit_is_put(service: Service, tmp_path: Path) -> None:
    """As `put` does."""
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/slots: 8/slots: 7/' $1\n")
    editor.chmod(0o755)
    done = ctl("ctl", "edit", "--yes", *service.where, env={"EDITOR": str(editor), "PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr
    assert "slots: 7" in service.held()


def test_history_diff_and_rollback(service: Service) -> None:
    """A revision comes back under its own name."""
    first = service.revisions()[0].revision.name
    service.put(service.text().replace("slots: 8", "slots: 9"))
    found = answer("ctl", "diff", *service.where, code=6)
    lines = found["documents"][0]["lines"]
    assert [line for line in lines if re.match(r"[+-] ", line)] == ["-    slots: 8", "+    slots: 9"]
    assert found["from"] == first
    done = ctl("ctl", "rollback", "--yes", *service.where)
    assert done.returncode == 0, done.stderr
    assert f"put revision {first}" in done.stderr
    assert service.held() == service.text()
    assert ctl("ctl", "diff", first[:6], *service.where).returncode == 0
    again = ctl("ctl", "rollback", "--yes", *service.where)
    assert again.returncode == 0
    assert "slots: 9" in service.held()


def test_yaml_says_what_json_says(service: Service) -> None:
    """`--output yaml`, with the same exit codes."""
    service.put(service.text().replace("slots: 8", "slots: 9"))
    for command in (("ctl", "get"), ("ctl", "diff"), ("status",)):
        said = {form: ctl(*command, *service.where, "--output", form) for form in ("json", "yaml")}
        assert yaml.safe_load(said["yaml"].stdout) == json.loads(said["json"].stdout)
        assert said["yaml"].returncode == said["json"].returncode


def test_an_unknown_revision_is_told_with_the_next_step(service: Service) -> None:
    """Exit code 2."""
    done = ctl("ctl", "rollback", "ffffffff", "--yes", *service.where)
    assert done.returncode == 2
    assert "`loader ctl history` lists them" in done.stderr


def test_a_weight_is_changed_in_its_line(service: Service) -> None:
    """Comments and formatting stay."""
    done = ctl("ctl", "weight", "echo", "2.0", "5", "--yes", *service.where)
    assert done.returncode == 0, done.stderr
    assert service.held() == service.text().replace('"2.0": {weight: 0', '"2.0": {weight: 5')
    assert ctl("ctl", "weight", "echo", "3.0", "5", "--yes", *service.where).returncode == 2


# ---- what becomes of it


def test_apply_waits_for_all_loaders(service: Service, tmp_path: Path) -> None:
    """And says what each of them serves."""
    with service.loaders("a", "b"):
        wanted = tmp_path / "next.yaml"
        wanted.write_text(
            service.text().replace("weight: 100", "weight: 50").replace("weight: 0", "weight: 50")
        )
        found = answer("ctl", "apply", wanted, "--yes", "--wait", *service.nodes)
        assert found["is_applied"]
        assert {(one["node"], one["state"], one["serving"]) for one in found["nodes"]} == {
            (name, "applied", found["revision"]) for name in ("a", "b")
        }
        status = answer("status", *service.where)
        assert {one["serving"] for one in status["nodes"]} == {status["revision"]} == {found["revision"]}
        rows = answer("ctl", "engines", *service.nodes)
        assert sorted((one["node"], one["version"], one["weight"]) for one in rows) == [
            ("a", "1.0", 50), ("a", "2.0", 50), ("b", "1.0", 50), ("b", "2.0", 50)
        ]  # fmt: skip


def test_apply_tells_why_a_loader_went_back(service: Service, tmp_path: Path) -> None:
    """Exit code 8, the engine's own words; the status says so too."""
    with service.loaders("a", "b"):
        wanted = tmp_path / "next.yaml"
        wanted.write_text(service.text(', fails: "init"'))
        done = ctl("ctl", "apply", wanted, "--yes", "--wait", *service.nodes)
        assert done.returncode == 8
        assert "no model here" in done.stderr
        table = ctl("status", *service.where)
        assert table.returncode == 8
        assert table.stdout.count("rolled_back") == 2
        rolled = ctl("ctl", "rollback", "--yes", "--wait", *service.nodes)
        assert rolled.returncode == 0, rolled.stderr
        assert ctl("status", *service.where).returncode == 0


def test_apply_gives_up_waiting_in_time(service: Service, tmp_path: Path) -> None:
    """Exit code 9; whoever has not settled is named."""
    with service.loaders("a"):
        freeze(service.processes["a"].pid)
        try:
            wanted = tmp_path / "next.yaml"
            wanted.write_text(service.text().replace("slots: 8", "slots: 9"))
            names = (
                service.where
            )  # a registry or the acknowledgements name the loader; it does not answer itself
            done = ctl("ctl", "apply", wanted, "--yes", "--wait", "--timeout", "1s", *names)
        finally:
            service.processes["a"].send_signal(18)
        assert done.returncode == 9
        assert "no word of a in time" in done.stderr


def test_apply_without_a_loader_does_not_say_that_it_serves(service: Service, tmp_path: Path) -> None:
    """Exit code 9: it is put, and nobody is there to take it."""
    wanted = tmp_path / "next.yaml"
    wanted.write_text(service.text().replace("slots: 8", "slots: 9"))
    done = ctl("ctl", "apply", wanted, "--yes", "--wait", *service.where)
    assert done.returncode == 9, done.stdout + done.stderr
    assert "no loader is announced" in done.stderr
    assert service.held() == wanted.read_text()


def test_a_node_that_has_ended_does_not_spoil_the_status(service: Service) -> None:
    """What it said last is shown. With a registry only those that are announced count."""
    with service.loaders("a", "b"):
        done = ctl("ctl", "drain", service.addresses["b"], "--end", "--wait")
        assert done.returncode == 0, done.stderr
        revision = service.put(service.text().replace("slots: 8", "slots: 9"))

        def rows() -> dict[str, dict[str, object]]:
            done = ctl("status", *service.where, "--output", "json")
            found = {one["node"]: one for one in json.loads(done.stdout)["nodes"]}
            return found if found["a"]["serving"] == revision else {}

        found = until(rows, "a serves it")
        assert found["b"]["serving"] != revision
        announced = {name: one["is_announced"] for name, one in found.items()}
        assert announced == ({"a": True, "b": False} if service.has_registry else {"a": None, "b": None})
        assert ctl("status", *service.where).returncode == (0 if service.has_registry else 8)


def test_status_is_followed_live(service: Service) -> None:
    """A JSON line at each change, until the signal."""
    with service.loaders("a"):
        command = [PROGRAM, "status", *service.where, "--watch", "--output", "json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                first = json.loads(process.stdout.readline())
                assert first["nodes"][0]["serving"] == first["revision"]
                revision = service.put(service.text().replace("slots: 8", "slots: 9"))
                seen = first
                while not seen["nodes"] or seen["nodes"][0]["serving"] != revision:
                    seen = json.loads(process.stdout.readline())
                process.send_signal(2)
                assert process.wait(LIMIT_S) == 130
            finally:
                process.kill()


# ---- nodes


def test_a_status_that_is_followed_sees_a_dead_node_leave(tmp_path: Path) -> None:
    """A folder of leases tells who lives by what changes: it is opened once."""
    write_wrapper(tmp_path)
    for name in ("center", "registry"):
        (tmp_path / name).mkdir()
    service = Service(tmp_path, f"file:{tmp_path}/center", has_registry=True)
    service.put(f"registry: file:{tmp_path}/registry\n{service.text()}")
    service.ask(lambda center: center.acknowledge(Acknowledgement("dead", "r", AckState.APPLIED)))
    lease = {"beat": 1, "pid": 1, "entry": entry_text(NodeEntry("dead", "127.0.0.1:1"))}
    (tmp_path / "registry" / "dead.json").write_text(json.dumps(lease))
    command = [PROGRAM, "status", "--watch", "--output", "json", *service.where]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            seen = [json.loads(_line_within(process, LIMIT_S).splitlines()[0]) for _ in range(2)]
        finally:
            process.kill()
    assert [look["nodes"][0]["is_announced"] for look in seen] == [True, False]


def test_sessions_are_listed_and_killed_with_a_message(service: Service) -> None:
    """The client hears it."""
    with (
        service.loaders("a", "b"),
        Client(service.addresses["b"]) as client,
        client.session("echo") as session,
    ):
        session.write({"text": "x"})
        results = session.results()
        next(results)
        rows = until(lambda: answer("ctl", "sessions", *service.nodes), "the session is listed")
        assert [(one["engine"], one["version"]) for one in rows] == [("echo", "1.0")]
        name = rows[0]["session"]
        done = ctl("ctl", "kill", name, "--message", "go home", *service.nodes)
        assert done.returncode == 0, done.stderr
        with pytest.raises(KickedError, match="go home"):
            next(results)
        assert ctl("ctl", "kill", name, *service.nodes).returncode == 1


def test_a_loader_that_does_not_answer_hides_no_other(service: Service) -> None:
    """Those that answer are listed, and their sessions can be ended; exit code 1 and a line name the one that does
    not."""
    with service.loaders("a"), Client(service.addresses["a"]) as client, client.session("echo") as session:
        both = ("--address", service.addresses["a"], "--address", NOBODY)
        for command, node in (
            (("engines",), "a"),
            (("instances",), "a"),
            (("sessions",), service.addresses["a"]),
        ):
            done = ctl("ctl", *command, *both, "--output", "json")
            assert done.returncode == 1, done.stderr
            assert {one["node"] for one in json.loads(done.stdout)} == {node}
            assert NOBODY in done.stderr
        done = ctl("ctl", "kill", session.opened.session_id, *both)
        assert done.returncode == 0, done.stderr
        with pytest.raises(KickedError):
            list(session.results())


def test_a_drained_node_takes_no_work_until_it_is_undrained(service: Service) -> None:
    """By name where there is a registry, also when it is not announced any more; it stays."""
    with service.loaders("a", "b"), Client(service.addresses["a"]) as client:
        name = "a" if service.has_registry else service.addresses["a"]
        found = answer("ctl", "drain", name, "--wait", *service.where)
        assert found["address"] == service.addresses["a"]
        with pytest.raises(LoaderError):
            client.exec("echo", {"text": "x"}, timeout_s=30)
        assert service.processes["a"].poll() is None
        done = ctl("ctl", "undrain", name, *service.where)
        assert done.returncode == 0, done.stderr
        client.exec("echo", {"text": "x"}, timeout_s=30)


def test_nodes_that_are_gone_are_forgotten(service: Service) -> None:
    """Those that are not announced, or those that are named; nobody takes another loader for one of them."""
    with service.loaders("a"):
        said = Acknowledgement("gone", "r", AckState.APPLIED, address=service.addresses["a"])
        service.ask(lambda center: center.acknowledge(said))
        if service.has_registry:
            other = ctl("ctl", "undrain", "gone", *service.where)
            assert (other.returncode, "a is where it was" in other.stderr) == (2, True), other.stderr
        else:
            nobody = ctl("ctl", "forget", "--yes", *service.where)
            assert (nobody.returncode, "name the nodes" in nobody.stderr) == (2, True), nobody.stderr
        names = [] if service.has_registry else ["gone"]
        asked = ctl("ctl", "forget", *names, *service.where, stdin="n\n")
        assert (asked.returncode, "Forget gone?" in asked.stderr) == (1, True), asked.stderr
        assert answer("ctl", "forget", *names, "--yes", *service.where) == {"forgotten": ["gone"]}
        unknown = ctl("ctl", "forget", "gone", "--yes", *service.where)
        assert (unknown.returncode, "there are a" in unknown.stderr) == (2, True), unknown.stderr
        assert [one["node"] for one in answer("status", *service.where)["nodes"]] == ["a"]


def test_a_drain_that_ends_the_loader(service: Service) -> None:
    """`--end`."""
    with service.loaders("a"):
        done = ctl("ctl", "drain", service.addresses["a"], "--end", "--timeout", "1s", "--wait")
        assert done.returncode == 0, done.stderr
        assert service.processes["a"].wait(LIMIT_S) == 0


def test_instances_and_events(service: Service) -> None:
    """What changes is told as it happens."""
    with service.loaders("a"):
        rows = answer("ctl", "instances", "--address", service.addresses["a"])
        assert {(one["node"], one["state"], one["slots"]) for one in rows} == {("a", "ready", 8)}
        command = [PROGRAM, "ctl", "events", "--address", service.addresses["a"], "--output", "json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                number = 8
                seen = ""
                while "applied" not in seen:
                    # Until the stream is open nothing is heard of: change again.
                    number += 1
                    service.put(service.text().replace("slots: 8", f"slots: {number}"))
                    seen = _line_within(process, 2.0) + seen
                process.send_signal(2)
                assert process.wait(LIMIT_S) == 130
            finally:
                process.kill()
        assert json.loads(seen.splitlines()[0])["node"] == service.addresses["a"]


def _line_within(process: subprocess.Popen[str], limit_s: float) -> str:
    import selectors

    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        lines = ""
        while selector.select(limit_s):
            line = process.stdout.readline()
            lines += line
            if not line or '"applied' in line or " applied" in line:
                break
        return lines


def test_the_center_is_named_once(service: Service) -> None:
    """Neither none nor two."""
    assert ctl("status").returncode == 2
    assert ctl("status", *service.where, "--config", "x").returncode == 2
