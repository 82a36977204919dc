"""Documents laid over each other: what wins, where each value was written, and what stays secret."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from loader.config.document import Document, parse_document
from loader.config.documents import DEPTH, lay_over, merge_documents
from loader.errors import BadConfigError

KEYS = st.sampled_from(["a", "b", "c", "d"])
LEAVES = st.one_of(
    st.integers(0, 9), st.booleans(), st.none(), st.lists(st.integers(0, 9), max_size=2), st.just("${SECRET}")
)
VALUES: st.SearchStrategy[Any] = st.recursive(LEAVES, lambda inner: st.dictionaries(KEYS, inner, max_size=4))
MAPPINGS = st.dictionaries(KEYS, VALUES, max_size=4)
ENVIRONMENT = {"SECRET": "hush"}


def document(values: dict[str, Any], name: str) -> Document:
    return parse_document(yaml.safe_dump(values), name, ENVIRONMENT)


def laid(*documents: Document) -> Document:
    """The first below, the last on top."""
    made = Document(documents[0].origin)
    for one in documents:
        lay_over(made, one)
    return made


def expected(below: Any, above: Any) -> Any:
    """The rule, said again in its simplest form."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return {
        key: expected(below[key], above[key]) if key in below and key in above else {**below, **above}[key]
        for key in {**below, **above}
    }


def leaves(values: Any, path: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], Any]:
    if isinstance(values, dict) and values:
        return {p: leaf for key, value in values.items() for p, leaf in leaves(value, (*path, key)).items()}
    return {path: values}


@given(MAPPINGS, MAPPINGS)
def test_mappings_are_merged_and_all_else_is_replaced(below: dict[str, Any], above: dict[str, Any]) -> None:
    """Key by key, at any depth; neither document is changed."""
    one, two = document(below, "below"), document(above, "above")
    before = (repr(one), repr(two))
    assert laid(one, two).values == expected(one.values, two.values)
    assert (repr(one), repr(two)) == before


def is_cut(first: Any, second: Any, third: Any) -> bool:
    """{a: {x}} + {a: 1} + {a: {y}}: the value in between cuts what is below it."""
    if not isinstance(first, dict) or not isinstance(third, dict):
        return False
    if not isinstance(second, dict):
        return True
    return any(
        is_cut(first[key], second[key], third[key]) for key in first.keys() & second.keys() & third.keys()
    )


@given(MAPPINGS, MAPPINGS, MAPPINGS)
def test_the_order_matters_and_the_grouping_does_not_where_only_mappings_meet_mappings(
    first: dict[str, Any], second: dict[str, Any], third: dict[str, Any]
) -> None:
    """(a + b) + c is a + (b + c), with its places and secrets, unless a value stands in for a mapping in between."""
    one, two, three = (document(v, n) for v, n in ((first, "1"), (second, "2"), (third, "3")))
    left = laid(laid(one, two), three)
    right = laid(one, laid(two, three))
    if is_cut(one.values, two.values, three.values):
        return
    assert left.values == right.values
    for path in leaves(left.values):
        assert left.place_of(path) == right.place_of(path)
    assert left.secrets == right.secrets


@given(MAPPINGS)
def test_a_document_over_itself_or_nothing_is_itself(values: dict[str, Any]) -> None:
    """Including the same defaults twice changes nothing."""
    one, empty = document(values, "1"), document({}, "0")
    assert laid(one, one).values == laid(one, empty).values == laid(empty, one).values == one.values


@given(MAPPINGS, MAPPINGS)
def test_every_value_knows_its_document_and_line(below: dict[str, Any], above: dict[str, Any]) -> None:
    """The place of a leaf is where the document that won says it; secrets are those of the values that are left."""
    sources = {"below": document(below, "below"), "above": document(above, "above")}
    made = laid(*sources.values())
    for path, leaf in leaves(made.values).items():
        if not path:
            continue
        place = made.place_of(path)
        source = sources[place.document]
        assert leaves(source.values).get(path, {}) == leaf, (path, place)
        assert source.lines[path] == place.line
        assert (path in made.secrets) == (leaf == "hush")


def test_included_documents_lie_below_in_their_order() -> None:
    """Later includes win over earlier ones, the including document over all; relative to the including one."""
    made = merge_documents(
        {
            "speech/service.yaml": "include: [../all.yaml, deep/more.yaml]\nz: root",
            "all.yaml": "x: all\ny: all\nz: all",
            "speech/deep/more.yaml": "include: most.yaml\ny: more\nz: more",
            "speech/deep/most.yaml": "w: most\ny: most",
        },
        {},
    )
    assert made.values == {"x": "all", "y": "more", "z": "root", "w": "most"}
    places = {key: str(made.place_of((key,))) for key in made.values}
    assert places == {
        "x": "all.yaml:1",
        "y": "speech/deep/more.yaml:2",
        "z": "speech/service.yaml:2",
        "w": "speech/deep/most.yaml:1",
    }


@pytest.mark.parametrize(
    ("documents", "said"),
    [
        (
            {"r": "a: 1\ninclude: [none.yaml]"},
            "r:2: the included document none.yaml does not exist: there are r",
        ),
        ({"r": "include: r"}, "r:1: include goes in a circle: r → r"),
        ({"r": "include: s", "s": "x: 1\ninclude: t", "t": "include: r"}, "t:1: .* circle: r → s → t → r"),
        ({"r": "include: {a: 1}"}, "r:1: include is .*: write a list of documents' names"),
        ({"r": "include: ['']"}, "r:1: include is"),
        ({"r": "include: [1]"}, "r:1: include is"),
        ({"r": "include: s", "s": "x: [\n"}, "s:2: not valid YAML"),
        ({"r": "include: s", "s": "- x"}, "s:1: the file is not a mapping"),
    ],
)
def test_a_mistake_in_an_include_is_told_with_its_place(documents: dict[str, str], said: str) -> None:
    """Document and line of the include, or of what is wrong in the included one."""
    with pytest.raises(BadConfigError, match=f"^{said}"):
        merge_documents(documents, {})


def test_includes_are_nested_so_deep_and_no_deeper() -> None:
    """A chain of DEPTH includes is read, one more is refused."""

    def chain(length: int) -> dict[str, str]:
        return {f"d{n}": f"include: d{n + 1}" if n < length else "x: 1" for n in range(length + 1)}

    assert merge_documents(chain(DEPTH), {}).values == {"x": 1}
    with pytest.raises(BadConfigError, match=f"^d{DEPTH}:1: includes are nested deeper than {DEPTH}"):
        merge_documents(chain(DEPTH + 1), {})
