"""Declarations of a wrapper: its inputs, outputs, parameters and properties, as small values.

Responsible for turning class attributes into the JSON that `Describe` publishes and the loader
validates against. Refuses to validate requests: the loader does that for every language at once.

    inputs     [{"key", "type", "required", "data_type", "shape", "attributes", "description"}]
    outputs    the same
    parameters [{"name", "type", "required", "default", "minimum", "maximum", "enum", "description"}]
    properties {"non_blocking", "deterministic", "slots_fixed"}

`type` of an item: bytes, text, json, audio, image, video, tensor. `data_type`: as `DataType` in
lower case (fp32, int64). A dimension of -1 accepts any size. `type` of a parameter: integer, number,
string, boolean. Members that say nothing are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

__all__ = [
    "Audio",
    "Bool",
    "Bytes",
    "Data",
    "Float",
    "Image",
    "Int",
    "Json",
    "Parameter",
    "Properties",
    "Str",
    "Tensor",
    "Text",
    "Video",
    "declaration",
]

_WHOLE = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
DATA_TYPES = frozenset({"bool", "fp16", "fp32", "fp64", "bf16"} | _WHOLE)
NUMPY_NAMES = {"float16": "fp16", "float32": "fp32", "float64": "fp64", "bfloat16": "bf16"}
PROPERTIES = ("non_blocking", "deterministic", "slots_fixed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """An item that the engine takes or gives. Use one of its subclasses."""

    type_name: ClassVar[str] = ""
    required: bool = True
    description: str = ""

    def to_json(self, key: str) -> dict[str, Any]:
        """The entry of this item under `key`."""
        entry: dict[str, Any] = {"key": key, "type": self.type_name, "required": self.required}
        if self.description:
            entry["description"] = self.description
        return entry


class Bytes(Data):
    """Opaque bytes."""

    __slots__ = ()
    type_name: ClassVar[str] = "bytes"


class Text(Data):
    """UTF-8 text."""

    __slots__ = ()
    type_name: ClassVar[str] = "text"


class Json(Data):
    """A JSON value."""

    __slots__ = ()
    type_name: ClassVar[str] = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Media(Data):
    """Audio, image or video: the encoding is an attribute of the item."""

    encoding: str = ""

    def to_json(self, key: str) -> dict[str, Any]:
        """The entry of this item under `key`."""
        entry = Data.to_json(self, key)
        attributes = self.attributes()
        if attributes:
            entry["attributes"] = attributes
        return entry

    def attributes(self) -> dict[str, str]:
        """What the item's attributes are expected to say."""
        return {"encoding": self.encoding} if self.encoding else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Audio(Media):
    """Audio, for example `Audio(encoding="pcm_s16le", rate=16000, channels=1)`."""

    type_name: ClassVar[str] = "audio"
    rate: int = 0
    channels: int = 0

    def attributes(self) -> dict[str, str]:
        """What the item's attributes are expected to say."""
        said = Media.attributes(self)
        if self.rate:
            said["rate"] = str(self.rate)
        if self.channels:
            said["channels"] = str(self.channels)
        return said


class Image(Media):
    """An image."""

    __slots__ = ()
    type_name: ClassVar[str] = "image"


class Video(Media):
    """Video."""

    __slots__ = ()
    type_name: ClassVar[str] = "video"


@dataclass(frozen=True, slots=True, init=False)
class Tensor(Data):
    """An array: `Tensor("float32", (1, -1))`; -1 accepts any size, no shape accepts any."""

    type_name: ClassVar[str] = "tensor"
    data_type: str = ""
    shape: tuple[int, ...] | None = None

    def __init__(
        self,
        dtype: object,
        shape: Sequence[int] | None = None,
        *,
        required: bool = True,
        description: str = "",
    ) -> None:
        object.__setattr__(self, "data_type", data_type_name(dtype))
        object.__setattr__(self, "shape", None if shape is None else tuple(map(int, shape)))
        object.__setattr__(self, "required", required)
        object.__setattr__(self, "description", description)

    def to_json(self, key: str) -> dict[str, Any]:
        """The entry of this item under `key`."""
        entry = Data.to_json(self, key)
        entry["data_type"] = self.data_type
        if self.shape is not None:
            entry["shape"] = list(self.shape)
        return entry


