"""Counters in shared memory whose numbers are bytes, as histograms have them: `counts[byte]`.

What the counter of each lane is shows without looking: at most the 256th from a base that all lanes share. So one test
of the base stands for a test of every lane, and the numbers travel as bytes (see `tally`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from p2pcompute.compute.ptx import invariants
from p2pcompute.compute.ptx.flow import Graph
from p2pcompute.compute.ptx.ir import Address, Immediate, Instruction, Operand, Register
from p2pcompute.compute.ptx.types import TYPES

BYTE_MAX: Final = 255
_WIDENINGS: Final = frozenset({"u8", "u16", "u32", "u64", "b8", "b16", "b32", "b64"})


@dataclass(frozen=True, slots=True)
class Counter:
    """At address base + offset + scale * index, where `index` is at most BYTE_MAX in every lane."""

    base: Register
    offset_bytes: int
    index: Register
    scale: int


Definitions = Mapping[str, Instruction]


def find(graph: Graph) -> dict[int, Counter]:
    """The counters of instructions, by the id of each: of those whose address is computed in the same piece of code,
    from registers that one instruction writes."""
    if not any(_counts(ins) for block in graph.blocks for ins in block.core):
        return {}
    once = invariants.written_once(graph)
    found: dict[int, Counter] = {}
    for block in graph.blocks:
        before: dict[str, Instruction] = {}
        for ins in block.core:
            if _counts(ins):
                counter = _counter(ins, before)
                if counter is not None:
                    found[id(ins)] = counter
            for register in ins.writes():
                if register.name in once:
                    before[register.name] = ins
    return found


def _counts(ins: Instruction) -> bool:
    return ins.opcode in ("atom", "red") and ins.modifier("space") == "shared"


def _counter(ins: Instruction, before: Definitions) -> Counter | None:
    address = ins.sources[0]
    if not isinstance(address, Address) or not isinstance(address.base, Register):
        return None
    summed = before.get(address.base.name)
    if summed is None or summed.opcode not in ("add", "mad"):
        return None
    if summed.opcode == "mad":
        factor, scale, base = summed.sources
        return _made(base, address.offset_bytes, _product(summed, factor, scale, before))
    one, other = summed.sources
    for base, addend in ((one, other), (other, one)):
        scaled = _scaled(addend, before)
        if scaled is not None:
            return _made(base, address.offset_bytes, scaled)
    return None


def _made(base: Operand, offset_bytes: int, scaled: tuple[Register, int] | None) -> Counter | None:
    if scaled is None or not isinstance(base, Register):
        return None
    return Counter(base, offset_bytes, *scaled)


def _scaled(operand: Operand, before: Definitions) -> tuple[Register, int] | None:
    """A byte times a number."""
    ins = before.get(operand.name) if isinstance(operand, Register) else None
    if ins is None:
        return None
    if ins.opcode == "cvt" and _widens(ins):
        return _scaled(ins.sources[0], before)
    if ins.opcode == "mul":
        factor, scale = ins.sources
        return _product(ins, factor, scale, before)
    if ins.opcode == "shl" and isinstance(ins.sources[1], Immediate):
        amount = ins.sources[1].value
        index = _byte(ins.sources[0], before)
        return (index, 1 << amount) if index is not None and 0 <= amount <= TYPES["u8"].bits else None
    return None


def _product(ins: Instruction, factor: Operand, scale: Operand, before: Definitions) -> tuple[Register, int] | None:
    index = _byte(factor, before)
    if index is None or not isinstance(scale, Immediate) or ins.modifier("part") == "hi":
        return None
    return (index, scale.value) if 0 < scale.value <= BYTE_MAX else None


def _byte(operand: Operand, before: Definitions) -> Register | None:
    """The operand, if it is at most BYTE_MAX as an unsigned number."""
    ins = before.get(operand.name) if isinstance(operand, Register) else None
    if ins is None or not isinstance(operand, Register):
        return None
    return (
        operand if _is_byte(ins) or (ins.opcode == "cvt" and _widens(ins) and _byte(ins.sources[0], before)) else None
    )


def _is_byte(ins: Instruction) -> bool:
    last = ins.sources[-1] if ins.sources else None
    match ins.opcode:
        case "ld":
            return ins.types[0] in ("u8", "b8") and len(ins.destinations) == 1 and ins.modifier("vec") is None
        case "and":
            return any(isinstance(o, Immediate) and 0 <= o.value <= BYTE_MAX for o in ins.sources)
        case "shr":
            least = TYPES[ins.types[0]].bits - TYPES["u8"].bits
            return ins.types[0][0] in "bu" and isinstance(last, Immediate) and last.value >= least
        case "bfe":
            return ins.types[0][0] == "u" and isinstance(last, Immediate) and 0 <= last.value <= TYPES["u8"].bits
        case "cvt":
            return ins.types[1] == "u8" and ins.types[0] in _WIDENINGS
        case _:
            return False


def _widens(ins: Instruction) -> bool:
    """Whether a conversion keeps an unsigned number as it is."""
    to, given = ins.types[0], ins.types[1]
    return to in _WIDENINGS and given in _WIDENINGS and TYPES[to].bits >= TYPES[given].bits
