"""What `--config` may name: a configuration, or the node's own file that says where it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from loader.config import read_bootstrap
from loader.errors import BadConfigError


def written(folder: Path, text: str) -> str:
    file = folder / "node.yaml"
    file.write_text(text)
    return str(file)


def test_a_file_without_a_center_is_the_configuration_itself(tmp_path: Path) -> None:
    """Its folder is where relative paths begin."""
    found = read_bootstrap(written(tmp_path, "engines: {}"), {})
    assert (found.center, found.folder, found.over.values) == (f"file:{tmp_path}/node.yaml", tmp_path, {})


@pytest.mark.parametrize("form", ["{}", "file:{}"])
def test_a_directory_is_a_center(tmp_path: Path, form: str) -> None:
    """As a path and as an URL."""
    found = read_bootstrap(form.format(tmp_path), {})
    assert (found.center, found.folder) == (f"file:{tmp_path}", tmp_path)


def test_an_url_needs_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths begin in the working folder; the token is Consul's own variable."""
    monkeypatch.chdir(tmp_path)
    found = read_bootstrap("consul://a:1,b:2/speech", {"CONSUL_HTTP_TOKEN": "hush"})
    assert (found.center, found.folder, found.access.token) == ("consul://a:1,b:2/speech", tmp_path, "hush")


def test_a_nodes_file_has_a_center_its_access_and_keys_of_the_node(tmp_path: Path) -> None:
    """Files are relative to it; what is said there wins over the environment."""
    text = """
center: consul+https://a:1/speech
center_token: ${TOKEN}
center_ca: tls/ca.pem
center_certificate: /etc/c.pem
center_key: tls/k.pem
node: n1
zone: eu-1
"""
    found = read_bootstrap(written(tmp_path, text), {"TOKEN": "hush", "CONSUL_HTTP_TOKEN": "other"})
    access = found.access
    assert (access.token, access.ca) == ("hush", f"{tmp_path}/tls/ca.pem")
    assert (access.certificate, access.key) == ("/etc/c.pem", f"{tmp_path}/tls/k.pem")
    assert found.over.values == {"node": "n1", "zone": "eu-1"}
    assert "hush" not in repr(found)


def test_a_finder_is_a_center(tmp_path: Path) -> None:
    """As an URL, and in a node's own file."""
    url = "finder:http://c:6868/AIpaas/hu/ocr/1.0"
    assert read_bootstrap(url, {}).center == url
    found = read_bootstrap(written(tmp_path, f"center: {url}\nnode: n1\n"), {})
    assert (found.center, found.is_named_by_node) == (url, True)


@pytest.mark.parametrize(
    ("center", "expected"),
    [
        ("file:conf", "conf"),
        ("file:../conf/service.yaml", "../conf/service.yaml"),
        ("file:/etc/speech", "/etc/speech"),
    ],
)
def test_a_file_center_is_relative_to_the_nodes_file(tmp_path: Path, center: str, expected: str) -> None:
    """Not to the working folder."""
    import os

    found = read_bootstrap(written(tmp_path, f"center: {center}"), {})
    assert found.center == f"file:{os.path.normpath(tmp_path / expected)}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("center: etcd://a/b", ":1: center: etcd://a/b is no center: write consul://"),
        ("node: n\ncenter:", ":2: center: .*is no center"),
        ("node: n\ncenter: [consul://a/b]", ":2: center: .*is no center"),
        (
            "center: consul://a:1/b\nengines: {}",
            ":2: engines: belongs into the center: beside `center` stand only",
        ),
        ("center: consul://a:1/b\nzonne: x", ":2: zonne: "),
        ("center: consul://a:1/b\ncenter_token: ${NONE}", ":2: the environment variable NONE is not set"),
        ("center: consul://a:1/b\ncenter_token: [a, b]", ":2: center_token: "),
        ("center: consul://a:1/b\ncenter_ca: {a: 1}", ":2: center_ca: "),
        ("center: consul://a:1/b\ncenter_key: k.pem", ":2: center_key: .*`center_certificate`"),
        ("center: [", ":1: not valid YAML"),
        ("- center", ":1: the file is not a mapping"),
        ("center: consul://a:x/b", ":1: .*'a:x' is no HOST:PORT"),
        ("center: consul://a:1", ":1: .*is no address of Consul"),
        ("node: n\ncenter: finder:http://a/b", ":2: .*write finder:http:"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    """File, line, key, and what to write instead."""
    with pytest.raises(BadConfigError, match=rf"^{tmp_path}/node\.yaml{said}"):
        read_bootstrap(written(tmp_path, text), {})


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """With its path."""
    with pytest.raises(BadConfigError, match=r"none\.yaml: cannot be read: No such file"):
        read_bootstrap(str(tmp_path / "none.yaml"), {})


@pytest.mark.parametrize("url", ["consul://a:1", "consul:///x", "consul://a:99999/x"])
def test_a_wrong_url_is_told_at_once(url: str) -> None:
    """Before anything is started."""
    with pytest.raises(BadConfigError, match=url):
        read_bootstrap(url, {})
