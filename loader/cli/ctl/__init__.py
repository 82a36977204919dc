"""`loader ctl`: the configuration in its center and the loaders that serve it. One file per command."""

from __future__ import annotations

import typer

from loader.cli.ctl.apply import apply
from loader.cli.ctl.diff import diff
from loader.cli.ctl.drain import drain, undrain
from loader.cli.ctl.edit import edit
from loader.cli.ctl.engines import engines, instances
from loader.cli.ctl.events import events
from loader.cli.ctl.forget import forget
from loader.cli.ctl.get import get
from loader.cli.ctl.history import history
from loader.cli.ctl.kill import kill
from loader.cli.ctl.put import put
from loader.cli.ctl.resource import group as resource
from loader.cli.ctl.rollback import rollback
from loader.cli.ctl.sessions import sessions
from loader.cli.ctl.weight import weight

COMMANDS = (
    get, put, edit, apply, history, diff, rollback, weight,
    engines, instances, sessions, kill, drain, undrain, forget, events,
)  # fmt: skip

group = typer.Typer(no_args_is_help=True, help="Operate a service: its configuration and its loaders.")
for command in COMMANDS:
    group.command()(command)
group.add_typer(resource, name="resource")
