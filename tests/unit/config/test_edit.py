"""Keys changed in YAML text: the values are exactly the wanted ones, and nothing else of the text has changed."""

from __future__ import annotations

import difflib
from textwrap import dedent

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from loader.config.edit import remove_key, set_key
from loader.errors import BadConfigError

TEXT = dedent("""\
    # The service.
    service: speech   # its name

    engines:
      asr:
        wrapper: ../asr
        versions:
          # the stable one
          "1.0": {weight: 95}   # most of it

          "2.0":  # the canary
            # how much
            weight: 5  # percent
            config:
              beam: 4
          "3.0":
      tts: {wrapper: ../tts, slots: 4}
    # the end
    """)


def changed_lines(before: str, after: str) -> list[str]:
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line for line in lines if line[0] in "+-"]


@pytest.mark.parametrize(
    ("path", "value", "lines"),
    [
        (
            ("engines", "asr", "versions", "2.0", "weight"),
            25,
            ["-         weight: 5  # percent", "+         weight: 25  # percent"],
        ),
        (
            ("engines", "asr", "versions", "1.0", "weight"),
            0,
            ['-       "1.0": {weight: 95}   # most of it', '+       "1.0": {weight: 0}   # most of it'],
        ),
        (
            ("engines", "asr", "versions", "3.0", "weight"),
            1,
            ['-       "3.0":', '+       "3.0": {weight: 1}'],
        ),
        (("engines", "asr", "weight"), 7, ["+     weight: 7"]),
        (
            ("engines", "tts", "weight"),
            7,
            ["-   tts: {wrapper: ../tts, slots: 4}", "+   tts: {weight: 7, wrapper: ../tts, slots: 4}"],
        ),
        (
            ("engines", "asr", "versions", "4.0"),
            {"wrapper": "../new: one", "weight": 0},
            ["+       '4.0': {wrapper: '../new: one', weight: 0}"],
        ),
        (("log", "level"), "debug", ["+ log: {level: debug}"]),
    ],
)
def test_one_key_changes_and_everything_else_stays(
    path: tuple[str, ...], value: object, lines: list[str]
) -> None:
    """Comments, blank lines, quotes and order."""
    made = set_key(TEXT, "service.yaml", path, value)  # type: ignore[arg-type]
    assert changed_lines(TEXT, made) == lines
    found = yaml.safe_load(made)
    for key in path:
        found = found[key]
    assert found == value


def test_what_is_inserted_does_not_come_between_a_comment_and_its_key() -> None:
    """Below the key that holds the mapping, above the comment of its first entry."""
    made = set_key(TEXT, "service.yaml", ("engines", "asr", "versions", "4.0"), {"weight": 0})
    lines = made.splitlines()
    at = lines.index("      '4.0': {weight: 0}".replace("      ", "      ", 1))
    assert lines[at - 1] == "    versions:"
    assert lines[at + 1] == "      # the stable one"


@pytest.mark.parametrize(
    ("path", "gone"),
    [
        (("engines", "asr", "versions", "1.0"), ['-       "1.0": {weight: 95}   # most of it']),
        (
            ("engines", "asr", "versions", "2.0"),
            [
                '-       "2.0":  # the canary',
                "-         # how much",
                "-         weight: 5  # percent",
                "-         config:",
                "-           beam: 4",
            ],
        ),
        (("engines", "asr", "versions", "3.0"), ['-       "3.0":']),
        (("service",), ["- service: speech   # its name"]),
    ],
)
def test_a_removed_key_takes_its_own_lines_only(path: tuple[str, ...], gone: list[str]) -> None:
    """And what it holds."""
    assert changed_lines(TEXT, remove_key(TEXT, "service.yaml", path)) == gone


@pytest.mark.parametrize(
    ("text", "key", "wanted"),
    [
        ("a: {b: 1, c: 2}\n", "b", "a: {c: 2}\n"),
        ("a: {b: 1, c: 2}\n", "c", "a: {b: 1}\n"),
        ("a: {b: 1}\n", "b", "a: {}\n"),
        ("a:\n  b: 1\n", "b", "a:\n  {}\n"),
    ],
)
def test_a_key_is_removed_from_braces_and_from_alone(text: str, key: str, wanted: str) -> None:
    """Valid YAML stays."""
    assert remove_key(text, "x", ("a", key)) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "base: &one {weight: 1}\nengines: *one\n",
        "engines: &one {weight: 1}\n",
        "engines:\n  weight:\n    - 1\n    - 2\n",
        "engines:\n  weight: |\n    1\n",
    ],
)
def test_what_cannot_be_changed_in_its_text_is_refused_with_a_cure(text: str) -> None:
    """Never a wrong text."""
    with pytest.raises(BadConfigError, match="edit it by hand"):
        set_key(text, "service.yaml", ("engines", "weight"), 5)


def test_a_variable_of_the_environment_need_not_be_set() -> None:
    """The text is changed, not what it means."""
    text = "a: ${NO_SUCH_VARIABLE}\nb: 1\n"
    assert set_key(text, "x", ("b",), 2) == "a: ${NO_SUCH_VARIABLE}\nb: 2\n"


def test_an_empty_document_gets_its_first_key() -> None:
    """With its comment above it."""
    assert set_key("# nothing yet", "x", ("a", "b"), 1) == "# nothing yet\na: {b: 1}\n"


NAMES = st.sampled_from(["a", "b", "c", "1.0", "x y"])
SCALARS = st.one_of(st.integers(0, 99), st.sampled_from(["", "a", "b: c", " #", "'", '"{', "long " * 30]))
BRANCHES = st.dictionaries(NAMES, st.one_of(SCALARS, st.dictionaries(NAMES, SCALARS, max_size=2)), max_size=3)
TREES = st.one_of(SCALARS, BRANCHES)


@given(
    st.dictionaries(NAMES, TREES, min_size=1, max_size=3),
    st.lists(NAMES, min_size=1, max_size=3),
    st.integers(0, 9),
    st.sampled_from([True, False, None]),
)
def test_any_text_is_changed_exactly_or_refused(
    values: dict[str, object], path: list[str], value: int, style: bool | None
) -> None:
    """In block style, in braces, and mixed."""
    text = yaml.safe_dump(values, default_flow_style=style)
    try:
        made = yaml.safe_load(set_key(text, "x", tuple(path), value))
    except BadConfigError:
        return
    wanted: object = values
    at = made
    for key in path[:-1]:
        at = at[key]
    assert at.pop(path[-1]) == value
    _forget(wanted, path)
    assert _bare(made) == _bare(wanted)


def _forget(values: object, path: list[str]) -> None:
    for key in path[:-1]:
        values = values.get(key) if isinstance(values, dict) else None
    if isinstance(values, dict):
        values.pop(path[-1], None)


def _bare(value: object) -> object:
    """Without mappings that hold nothing."""
    if isinstance(value, dict):
        return {key: bare for key, below in value.items() if (bare := _bare(below)) != {}}
    return value
