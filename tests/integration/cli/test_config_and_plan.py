"""`loader config show` and `loader plan`: what a configuration says, and what a change of it would do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml
from services import Service, answer, ctl

SERVICE = """\
include: defaults.yaml
engines:
  asr:
    slots: 8
    environment: {TOKEN: "${SECRET}"}
"""
DEFAULTS = """\
drain_timeout_s: 10
engines:
  asr:
    wrapper: asr.py
    slots: 1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "service.yaml").write_text(SERVICE)
    (tmp_path / "defaults.yaml").write_text(DEFAULTS)
    (tmp_path / "asr.py").write_text("")
    return tmp_path


def test_every_key_is_shown_with_its_line_and_no_secret(folder: Path) -> None:
    """Of whichever document it is written in."""
    environment = os.environ | {"SECRET": "opensesame"}
    file = folder / "service.yaml"
    done = ctl("config", "show", file, "--effective", "--origin", env=environment)
    assert done.returncode == 0
    assert "opensesame" not in done.stdout + done.stderr
    lines = {line.split(":")[0].strip(): line for line in done.stdout.splitlines()}
    assert lines["drain_timeout_s"].endswith(f"# {folder}/defaults.yaml:1")
    assert lines["wrapper"].endswith(f"# {folder}/defaults.yaml:4")
    assert lines["slots"].split("#")[0].split() == ["slots:", "8"]
    assert lines["slots"].endswith(f"# {folder}/service.yaml:4")
    assert lines["TOKEN"].endswith(f"# {folder}/service.yaml:5, from the environment")
    assert yaml.safe_load(done.stdout)["engines"]["asr"]["environment"] == {"TOKEN": "***"}
    found = answer("config", "show", file, "--origin")
    assert found["origins"]["engines.asr.slots"] == f"{folder}/service.yaml:4"


def test_documents_are_shown_as_they_are(folder: Path) -> None:
    """Comments, variables and all."""
    found = answer("config", "show", folder / "service.yaml")
    assert found["documents"] == {"service.yaml": SERVICE, "defaults.yaml": DEFAULTS}


def test_a_configuration_that_is_not_valid_is_shown_and_told(folder: Path) -> None:
    """With its line, and exit code 3."""
    (folder / "defaults.yaml").write_text(DEFAULTS.replace("slots: 1", "slot: 1"))
    done = ctl("config", "show", folder / "service.yaml", "--effective")
    assert done.returncode == 3
    assert "defaults.yaml:5: engines.asr.slot: unknown key: did you mean `slots`?" in done.stderr


def plan(*arguments: str | Path) -> tuple[int, dict[str, object]]:
    done = ctl("plan", *arguments, "--output", "json")
    return done.returncode, json.loads(done.stdout)


def test_the_exit_code_of_a_plan_says_whether_anything_changes(folder: Path) -> None:
    """0 nothing, 6 something, 7 something that takes a new loader, 3 not valid."""
    old, new = folder / "service.yaml", folder / "new.yaml"
    assert plan(old, "--from", old)[0] == 0
    new.write_text(SERVICE.replace("slots: 8", "slots: 9\n    isolation: inline\n    config: {model: big}"))
    code, found = plan(new, "--from", old)
    assert code == 6
    assert [one["replace"] for one in found["engines"]] == [["1"]]  # type: ignore[index, attr-defined]
    new.write_text(SERVICE + "arena_bytes: 2097152\ndrain_timeout_s: 5\n")
    code, found = plan(new, "--from", old)
    assert code == 7
    assert [one["key"] for one in found["loader"]] == ["arena_bytes"]  # type: ignore[index, attr-defined]
    assert [one["key"] for one in found["live"]] == ["drain_timeout_s"]  # type: ignore[index, attr-defined]
    new.write_text("engines: {}\n")
    assert ctl("plan", new, "--from", old).returncode == 3


def test_a_plan_names_no_secret(folder: Path) -> None:
    """Neither of them."""
    new = folder / "new.yaml"
    new.write_text(SERVICE.replace("${SECRET}", "${OTHER}"))
    environment = os.environ | {"SECRET": "opensesame", "OTHER": "openwheat"}
    for output in ("table", "json", "yaml"):
        done = ctl("plan", new, "--from", folder / "service.yaml", "--output", output, env=environment)
        assert done.returncode == 6
        assert "environment" in done.stdout
        assert "open" not in done.stdout + done.stderr


def test_a_plan_from_nothing_starts_everything(folder: Path) -> None:
    """And says that it was compared with nothing."""
    done = ctl("plan", folder / "service.yaml")
    assert done.returncode == 6
    assert "+ start asr 1" in done.stdout
    assert "compared with nothing" in done.stdout


def test_a_plan_from_a_running_loader(service: Service) -> None:
    """By its address, and by what it says to the center."""
    with service.loaders("a"):
        assert plan(service.center, "--from", service.addresses["a"])[0] == 0
        assert plan(service.center)[0] == 0
        wanted = service.folder / "more.yaml"
        wanted.write_text(service.text().replace("slots: 8", "slots: 9"))
        code, found = plan(wanted, "--from", service.center)
        assert code == 6
        assert {one["key"] for one in found["live"]} == {  # type: ignore[index, attr-defined]
            "engines.echo.versions.1.0.slots",
            "engines.echo.versions.2.0.slots",
        }


def test_nobody_at_the_address_is_told() -> None:
    """Exit code 1, one line, a next step."""
    done = ctl("ctl", "engines", "--address", "127.0.0.1:1")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "is it running there?" in done.stderr
