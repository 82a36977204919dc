"""Reading the configuration: every mistake names its line, what was seen and what to write."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from loader.config import EngineConfig, ServiceConfig, read_config
from loader.config.bootstrap import read_bootstrap
from loader.config.schema import LimitsConfig
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
WITHOUT_SLOTS = "engines:\n  echo:\n    wrapper: wrappers/echo_py\n"


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


def test_a_version_may_be_a_command_or_have_one_less(tmp_path: Path) -> None:
    """Its own `command` replaces the engine's `wrapper`, and the other way round."""
    text = VERSIONS.replace("wrapper: asr2", "command: [python, -m, aiges.serve, '']")
    two = read_config(text, str(tmp_path / "a.yaml"), {}).engines["asr"].versions["2"]
    assert (two.wrapper, two.command, two.folder) == ("", ("python", "-m", "aiges.serve", ""), str(tmp_path))
    text = VERSIONS.replace("wrapper: asr\n", "command: serve it\n")
    one, two = read_config(text, str(tmp_path / "a.yaml"), {}).engines["asr"].versions.values()
    assert (one.wrapper, one.command) == ("", ("bash", "-c", "serve it"))
    assert (two.wrapper, two.command) == (str(tmp_path / "asr2"), ())


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("''", "write a list of words, as [python, -m, aiges.serve], or a text for a shell"),
        ("[]", "write a list of words"),
        ("['', a]", "write a list of words"),
        ("{a: b}", "write a list of words"),
        ("7", "write a list of words"),
        ("[a, 7]", "should be a valid string: put it in quotes, not 7"),
    ],
)
def test_a_command_that_is_none(tmp_path: Path, command: str, message: str) -> None:
    """A list of words, or a text."""
    with pytest.raises(BadConfigError) as caught:
        read_config(f"engines:\n  asr: {{command: {command}}}", str(tmp_path / "a.yaml"), {})
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/a.yaml:2: engines.asr.command")


def test_a_wrapper_and_a_command_exclude_each_other(tmp_path: Path) -> None:
    """One engine, one source."""
    with pytest.raises(BadConfigError, match="`wrapper` and `command` exclude each other: remove one"):
        read_config("engines:\n  asr: {wrapper: a, command: b}", str(tmp_path / "a.yaml"), {})


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


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("config: !include other.yaml", "the tag `!include` is not known here: remove it"),
        ("config: !!set {a}", "the tag `!!set` is not known here"),
        ("config: !x [a]", "the tag `!x` is not known here"),
        ("config: {!x a: 1}", "the tag `!x` is not known here"),
        ("slots: 0b_", "`0b_` is no int that can be read: correct it, or quote it"),
        ("slots: 1" + "0" * 5_000, "is no int that can be read"),
        ("config: {x: !!int word}", "`word` is no int"),
        ("config: {x: !!bool word}", "`word` is no bool"),
        ("config: {x: .nan}", "`.nan` is not a finite number"),
        ("config: &c {x: *c}", "an alias (`*name`) stands inside what it names"),
        ("config: {<<: {a: 1}}", "`<<` merges nothing here"),
        ('config: {x: "a\\0b"}', "the value has a NUL character"),
        ('config: {x: "\\uD800"}', "not text that UTF-8 can hold"),
        (
            "wrapper: ~nobody-here/x",
            "engines.echo.wrapper: there is no user `~nobody-here`: write the whole path",
        ),
        ("wrapper: x\n    python: ~nobody-here/x", "engines.echo.python: there is no user `~nobody-here`"),
    ],
)
def test_what_cannot_be_read_names_its_line(line: str, message: str) -> None:
    """Nothing but BadConfigError, with file, line, what is wrong and the cure."""
    found = refusal(f"service: echo\nengines:\n  echo:\n    {line}\n")
    assert found.startswith(("/etc/echo.yaml:4: ", "/etc/echo.yaml:5: "))
    assert message in found


def test_a_control_character_names_its_line() -> None:
    """A character that YAML has no place for is named by its number."""
    assert refusal(GOOD + "\x01\n") == (
        "/etc/echo.yaml:8: the character U+0001 cannot stand in YAML: remove it"
    )


def test_dates_are_the_words_that_they_are() -> None:
    """YAML 1.1 makes dates of some words; a day that does not exist is a word like any other."""
    text = GOOD + "      day: 2024-13-45\n      real: 2024-12-24\n"
    config = read_config(text, "/etc/echo.yaml", {}).engines["echo"].config
    assert (config["day"], config["real"]) == ("2024-13-45", "2024-12-24")


