"""A real loader and a real Consul: every change reaches it, and it serves whatever becomes of the center."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from consul_agent import ConsulAgent
from following import CONVERGE_S, NODE, Scene, metric, service, status
from running import Running, command, until

UNKNOWN_KEY = "engines:\n  echo:\n    wrapper: echo.py\n    slotz: 4\n"


def test_a_change_in_consul_changes_the_loader(quiet_scene: Scene) -> None:
    """Started from the center, acknowledged, recorded once, changed in about a second, though now and then the machine
    stands still; the session that is open stays."""
    scene = quiet_scene
    first = scene.publish(service(10))
    running = scene.start()
    said = scene.acknowledged(revision=first, state="applied", serving=first)
    assert (said["node"], said["error"]) == (NODE, "")
    session = running.open_session("echo")
    revisions, took_s = [first], []
    for drain_s in range(11, 16):
        put_s = time.time()
        revisions.append(scene.publish(service(drain_s)))
        said = scene.acknowledged(revision=revisions[-1], state="applied", serving=revisions[-1])
        took_s.append(said["time_s"] - put_s)
    assert statistics.median(took_s) < 1.5, took_s
    assert status(running).revision == revisions[-1]
    session.write("still")
    assert session.result() == "still"
    session.end()
    until(
        lambda: (
            set(scene.agent.keys(f"{scene.prefix}/history/"))
            == {f"{scene.prefix}/history/{name}" for name in revisions}
        ),
        "all revisions in the history",
    )


def test_a_bad_document_is_refused_with_document_line_and_key(quiet_scene: Scene) -> None:
    """Unknown key, broken YAML, not UTF-8, no root, a wrapper that is not there: the old one serves on."""
    scene = quiet_scene
    good = scene.publish(service())
    running = scene.start()
    scene.acknowledged(revision=good, state="applied")
    root = f"{scene.prefix}/config/service.yaml"
    for text, said in (
        (UNKNOWN_KEY, f"{root}:4: engines.echo.slotz: unknown key: did you mean `slots`?"),
        ("engines: [\n", f"{root}:2: not valid YAML"),
        (
            service().replace("echo.py", "none.py"),
            f"{root}:3: engines.echo: {scene.folder}/none.py: there is no such wrapper",
        ),
    ):
        bad = scene.publish(text)
        refused = scene.acknowledged(revision=bad, state="refused", serving=good)
        assert said in refused["error"], refused
        assert (status(running).revision, status(running).revision_state) == (good, "refused")
        assert running.echo("echo") == "hello"
    scene.agent.put(root, b"\xff")
    until(lambda: "is not UTF-8 text" in scene.acknowledgement()["error"], "the bytes told", CONVERGE_S)
    scene.agent.delete(root)
    until(lambda: f"has no {root}" in scene.acknowledgement()["error"], "the missing root told", CONVERGE_S)
    assert scene.acknowledgement()["state"] == "refused"
    assert running.echo("echo") == "hello"
    scene.publish(service())
    scene.acknowledged(revision=good, state="applied", serving=good, error="")


def test_documents_include_others_and_the_nodes_own_keys_win(quiet_scene: Scene) -> None:
    """Defaults of several services are merged below; `zone` of the node's file stands above the center's."""
    scene = quiet_scene
    scene.publish(
        "zone: shared\nlog: {level: warning}\nengines: {echo: {wrapper: echo.py, slots: 2}}",
        "defaults/all.yaml",
    )
    scene.publish("include: [defaults/all.yaml]\nzone: center\nengines: {echo: {slots: 3}}")
    running = scene.start("zone: mine\n")
    assert running.instance("echo").slots == 3
    entry = until(scene.entry, "announced", CONVERGE_S)
    assert (entry["zone"], entry["node"]) == ("mine", NODE)
    scene.publish(
        "zone: shared\nengines: {echo: {wrapper: echo.py, slots: no}}\nhttpp: 1", "defaults/all.yaml"
    )
    refused = scene.acknowledged(state="refused")
    assert f"{scene.prefix}/config/defaults/all.yaml:3: httpp: unknown key" in refused["error"]


def test_without_consul_and_without_a_cache_it_does_not_start(scene: Scene) -> None:
    """Exit code 3 and one sentence: which address, what happened, what to do."""
    scene.agent.kill()
    code, said = scene.start_fails()
    assert code == 3
    assert f"127.0.0.1:{scene.agent.port}" in said
    assert "start the center, or correct `center`" in said
    assert len(said.strip().splitlines()) == 1, said


def test_a_damaged_cache_is_not_used(scene: Scene) -> None:
    """One changed character: with Consul it starts and the cache is whole again; without, it does not start."""
    good = scene.publish(service())
    scene.start().__exit__(None, None, None)
    whole = scene.cache_file.read_text()
    assert scene.cache_file.stat().st_mode & 0o077 == 0, "others may read the configuration"
    for damaged in (whole.replace("slots: 4", "slots: 5"), whole[:-20], ""):
        scene.cache_file.write_text(damaged)
        running = scene.start()
        scene.acknowledged(revision=good, state="applied")
        running.__exit__(None, None, None)
        assert scene.cache_file.read_text() == whole
    scene.cache_file.write_text(whole.replace("slots: 4", "slots: 5"))
    scene.agent.kill()
    code, said = scene.start_fails()
    assert code == 3
    assert "the cache is damaged" in said


def test_it_starts_from_its_cache_and_converges_when_consul_is_back(scene: Scene) -> None:
    """It says that it is stale, in its state, its metrics and its log; then what changed meanwhile is applied."""
    good = scene.publish(service(10))
    running = scene.start()
    scene.acknowledged(revision=good, state="applied")
    running.__exit__(None, None, None)
    scene.agent.kill()
    running = scene.start()
    assert running.echo("echo") == "hello"
    until(lambda: status(running).revision_state == "stale", "said to be stale", CONVERGE_S)
    assert status(running).revision == good
    assert metric(running, "center_reachable") == 0
    until(lambda: metric(running, "registry_reachable") == 0, "the registry out of reach", CONVERGE_S)
    assert running.log_lines("the last good configuration serves")
    scene.agent.restart()
    until(lambda: metric(running, "center_reachable") == 1, "reachable again", CONVERGE_S)
    scene.acknowledged(revision=good, state="applied", serving=good)
    newer = scene.publish(service(12))
    scene.acknowledged(revision=newer, state="applied", serving=newer)
    until(scene.entry, "announced again", CONVERGE_S)
    until(lambda: metric(running, "registry_reachable") == 1, "it knows that", CONVERGE_S)
    assert running.echo("echo") == "hello"


def test_a_bad_document_at_the_start_leaves_the_cached_one_serving(scene: Scene) -> None:
    """The center holds one that is not valid, then none at all: each time it starts and says why."""
    good = scene.publish(service())
    running = scene.start()
    scene.acknowledged(revision=good, state="applied")
    running.__exit__(None, None, None)

    bad = scene.publish(UNKNOWN_KEY)
    running = scene.start()
    refused = scene.acknowledged(revision=bad, state="refused", serving=good)
    assert "service.yaml:4: engines.echo.slotz" in refused["error"]
    assert running.echo("echo") == "hello"
    running.__exit__(None, None, None)

    scene.agent.delete(f"{scene.prefix}/config/service.yaml")
    running = scene.start()
    until(lambda: "has no " in scene.acknowledgement()["error"], "the missing root told", CONVERGE_S)
    assert (status(running).revision, status(running).revision_state) == (good, "refused")
    assert running.echo("echo") == "hello"
    scene.publish(service())
    scene.acknowledged(revision=good, state="applied", serving=good)


def test_a_key_that_takes_a_new_loader_is_taken_by_a_restart(quiet_scene: Scene) -> None:
    """Refused while it runs, and nothing to refuse when it starts again: also beside an engine that does not start,
    whose old version then serves."""
    scene = quiet_scene
    first = scene.publish(service())
    running = scene.start()
    scene.acknowledged(revision=first, state="applied")
    second = scene.publish(service(more="limits: {connections: 77}\n"))
    refused = scene.acknowledged(revision=second, state="refused", serving=first)
    assert "limits.connections: 10000 → 77 takes a restart of the loader" in refused["error"]
    running.__exit__(None, None, None)
    running = scene.start()
    scene.acknowledged(revision=second, state="applied", serving=second, error="")
    running.__exit__(None, None, None)

    (scene.folder / "bad.py").write_text("raise RuntimeError('not built')\n")
    bad = service(more="limits: {connections: 78}\n").replace("echo.py", "bad.py")
    third = scene.publish(bad)
    running = scene.start()
    rolled_back = scene.acknowledged(revision=third, state="rolled_back", serving=second)
    assert "not built" in rolled_back["error"]
    assert running.echo("echo") == "hello"


def test_a_bad_document_at_the_first_start_ends_it(quiet_scene: Scene) -> None:
    """There is nothing else to serve: exit code 3 with document, line and key."""
    quiet_scene.publish(UNKNOWN_KEY)
    code, said = quiet_scene.start_fails()
    assert code == 3
    assert f"{quiet_scene.prefix}/config/service.yaml:4: engines.echo.slotz" in said


def test_sessions_are_served_while_consul_hangs(scene: Scene) -> None:
    """SIGSTOP: nothing of the data plane waits for the center, before and after it is noticed."""
    good = scene.publish(service())
    running = scene.start()
    scene.acknowledged(revision=good, state="applied")
    session = running.open_session("echo")
    scene.agent.pause()

    def served() -> None:
        began_s = time.monotonic()
        for _ in range(20):
            assert running.echo("echo") == "hello"
            session.write("still")
            assert session.result() == "still"
        assert time.monotonic() - began_s < 20  # of calls that wait for a center each takes five

    served()
    until(lambda: metric(running, "center_reachable") == 0, "noticed", CONVERGE_S)
    served()
    until(lambda: status(running).revision_state == "stale", "said to be stale", CONVERGE_S)
    scene.agent.resume()
    scene.acknowledged(revision=good, state="applied")
    until(lambda: metric(running, "center_reachable") == 1, "back", CONVERGE_S)
    session.end()


def test_a_consul_that_lost_everything_is_told_again(scene: Scene) -> None:
    """Killed with its disk: the loader serves, and after the documents are back it acknowledges and announces."""
    good = scene.publish(service())
    running = scene.start()
    until(scene.entry, "announced", CONVERGE_S)
    scene.agent.restart(is_empty=True)
    until(scene.entry, "announced again", CONVERGE_S)
    until(lambda: "has no " in scene.acknowledgement().get("error", ""), "the missing root told", CONVERGE_S)
    assert running.echo("echo") == "hello"
    scene.publish(service())
    scene.acknowledged(revision=good, state="applied", serving=good)
    until(lambda: scene.agent.keys(f"{scene.prefix}/history/"), "recorded again", CONVERGE_S)


def test_the_token_stands_nowhere(
    start_consul: Callable[..., ConsulAgent], tmp_path: Path, prefix: str, begin: Callable[..., Running]
) -> None:
    """With a token of its own a loader serves, announces and acknowledges; log, state and errors do not show it."""
    agent = start_consul(has_acl=True)
    rules = f'key_prefix "{prefix}/" {{ policy = "write" }} service_prefix "{prefix}" {{ policy = "write" }}'
    rules += ' node_prefix "" { policy = "read" }'
    token = agent.token_for(rules)
    scene = Scene(agent, prefix, tmp_path, begin, token)
    good = scene.publish(service(more="log: {level: debug}\n"))
    running = scene.start()
    scene.acknowledged(revision=good, state="applied")
    until(scene.entry, "announced", CONVERGE_S)
    agent.restart(is_empty=True)  # its ACLs, too: now the token is unknown
    until(lambda: metric(running, "center_reachable") == 0, "refused", CONVERGE_S)
    until(lambda: "correct `center_token` or its policy" in running.log_text(), "said why", CONVERGE_S)
    assert token not in running.log_text()
    assert token not in json.dumps(scene.acknowledgement()) + str(status(running))
    found = subprocess.run(
        ["grep", "-r", "-l", token, str(tmp_path / "cache")], capture_output=True, check=False
    )
    assert found.stdout == b""
    assert running.echo("echo") == "hello"


def test_an_url_is_enough(quiet_scene: Scene, begin: Callable[..., Running], tmp_path: Path) -> None:
    """`loader --config consul://…` without any file; relative paths begin in the working folder."""
    (tmp_path / "echo.py").write_text(
        "from loader import Wrapper\nclass E(Wrapper):\n  def exec(self, r): return r\n"
    )
    text = service().replace("echo.py", str(tmp_path / "echo.py"))
    quiet_scene.publish(text)
    url = quiet_scene.agent.url(quiet_scene.prefix)
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "xdg")}
    process = subprocess.Popen(
        command("--config", url, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["engines"] == {"echo": "ready"}
        until(lambda: list((tmp_path / "xdg" / "engine-loader").glob("*.json")), "cached", CONVERGE_S)
    finally:
        process.terminate()
        assert process.wait(30) == 0
        process.stdout.close()
