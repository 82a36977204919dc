"""Engine Loader: what an engine author writes `from loader import ...` for.

Responsible for names only. Nothing is imported before it is asked for: `import loader` loads no
server, no client and no compiled module.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loader.declare import Audio as Audio
    from loader.declare import Bool as Bool
    from loader.declare import Bytes as Bytes
    from loader.declare import Float as Float
    from loader.declare import Image as Image
    from loader.declare import Int as Int
    from loader.declare import Json as Json
    from loader.declare import Properties as Properties
    from loader.declare import Str as Str
    from loader.declare import Tensor as Tensor
    from loader.declare import Text as Text
    from loader.declare import Video as Video
    from loader.wrapper import PENDING as PENDING
    from loader.wrapper import CloseReason as CloseReason
    from loader.wrapper import Config as Config
    from loader.wrapper import Error as Error
    from loader.wrapper import Frame as Frame
    from loader.wrapper import Item as Item
    from loader.wrapper import ItemView as ItemView
    from loader.wrapper import Params as Params
    from loader.wrapper import Rejected as Rejected
    from loader.wrapper import Request as Request
    from loader.wrapper import Result as Result
    from loader.wrapper import Session as Session
    from loader.wrapper import Wrapper as Wrapper

__version__ = "0.1.0"

_MODULES = {
    "loader.wrapper": "PENDING CloseReason Config Error Frame Item ItemView Params Rejected Request "
    "Result Session Wrapper",
    "loader.declare": "Audio Bool Bytes Float Image Int Json Properties Str Tensor Text Video",
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names.split()}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'loader' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*_HOMES, "__version__"]
