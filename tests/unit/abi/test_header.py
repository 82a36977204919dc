"""wrapper.h is frozen: its sizes and offsets, the languages it compiles in, its contract lines."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cffi
import pytest
from abi_driver import declarations

Compile = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).resolve().parents[3]
HEADERS = ("wrapper.h", "ext/warmup.h", "ext/health.h", "ext/update.h", "ext/resources.h")
CHECKER = ROOT / "tools" / "check_header.py"

# The layout of minor 0 on 64-bit machines. A line here never changes; later minors add lines.
OFFSETS = {
    "loader_string_t": {"data": 0, "size": 8},
    "loader_pair_t": {"key": 0, "value": 16},
    "loader_buffer_t": {"data": 0, "size": 8, "release": 16, "private_data": 24},
    "loader_item_t": {
        "key": 0,
        "data": 16,
        "shape": 48,
        "attributes": 56,
        "type": 64,
        "status": 68,
        "data_type": 72,
        "dim_count": 76,
        "attribute_count": 80,
    },
    "loader_frame_t": {
        "struct_size": 0,
        "item_size": 4,
        "item_count": 8,
        "seq": 16,
        "position": 24,
        "items": 32,
    },
    "loader_error_t": {"struct_size": 0, "capacity": 4, "size": 8, "message": 16},
    "loader_config_t": {
        "struct_size": 0,
        "engine": 8,
        "version": 24,
        "directory": 40,
        "json": 56,
        "slots": 72,
    },
    "loader_open_t": {
        "struct_size": 0,
        "parameter_count": 4,
        "parameters": 8,
        "metadata": 16,
        "session_id": 32,
    },
    "loader_host_t": {
        "abi_major": 0,
        "abi_minor": 4,
        "struct_size": 8,
        "host": 16,
        "emit": 24,
        "alloc_result": 32,
        "finish": 40,
        "log": 48,
        "meter": 56,
        "trace": 64,
        "deadline": 72,
        "is_cancelled": 80,
        "get_extension": 88,
        "fail": 96,  # since 1.1
    },
    "loader_wrapper_t": {
        "abi_major": 0,
        "abi_minor": 4,
        "struct_size": 8,
        "name": 16,
        "version": 24,
        "describe": 32,
        "init": 40,
        "fini": 48,
        "exec": 56,
        "create": 64,
        "write": 72,
        "end": 80,
        "cancel": 88,
        "destroy": 96,
        "get_extension": 104,
    },
}


@pytest.mark.parametrize("struct", OFFSETS)
def test_offsets_never_change(struct: str) -> None:
    """A member stays where it is for ever: a library built years ago must still fit."""
    ffi = cffi.FFI()
    ffi.cdef(declarations())
    fields = dict(ffi.typeof(struct).fields)
    assert {name: fields[name].offset for name in OFFSETS[struct]} == OFFSETS[struct]


@pytest.mark.parametrize("standard", ["c11", "c17", "c++17", "c++20"])
@pytest.mark.parametrize("header", HEADERS)
def test_header_compiles_alone(compile_text: Compile, header: str, standard: str) -> None:
    """Each header stands on its own, twice included, in each language it promises, without a warning."""
    line = f'#include "loader/{header}"\n'
    built = compile_text(standard, line + line + "int main(void) { return 0; }\n")
    assert built.returncode == 0, built.stderr


@pytest.mark.parametrize("standard", ["c++17", "c++20"])
def test_cpp_layer_compiles(compile_text: Compile, standard: str) -> None:
    """wrapper.hpp is C++17 and C++20; the smallest wrapper is what its first lines show."""
    text = """
#include "loader/wrapper.hpp"
class Echo : public loader::Wrapper {
  loader_status_t exec(loader::Call& call, const loader::Open&, loader::Frame& request) override {
    call.emit(loader::Result().text("text", request.at("text").text()));
    return LOADER_OK;
  }
  friend struct loader::detail::Entries<Echo>;
};
LOADER_WRAPPER(Echo, "echo", "1.0.0")
"""
    built = compile_text(standard, text)
    assert built.returncode == 0, built.stderr


def test_a_changed_layout_does_not_compile(
    compile_text: Compile,
) -> None:
    """The header's own assertions stop a change of size: they do look."""
    header = (ROOT / "cpp/include/loader/wrapper.h").read_text()
    changed = header.replace(
        "  uint32_t reserved; /* 0 */\n  uint64_t seq;", "  uint64_t seq;\n  uint64_t more;"
    )
    assert changed != header
    assert compile_text("c11", header + "int main(void) { return 0; }").returncode == 0
    assert "static assertion failed" in compile_text("c11", changed + "int main(void) { return 0; }").stderr


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    script = f"import sys; sys.path.insert(0, {str(CHECKER.parent)!r})\n"
    script += f"import check_header, pathlib\nsys.exit(check_header.main(pathlib.Path({str(folder)!r})))"
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )


def test_every_function_says_its_contract() -> None:
    """Thread, state, blocking and ownership of each function are in one line that a tool can read."""
    done = check(ROOT / "cpp/include/loader")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        (
            "[blocks: yes] [owns: callee] */\n  loader_status_t (*emit)",
            "*/\n  loader_status_t (*emit)",
            "emit has no",
        ),
        ("[thread: main] [when: loaded]", "[thread: maybe] [when: loaded]", "init has no contract line"),
        (
            "  uint32_t struct_size;\n  uint32_t parameter_count;",
            "  uint32_t parameter_count;",
            "loader_open has no",
        ),
        ("#include <stdint.h>", "#include <stdint.h>\n#include <stdio.h>", "includes <stdio.h>"),
    ],
)
def test_the_checker_sees_what_is_missing(tmp_path: Path, before: str, after: str, complaint: str) -> None:
    """A header that breaks a rule is named with the function or struct that does."""
    text = (ROOT / "cpp/include/loader/wrapper.h").read_text()
    assert before in text
    (tmp_path / "wrapper.h").write_text(text.replace(before, after))
    done = check(tmp_path)
    assert done.returncode == 1
    assert complaint in done.stdout
