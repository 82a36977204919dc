"""One service's configuration as an operator sees it: the center, what its revisions mean, and what a change does.

Reads as a loader does, but is lenient where the operator's machine is not the loader's: a variable that is not set
here stands for itself, and a wrapper that is not here has an unknown version. Knows no nodes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from loader.center import Document, Revision, open_center
from loader.config import (
    DeploymentKey,
    EffectiveConfig,
    effective,
    effective_document,
    plan,
    read_bootstrap,
    validate,
)
from loader.engine.manifest import version_of
from loader.errors import BadConfigError, InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loader.center import Center, HistoryEntry
    from loader.config import Bootstrap, EngineConfig, Plan
    from loader.config.document import Document as Merged

ROOT = "service.yaml"
UNKNOWN_VERSION = "?"
LEAST_PREFIX = 4


class HereOrNamed(dict[str, str]):
    """The environment; a variable that is not set here stands for itself: the loaders have it."""

    def get(self, key: str, default: str | None = None) -> str:  # type: ignore[override]
        return super().get(key, f"${{{key}}}" if default is None else default)


@dataclass(frozen=True, slots=True)
class Read:
    """A revision that was read."""

    revision: Revision
    document: Merged
    effective: EffectiveConfig
    remarks: tuple[str, ...] = ()  # what could not be known here


@dataclass(slots=True)
class Site:
    """A center and how to read what is in it."""

    bootstrap: Bootstrap
    center: Center
    environment: Mapping[str, str] = field(default_factory=lambda: HereOrNamed(os.environ))

    @property
    def root(self) -> str:
        """The name of the document that includes the others."""
        path = Path(self.bootstrap.center.removeprefix("file:"))
        is_file = self.bootstrap.center.startswith("file:") and not path.is_dir()
        return path.name if is_file else ROOT

    async def load(self) -> Revision | None:
        """What the center holds; None where there is no root document yet."""
        try:
            return await self.center.load()
        except BadConfigError:
            return None  # one that cannot be read is told by the put

    async def load_some(self) -> Revision:
        """What the center holds. Raises: BadConfigError where that is nothing."""
        return await self.center.load()

    def document(self, revision: Revision) -> Merged:
        """The merged values and where each was written, with the node's own over them."""
        documents = {self.center.origin_of(one.name): one.text for one in revision.documents}
        return effective_document(documents, self.bootstrap.over, self.environment)

    def read(self, revision: Revision) -> Read:
        """A revision as a loader would read it. Raises: BadConfigError, one line for each mistake."""
        document = self.document(revision)
        service = validate(document, self.bootstrap.folder)
        remarks: list[str] = []

        def version(config: EngineConfig) -> str:
            try:
                return version_of(config)
            except BadConfigError as error:
                remarks.append(f"the version is not known here: {error.message}")
                return UNKNOWN_VERSION

        return Read(revision, document, effective(service, version), tuple(remarks))

    async def registry_url(self) -> str:
        """Where the nodes are announced; empty: nowhere."""
        own = self.bootstrap.over.values.get("registry")
        if not own:
            try:
                own = self.document(await self.center.load()).values.get("registry")
            except BadConfigError:
                own = ""
        center = self.bootstrap.center
        return str(own or "") or (center if center.startswith("consul") else "")

    async def revision_named(self, name: str) -> Revision:
        """The revision of the history that begins with `name`. Raises: InvalidArgumentError."""
        held = await self.load()
        known = {one.revision.name: one.revision for one in await self.center.history()}
        if held is not None:
            known[held.name] = held
        found = [one for one in known if one.startswith(name)] if len(name) >= LEAST_PREFIX else []
        if len(found) != 1:
            why = f"is one of {', '.join(found)}" if found else "is in no history"
            if len(name) < LEAST_PREFIX:
                why = f"is too short: give at least {LEAST_PREFIX} characters"
            raise InvalidArgumentError(f"revision {name} {why}: `loader ctl history` lists them")
        return known[found[0]]

    async def previous(self) -> Revision:
        """The revision before the one that the center holds. Raises: InvalidArgumentError."""
        held = await self.load()
        entries: list[HistoryEntry] = await self.center.history()
        for one in entries:
            if held is None or one.revision.name != held.name:
                return one.revision
        raise InvalidArgumentError(
            f"{self.center.url}: its history has no revision before {held.name if held else 'the first'}: "
            "put the one that you want"
        )

    async def put(
        self, changes: Sequence[Document], expected: Revision | None, author: str, message: str
    ) -> Revision:
        """Compare-and-set. Raises: ConflictError, BadConfigError."""
        return await self.center.put(changes, expected.name if expected else "", author, message)

    async def close(self) -> None:
        """Ends the center's connections."""
        await self.center.close()


def open_site(location: str) -> Site:
    """The site at an URL of a center, a configuration or a file that names its center. Raises: BadConfigError."""
    bootstrap = read_bootstrap(location, HereOrNamed(os.environ))
    if bootstrap.access.token.startswith("${"):
        raise BadConfigError(f"{location}: center_token: {bootstrap.access.token} is not set here: set it")
    return Site(bootstrap, open_center(bootstrap.center, bootstrap.access))


def with_documents(held: Revision | None, changes: Sequence[Document], root: str) -> Revision:
    """The revision that a put of `changes` gives. Raises: BadConfigError without a root."""
    texts = {one.name: one.text for one in (held.documents if held else ())}
    texts |= {one.name: one.text for one in changes}
    if not texts.get(root):
        raise BadConfigError(f"{root}: is the root of the configuration and is not there: put it first")
    others = sorted(name for name, text in texts.items() if name != root and text)
    return Revision(tuple(Document(name, texts[name]) for name in (root, *others)))


def changes_between(held: Revision | None, wanted: Revision) -> list[Document]:
    """What to put so that a center with `held` has `wanted`; an empty text deletes."""
    before = {one.name: one.text for one in (held.documents if held else ())}
    after = {one.name: one.text for one in wanted.documents}
    changed = [Document(name, text) for name, text in after.items() if before.get(name) != text]
    return changed + [Document(name, "") for name in before if name not in after]


def plan_between(old: Read | None, new: Read) -> Plan:
    """What it takes to get from `old` to `new`; from nothing where there is no `old`."""
    if old is not None:
        return plan(old.effective, new.effective)
    service = new.effective.service
    nothing: dict[DeploymentKey, EngineConfig] = {}
    return plan(EffectiveConfig(service.model_copy(update={"engines": {}}), nothing), new.effective)
