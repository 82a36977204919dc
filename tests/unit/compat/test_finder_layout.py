"""What a finder keeps, and how a service in it is named."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.compat.finder.layout import framed, gray_groups, is_valid_provider, storage_from, unframed
from loader.compat.finder.location import FinderLocation
from loader.compat.finder.whereabouts import consumer
from loader.errors import BadConfigError


def test_an_url_names_companion_service_version_and_file() -> None:
    """Version and file may be left out; what is odd in a name is written in percent."""
    whole = FinderLocation.parse("finder:https://c.example:6868/p/g/s/1.2#x.toml")
    assert whole == FinderLocation("https://c.example:6868", "p", "g", "s", "1.2", "x.toml")
    assert FinderLocation.parse(whole.url) == whole
    short = FinderLocation.parse("finder:http://c:1/p/g/s/")
    assert (short.version, short.file) == ("def", "aiges.toml")
    odd = FinderLocation("http://c:1", "a b", "g", "语音", "1#2", "f?.toml")
    assert FinderLocation.parse(odd.url) == odd


@pytest.mark.parametrize(
    "url",
    ["finder:c:1/p/g/s", "finder:http://c:1/p/g", "finder:http://c:1/p/g/s/1/2", "finder:http://u:p@c/p/g/s",
     "finder:http://c/p//s", "finder:http://c/p/g/..", "finder:http://c/p/g/a%2Fb", "finder:http://c/p/g/s#a%2Fb"],
)  # fmt: skip
def test_an_url_that_is_none_is_refused_with_the_form(url: str) -> None:
    """Names are names of nodes; no secrets stand in an URL."""
    with pytest.raises(BadConfigError, match=r"write finder:http://COMPANION:6868/PROJECT/GROUP/SERVICE"):
        FinderLocation.parse(url)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), st.binary(max_size=100))
def test_a_framed_content_comes_back(push_id: str, data: bytes) -> None:
    """Whatever is in it."""
    content = unframed(framed(push_id, data))
    assert (content.push_id, content.data) == (push_id, data)


@given(st.binary(max_size=12))
def test_any_bytes_are_content_or_a_value_error(data: bytes) -> None:
    """No other error, whoever wrote them."""
    for read in (unframed, gray_groups):
        try:
            read(data)
        except ValueError:
            continue
    assert is_valid_provider(data), "only a console that says so disables one"


def test_gray_groups_are_lists_of_consumers() -> None:
    """Separated by commas in one text, or in several."""
    groups = [("a", ["1.1.1.1:1, 1.1.1.1:2", "1.1.1.3"]), ("b", [])]
    text = json.dumps([{"group_id": name, "server_list": servers} for name, servers in groups])
    assert gray_groups(framed("7", text.encode())) == {"1.1.1.1:1": "a", "1.1.1.1:2": "a", "1.1.1.3": "a"}
    with pytest.raises(ValueError, match="nested too deeply"):
        gray_groups(framed("7", b"[" * 1_000_000))
    assert gray_groups(b"") == gray_groups(framed("7", b"")) == {}


def test_a_companion_may_name_several_servers() -> None:
    """As a list or as one text; a port that is left out is ZooKeeper's."""
    values = {"zk_addr": ["a:1", "b"], "config_path": "/c/", "service_path": "/s"}
    found = storage_from(values, "p", "g")
    assert (found.servers, found.config_path, found.service_path) == (("a:1", "b:2181"), "/c", "/s")
    several = {"zk_addr": "a:1, b:2,[::1],[::1]:3", "config_path": "//c//d"}
    found = storage_from(several, "p", "g")
    assert (found.servers, found.config_path) == (("a:1", "b:2", "[::1]:2181", "[::1]:3"), "/c/d")


@pytest.mark.parametrize("name", ["..", ".", "a/b", "", "a\0b", "\ud800"])
def test_a_name_that_no_node_may_have_is_refused_where_it_is_read(name: str) -> None:
    """Before kazoo sees it: it raises errors of its own for some, and its thread ends with others."""
    group = json.dumps([{"group_id": name, "server_list": ["1.1.1.1"]}])
    with pytest.raises(ValueError, match="a gray group has a group_id"):
        gray_groups(framed("7", group.encode()))
    if name and "/" not in name:
        for key in ("config_path", "service_path"):
            with pytest.raises(ValueError, match=f"{key} is .*must be a path"):
                storage_from({"zk_addr": "a:1", key: f"/a/{name}"}, "p", "g")


@pytest.mark.parametrize(
    "server",
    [
        "a:0",
        "a:65536",
        "a:1:2",
        "a:b",
        f"a:{'1' * 5000}",
        "\ud800:1",
        "a/b:1",
        ":1",
        "",
        "[::1:2",
        "x]:1",
        "a#:1",
    ],
)
def test_a_server_that_is_none_is_refused_where_it_is_read(server: str) -> None:
    """As are addresses that kazoo does not take."""
    with pytest.raises(ValueError, match=r"zk_addr has .*it must be HOST:PORT"):
        storage_from({"zk_addr": [server]}, "p", "g")


@pytest.mark.parametrize(
    ("grpc", "address"),
    [("127.0.0.1:5090", "127.0.0.1:5090"), ("0.0.0.0:5090", "127.0.0.1:5090"), ("0.0.0.0:0", "127.0.0.1"),
     ("unix:/x", "127.0.0.1"), ("", "127.0.0.1"), ("a..b:5090", "127.0.0.1:5090"),
     (f"{'a' * 64}:5090", "127.0.0.1:5090")],
)  # fmt: skip
def test_a_consumer_is_the_address_that_faces_the_companion(grpc: str, address: str) -> None:
    """With the port, where the configuration says it; AIGES's name, the IP alone, counts too."""
    found = consumer("http://127.0.0.1:6868", f"grpc: {grpc or 'null'}\n")
    assert (found.address, found.names) == (address, (address, "127.0.0.1"))
    assert consumer("http://127.0.0.1:6868", "{not: [yaml").address == "127.0.0.1"