def test_aliases_cannot_multiply() -> None:
    """Ten aliases of ten aliases, ten times: refused before memory is short."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "values: remove aliases" in refusal("\n".join(lines))


def test_deep_nesting_is_refused() -> None:
    """Python's own limit is not the user's problem."""
    assert "not valid YAML" in refusal("a: " + "[" * 5_000)


@pytest.mark.parametrize("size", [1 << 32, 1 << 52, 1 << 64, 10**30])
def test_integers_have_an_upper_bound(size: int) -> None:
    """No integer reaches the data plane that it cannot hold."""
    section = {"": ServiceConfig, "limits": LimitsConfig}
    for name, schema in section.items():
        for key in integer_keys(schema, size):
            line = f"{name}: {{{key}: {size}}}" if name else f"{key}: {size}"
            check_bound(refusal(f"{GOOD}{line}\n"), key, size)
    for key in integer_keys(EngineConfig, size):
        check_bound(refusal(f"{WITHOUT_SLOTS}    {key}: {size}\n"), key, size)
    check_bound(refusal(f"{GOOD}    restart: {{intensity: {size}}}\n"), "intensity", size)


COUNTED_IN_64_BITS = ("_ms", "arena_bytes", "memory_limit_bytes")


def integer_keys(schema: type[BaseModel], size: int) -> list[str]:
    names = [name for name, field in schema.model_fields.items() if field.annotation is int]
    return [name for name in names if size > 1 << 32 or not name.endswith(COUNTED_IN_64_BITS)]


def check_bound(message: str, key: str, size: int) -> None:
    assert f"{key}: " in message
    assert "less than or equal to" in message or "exceeded maximum size" in message
    assert str(size) in message


@pytest.mark.parametrize(
    "line", ["drain_timeout_s: 1e300", "drain_timeout_s: '${TIME}'", "drain_timeout_s: -1"]
)
def test_times_are_finite(line: str) -> None:
    """A time that no clock reaches is refused."""
    assert "drain_timeout_s: " in refusal(GOOD + line + "\n", TIME="nan")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "grpc: 127.0.0.1:99999",
            "grpc: the port must be a number from 0 (picks a free one) to 65535, not '127.0.0.1:99999'",
        ),
        ("grpc: foo", "grpc: write HOST:PORT, as 127.0.0.1:8001, not 'foo'"),
        ("grpc: ::1:80", "put an IPv6 address in brackets"),
        ("advertise: a..b:80", "advertise: the host must be a name or an address"),
        ("grpc: '[::z]:80'", "must be an IPv6 address"),
        ("grpc: 'unix:'", "1 to 107 bytes: it has 0"),
        ("http: unix:/tmp/x", "the HTTP port cannot be a Unix socket: write HOST:PORT"),
        ("http: 127.0.0.1:http", "the port must be a number"),
        ("admin_listen: foo", "admin_listen: write HOST:PORT"),
    ],
)
def test_addresses_are_checked(line: str, message: str) -> None:
    """An address that cannot be one is refused with the form that is wanted."""
    assert message in refusal(GOOD + line + "\n").replace("`", "'")


@pytest.mark.parametrize(
    "line", ["grpc: '[::1]:0'", "grpc: unix:/run/x", "admin_listen: ''", "http: localhost:80"]
)
def test_good_addresses_pass(line: str) -> None:
    """Names, both families, and sockets where there can be one."""
    read_config(GOOD + line + "\n", "/etc/echo.yaml", {})


def test_an_environment_variable_has_a_name() -> None:
    """A name with `=` would set another variable."""
    message = refusal(GOOD + "    environment: {A=B: x}\n")
    assert message.startswith("/etc/echo.yaml:8: engines.echo.environment.A=B: the name of a variable")


def test_a_number_for_a_text_is_told_to_be_quoted() -> None:
    """As it is written in the file, not as YAML has read it."""
    message = refusal(GOOD + "    environment: {N: 1.10}\n")
    assert message.endswith("should be a valid string: put it in quotes, not 1.10")


@pytest.mark.parametrize(
    "line",
    [
        "environment: [{API: '${SECRET}'}]",
        "environment: ['${SECRET}', 1]",
        "slots: ['${SECRET}']",
        "slots: {a: {b: '${SECRET}'}}",
        "restart: '${SECRET}'",
        "python: ['${SECRET}']",
        "versions: ['${SECRET}']",
    ],
)
def test_a_container_with_a_secret_is_never_printed(line: str) -> None:
    """A value of the wrong type may hold a secret deeper inside."""
    message = refusal(f"{WITHOUT_SLOTS}    {line}\n", SECRET="hunter2")
    assert "hunter2" not in message
    assert message.startswith("/etc/echo.yaml:4: engines.echo.")


def test_an_address_from_the_environment_is_not_printed() -> None:
    """Nor is a value that a check of ours refuses."""
    assert "hunter2" not in refusal(GOOD + "grpc: '${SECRET}'\n", SECRET="hunter2")


def test_a_center_of_an_unknown_user_names_its_line(tmp_path: Path) -> None:
    """As any other path."""
    (tmp_path / "node.yaml").write_text("zone: a\ncenter: file:~nobody-here/x\n")
    with pytest.raises(BadConfigError, match=r"node.yaml:2: center: there is no user `~nobody-here`"):
        read_bootstrap(str(tmp_path / "node.yaml"), {})
