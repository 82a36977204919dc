"""Declarations become the JSON that Describe publishes."""

# ruff: noqa: RUF012  declarations are class attributes by design

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from loader import Audio, Bool, Float, Int, Json, Properties, Str, Tensor, Wrapper


class Declared(Wrapper):
    inputs = {
        "audio": Audio(encoding="pcm_s16le", rate=16000),
        "t": Tensor("float32", (1, -1), required=False),
    }
    outputs = {"text": Json(description="words")}
    parameters = {
        "rate": Int(16000, minimum=8000, maximum=48000),
        "lang": Str("en", enum=["en", "zh"]),
        "gain": Float(),
        "fast": Bool(False),
    }
    properties = Properties(deterministic=True)


def test_declaration_has_the_shape_of_the_c_abi() -> None:
    """Class attributes give the same JSON as a native wrapper's describe."""
    declared = Declared.describe()
    assert declared["inputs"] == [
        {
            "key": "audio",
            "type": "audio",
            "required": True,
            "attributes": {"encoding": "pcm_s16le", "rate": "16000"},
        },
        {"key": "t", "type": "tensor", "required": False, "data_type": "fp32", "shape": [1, -1]},
    ]
    assert declared["outputs"] == [{"key": "text", "type": "json", "required": True, "description": "words"}]
    assert declared["parameters"] == [
        {
            "name": "rate",
            "type": "integer",
            "required": False,
            "default": 16000,
            "minimum": 8000,
            "maximum": 48000,
        },
        {"name": "lang", "type": "string", "required": False, "default": "en", "enum": ["en", "zh"]},
        {"name": "gain", "type": "number", "required": True},
        {"name": "fast", "type": "boolean", "required": False, "default": False},
    ]
    assert declared["properties"] == {"non_blocking": False, "deterministic": True, "slots_fixed": False}


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        ("float16", "fp16"),
        (np.float32, "fp32"),
        (np.dtype("int64"), "int64"),
        ("bf16", "bf16"),
        (bool, "bool"),
        (np.bool_, "bool"),
    ],
)
def test_tensor_takes_every_spelling_of_an_element_type(dtype: object, name: str) -> None:
    """Names, NumPy dtypes and scalar types mean the same."""
    assert Tensor(dtype).data_type == name


def test_unknown_element_type_is_refused_with_the_known_ones() -> None:
    """A wrong dtype fails where it is written."""
    with pytest.raises(ValueError, match="'complex64' is not one of bf16, bool"):
        Tensor("complex64")


@pytest.mark.parametrize("bad", [Int(5, minimum=6), Float(2.0, maximum=1.0), Str("de", enum=["en"])])
def test_default_outside_its_own_range_is_refused(bad: Int | Float | Str) -> None:
    """A declaration that contradicts itself never reaches a client."""
    with pytest.raises(ValueError, match="parameter p: default"):
        bad.to_json("p")


def test_import_loader_loads_nothing_heavy() -> None:
    """`import loader` and the author's names load no server, no client, no compiled module."""
    program = (
        "import sys, loader; from loader import Wrapper, Session, Audio\n"
        "bad = [m for m in ('grpc', 'pydantic', 'numpy', 'asyncio', 'starlette', 'google.protobuf', 'loader._host', "
        "'loader._core', 'loader.client') if m in sys.modules]\n"
        "sys.exit(', '.join(bad) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
