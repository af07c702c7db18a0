"""From lines of canonical PTX back to the source, where the compiler was asked for line information.

A `.loc` holds for the instructions up to the next one. Canonical text drops it, but has an entry's instructions in the
same order, behind the moves it begins with: so instructions are matched by counting from the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from p2pcompute.compute.ptx.ir import Module

_LOC: Final = re.compile(r"\s*\.loc\s+(\d+)\s+(\d+)\s")
_FILE: Final = re.compile(r'\s*\.file\s+(\d+)\s+"([^"\n]*)"')

Origin = tuple[str, int]
"""A file as the compiler named it, and a line in it. Of inlined functions the line inside of them."""


def origins(text: str, parsed: Module, canonical: Module) -> dict[int, Origin]:
    """Canonical line -> origin, as the `.loc` of `text` tell. `parsed` is the module of `text`, `canonical` that of its
    canonical text.
    """
    places = _places(text.splitlines())
    found: dict[int, Origin] = {}
    for name, entry in parsed.entries.items():
        before = list(entry.instructions())
        behind = list(canonical.entries[name].instructions())[-len(before) :] if before else []
        for original, kept in zip(before, behind, strict=True):
            if original.line in places and original.opcode == kept.opcode:
                found[kept.line] = places[original.line]
    return found


def _places(lines: Iterable[str]) -> dict[int, Origin]:
    """Line of the text -> origin."""
    numbered = list(enumerate(lines, 1))
    files = {match[1]: match[2] for _, line in numbered if (match := _FILE.match(line))}
    found: dict[int, Origin] = {}
    now: Origin | None = None
    for number, line in numbered:
        match = _LOC.match(line)
        if match:
            now = (files.get(match[1], ""), int(match[2]))
        elif line.startswith("}"):
            now = None
        elif now is not None:
            found[number] = now
    return found


def named(origins: Mapping[int, Origin], sources: Iterable[str]) -> dict[int, Origin]:
    """The same with the user's own names of files, longest first; lines of other files are left out."""
    names = sorted(sources, key=len, reverse=True)
    found: dict[int, Origin] = {}
    for line, (path, place) in origins.items():
        own = next((name for name in names if path == name or path.endswith("/" + name.removeprefix("./"))), None)
        if own is not None:
            found[line] = (own, place)
    return found
