"""What was found wrong with a kernel, once per place and with a first witness."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

FINDINGS_MAX: Final = 20
"""Different findings that are kept; the rest is only counted. Nobody fixes more than that in one go."""


class Kind(Enum):
    OUT_OF_BOUNDS = "out of bounds"
    MISALIGNED = "misaligned"
    UNINITIALISED = "uninitialised read"
    RACE = "race"
    BLOCK_RACE = "race between blocks"
    BARRIER = "barrier divergence"
    WARP = "warp divergence"
    TRAP = "trap"


@dataclass(frozen=True, slots=True)
class Finding:
    """`block` and `thread` are (x, y, z) of the first witness of `count`, `line` that of the canonical PTX and
    `instruction` what stands there; `address` and `buffer` say where in memory, 0 and empty where no memory is at
    fault. `message` is one sentence.
    """

    kind: Kind
    launch: int
    entry: str
    block: tuple[int, int, int]
    thread: tuple[int, int, int]
    line: int
    instruction: str
    address: int
    buffer: str
    message: str
    count: int = 1


class Findings:
    """Gathers them. `left_out` counts those of places beyond the limit."""

    def __init__(self, limit: int = FINDINGS_MAX) -> None:
        self._limit = limit
        self._found: dict[tuple[object, ...], Finding] = {}
        self.left_out = 0

    def add(self, finding: Finding, other_line: int = 0) -> None:
        """The same kind at the same lines on the same buffer is counted, not listed again."""
        key = (finding.kind, finding.launch, finding.line, other_line, finding.buffer)
        known = self._found.get(key)
        if known is not None:
            self._found[key] = replace(known, count=known.count + 1)
        elif len(self._found) < self._limit:
            self._found[key] = finding
        else:
            self.left_out += 1

    def all(self) -> tuple[Finding, ...]:
        """In the order in which they were met."""
        return tuple(self._found.values())
