"""Mistakes of every kind: at any depth, in any text, and never with a secret in the answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import BaseModel

from loader.config import EffectiveConfig, ServiceConfig, effective, plan, read_config
from loader.config.read import _section_in
from loader.errors import BadConfigError

ORIGIN = "/etc/service.yaml"
SECRET = "hunter2-hunter2"
LETTERS = "abcdefghijklmnopqrstuvwxyz_"

NAMED = ("engines", "versions")

Path = tuple[str, ...]


def sections(
    section: type[BaseModel] = ServiceConfig, path: Path = ()
) -> Iterator[tuple[Path, type[BaseModel]]]:
    """Every section of the schema, with a path that leads to it."""
    yield path, section
    for name, field in section.model_fields.items():
        inner = _section_in(field.annotation)
        if inner is not None and name not in path:  # a version has no versions
            yield from sections(inner, (*path, name, "x1") if name in NAMED else (*path, name))


SECTIONS = dict(sections())
KEYS = [(path, key) for path, section in SECTIONS.items() for key in section.model_fields]


def document(path: Path = (), **keys: object) -> dict[str, Any]:
    """A good configuration with `keys` in the section at `path`."""
    values: dict[str, Any] = {"engines": {"x1": {"wrapper": "x1.py"}}}
    if "tls" in path:
        values["tls"] = {"certificate": "c.pem", "key": "k.pem"}
    section = values
    for name in path:
        section = section.setdefault(name, {})
    section.update(keys)
    return values


def reason(text: str, **environment: str) -> str:
    """Why `text` is refused; empty where it is good."""
    try:
        read_config(text, ORIGIN, environment)
    except BadConfigError as error:
        return str(error)
    return ""


def slips(key: str) -> list[str]:
    """`key` with one slip of a finger: a letter lost, doubled, swapped with the next, or another one."""
    found = []
    for at in range(len(key)):
        before, letter, after = key[:at], key[at], key[at + 1 :]
        found += [before + after, before + letter + letter + after, before + after[:1] + letter + after[1:]]
        found += [before + other + after for other in LETTERS]
    return found


def test_the_walk_finds_every_section() -> None:
    """The property below is about all of them."""
    assert set(SECTIONS) == {
        (),
        ("tls",),
        ("limits",),
        ("aiges",),
        ("log",),
        ("engines", "x1"),
        ("engines", "x1", "restart"),
        ("engines", "x1", "versions", "x1"),
        ("engines", "x1", "versions", "x1", "restart"),
        ("engines", "x1", "resources"),
        ("engines", "x1", "versions", "x1", "resources"),
    }


@given(st.data(), st.sampled_from(KEYS))
def test_a_slip_in_any_key_names_the_key_that_was_meant(data: st.DataObject, at: tuple[Path, str]) -> None:
    """One wrong letter at any depth: refused with the line of the key and the known key it resembles."""
    path, key = at
    wrong = data.draw(st.sampled_from(slips(key)))
    known = SECTIONS[path].model_fields
    assume(len(key) > 2 and wrong and wrong not in known)
    assume(not any(wrong in slips(other) for other in known if other != key))  # it could be either
    text = yaml.safe_dump(document(path, **{wrong: 1}))
    line = next(n for n, row in enumerate(text.splitlines(), 1) if row.strip() == f"{wrong}: 1")
    dotted = ".".join((*path, wrong))
    assert reason(text) == f"{ORIGIN}:{line}: {dotted}: unknown key: did you mean `{key}`?"


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text of a configuration raises anything but the error that names its file."""
    assert reason(text).startswith(f"{ORIGIN}:")


@pytest.mark.parametrize(
    "value",
    [
        "!!timestamp x",
        "!!bool x",
        "!!int x",
        "2024-13-45",
        "!!python/name:os.system",
        "&a [*a]",
        "[" * 3000,
        "\0",
    ],
)
def test_what_yaml_cannot_make_a_value_of_is_refused(value: str) -> None:
    """A tag that lies, a date that is none, an alias inside itself: a mistake of the file, not a defect."""
    text = f"drain_timeout_s: {value}\nengines: {{x1: {{wrapper: x}}}}\n"
    assert reason(text).startswith(f"{ORIGIN}:1:")


# Each place takes a scalar of the environment, whole or inside a list, as a value of the wrong kind.
@given(
    st.sampled_from(KEYS),
    st.sampled_from(["${S}", ["${S}"], {"a": "${S}"}, [["x${S}"]], {"a": {"b": ["${S}"]}}]),
)
def test_no_mistake_repeats_a_secret(at: tuple[Path, str], value: object) -> None:
    """Whatever is wrong with a value from the environment, the error does not show it."""
    path, key = at
    assert SECRET not in reason(yaml.safe_dump(document(path, **{key: value})), S=SECRET)


def test_a_missing_section_around_a_secret_does_not_show_it() -> None:
    """An error of a section is about the section: what it holds stays unsaid."""
    for values in (
        {"engines": ["${S}"]},
        {"engines": {"x1": "${S}"}},
        document(("engines", "x1"), environment={"A": ["${S}"]}),
    ):
        said = reason(yaml.safe_dump(values), S=SECRET)
        assert "engines" in said
        assert SECRET not in said


@pytest.mark.parametrize(
    ("path", "keys", "inner"),
    [
        ((), {"grpc": "${S}:1"}, "grpc"),
        ((), {"registry": "consul://${S}@127.0.0.1:8500"}, "registry"),
        (("engines", "x1"), {"config": {"deep": [{"token": "${S}"}]}}, "config"),
        (("engines", "x1"), {"environment": {"TOKEN": "a${S}"}}, "environment"),
        (("engines", "x1"), {"wrapper": "${S}"}, "wrapper"),
        (("engines", "x1"), {"versions": {"1": {"config": {"a": "${S}"}}}}, "config"),
        (("engines", "x1"), {"versions": {"1": {}}, "config": {"a": "${S}"}}, "config"),
        (("engines", "x1", "restart"), {"intensity": "${N}"}, "restart.intensity"),
    ],
)
def test_a_change_does_not_show_a_secret(path: Path, keys: dict[str, object], inner: str) -> None:
    """What a plan says of a change, which is logged and listed, names the key and not what it holds."""

    def read(values: object, number: int) -> EffectiveConfig:
        environment = {"S": f"{SECRET}-{number}", "N": str(number)}
        return effective(read_config(yaml.safe_dump(values), ORIGIN, environment), lambda _: "1")

    old, new = (read(document(path, **keys), number) for number in (1, 2))
    for made in (plan(old, new), plan(read(document(), 1), new)):
        changes = [*made.live, *made.loader, *(one for engine in made.engines for one in engine.because)]
        said = [str(change) for change in changes if change.key.endswith(inner)]
        assert len(said) == 1
        assert said[0].endswith(f"{inner}: (from the environment)")
        assert SECRET not in " ".join(made.refusals())


def test_other_changes_are_shown() -> None:
    """What was written in the file itself is no secret."""
    old, new = (
        effective(read_config(yaml.safe_dump(document(grpc=f"h:{n}")), ORIGIN, {}), str) for n in (1, 2)
    )
    assert plan(old, new).refusals() == ["grpc: 'h:1' → 'h:2' takes a restart of the loader"]
