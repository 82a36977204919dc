"""Weights: shared out exactly, and changed in the document where they are written."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.center import Document, Revision
from loader.config.plan import Plan
from loader.errors import InvalidArgumentError
from loader.operate.site import Site, changes_between, open_site, plan_between, with_documents
from loader.operate.weights import shared, weights_of, with_version, with_weights, without_version


@pytest.mark.parametrize(
    ("before", "percent", "wanted"),
    [
        ({"1": 100}, 5, {"1": 95, "2": 5}),
        ({"1": 100, "2": 0}, 25, {"1": 75, "2": 25}),
        ({"1": 100, "2": 0}, 100, {"1": 0, "2": 100}),
        ({"1": 60, "0": 20, "2": 20}, 50, {"1": 30, "0": 10, "2": 40}),
        ({"1": 1}, 0.5, {"1": 199, "2": 1}),
        ({"1": 9_999, "0": 1}, 50, {"1": 9_999, "0": 1, "2": 10_000}),
    ],
)
def test_a_percentage_is_shared_out_exactly(
    before: dict[str, int], percent: float, wanted: dict[str, int]
) -> None:
    """The others keep their proportions."""
    assert shared(before, "2", percent) == wanted


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 10_000), min_size=1),
    st.floats(0.01, 99.99),
)
def test_weights_are_always_such_as_the_schema_takes(before: dict[str, int], percent: float) -> None:
    """And nobody with weight loses all of it."""
    if not any(before.values()):
        with pytest.raises(InvalidArgumentError):
            shared(before, "new", percent)
        return
    found = shared(before, "new", percent)
    assert all(0 <= weight <= 10_000 for weight in found.values())
    assert all((found[name] > 0) == (weight > 0) for name, weight in before.items())
    assert found["new"] > 0


SERVICE = """\
    include: more.yaml
    engines:
      asr:
        wrapper: asr.py   # not here
        version: "1.0"
        slots: 4
"""
MORE = """\
    engines:
      tts:
        wrapper: tts.py
        versions:
          "1": {weight: 90}
          "2": {weight: 10}  # gray
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "service.yaml").write_text("engines: {}")
    return open_site(f"file:{tmp_path}")


def revision(service: str = SERVICE, more: str = MORE) -> Revision:
    return Revision((Document("service.yaml", dedent(service)), Document("more.yaml", dedent(more))))


def planned(site: Site, before: Revision, changes: list[Document]) -> Plan:
    after = with_documents(before, changes, "service.yaml")
    return plan_between(site.read(before), site.read(after))


def test_a_weight_is_changed_where_it_is_written(site: Site) -> None:
    """In the included document, which keeps its comment."""
    before = revision()
    changes = with_weights(site, site.read(before), "tts", {"1": 75, "2": 25})
    assert [one.name for one in changes] == ["more.yaml"]
    assert '"2": {weight: 25}  # gray' in changes[0].text
    plan = planned(site, before, changes)
    assert {one.key for one in plan.live} == {
        "engines.tts.versions.1.weight",
        "engines.tts.versions.2.weight",
    }
    assert not plan.engines


def test_a_version_beside_the_only_one_replaces_nothing(site: Site) -> None:
    """The only one gets its name under `versions` and keeps its keys: nothing but a start is planned."""
    before = revision()
    changes = with_version(site, site.read(before), "asr", "2.0", "new.py")
    plan = planned(site, before, changes)
    assert [(one.engine, [str(key) for key in one.start]) for one in plan.engines] == [("asr", ["asr 2.0"])]
    assert not plan.engines[0].replace
    assert not plan.engines[0].stop
    after = with_documents(before, changes, "service.yaml")
    assert weights_of(site.read(after), "asr") == {"1.0": 100, "2.0": 0}
    assert "# not here" in after.root.text


def test_a_version_beside_others_and_away_again_leaves_the_text_as_it_was(site: Site) -> None:
    """Byte for byte."""
    before = revision()
    after = with_documents(before, with_version(site, site.read(before), "tts", "3", "x.py"), "service.yaml")
    assert weights_of(site.read(after), "tts") == {"3": 0, "1": 90, "2": 10}
    again = with_documents(after, without_version(site, site.read(after), "tts", "3"), "service.yaml")
    assert again == before
    assert changes_between(after, again) == [before.documents[1]]


def test_an_unknown_engine_or_version_is_told_with_the_known_ones(site: Site) -> None:
    """The next step."""
    read = site.read(revision())
    with pytest.raises(InvalidArgumentError, match="there are tts, asr"):
        with_weights(site, read, "vad", {"1": 1})
    with pytest.raises(InvalidArgumentError, match="there are 1, 2"):
        with_weights(site, read, "tts", {"7": 1})


def test_a_variable_and_a_wrapper_that_are_not_here_are_no_mistakes(site: Site) -> None:
    """The loaders have them; the version is not known, and that is said."""
    service = SERVICE.replace('version: "1.0"', "environment: {TOKEN: '${NO_SUCH_VARIABLE}'}")
    read = site.read(revision(service))
    assert weights_of(read, "asr") == {"?": 100}
    assert len(read.remarks) == 1
