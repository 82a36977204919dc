"""What `loader --config` names: the configuration itself, or a small file that says where its center is.

A bootstrap has the key `center` and keys that belong to the node; refuses to know any center.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from loader.compat.finder.location import FinderLocation
from loader.config.document import Document, parse_document
from loader.config.plan import node_keys
from loader.consul_link import ConsulAccess, ConsulLocation
from loader.errors import BadConfigError

if TYPE_CHECKING:
    from loader.config.document import Value

URL = re.compile(r"^(consul|consul\+https|file|aiges|finder):")
ACCESS = ("center_token", "center_ca", "center_certificate", "center_key")


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Where the configuration is, and what this node says over it."""

    center: str  # an URL: file:PATH where the file is the configuration itself
    folder: Path  # where relative paths begin
    over: Document
    access: ConsulAccess = field(default_factory=ConsulAccess)
    is_named_by_node: bool = False  # by the key `center` of the node's own file


def read_bootstrap(location: str, environment: Mapping[str, str] | None = None) -> Bootstrap:
    """What FILE or URL names. Raises: BadConfigError with the line at fault."""
    environment = os.environ if environment is None else environment
    token = environment.get("CONSUL_HTTP_TOKEN", "")
    if URL.match(location):
        _check_url(location)
        return Bootstrap(location, _folder_of(location), Document(location), ConsulAccess(token))
    path = Path(location)
    if os.path.isdir(path):  # noqa: PTH112 - false, too, where it cannot be looked at
        return Bootstrap(f"file:{path.absolute()}", path.absolute(), Document(location))
    document = parse_document(_text_of(path), location, environment)
    folder = path.absolute().parent
    if "center" not in document.values:
        return Bootstrap(f"file:{path.absolute()}", folder, Document(location))
    return _with_center(document, folder, token)


def _with_center(document: Document, folder: Path, token: str) -> Bootstrap:
    values = dict(document.values)
    center = str(values.pop("center"))
    if not URL.match(center):
        raise BadConfigError(
            f"{document.place_of(('center',))}: center: {center} is no center: "
            "write consul://HOST:PORT/PREFIX, file:PATH or finder:http://COMPANION:6868/PROJECT/GROUP/SERVICE"
        )
    try:
        _check_url(center)
    except BadConfigError as error:
        raise BadConfigError(f"{document.place_of(('center',))}: center: {error.message}") from None
    if center.startswith("file:"):
        center = f"file:{_absolute(document, folder, center.removeprefix('file:'))}"
    given = {name: _text(document, name, values.pop(name)) for name in ACCESS if name in values}
    if "center_key" in given and "center_certificate" not in given:
        raise BadConfigError(
            f"{document.place_of(('center_key',))}: center_key: belongs to a `center_certificate`: write that, too"
        )
    access = ConsulAccess(
        given.get("center_token", token),
        *((given.get(name) and str(folder / given[name])) or "" for name in ACCESS[1:]),
    )
    unknown = [name for name in values if name not in node_keys()]
    if unknown:
        raise BadConfigError(
            f"{document.place_of((unknown[0],))}: {unknown[0]}: belongs into the center: beside `center` stand "
            f"only {', '.join((*ACCESS, *sorted(node_keys())))}"
        )
    return Bootstrap(
        center, folder, Document(document.origin, values, document.lines, document.secrets), access, True
    )


def _check_url(url: str) -> None:
    if url.startswith("consul"):
        ConsulLocation.parse(url)
    if url.startswith("finder:"):
        FinderLocation.parse(url)


def _text(document: Document, key: str, value: Value) -> str:
    if isinstance(value, (dict, list)) or value is None:
        raise BadConfigError(f"{document.place_of((key,))}: {key}: is no text: write one value")
    return document.texts.get((key,), str(value))


def _absolute(document: Document, folder: Path, path: str) -> str:
    try:
        return os.path.normpath(folder / Path(path).expanduser())
    except RuntimeError:
        raise BadConfigError(
            f"{document.place_of(('center',))}: center: there is no user `{Path(path).parts[0]}`: "
            "write the whole path"
        ) from None


def _folder_of(url: str) -> Path:
    """A directory's own folder, a file's, and for anything else the working folder."""
    if not url.startswith(("file:", "aiges:")):
        return Path.cwd()
    path = Path(url.partition(":")[2]).absolute()
    return path if os.path.isdir(path) else path.parent  # noqa: PTH112 - as above


def _text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise BadConfigError(f"{path}: cannot be read: {error.strerror}: check --config") from None
    except UnicodeDecodeError as error:
        raise BadConfigError(f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}") from None