def data_type_name(dtype: object) -> str:
    """The loader's name of an element type given as name, NumPy dtype or NumPy scalar type.

    Raises: ValueError naming the accepted ones.
    """
    given = str(getattr(dtype, "__name__", None) or getattr(dtype, "name", None) or dtype)
    name = NUMPY_NAMES.get(given.rstrip("_"), given.rstrip("_"))
    if name not in DATA_TYPES:
        raise ValueError(f"element type {given!r} is not one of {', '.join(sorted(DATA_TYPES))}")
    return name


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of create or exec. Use Int, Float, Str or Bool; without default it is required."""

    type_name: ClassVar[str] = ""
    default: Any = None
    minimum: float | None = field(default=None, kw_only=True)
    maximum: float | None = field(default=None, kw_only=True)
    enum: Sequence[Any] = field(default=(), kw_only=True)
    required: bool | None = field(default=None, kw_only=True)
    description: str = field(default="", kw_only=True)

    def to_json(self, name: str) -> dict[str, Any]:
        """The entry of this parameter under `name`. Raises: ValueError for a bad default."""
        self.check(name)
        required = self.default is None if self.required is None else self.required
        entry: dict[str, Any] = {"name": name, "type": self.type_name, "required": required}
        said = {
            "default": self.default,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "enum": list(self.enum) or None,
            "description": self.description or None,
        }
        return entry | {key: value for key, value in said.items() if value is not None}

    def check(self, name: str) -> None:
        """Raises: ValueError where the default is outside the declared range or enum."""
        value = self.default
        if value is None:
            return
        if self.enum and value not in self.enum:
            raise ValueError(f"parameter {name}: default {value!r} is not one of {self.enum!r}")
        below = self.minimum is not None and value < self.minimum
        above = self.maximum is not None and value > self.maximum
        if below or above:
            limits = f"{self.minimum} to {self.maximum}"
            raise ValueError(f"parameter {name}: default {value!r} is outside {limits}")


class Int(Parameter):
    """A whole number."""

    __slots__ = ()
    type_name: ClassVar[str] = "integer"


class Float(Parameter):
    """A number."""

    __slots__ = ()
    type_name: ClassVar[str] = "number"


class Str(Parameter):
    """A string."""

    __slots__ = ()
    type_name: ClassVar[str] = "string"


class Bool(Parameter):
    """True or false."""

    __slots__ = ()
    type_name: ClassVar[str] = "boolean"


@dataclass(frozen=True, slots=True, kw_only=True)
class Properties:
    """What the engine promises; the loader decides by it, so promise only what holds."""

    non_blocking: bool = False
    deterministic: bool = False
    slots_fixed: bool = False

    def to_json(self) -> dict[str, bool]:
        """Every property by name."""
        return {name: bool(getattr(self, name)) for name in PROPERTIES}


def declaration(
    inputs: Mapping[str, Data],
    outputs: Mapping[str, Data],
    parameters: Mapping[str, Parameter],
    properties: Properties,
) -> dict[str, Any]:
    """The JSON object of a wrapper's declarations. Raises: TypeError, ValueError for bad ones."""
    return {
        "inputs": [entry_of("inputs", key, one, Data) for key, one in inputs.items()],
        "outputs": [entry_of("outputs", key, one, Data) for key, one in outputs.items()],
        "parameters": [entry_of("parameters", k, one, Parameter) for k, one in parameters.items()],
        "properties": properties.to_json(),
    }


def entry_of(
    where: str, name: str, one: Data | Parameter, kind: type[Data] | type[Parameter]
) -> dict[str, Any]:
    """One declared entry. Raises: TypeError naming what stands there instead."""
    if not isinstance(one, kind) or not one.type_name:
        raise TypeError(f"{where}[{name!r}] is {one!r}; declare it as loader.{kind.__name__}'s kinds")
    return one.to_json(name)
