"""`prepare`: the user's files in, the files to compile and what was found in them out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from p2pcompute.compute.prepare.declaration import Sort
from p2pcompute.compute.prepare.directives import words_of
from p2pcompute.compute.prepare.emit import emit
from p2pcompute.compute.prepare.launches import instances_of
from p2pcompute.compute.prepare.lex import tokens_of
from p2pcompute.compute.prepare.program import Place, Program, read
from p2pcompute.compute.prepare.select import Selection

_SIMPLE_SORTS = frozenset({Sort.FUNCTION, Sort.TYPE, Sort.ALIAS, Sort.VARIABLE, Sort.OTHER, Sort.INSTANTIATION})


@dataclasses.dataclass(frozen=True, slots=True)
class KernelInSource:
    """A `__global__` function: its name with namespaces, its template parameters, and the file and line (from 1)."""

    name: str
    template: tuple[str, ...]
    file: str
    line: int


@dataclasses.dataclass(frozen=True, slots=True)
class Dropped:
    """How many declarations were left out, and the headers that nobody could serve, as `file(line): name`."""

    functions: int
    others: int
    missing: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """`sources` hold the same files with blanks for what was dropped; `instances` the name expressions of template
    kernels that the host code uses."""

    sources: Mapping[str, str]
    main: str
    kernels: tuple[KernelInSource, ...]
    instances: tuple[str, ...]
    dropped: Dropped
    device: bool
    """Whether anything is left to compile: kernels may also come out of macros, unseen."""


class Preparation:
    """A program that was read once and may be prepared several times, each time without more declarations."""

    def __init__(self, sources: Mapping[str, str], main: str, served: AbstractSet[str]) -> None:
        self.program: Program = read(sources, main, served)
        self.instances = instances_of(self.program)

    def select(self, without: AbstractSet[Place] = frozenset()) -> Selection:
        """What is kept when the declarations `without` may not be."""
        words: set[str] = set()
        for instance in self.instances:
            words |= words_of(tokens_of(instance))
        return Selection(self.program, without, words)

    def prepared(self, without: AbstractSet[Place] = frozenset()) -> Prepared:
        """The text to compile."""
        selection = self.select(without)
        return Prepared(
            sources=emit(self.program, selection, without),
            main=self.program.main,
            kernels=tuple(self._kernels(selection)),
            instances=self.instances,
            dropped=self._dropped(selection),
            device=any(selection.item(place).declaration.kernel for place in selection.kept),
        )

    def line(self, place: Place) -> int:
        """Where a declaration begins."""
        file = self.program.files[place.file]
        item = file.items[place.item]
        return file.text.count("\n", 0, file.tokens[item.first].start) + 1

    def _kernels(self, selection: Selection) -> list[KernelInSource]:
        found: dict[str, KernelInSource] = {}
        for place in sorted(selection.kept, key=lambda p: (p.file != self.program.main, p.file, p.item)):
            item = selection.item(place)
            declaration = item.declaration
            if declaration.kernel and declaration.sort is Sort.FUNCTION:
                for name in declaration.names:
                    full = "::".join((*(part for part in item.scope if part), name))
                    kernel = KernelInSource(full, declaration.template, place.file, self.line(place))
                    found.setdefault(full, kernel)
        return list(found.values())

    def _dropped(self, selection: Selection) -> Dropped:
        functions = others = 0
        for file in self.program.files.values():
            for at, item in enumerate(file.items):
                if Place(file.name, at) not in selection.kept and item.declaration.sort in _SIMPLE_SORTS:
                    functions += item.declaration.sort is Sort.FUNCTION
                    others += item.declaration.sort is not Sort.FUNCTION
        missing = []
        for (name, at), wanted in self.program.missing.items():
            file = self.program.files[name]
            missing.append(f"{name}({file.text.count(chr(10), 0, file.tokens[at].start) + 1}): {wanted}")
        return Dropped(functions, others, tuple(missing))


def prepare(sources: Mapping[str, str], main: str, served: AbstractSet[str] = frozenset()) -> Prepared:
    """Keep of `sources[main]` and the files it includes what its kernels need. `served` names the headers that need no
    file. Raises UsageError when `main` is not among the sources."""
    return Preparation(sources, main, served).prepared()
