"""Registers whose lanes differ by constants: what `tid ^ 4`, `tid & 7`, `brev(tid)` and sums of them make.

Such a register is the scalar of its first lane, and lane i is first + delta[i]. Bit operations need more: which bits
are known in every lane. A value is *flat* if the lanes differ in known bits only, so that all the others are those of
one unknown number; then an operation works on both parts by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final

from p2pcompute.compute.ptx.ir import Instruction
from p2pcompute.compute.ptx.types import TYPES, ScalarType

_EVERY: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Lanes:
    """`delta`: what a lane is more than the first. `mask`: the bits known in every lane; `bits`: what they are."""

    delta: tuple[int, ...]
    mask: int
    bits: tuple[int, ...]

    @property
    def is_uniform(self) -> bool:
        return not any(self.delta)

    @property
    def is_flat(self) -> bool:
        return all(d == b - self.bits[0] for d, b in zip(self.delta, self.bits, strict=True))

    @property
    def stride(self) -> int | None:
        """The distance of neighbours, if it is the same everywhere."""
        step = self.delta[1]
        return step if all(d == lane * step for lane, d in enumerate(self.delta)) else None

    def first_zeros(self, most: int) -> int:
        """Low bits known to be zero in the first lane, up to `most`."""
        known = self.mask & ~self.bits[0]
        lowest = (known + 1) & ~known  # the lowest bit that is not known to be zero: none where all are
        return min(most, lowest.bit_length() - 1) if lowest else most

    @property
    def varying(self) -> int:
        """Known bits in which lanes differ."""
        return reduce(lambda every, b: every | (b ^ self.bits[0]), self.bits, 0)


def uniform(zeros: int, lanes: int) -> Lanes:
    """Any number with that many zero low bits."""
    return Lanes((0,) * lanes, (1 << zeros) - 1, (0,) * lanes)


def constant(value: int, lanes: int) -> Lanes:
    return Lanes((0,) * lanes, _EVERY, (value & _EVERY,) * lanes)


def consecutive(known_bits: int, lanes: int) -> Lanes:
    """A multiple of `lanes` plus the lane."""
    return Lanes(tuple(range(lanes)), known_bits, tuple(range(lanes)))


def line(stride: int, lanes: int) -> Lanes:
    return differing_by(tuple(lane * stride for lane in range(lanes)))


def transfer(ins: Instruction, sources: Sequence[Lanes], *, may_widen: bool) -> Lanes | None:
    """What an integer operation makes of its operands; None if the result has no pattern. `may_widen`: reading a
    register as a number of its type breaks no line (see `ranges`).
    """
    kind = TYPES[ins.types[-1]]
    if ins.has("hi") or ins.has("sat") or ins.has("cc") or ins.modifier("carry") is not None:
        return None
    if ins.has("wide"):
        if not may_widen:
            return None
        sources = [*(_extended(source, kind) for source in sources[:2]), *sources[2:]]
    match ins.opcode:
        case "mov" | "cvta":
            return sources[0]
        case "cvt":
            return _converted(ins, sources[0], may_widen=may_widen)
        case "add" | "sub":
            return _sum(sources[0], sources[1], -1 if ins.opcode == "sub" else 1)
        case "mul":
            return _product(sources[0], sources[1])
        case "mad":
            product = _product(sources[0], sources[1])
            return None if product is None else _sum(product, sources[2], 1)
        case "and" | "or" | "xor":
            return _bitwise(ins.opcode, sources[0], sources[1])
        case "shl" | "shr":
            return _shifted(ins.opcode, sources[0], _value(sources[1]), kind)
        case "brev":
            return _reversed(sources[0], kind.bits)
        case "bfi":
            return _inserted(*sources, width=kind.bits)
        case _:
            return None


def differing_by(delta: tuple[int, ...]) -> Lanes:
    """Nothing is known but the differences."""
    return Lanes(delta, 0, (0,) * len(delta))


def _of_bits(mask: int, bits: Sequence[int]) -> Lanes:
    kept = tuple(b & mask for b in bits)
    return Lanes(tuple(b - kept[0] for b in kept), mask, kept)


def _value(lanes: Lanes) -> int | None:
    return lanes.bits[0] if lanes.is_uniform and lanes.mask == _EVERY else None


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _sum(left: Lanes, right: Lanes, sign: int) -> Lanes:
    delta = tuple(a + sign * b for a, b in zip(left.delta, right.delta, strict=True))
    known = left.mask & right.mask
    low = (known + 1 & ~known) - 1  # the known bits from the lowest on
    differ = (left.varying | right.varying) & ~low
    totals = [(a & low) + sign * (b & low) for a, b in zip(left.bits, right.bits, strict=True)]
    carries = {total >> low.bit_length() for total in totals}
    if left.is_flat and right.is_flat and not differ and len(carries) == 1:
        return _of_bits(low, totals)
    return differing_by(delta)


def _product(left: Lanes, right: Lanes) -> Lanes | None:
    factor, other = (_value(right), left) if _value(right) is not None else (_value(left), right)
    if factor is None:
        zeros = left.first_zeros(32) + right.first_zeros(32)
        return uniform(min(zeros, 63), len(left.delta)) if left.is_uniform and right.is_uniform else None
    factor = _signed(factor)
    if factor > 0 and factor & (factor - 1) == 0:
        return _left(other, factor.bit_length() - 1)
    return differing_by(tuple(d * factor for d in other.delta))


def _left(lanes: Lanes, count: int) -> Lanes:
    mask = (lanes.mask << count | (1 << count) - 1) & _EVERY
    return Lanes(tuple(d << count for d in lanes.delta), mask, tuple(b << count & mask for b in lanes.bits))


def _shifted(opcode: str, lanes: Lanes, count: int | None, kind: ScalarType) -> Lanes | None:
    if count is None or count >= kind.bits:
        return None
    if opcode == "shl":
        return _left(lanes, count)
    if not lanes.is_flat:
        return None
    inside = (1 << kind.bits) - 1
    top = lanes.mask >> (kind.bits - 1) & 1
    if kind.kind == "s" and top:
        return None
    return _of_bits((lanes.mask & inside) >> count, [(b & inside) >> count for b in lanes.bits])


def _bitwise(opcode: str, left: Lanes, right: Lanes) -> Lanes | None:
    if not (left.is_flat and right.is_flat):
        return None
    both, mine, theirs = left.mask & right.mask, left.mask & ~right.mask, right.mask & ~left.mask
    if mine & left.varying or theirs & right.varying:
        return None
    a, b = left.bits, right.bits
    if opcode == "xor":
        return _of_bits(both, [x ^ y for x, y in zip(a, b, strict=True)])
    if opcode == "and":
        zeros = mine & ~a[0] | theirs & ~b[0]
        return _of_bits(both | zeros, [x & y & both for x, y in zip(a, b, strict=True)])
    ones = mine & a[0] | theirs & b[0]
    return _of_bits(both | ones, [(x | y) & both | ones for x, y in zip(a, b, strict=True)])


def _reversed(lanes: Lanes, width: int) -> Lanes | None:
    if not lanes.is_flat:
        return None

    def turned(value: int) -> int:
        return int(f"{value & (1 << width) - 1:0{width}b}"[::-1], 2)

    return _of_bits(turned(lanes.mask), [turned(b) for b in lanes.bits])


def _inserted(field: Lanes, base: Lanes, position: Lanes, length: Lanes, *, width: int) -> Lanes | None:
    place, count = _value(position), _value(length)
    if place is None or count is None or not (field.is_flat and base.is_flat) or place + count > width:
        return None
    hole = ((1 << count) - 1) << place
    mask = field.mask << place & hole | base.mask & ~hole
    pairs = zip(field.bits, base.bits, strict=True)
    return _of_bits(mask, [f << place & hole | b & ~hole for f, b in pairs])


def _converted(ins: Instruction, lanes: Lanes, *, may_widen: bool) -> Lanes | None:
    target, source = (TYPES[name] for name in ins.types)
    if target.bits <= source.bits:
        return lanes
    return _extended(lanes, source) if may_widen else None


def _extended(lanes: Lanes, kind: ScalarType) -> Lanes:
    """Read as a number of this type: the bits above are zero, or copies of the sign."""
    inside = (1 << kind.bits) - 1
    above = _EVERY & ~inside
    if kind.kind == "s":
        sign = 1 << (kind.bits - 1)
        if not lanes.mask & sign or lanes.varying & sign:
            return Lanes(lanes.delta, lanes.mask & inside, tuple(b & inside for b in lanes.bits))
        above_bits = above if lanes.bits[0] & sign else 0
    else:
        above_bits = 0
    return Lanes(lanes.delta, lanes.mask & inside | above, tuple(b & inside | above_bits for b in lanes.bits))
