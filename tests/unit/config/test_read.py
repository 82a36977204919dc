"""Reading the configuration: every mistake names its line, what was seen and what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from loader.config import read_config
from loader.errors import BadConfigError

GOOD = """\
service: echo
engines:
  echo:
    wrapper: wrappers/echo_py
    slots: 64
    config:
      anything: [1, two]
"""


def refusal(text: str, **environment: str) -> str:
    with pytest.raises(BadConfigError) as caught:
        read_config(text, "/etc/echo.yaml", environment)
    return str(caught.value)


def test_a_good_file_is_read_with_defaults() -> None:
    """What the file does not say has its documented default."""
    config = read_config(GOOD, "/etc/echo.yaml", {})
    engine = config.engines["echo"]
    assert (engine.slots, engine.isolation, engine.call_timeout_ms) == (64, "process", 30_000)
    assert config.grpc == "127.0.0.1:8001"
    assert engine.config == {"anything": [1, "two"]}


def test_paths_are_relative_to_the_file() -> None:
    """A wrapper is found from the file's folder, wherever the loader is started."""
    assert read_config(GOOD, "/etc/echo.yaml", {}).engines["echo"].wrapper == "/etc/wrappers/echo_py"


@pytest.mark.parametrize(
    ("key", "near"),
    [("slot: 3", "slots"), ("admision_wait_ms: 3", "admission_wait_ms"), ("wraper: x", "wrapper")],
)
def test_unknown_engine_key_names_the_nearest(key: str, near: str) -> None:
    """An unknown key is refused with its line and the nearest known key."""
    message = refusal(GOOD + f"    {key}\n")
    assert (
        message == f"/etc/echo.yaml:8: engines.echo.{key.split(':')[0]}: unknown key: did you mean `{near}`?"
    )


def test_unknown_service_key_names_the_nearest() -> None:
    """The same in the first level and in a nested section."""
    assert "did you mean `service`" in refusal(GOOD + "servise: x\n")
    assert "did you mean `intensity`" in refusal(GOOD + "    restart: {intensty: 3}\n")


def test_unlike_any_key_lists_the_known_ones() -> None:
    """A key that resembles none gets the list."""
    assert "known here are" in refusal(GOOD + "zzqx: 1\n")


def test_every_mistake_is_listed_with_its_line() -> None:
    """One reading tells all mistakes, in the order of the file."""
    message = refusal("grpc: nonsense\n" + GOOD.replace("64", "none"))
    lines = message.splitlines()
    assert lines[0].startswith("/etc/echo.yaml:1: grpc:")
    assert lines[1].startswith("/etc/echo.yaml:6: engines.echo.slots:")
    assert "'none'" in lines[1]


def test_a_key_given_twice_is_refused() -> None:
    """YAML would silently keep the last; we do not."""
    assert "is given twice, first in line 2" in refusal("service: a\nengines: {}\nengines: {}\n")


def test_broken_yaml_names_its_line() -> None:
    """A syntax error names the line."""
    assert refusal("service: a\nengines: [\n").startswith("/etc/echo.yaml:3: not valid YAML")


def test_no_engines_is_refused() -> None:
    """A service without an engine serves nothing."""
    assert "engines" in refusal("service: a\n")
    assert "engines" in refusal("engines: {}\n")


def test_environment_is_substituted() -> None:
    """`${NAME}` is replaced, `${NAME:-default}` has a default, `$${NAME}` is left as `${NAME}`."""
    text = GOOD + "      key: ${TOKEN}\n      rest: a${MISSING:-b}c\n      kept: $${TOKEN}\n"
    config = read_config(text, "/etc/echo.yaml", {"TOKEN": "007"}).engines["echo"].config
    assert (config["key"], config["rest"], config["kept"]) == ("007", "abc", "${TOKEN}")


def test_substituted_numbers_are_converted() -> None:
    """A declared number may come from the environment."""
    config = read_config(GOOD.replace("64", "${SLOTS}"), "/etc/echo.yaml", {"SLOTS": "7"})
    assert config.engines["echo"].slots == 7


def test_missing_variable_names_itself_and_the_line() -> None:
    """A variable that is not set is an error with the way out."""
    message = refusal(GOOD.replace("64", "${SLOTS}"))
    assert message.startswith("/etc/echo.yaml:5: the environment variable SLOTS is not set")


def test_a_secret_is_never_printed() -> None:
    """A bad value that came from the environment is not repeated in the error."""
    message = refusal(GOOD.replace("64", "${SECRET}"), SECRET="hunter2")
    assert "hunter2" not in message
    assert "comes from the environment" in message


VERSIONS = """\
engines:
  asr:
    wrapper: asr
    slots: 4
    config: {beam: 3, model: {name: small}}
    versions:
      "1":
      "2": {wrapper: asr2, weight: 5, config: {model: {size: 2}}}
"""


def test_versions_take_the_keys_of_their_engine(tmp_path: Path) -> None:
    """Each version is the engine's keys with its own over them, mappings merged."""
    engine = read_config(VERSIONS, str(tmp_path / "a.yaml"), {}).engines["asr"]
    one, two = engine.versions["1"], engine.versions["2"]
    assert (one.wrapper, one.slots, one.weight) == (str(tmp_path / "asr"), 4, 100)
    assert (two.wrapper, two.slots, two.weight) == (str(tmp_path / "asr2"), 4, 5)
    assert two.config == {"beam": 3, "model": {"name": "small", "size": 2}}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("slots: 4", "slots: 0", "a.yaml:4: engines.asr.slots: "),
        ("weight: 5", "weight: -5", "a.yaml:8: engines.asr.versions.2.weight: "),
        ("weight: 5", "wieght: 5", "did you mean `weight`?"),
        ("    slots: 4", '    version: "3"', "exclude each other"),
        ("    wrapper: asr\n", "", "there is no wrapper: add `wrapper`"),
    ],
)
def test_mistakes_in_versions_are_told_where_they_are(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    """A mistake that versions inherit is told once, at the engine's line."""
    with pytest.raises(BadConfigError) as caught:
        read_config(VERSIONS.replace(old, new), str(tmp_path / "a.yaml"), {})
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
