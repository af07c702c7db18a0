"""Registers that hold one value for a whole launch, a block or a warp: computed once there, never saved at a barrier.

A register is invariant if one instruction alone writes it, without a guard, with a cheap integer operation that cannot
fault (or `ld.param`), from invariant operands only. Its definition dominates its uses, or it would be live at entry,
where canonical text writes a zero; so the value may be computed earlier than the text says, and again after a barrier.
"""

from __future__ import annotations

from collections import Counter
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


def is_cheap(ins: Instruction) -> bool:
    """Whether an instruction is plain address arithmetic, or loads a parameter: it can be computed early."""
    if ins.guard is not None or len(ins.destinations) != 1 or not isinstance(ins.destinations[0], Register):
        return False
    if ins.opcode == "ld":
        return ins.modifier("space") == "param"
    return ins.opcode in CHEAP and ins.modifier("carry") is None and not any(TYPES[name].is_float for name in ins.types)


def candidates(graph: Graph) -> list[Instruction]:
    """Definitions of all that is invariant by its form alone, in an order in which operands come first."""
    every = [ins for block in graph.blocks for ins in (*block.core, *([block.end] if block.end else []))]
    writes = Counter(register.name for ins in every for register in ins.writes())
    levels: dict[str, Level] = {}
    found: list[Instruction] = []
    for ins in every:
        if not is_cheap(ins):
            continue
        (target,) = ins.writes()
        sources = [_level(operand, levels) for operand in ins.sources]
        if writes[target.name] == 1 and target.name not in graph.live_in[0] and None not in sources:
            levels[target.name] = Level.WARP
            found.append(ins)
    return found


def find(graph: Graph, analysis: Analysis) -> Invariants:
    """The invariants of an entry: uniform and affine registers, and predicates, of which a warp's fit one word."""
    levels: dict[str, Level] = {}
    definitions: dict[Level, list[Instruction]] = {level: [] for level in Level}
    for ins in candidates(graph):
        (target,) = ins.writes()
        kind = analysis.kind(target)
        sources = [_level(operand, levels) for operand in ins.sources]
        known = [level for level in sources if level is not None]
        is_small = kind.is_uniform or kind.is_affine or target.type_name == "pred"
        is_kept = is_small and target.name not in analysis.blended
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
