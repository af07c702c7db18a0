"""How a source gets compiled: as it is; then prepared; then prepared without what still does not compile.

Plain bookkeeping: `unit` is what to compile next; `judge` is told how that went. Every step follows from the sources
and the compiler's answers alone, so every machine with the same toolchain takes the same ones.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Final

from p2pcompute.compute import source
from p2pcompute.compute.prepare import KernelInSource, Preparation, Prepared
from p2pcompute.compute.prepare.blame import blame
from p2pcompute.compute.prepare.declaration import Sort
from p2pcompute.compute.prepare.program import Place
from p2pcompute.errors import CompileError

ROUNDS_MAX: Final = 10
"""Compilations of the prepared text."""


@dataclasses.dataclass(frozen=True, slots=True)
class LeftOut:
    """A kernel of the source that could not be compiled, and why."""

    kernel: str
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the source besides PTX. `prepared` is false where it compiled as it was; `missing` are headers
    that were left out because nobody has them, as `file(line): name`."""

    prepared: bool = False
    kernels: tuple[KernelInSource, ...] = ()
    instances: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    missing: tuple[str, ...] = ()


class Attempts:
    """The attempts at one source. Raises UsageError where sources, macros or names are out of bounds."""

    def __init__(
        self, sources: Mapping[str, str], main: str, defines: Mapping[str, str], instances: Sequence[str]
    ) -> None:
        self.unit = source.check(sources, main, defines, instances)
        self._sources, self._main, self._defines, self._asked = dict(sources), main, dict(defines), tuple(instances)
        self._preparation: Preparation | None = None
        self._without: dict[Place, str] = {}
        self._instances: tuple[str, ...] = ()
        self._rounds = 0
        self._first_log = ""

    def outcome(self) -> Outcome:
        """How the unit that compiled came about."""
        if self._preparation is None:
            return Outcome()
        prepared = self._preparation.prepared(self._without.keys())
        return Outcome(True, prepared.kernels, self._instances, tuple(self._left_out()), prepared.dropped.missing)

    def after_failure(self, log: str) -> None:
        """Sets the next `unit`. Raises CompileError when there is nothing left to try."""
        if self._preparation is None:
            self._prepare()
            return
        self._first_log = self._first_log or log
        self._rounds += 1
        found = blame(self._preparation, self._preparation.select(self._without.keys()), self._without.keys(), log)
        instances = tuple(i for i in self._instances if re.sub(r"\s", "", i) not in found.instances)
        if self._rounds >= ROUNDS_MAX or (not found.places and (instances == self._instances or self._asked)):
            raise CompileError(self._explained())
        self._instances = instances
        self._without.update(found.places)
        self._next()

    def after_refusal(self, refused: Mapping[str, str]) -> bool:
        """The compiler's PTX holds entries that the engines refuse, each with its reason. Whether there is a `unit`
        without them."""
        if self._preparation is None:
            self._prepare()
        assert self._preparation is not None
        selection = self._preparation.select(self._without.keys())
        found = {
            place: reason
            for entry, reason in refused.items()
            for place in selection.kept
            if selection.item(place).declaration.kernel
            and any(f"{len(name)}{name}" in entry or name == entry for name in selection.item(place).declaration.names)
        }
        self._rounds += 1
        if not found or self._rounds >= ROUNDS_MAX:
            return False
        self._without.update(found)
        try:
            self._next()
        except CompileError:
            return False
        return True

    def _prepare(self) -> None:
        self._preparation = Preparation(self._sources, self._main, source.served_headers().keys())
        self._instances = self._asked or self._preparation.instances
        self._next()

    def _next(self) -> None:
        assert self._preparation is not None
        prepared = self._preparation.prepared(self._without.keys())
        gone = {reason.kernel for reason in self._left_out()}
        instances = tuple(i for i in self._instances if self._asked or i.partition("<")[0] not in gone)
        if not prepared.device:
            raise CompileError(self._explained())
        self._instances = instances
        sources = {**self._sources, **prepared.sources}
        self.unit = source.check(sources, self._main, self._defines, instances, prelude=source.HOST_HEADER)

    def _left_out(self) -> list[LeftOut]:
        assert self._preparation is not None
        found: dict[str, str] = {}
        for place, reason in self._without.items():
            item = self._preparation.program.files[place.file].items[place.item]
            if place.member < 0 and item.declaration.kernel and item.declaration.sort is Sort.FUNCTION:
                for name in sorted(item.declaration.names):
                    found["::".join((*(part for part in item.scope if part), name))] = reason
        return [LeftOut(name, reason) for name, reason in found.items()]

    def _explained(self) -> str:
        """The compiler's own words about the prepared text, and the headers that may be the cause."""
        assert self._preparation is not None
        prepared = self._preparation.prepared()
        reasons = "\n".join(dict.fromkeys(left.reason for left in self._left_out()))
        notes = [f"note: {missing} was not found and left out" for missing in prepared.dropped.missing]
        return "\n".join((self._first_log or reasons or self._nothing(prepared), *notes))

    def _nothing(self, prepared: Prepared) -> str:
        """Why there is no kernel although nothing was wrong."""
        if not prepared.kernels:
            return f"{self._main} holds no __global__ function"
        plain = [kernel for kernel in prepared.kernels if not kernel.template]
        if plain:
            first = plain[0]
            return f"{first.file}({first.line}): kernel {first.name} is not compiled under the macros that are defined"
        templates = ", ".join(f"{kernel.name}<{', '.join(kernel.template)}>" for kernel in prepared.kernels)
        example = f"{prepared.kernels[0].name}<float>"
        return f"{self._main} has templates of kernels only: {templates}; name an instance, as in {example}"
