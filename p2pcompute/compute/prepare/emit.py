"""The files as the compiler gets them: what is dropped becomes blanks, so that lines and columns stay the user's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Final

from p2pcompute.compute.prepare.declaration import Sort
from p2pcompute.compute.prepare.directives import CONDITIONALS, included, name_of
from p2pcompute.compute.prepare.lex import Kind
from p2pcompute.compute.prepare.program import Place, Program, SourceFile
from p2pcompute.compute.prepare.select import Selection, host_members

_VISIBLE: Final = re.compile(r"[^\n]")
_ARITHMETIC: Final = frozenset(
    {"static", "const", "inline", "signed", "unsigned", "bool", "char", "short", "int", "long", "float", "double"}
    | {"size_t", "uint", "uint8_t", "int8_t", "uint16_t", "int16_t", "uint32_t", "int32_t", "uint64_t", "int64_t"}
)
_ALWAYS: Final = frozenset({Sort.OPEN, Sort.CLOSE, Sort.DIRECTIVE})
_STAYS_IN_DROPPED: Final = CONDITIONALS | {"define", "undef"}


def emit(program: Program, selection: Selection, without: AbstractSet[Place]) -> dict[str, str]:
    """The text of every file of the program."""
    return {name: _emit(program, file, selection, without) for name, file in program.files.items()}


def _emit(program: Program, file: SourceFile, selection: Selection, without: AbstractSet[Place]) -> str:
    pieces: list[str] = []
    at = 0
    for start, end, text in _changes(program, file, selection, without):
        pieces += (file.text[at:start], text)
        at = end
    return "".join((*pieces, file.text[at:]))


def _changes(
    program: Program, file: SourceFile, selection: Selection, without: AbstractSet[Place]
) -> Iterator[tuple[int, int, str]]:
    """What to put in the place of which characters, in order."""
    dropped = set() if file.fragment else _dropped(file, selection, without)
    constants = set() if file.fragment else _constants(file)
    for at, token in enumerate(file.tokens):
        keep = at not in dropped
        if keep and at in constants:
            yield token.start, token.end, "constexpr"
            continue
        if token.kind is Kind.DIRECTIVE:
            name = name_of(token.text)
            if not keep and name in _STAYS_IN_DROPPED:
                continue
            if (file.name, at) in program.missing:
                keep = False
            elif keep and at in file.includes:
                yield token.start, token.end, _include(token.text, file.includes[at])
                continue
        if not keep:
            yield token.start, token.end, _VISIBLE.sub(" ", token.text)


def _dropped(file: SourceFile, selection: Selection, without: AbstractSet[Place]) -> set[int]:
    """Numbers of the tokens that go."""
    gone: set[int] = set()
    for number, item in enumerate(file.items):
        place = Place(file.name, number)
        if place in without or (item.declaration.sort not in _ALWAYS and place not in selection.kept):
            gone.update(range(item.first, item.last))
            continue
        for member in host_members(item, without, place):
            gone.update(range(item.members[member].first, item.members[member].last))
    return gone


def _constants(file: SourceFile) -> set[int]:
    """The `const` of plain host constants, as in `const float half = 1.0f / 2;`. Kernels may use their values; a device
    variable with such an initialiser is refused."""
    found: set[int] = set()
    for item in file.items:
        declaration = item.declaration
        if declaration.sort is not Sort.VARIABLE or declaration.device or not declaration.constant:
            continue
        words = [token.text for token in file.tokens[item.first : item.last]]
        head = words[: words.index("=")] if "=" in words else []
        if head and set(head[:-1]) <= _ARITHMETIC and head.count("const") == 1:
            found.add(item.first + head.index("const"))
    return found


def _include(directive: str, name: str) -> str:
    """The directive with the name under which the file is served; its line breaks stay."""
    return f'#include "{name}"' + "\n" * directive.count("\n") if included(directive) else directive
