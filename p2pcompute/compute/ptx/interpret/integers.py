"""Integer and bit instructions: each maker turns an instruction into a function of Python integers.

Sources of signed types come as negative numbers where they are negative, all others as bits. Results may have any size
and sign: whoever writes a register keeps its low bits. A maker for a carry gives pairs. Source: PTX ISA 8.4, 9.7.1,
9.7.2 and 9.7.8.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from p2pcompute.compute.ptx.interpret.numbers import clamp, signed, wrap
from p2pcompute.compute.ptx.ir import Instruction
from p2pcompute.compute.ptx.types import TYPES, ScalarType

LaneFunction = Callable[..., Any]
"""Values of the sources (and the carry) to the value of the result, or a tuple of them for several."""


def kind_of(ins: Instruction) -> ScalarType:
    return TYPES[ins.types[0]]


def _sum(ins: Instruction) -> LaneFunction:
    kind = kind_of(ins)
    if ins.opcode == "addc" or ins.has("cc"):
        return _carried(kind.bits, ins)
    if ins.has("sat"):
        return lambda a, b: clamp(a + b, kind.bits, is_signed=kind.is_signed)
    return lambda a, b: a + b


def _carried(bits: int, ins: Instruction) -> LaneFunction:
    def add(a: int, b: int, carry: int = 0) -> tuple[int, int] | int:
        total = wrap(a, bits) + wrap(b, bits) + carry
        return (total, total >> bits) if ins.has("cc") else total

    return add


def _difference(ins: Instruction) -> LaneFunction:
    kind = kind_of(ins)
    if ins.has("sat"):
        return lambda a, b: clamp(a - b, kind.bits, is_signed=kind.is_signed)
    if ins.opcode == "sub" and not ins.has("cc"):
        return lambda a, b: a - b

    def subtract(a: int, b: int, borrow: int = 0) -> tuple[int, int] | int:
        rest = wrap(a, kind.bits) - wrap(b, kind.bits) - borrow
        return (rest, int(rest < 0)) if ins.has("cc") else rest

    return subtract


def _product(ins: Instruction) -> LaneFunction:
    bits = kind_of(ins).bits
    return (lambda a, b: a * b >> bits) if ins.has("hi") else operator.mul


def _multiply_add(ins: Instruction) -> LaneFunction:
    product = _product(ins)
    if ins.opcode == "madc" or ins.has("cc"):
        add = _carried(kind_of(ins).bits, ins)
        return lambda a, b, c, carry=0: add(product(a, b), c, carry)
    return lambda a, b, c: product(a, b) + c


def _quotient(ins: Instruction) -> LaneFunction:
    def divide(a: int, b: int) -> int:
        if b == 0:
            return -1
        return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)

    return divide


def _remainder(ins: Instruction) -> LaneFunction:
    def rest(a: int, b: int) -> int:
        if b == 0:
            return -1
        return abs(a) % abs(b) * (-1 if a < 0 else 1)

    return rest


def _shift(ins: Instruction) -> LaneFunction:
    bits = kind_of(ins).bits
    if ins.opcode == "shl":
        return lambda a, n: a << n if n < bits else 0
    return lambda a, n: a >> min(n, bits)


def _funnel(ins: Instruction) -> LaneFunction:
    left, wraps = ins.has("l"), ins.has("wrap")

    def shift(low: int, high: int, amount: int) -> int:
        amount = amount & 31 if wraps else min(amount, 32)
        both = high << 32 | low
        return (both << amount) >> 32 if left else both >> amount

    return shift


def _lop3(ins: Instruction) -> LaneFunction:
    def combine(a: int, b: int, c: int, table: int) -> int:
        result = 0
        for index in range(8):
            if table >> index & 1:
                result |= (a if index & 4 else ~a) & (b if index & 2 else ~b) & (c if index & 1 else ~c)
        return result

    return combine


def _leading_zeroes(ins: Instruction) -> LaneFunction:
    bits = kind_of(ins).bits
    return lambda a: bits - a.bit_length()


def _reverse(ins: Instruction) -> LaneFunction:
    bits = kind_of(ins).bits
    return lambda a: int(f"{a:0{bits}b}"[::-1], 2)


def _find(ins: Instruction) -> LaneFunction:
    """Place of the highest bit that differs from the sign; all ones when there is none."""
    bits, from_top = kind_of(ins).bits, ins.has("shiftamt")

    def find(a: int) -> int:
        place = (~a if a < 0 else a).bit_length() - 1
        return bits - 1 - place if from_top and place >= 0 else place

    return find


def _extract(ins: Instruction) -> LaneFunction:
    kind = kind_of(ins)

    def extract(a: int, place: int, length: int) -> int:
        raw, place, length = wrap(a, kind.bits), place & 255, length & 255
        sign = raw >> min(place + length - 1, kind.bits - 1) & 1 if kind.is_signed and length else 0
        result = 0
        for i in range(kind.bits):
            inside = i < length and place + i < kind.bits
            result |= (raw >> (place + i) & 1 if inside else sign) << i
        return result

    return extract


def _insert(ins: Instruction) -> LaneFunction:
    bits = kind_of(ins).bits

    def insert(a: int, b: int, place: int, length: int) -> int:
        field = wrap(((1 << (length & 255)) - 1) << (place & 255), bits)
        return b & ~field | a << (place & 255) & field

    return insert


def _permute(ins: Instruction) -> LaneFunction:
    """Pick four of the eight bytes of {b, a}; bit 3 of a selector replicates the byte's sign instead."""
    mode = ins.modifier("permute")

    def permute(a: int, b: int, control: int) -> int:
        both, result = b << 32 | a, 0
        for i in range(4):
            selector = control >> (4 * i) & 15 if mode is None else _selector(mode, control & 3, i)
            byte = both >> (8 * (selector & 7)) & 255
            result |= (byte if selector < 8 else 255 if byte & 128 else 0) << (8 * i)
        return result

    return permute


