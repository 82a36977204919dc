"""`loader check FILE`: a configuration or a wrapper, told by content. Serves nothing, calls no init."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from loader.engine.manifest import Manifest


def check(
    file: Annotated[Path, typer.Argument(help="Configuration, engine.yaml, wrapper's folder, .py or .so.")],
) -> None:
    """Check a configuration and its wrappers, or one wrapper: does it load, what does it declare.

    Exit codes: 0 all is well; 3 something is not, and said.
    """
    from loader.errors import LoaderError

    try:
        is_good = check_config(file) if is_config(file) else check_wrapper(file)
    except LoaderError as error:
        typer.echo(str(error), err=True)
        is_good = False
    raise typer.Exit(0 if is_good else 3)


def is_config(file: Path) -> bool:
    """A YAML file that is no manifest."""
    return file.suffix in (".yaml", ".yml") and not _is_manifest(file)


def _is_manifest(file: Path) -> bool:
    import os

    from loader.config.document import parse_document

    if not file.is_file():
        return False
    values = parse_document(file.read_text(), str(file), os.environ).values
    return "engines" not in values and ("kind" in values or "entry" in values)


def check_config(file: Path) -> bool:
    """Checks the file, then every wrapper it names; all mistakes are told."""
    from loader.center import FileCenter
    from loader.config import read_config
    from loader.engine.spec import make_spec
    from loader.errors import LoaderError

    config = read_config(FileCenter(file).load().text, str(file))
    typer.echo(f"{file}: a configuration of {len(config.engines)} engines")
    is_good = True
    for name, engine in config.engines.items():
        try:
            spec = make_spec(name, engine)
            _describe(f"engine {name} {spec.version}", spec.manifest, engine.python)
        except LoaderError as error:
            typer.echo(f"engine {name}: {error}", err=True)
            is_good = False
    return is_good


def check_wrapper(path: Path) -> bool:
    """Checks one wrapper. Raises: LoaderError."""
    from loader.engine.manifest import read_manifest

    manifest = read_manifest(path.parent if path.suffix in (".yaml", ".yml") else path)
    _describe(f"wrapper {manifest.name}", manifest, "")
    return True


def _describe(title: str, manifest: Manifest, python: str) -> None:
    from loader.engine.probe import probe

    found = probe(manifest, python)
    typer.echo(f"{title}: {manifest.kind}, {manifest.entry}")
    typer.echo(f"  loads as {found.name} {found.version or '(no version)'}, ABI {found.abi}")
    typer.echo(f"  powers: {', '.join(found.powers)}")
    for part in ("inputs", "outputs", "parameters"):
        for entry in found.declaration.get(part, []):
            typer.echo(f"  {part[:-1]}: {json.dumps(entry, ensure_ascii=False)}")
