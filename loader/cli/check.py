"""`loader check FILE`: a configuration or a wrapper, told by content. Serves nothing, calls no init.

A configuration is looked at as it would be served: from its center, with everything that it includes.
"""

from __future__ import annotations

import asyncio
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loader.center import Revision
    from loader.config import Bootstrap, ServiceConfig
    from loader.engine.manifest import Manifest
    from loader.engine.spec import EngineSpec


def check(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE|URL",
            help="Configuration (a file, a directory, a center), engine.yaml, wrapper's folder, .py or .so.",
        ),
    ],
) -> None:
    """Check a configuration and its wrappers, or one wrapper: does it load, what does it declare.

    Exit codes: 0 all is well; 3 something is not, and said.
    """
    from loader.errors import LoaderError

    try:
        is_good = check_config(file) if is_config(file) else check_wrapper(Path(file))
    except LoaderError as error:
        typer.echo(str(error), err=True)
        is_good = False
    except OSError as error:
        typer.echo(f"{error.filename}: cannot be read: {error.strerror}: check its mode", err=True)
        is_good = False
    raise typer.Exit(0 if is_good else 3)


def is_config(what: str) -> bool:
    """What it says decides, not its name: a service's file has engines or a center, a manifest a kind or an entry."""
    import os

    from loader.config.bootstrap import URL
    from loader.config.document import parse_document
    from loader.engine.manifest import FILE_NAME

    file = Path(what)
    if URL.match(what):
        return True
    if file.is_dir():
        return not (file / FILE_NAME).exists() and any(file.glob("*.yaml"))
    if file.suffix in (".py", ".so"):
        return False
    values = parse_document(read_text(file), what, os.environ).values
    return "engines" in values or not ("kind" in values or "entry" in values)


def read_text(file: Path) -> str:
    """Raises: BadConfigError for a file that cannot be read, or is no text."""
    from loader.errors import BadConfigError

    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise BadConfigError(f"{file}: cannot be read: {error.strerror}: correct the path") from None
    except UnicodeDecodeError as error:
        raise BadConfigError(
            f"{file}: is neither a configuration nor a wrapper: not UTF-8 text at byte {error.start}, "
            "and its name ends neither in .py nor in .so"
        ) from None


def check_config(what: str) -> bool:
    """Checks what would be served, then every wrapper it names; all mistakes are told."""
    from loader.config import read_bootstrap
    from loader.engine.spec import make_spec
    from loader.errors import LoaderError

    bootstrap = read_bootstrap(what)
    config = read_service(bootstrap, what)
    is_good = True
    for name, engine in config.engines.items():
        for one in engine.versions.values() or [engine]:
            try:
                spec = make_spec(name, one)
                if one.command:
                    _describe_command(spec, is_secret=config.has_secret("engines", name, "command"))
                else:
                    # As it is served: with the engine's interpreter and environment.
                    _describe(f"engine {name} {spec.version}", spec.manifest, one.python, spec.environment())
            except LoaderError as error:
                typer.echo(f"engine {name}: {error}", err=True)
                is_good = False
    return is_good


def read_service(bootstrap: Bootstrap, what: str) -> ServiceConfig:
    """What the center holds now, with what this node says over it. Raises: LoaderError."""
    from loader.center import open_center
    from loader.config import read_documents

    center = open_center(bootstrap.center, bootstrap.access)

    async def load() -> Revision:
        try:
            return await center.load()
        finally:
            await center.close()

    revision = asyncio.run(load())
    documents = {center.origin_of(one.name): one.text for one in revision.documents}
    config = read_documents(documents, bootstrap.folder, bootstrap.over)
    origin = f", from {center.url}" if center.url != f"file:{Path(what).absolute()}" else ""
    included = f" with {', '.join(list(documents)[1:])}" if len(documents) > 1 else ""
    typer.echo(f"{what}: a configuration of {len(config.engines)} engines{origin}{included}")
    return config


def check_wrapper(path: Path) -> bool:
    """Checks one wrapper. Raises: LoaderError."""
    import os

    from loader.config.library_path import find_library
    from loader.engine.manifest import FILE_NAME, read_manifest
    from loader.errors import BadConfigError

    if path.is_file() and path.suffix not in (".py", ".so"):
        if path.name != FILE_NAME:
            raise BadConfigError(f"{path}: a manifest is called {FILE_NAME}: rename it")
        path = path.parent
    manifest = read_manifest(Path(find_library(str(path), Path(), os.environ)))
    _describe(f"wrapper {manifest.name}", manifest, "", None)
    return True


def _describe_command(spec: EngineSpec, *, is_secret: bool) -> None:
    """Looks at everything but the command itself, which is not started. Raises: LoaderError."""
    import shutil

    from loader.engine.probe import probe
    from loader.errors import BadConfigError

    words = spec.config.command
    program = spec.folder / words[0] if "/" in words[0] else words[0]
    if shutil.which(program, path=spec.environment().get("PATH")) is None:
        raise BadConfigError(f"command: there is no program {program}: correct it, or PATH in `environment`")
    # Has the interpreter what the adapter needs?
    probe(spec.manifest, spec.config.python, spec.environment())
    shown = "(from the environment)" if is_secret else shlex.join(words)
    typer.echo(f"engine {spec.name} {spec.version}: command, {shown}")
    typer.echo(
        f"  begins in {spec.folder}; speaks AIGES's plug-in protocol; what it declares it says when it runs"
    )


def _describe(title: str, manifest: Manifest, python: str, environment: Mapping[str, str] | None) -> None:
    from loader.engine.probe import probe

    found = probe(manifest, python, environment)
    typer.echo(f"{title}: {manifest.kind}, {manifest.entry}")
    typer.echo(f"  loads as {found.name} {found.version or '(no version)'}, ABI {found.abi}")
    typer.echo(f"  powers: {', '.join(found.powers)}")
    for note in found.notes:
        typer.echo(f"  {note}")
    for part in ("inputs", "outputs", "parameters"):
        for entry in found.declaration.get(part, []):
            typer.echo(f"  {part[:-1]}: {json.dumps(entry, ensure_ascii=False)}")
    if "aiges" in found.declaration:
        _describe_aiges(found.declaration["aiges"])


def _describe_aiges(said: Mapping[str, Any]) -> None:
    results = (
        f", results of sessions by {said['session_results']}" if "wrapperCreate" in said["calls"] else ""
    )
    typer.echo(f"  an AIGES wrapper: {said['flavour']}, signatures of {said['era']}{results}")
    for call in said["calls"].values():
        typer.echo(f"    called as {call}")
    for part in ("inputs", "outputs", "parameters"):
        for entry in said.get(part, []):
            typer.echo(f"    {part[:-1]}: {json.dumps(entry, ensure_ascii=False)}")