def _selector(mode: str, n: int, i: int) -> int:
    """Which byte goes to place i in the named modes (PTX ISA 9.7.8.7)."""
    return {
        "f4e": n + i,
        "b4e": (n - i) & 7,
        "rc8": n,
        "ecl": max(n, i),
        "ecr": min(n, i),
        "rc16": 2 * (n & 1) + (i & 1),
    }[mode]


def pieces(value: int, width: int, count: int, *, is_signed: bool) -> list[int]:
    """The low `count` fields of `width` bits."""
    fields = [value >> (width * i) & ((1 << width) - 1) for i in range(count)]
    return [signed(field, width) for field in fields] if is_signed else fields


def _dot(ins: Instruction) -> LaneFunction:
    """dp4a: four byte products; dp2a: two products of a half of a with a byte of b's low or high half."""
    left, right = (TYPES[name].is_signed for name in ins.types)

    def four(a: int, b: int, c: int) -> int:
        return c + sum(map(int.__mul__, pieces(a, 8, 4, is_signed=left), pieces(b, 8, 4, is_signed=right)))

    def two(a: int, b: int, c: int) -> int:
        bytes_of_b = pieces(b, 8, 4, is_signed=right)[2 if ins.has("hi") else 0 :]
        return c + sum(map(int.__mul__, pieces(a, 16, 2, is_signed=left), bytes_of_b))

    return four if ins.opcode == "dp4a" else two


def _absolute_differences(ins: Instruction) -> LaneFunction:
    """vabsdiff2 and 4: differences of fields, side by side, or added up onto c."""
    count = int(ins.opcode[-1])
    width = 32 // count
    left, right = (TYPES[name].is_signed for name in ins.types[1:])

    def differences(a: int, b: int, c: int) -> int:
        fields = zip(pieces(a, width, count, is_signed=left), pieces(b, width, count, is_signed=right), strict=True)
        sizes = [abs(x - y) for x, y in fields]
        if ins.has("add"):
            return c + sum(sizes)
        return sum(wrap(size, width) << (width * i) for i, size in enumerate(sizes))

    return differences


def _plain(function: LaneFunction) -> Callable[[Instruction], LaneFunction]:
    return lambda ins: function


INTEGERS: Final[Mapping[str, Callable[[Instruction], LaneFunction]]] = MappingProxyType(
    {
        **dict.fromkeys(("add", "addc"), _sum),
        **dict.fromkeys(("sub", "subc"), _difference),
        "mul": _product,
        **dict.fromkeys(("mad", "madc"), _multiply_add),
        "div": _quotient,
        "rem": _remainder,
        "abs": _plain(abs),
        "neg": _plain(operator.neg),
        "min": _plain(min),
        "max": _plain(max),
        "sad": _plain(lambda a, b, c: abs(a - b) + c),
        "and": _plain(operator.and_),
        "or": _plain(operator.or_),
        "xor": _plain(operator.xor),
        "not": _plain(operator.invert),
        "cnot": _plain(lambda a: int(a == 0)),
        "lop3": _lop3,
        **dict.fromkeys(("shl", "shr"), _shift),
        "shf": _funnel,
        "popc": _plain(int.bit_count),
        "clz": _leading_zeroes,
        "brev": _reverse,
        "bfind": _find,
        "bfe": _extract,
        "bfi": _insert,
        "prmt": _permute,
        **dict.fromkeys(("dp4a", "dp2a"), _dot),
        **dict.fromkeys(("vabsdiff2", "vabsdiff4"), _absolute_differences),
    }
)
