"""Proves the contract lines of the C ABI: every function of wrapper.h and its extensions says who may call it.

Each function pointer in a struct, and each exported function, must have a comment that ends in one line
`[thread: main|session|any] [when: loaded|ready|open] [blocks: no|yes] [owns: caller|callee]`. Every struct
that is passed by pointer carries `struct_size`; every header includes nothing but <stdint.h> and wrapper.h.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

HEADERS = Path(__file__).resolve().parent.parent / "cpp" / "include" / "loader"
CONTRACT = re.compile(
    r"\[thread: (main|session|any)\] \[when: (loaded|ready|open)\] \[blocks: (no|yes)\] \[owns: (caller|callee)\]$"
)
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
POINTER = re.compile(r"\(\*(?P<name>\w+)\)\s*\(")
EXPORTED = re.compile(r"^LOADER_EXPORT\s.*?(?P<name>\w+)\(void\);", re.MULTILINE)
STRUCT = re.compile(r"typedef struct (?P<name>\w+) \{(?P<body>.*?)\n\} \w+;", re.DOTALL)
INCLUDE = re.compile(r"^#include\s+(\S+)", re.MULTILINE)
MAY_INCLUDE = ("<stdint.h>", '"loader/wrapper.h"')
# A buffer's release is told at the struct: it is the one function that both sides implement.
EXEMPT = frozenset({"release"})
# Values, passed inside others or by the stride of a frame.
WITHOUT_SIZE = frozenset({"loader_string", "loader_pair", "loader_buffer", "loader_item"})


def functions(text: str) -> Iterator[tuple[str, int]]:
    """Name and place of every function the header declares."""
    code = COMMENT.sub(lambda found: re.sub(r"[^\n]", " ", found.group()), text)
    for found in [*POINTER.finditer(code), *EXPORTED.finditer(code)]:
        if found["name"] not in EXEMPT:
            yield found["name"], found.start()


def contract_of(text: str, place: int) -> str:
    """The last line of the comment right before `place`, without its decoration; empty: no comment."""
    comments = [found for found in COMMENT.finditer(text) if found.end() <= place]
    if not comments or ";" in text[comments[-1].end() : place]:
        return ""
    last = comments[-1].group().removesuffix("*/").rstrip().splitlines()[-1]
    return last.strip().removeprefix("/*").removeprefix("*").strip()


def offences(path: Path) -> list[str]:
    """One sentence for each rule that the header breaks."""
    text = path.read_text()
    found = []
    for name, place in functions(text):
        line = text.count("\n", 0, place) + 1
        contract = contract_of(text, place)
        if not CONTRACT.match(contract):
            found.append(f"{path.name}:{line}: {name} has no contract line, its comment ends in {contract!r}")
    found += [
        f"{path.name}: struct {struct['name']} has no struct_size"
        for struct in STRUCT.finditer(text)
        if struct["name"] not in WITHOUT_SIZE and "uint32_t struct_size;" not in struct["body"]
    ]
    found += [
        f"{path.name}: includes {include}; the ABI needs <stdint.h> only"
        for include in INCLUDE.findall(text)
        if include not in MAY_INCLUDE
    ]
    return found


def main(headers: Path = HEADERS) -> int:
    paths = [headers / "wrapper.h", *sorted((headers / "ext").glob("*.h"))]
    found = [line for path in paths for line in offences(path)]
    count = sum(len(list(functions(path.read_text()))) for path in paths)
    print("\n".join(found) or f"{count} functions in {len(paths)} headers say their contract")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
