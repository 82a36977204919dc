"""Starting, where something is missing or somebody is in a hurry."""

from __future__ import annotations

import resource
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from centers import FilePlace
from running import END_S, Running, command, processes_of, until
from watching import version_of

from loader.engine.deployment import FINI_S

Start = Callable[..., Running]
Write = Callable[..., Path]


def config(wrapper: Path, fault: str = "{}", keys: str = "") -> str:
    return f"engines: {{echo: {{wrapper: {wrapper}, version: '1', {keys} config: {{says: '1', fault: {fault}}}}}}}\n"


def test_a_signal_during_a_slow_init_ends_at_once(wrapper: Write, tmp_path: Path) -> None:
    """An instance that is not ready has nothing to lose."""
    gate = tmp_path / "gate"
    file = tmp_path / "service.yaml"
    file.write_text(config(wrapper(), f"{{at: init, gate: {gate}}}"))
    process = subprocess.Popen(
        command("--config", str(file), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"),
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: (tmp_path / "gate.reached").exists(), "it initialises")
        process.send_signal(signal.SIGTERM)
        assert process.wait(FINI_S) == 0  # one that has begun has so long for its fini
        until(lambda: not list(processes_of(tmp_path)), "no process is left")
    finally:
        gate.touch()
        process.kill()
        process.wait(END_S)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("registry: nowhere", "nowhere: is no address of Consul"),
        ("", "cannot be announced: write `advertise"),
        ("registry: consul://127.0.0.1:1/speech\nadvertise: unix:/a", "write `advertise: HOST:PORT`"),
    ],
)
def test_what_cannot_be_announced_is_told_before_it_is_ready(
    keys: str, said: str, wrapper: Write, tmp_path: Path
) -> None:
    """A registry that is none, and a socket file that others cannot reach: exit code 3, and no ready line."""
    file = tmp_path / "service.yaml"
    file.write_text(f"{keys or f'registry: file:{tmp_path}/registry'}\n{config(wrapper())}")
    grpc = "127.0.0.1:0" if keys else f"unix:{tmp_path}/socket"
    done = subprocess.run(
        command("--config", str(file), "--grpc", grpc, "--http", "127.0.0.1:0"),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert said in done.stderr


def test_what_a_folder_lost_is_served_from_the_cache(start: Start, wrapper: Write, tmp_path: Path) -> None:
    """Broken, cut short or gone while the node was down: the last good one serves, and the folder hears why."""
    place = FilePlace(tmp_path / "center")
    good = config(wrapper())
    place.publish(good)
    running = start(place.bootstrap)
    until(lambda: place.acknowledgement().get("state") == "applied", "it is told")
    for broken, said in (
        (good[:-20], "not valid YAML"),
        ("", "engines: is required"),
        (None, "has no service.yaml"),
    ):
        running.__exit__(None, None, None)
        if broken is None:
            (place.folder / "service.yaml").unlink()
        else:
            place.publish(broken)
        running = start(place.bootstrap)
        assert version_of(running, engine="echo") == "1"
        until(lambda said=said: said in place.acknowledgement()["error"], f"it says: {said}")
        assert place.acknowledgement()["state"] == "refused"
    place.publish(good.replace("says: '1'", "says: '2'").replace("version: '1'", "version: '2'"))
    until(lambda: place.acknowledgement()["state"] == "applied", "it is told")
    assert version_of(running, engine="echo") == "2"


def test_a_taken_http_port_starts_no_host(wrapper: Write, tmp_path: Path) -> None:
    """It is looked for first."""
    file = tmp_path / "service.yaml"
    file.write_text(config(wrapper(), f"{{at: init, gate: {tmp_path / 'gate'}}}"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            command("--config", str(file), "--grpc", "127.0.0.1:0", "--http", address),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 4
    assert address in done.stderr
    assert not (tmp_path / "gate.reached").exists()


def test_a_host_is_started_again_when_descriptors_are_back(start: Start, wrapper: Write) -> None:
    """A restart that finds none is no end: it is tried until it works."""
    running = start(config(wrapper(), keys="restart: {backoff_s: 0.1, backoff_max_s: 0.3, intensity: 2},"))
    pid = running.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, hard))
    try:
        running.hosts()[0].kill()
        until(lambda: running.log_text().count("host not started") > 3, "starts fail")
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    until(lambda: running.instance("echo").state == "ready", "it is started again")
    assert version_of(running, engine="echo") == "1"
