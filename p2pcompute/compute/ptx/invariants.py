"""Registers that hold one value for a whole launch, a block or a warp: computed once there, never saved at a barrier.

A register is invariant if one instruction alone writes it, without a guard, with a cheap integer operation that cannot
fault (or `ld.param`), from invariant operands only. Its definition dominates its uses, or it would be live at entry,
where canonical text writes a zero; so the value may be computed earlier than the text says, and again after a barrier.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from p2pcompute.compute.ptx.flow import Graph
from p2pcompute.compute.ptx.ir import Address, Immediate, Instruction, Operand, Register, Special, Symbol
from p2pcompute.compute.ptx.types import TYPES
from p2pcompute.compute.ptx.uniform import Analysis


class Level(IntEnum):
    """How long a value stays the same."""

    LAUNCH = 0
    BLOCK = 1
    WARP = 2


CHEAP: Final = frozenset(
    {
        *("mov", "cvta", "cvt", "selp", "setp"),
        *("add", "sub", "mul", "mad", "neg"),
        *("and", "or", "xor", "not", "shl", "shr", "brev", "bfi"),
    }
)
"""Integer operations that cannot fault: address arithmetic, mostly."""

_SPECIALS: Final = {
    "ntid": Level.LAUNCH,
    "nctaid": Level.LAUNCH,
    "ctaid": Level.BLOCK,
    "tid": Level.WARP,
    "laneid": Level.WARP,
    "warpid": Level.WARP,
}


@dataclass(frozen=True, slots=True)
class Invariants:
    """The defining instructions by level, in an order in which operands come first, and the registers they write."""

    definitions: dict[Level, list[Instruction]]
    registers: frozenset[str]

    def early(self, graph: Graph) -> list[Instruction]:
        """What is computed before the text says so: all that is the same for more than a warp, or would be computed in
        every turn of a loop.
        """
        inside = {id(ins) for loop in graph.loops for b in graph.blocks[loop.head : loop.last + 1] for ins in b.core}
        return [
            *self.definitions[Level.LAUNCH],
            *self.definitions[Level.BLOCK],
            *self._with_operands(lambda ins: id(ins) in inside),
        ]

    def needed(self, live: frozenset[str], early: Container[int]) -> list[Instruction]:
        """The warp's own invariants that code behind a pause reads: the live ones, and all early ones."""
        return self._with_operands(lambda ins: id(ins) in early or any(r.name in live for r in ins.writes()))

    def _with_operands(self, is_wanted: Callable[[Instruction], bool]) -> list[Instruction]:
        kept: list[Instruction] = []
        names: set[str] = set()
        for ins in reversed(self.definitions[Level.WARP]):
            if is_wanted(ins) or any(register.name in names for register in ins.writes()):
                kept.append(ins)
                names.update(register.name for register in ins.reads())
        return kept[::-1]


def is_cheap(ins: Instruction) -> bool:
    """Whether an instruction is plain address arithmetic, or loads a parameter: it can be computed early."""
    if ins.guard is not None or len(ins.destinations) != 1 or not isinstance(ins.destinations[0], Register):
        return False
    if ins.opcode == "ld":
        return ins.modifier("space") == "param"
    return ins.opcode in CHEAP and ins.modifier("carry") is None and not any(TYPES[name].is_float for name in ins.types)


def written_once(graph: Graph) -> frozenset[str]:
    """Registers that one unguarded instruction writes, before all that reads them."""
    every = [ins for block in graph.blocks for ins in (*block.core, *([block.end] if block.end else []))]
    writes = Counter(register.name for ins in every for register in ins.writes())
    guarded = {register.name for ins in every if ins.guard is not None for register in ins.writes()}
    return frozenset(name for name, count in writes.items() if count == 1) - guarded - graph.live_in[0]


def candidates(graph: Graph) -> list[Instruction]:
    """Definitions of all that is invariant by its form alone, in an order in which operands come first."""
    once = written_once(graph)
    levels: dict[str, Level] = {}
    found: list[Instruction] = []
    for ins in (ins for block in graph.blocks for ins in block.core):
        if not is_cheap(ins):
            continue
        (target,) = ins.writes()
        sources = [_level(operand, levels) for operand in ins.sources]
        if target.name in once and None not in sources:
            levels[target.name] = Level.WARP
            found.append(ins)
    return found


def find(graph: Graph, analysis: Analysis) -> Invariants:
    """The invariants of an entry: uniform and affine registers only."""
    levels: dict[str, Level] = {}
    definitions: dict[Level, list[Instruction]] = {level: [] for level in Level}
    for ins in candidates(graph):
        (target,) = ins.writes()
        kind = analysis.kind(target)
        sources = [_level(operand, levels) for operand in ins.sources]
        known = [level for level in sources if level is not None]
        is_kept = (kind.is_uniform or kind.is_affine) and target.name not in analysis.blended
        if is_kept and len(known) == len(sources):
            level = max(known, default=Level.LAUNCH) if kind.is_uniform else Level.WARP
            levels[target.name] = level
            definitions[level].append(ins)
    return Invariants(definitions, frozenset(levels))


def _level(operand: Operand, levels: dict[str, Level]) -> Level | None:
    match operand:
        case Immediate() | Symbol() | Address(Symbol()):
            return Level.LAUNCH
        case Register(name):
            return levels.get(name)
        case Special(name):
            return _SPECIALS.get(name.partition(".")[0])
        case _:
            return None
