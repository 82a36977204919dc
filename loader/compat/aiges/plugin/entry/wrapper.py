"""What a host loads for an engine with a `command`; in a folder of its own, which becomes importable."""

import sys

from loader.host.load import BadWrapper

try:
    from loader.compat.aiges.plugin.engine import CommandEngine
except ModuleNotFoundError as error:
    raise BadWrapper(
        f"an engine with a `command` needs {error.name} for {sys.executable}: run "
        f"`{sys.executable} -m pip install grpcio protobuf`, or correct `python`"
    ) from None

wrapper = CommandEngine
