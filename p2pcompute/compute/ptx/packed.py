"""Packed values: pairs of halves (.f16x2) and the bytes and shorts of a word (dp4a, dp2a, vabsdiff)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from p2pcompute.compute.ptx import nan
from p2pcompute.compute.ptx.arithmetic import LaneOperation, Values
from p2pcompute.compute.ptx.ir import Instruction
from p2pcompute.compute.ptx.llvmtext import Ops
from p2pcompute.compute.ptx.types import TYPES

_HALF_OF: Final = {"f16x2": "f16", "u32": "u16", "s32": "s16"}


def is_packed(ins: Instruction) -> bool:
    return bool(ins.types) and TYPES[ins.types[-1]].is_packed


def pairwise(operation: LaneOperation) -> LaneOperation:
    """The operation on the low and on the high halves. Two predicate results are those of the two halves."""

    def apply(ops: Ops, ins: Instruction, args: Values) -> Values:
        one = _of_half(ins)
        low, high = (_result(ops, one, operation(ops, one, _part(ops, ins, args, n))[0]) for n in range(2))
        if len(ins.destinations) == 2:
            return [low, high]
        llvm = TYPES[one.destination_types[0]].llvm
        return [_joined(ops, llvm, low, high)]

    return apply


def _of_half(ins: Instruction) -> Instruction:
    """The same instruction on one half; a second predicate is written by the other half."""
    names = [
        tuple(_HALF_OF.get(name, name) for name in group)
        for group in (ins.types, ins.destination_types, ins.source_types)
    ]
    types, destinations, sources = names
    return replace(
        ins,
        types=types,
        destinations=ins.destinations[:1],
        destination_types=destinations[:1],
        source_types=sources,
    )


def _part(ops: Ops, ins: Instruction, args: Values, number: int) -> Values:
    parts = []
    for type_name, arg in zip(ins.source_types, args, strict=True):
        if TYPES[type_name].is_packed:
            shifted = ops.by("lshr", "i32", arg, 16) if number else arg
            parts.append(ops.cast("bitcast", "i16", ops.cast("trunc", "i32", shifted, "i16"), "half"))
        else:
            parts.append(arg)
    return parts


def _result(ops: Ops, one: Instruction, value: str) -> str:
    return nan.fix(ops, "half", value) if nan.makes_nan(one) else value


def _joined(ops: Ops, llvm: str, low: str, high: str) -> str:
    halves = [ops.cast("bitcast", llvm, half, "i16") if llvm == "half" else half for half in (low, high)]
    low, high = (ops.cast("zext", "i16", half, "i32") for half in halves)
    return ops.two("or", "i32", low, ops.by("shl", "i32", high, 16))


def _field(ops: Ops, value: str, place: int, bits: int, *, signed: bool) -> str:
    """`bits` bits from `place`, widened to 32."""
    shifted = ops.by("shl", "i32", value, 32 - place - bits)
    return ops.by("ashr" if signed else "lshr", "i32", shifted, 32 - bits)


def _dot(ops: Ops, ins: Instruction, args: Values) -> Values:
    """dp4a: four byte products and c. dp2a: the shorts of a times the low or high two bytes of b. Sums wrap."""
    signed = [TYPES[name].is_signed for name in ins.types]
    count = 4 if ins.opcode == "dp4a" else 2
    start = 2 if ins.has("hi") else 0
    total = args[2]
    for n in range(count):
        left = _field(ops, args[0], n * 32 // count, 32 // count, signed=signed[0])
        right = _field(ops, args[1], 8 * (start + n), 8, signed=signed[1])
        total = ops.two("add", "i32", total, ops.two("mul", "i32", left, right))
    return [total]


def _absolute_difference(ops: Ops, ins: Instruction, args: Values) -> Values:
    """vabsdiff2 and vabsdiff4: one difference per part, cut to it; with .add their sum and c instead."""
    count = int(ins.opcode[-1])
    bits = 32 // count
    signed = [TYPES[name].is_signed for name in ins.types[1:]]
    total = args[2] if ins.has("add") else ops.const("i32", 0)
    for n in range(count):
        sides = [_field(ops, arg, n * bits, bits, signed=s) for arg, s in zip(args, signed, strict=False)]
        distance = ops.call("abs", "i32", ops.two("sub", "i32", *sides), flag="false")
        if ins.has("add"):
            total = ops.two("add", "i32", total, distance)
        else:
            distance = ops.by("and", "i32", distance, (1 << bits) - 1)
            total = ops.two("or", "i32", total, ops.by("shl", "i32", distance, n * bits))
    return [total]


PACKED: Final[Mapping[str, LaneOperation]] = MappingProxyType(
    {"dp4a": _dot, "dp2a": _dot, "vabsdiff2": _absolute_difference, "vabsdiff4": _absolute_difference}
)
