"""Lane-wise bit operations, moves between widths and conversions. Same contract as `arithmetic`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from p2pcompute.compute.ptx.arithmetic import LaneOperation, Values
from p2pcompute.compute.ptx.ir import Immediate, Instruction
from p2pcompute.compute.ptx.llvmtext import Ops
from p2pcompute.compute.ptx.types import TYPES
from p2pcompute.errors import PtxError


def _logic(ops: Ops, ins: Instruction, args: Values) -> Values:
    return [ops.two(ins.opcode, TYPES[ins.types[0]].llvm, *args)]


def _not(ops: Ops, ins: Instruction, args: Values) -> Values:
    llvm = TYPES[ins.types[0]].llvm
    return [ops.negate_bit(args[0]) if llvm == "i1" else ops.by("xor", llvm, args[0], -1)]


def _cnot(ops: Ops, ins: Instruction, args: Values) -> Values:
    llvm = TYPES[ins.types[0]].llvm
    return [ops.cast("zext", "i1", ops.compare("eq", llvm, args[0], ops.const(llvm, 0)), llvm)]


def _lop3(ops: Ops, ins: Instruction, args: Values) -> Values:
    """Any function of three bits, as the or of its minterms; LLVM folds them."""
    table = ins.sources[3]
    if not isinstance(table, Immediate):
        raise PtxError(f"PTX line {ins.line}: the table of 'lop3.b32' must be a constant.")
    inverse = [ops.by("xor", "i32", arg, -1) for arg in args[:3]]
    result = ops.const("i32", 0)
    for index in range(8):
        if table.value >> index & 1:
            terms = [args[n] if index >> (2 - n) & 1 else inverse[n] for n in range(3)]
            both = ops.two("and", "i32", ops.two("and", "i32", terms[0], terms[1]), terms[2])
            result = ops.two("or", "i32", result, both)
    return [result]


def shift(ops: Ops, operation: str, llvm: str, value: str, amount: str) -> str:
    """Shift by an i32 amount, clamped to the width as PTX says (LLVM leaves longer shifts undefined)."""
    bits = int(llvm[1:])
    inside = ops.compare("ult", "i32", amount, ops.const("i32", bits))
    if operation == "ashr":
        clamped = ops.select(inside, "i32", amount, ops.const("i32", bits - 1))
        return ops.two("ashr", llvm, value, ops.resize("i32", clamped, llvm))
    clamped = ops.select(inside, "i32", amount, ops.const("i32", 0))
    shifted = ops.two(operation, llvm, value, ops.resize("i32", clamped, llvm))
    return ops.select(inside, llvm, shifted, ops.const(llvm, 0))


def _shift(ops: Ops, ins: Instruction, args: Values) -> Values:
    kind = TYPES[ins.types[0]]
    operation = "shl" if ins.opcode == "shl" else "ashr" if kind.is_signed else "lshr"
    return [shift(ops, operation, kind.llvm, args[0], args[1])]


def _shf(ops: Ops, ins: Instruction, args: Values) -> Values:
    low, high, amount = args
    funnel = "fshl" if ins.has("l") else "fshr"
    result = ops.call(funnel, "i32", high, low, amount)
    if ins.has("clamp"):
        beyond = ops.compare("ugt", "i32", amount, ops.const("i32", 31))
        result = ops.select(beyond, "i32", low if ins.has("l") else high, result)
    return [result]


def _count(ops: Ops, ins: Instruction, args: Values) -> Values:
    llvm = TYPES[ins.types[0]].llvm
    counted = (
        ops.call("ctpop", llvm, args[0]) if ins.opcode == "popc" else ops.call("ctlz", llvm, args[0], flag="false")
    )
    return [ops.resize(llvm, counted, "i32")]


def _brev(ops: Ops, ins: Instruction, args: Values) -> Values:
    return [ops.call("bitreverse", TYPES[ins.types[0]].llvm, args[0])]


def _bfind(ops: Ops, ins: Instruction, args: Values) -> Values:
    """Place of the highest bit that differs from the sign; all ones when there is none."""
    kind = TYPES[ins.types[0]]
    value = args[0]
    if kind.is_signed:
        value = ops.two("xor", kind.llvm, value, ops.by("ashr", kind.llvm, value, kind.bits - 1))
    zeroes = ops.call("ctlz", kind.llvm, value, flag="false")
    found = zeroes if ins.has("shiftamt") else ops.two("sub", kind.llvm, ops.const(kind.llvm, kind.bits - 1), zeroes)
    none = ops.compare("eq", kind.llvm, value, ops.const(kind.llvm, 0))
    return [ops.resize(kind.llvm, ops.select(none, kind.llvm, ops.const(kind.llvm, -1), found), "i32")]


def _low_bits(ops: Ops, llvm: str, length: str) -> str:
    """A mask of `length` ones, all ones from the width on."""
    return ops.by("xor", llvm, shift(ops, "shl", llvm, ops.const(llvm, -1), length), -1)


def _bfe(ops: Ops, ins: Instruction, args: Values) -> Values:
    kind = TYPES[ins.types[0]]
    place, length = (ops.by("and", "i32", arg, 255) for arg in args[1:])
    inside = shift(ops, "lshr", kind.llvm, ops.const(kind.llvm, -1), place)
    valid = ops.two("and", kind.llvm, _low_bits(ops, kind.llvm, length), inside)
    bits = ops.two("and", kind.llvm, shift(ops, "lshr", kind.llvm, args[0], place), valid)
    if not kind.is_signed:
        return [bits]
    last = ops.by("sub", "i32", ops.two("add", "i32", place, length), 1)
    last = ops.call("umin", "i32", last, ops.const("i32", kind.bits - 1))
    sign = ops.by("and", kind.llvm, shift(ops, "lshr", kind.llvm, args[0], last), 1)
    sign = ops.two("sub", kind.llvm, ops.const(kind.llvm, 0), sign)
    empty = ops.compare("eq", "i32", length, ops.const("i32", 0))
    sign = ops.select(empty, kind.llvm, ops.const(kind.llvm, 0), sign)
    return [ops.two("or", kind.llvm, bits, ops.two("and", kind.llvm, sign, ops.by("xor", kind.llvm, valid, -1)))]


def _bfi(ops: Ops, ins: Instruction, args: Values) -> Values:
    llvm = TYPES[ins.types[0]].llvm
    place, length = (ops.by("and", "i32", arg, 255) for arg in args[2:])
    mask = shift(ops, "shl", llvm, _low_bits(ops, llvm, length), place)
    field = ops.two("and", llvm, shift(ops, "shl", llvm, args[0], place), mask)
    return [ops.two("or", llvm, ops.two("and", llvm, args[1], ops.by("xor", llvm, mask, -1)), field)]


_PERMUTATIONS: Final = {
    "f4e": (0x3210, 0x4321, 0x5432, 0x6543),
    "b4e": (0x5670, 0x6701, 0x7012, 0x0123),
    "rc8": (0x0000, 0x1111, 0x2222, 0x3333),
    "ecl": (0x3210, 0x3211, 0x3222, 0x3333),
    "ecr": (0x0000, 0x1110, 0x2210, 0x3210),
    "rc16": (0x1010, 0x3232, 0x1010, 0x3232),
}
"""Selectors by c[1:0] (PTX ISA 9.7.8.7)."""


def _permutation(ops: Ops, mode: str, control: str) -> str:
    chosen = ops.const("i32", _PERMUTATIONS[mode][0])
    low = ops.by("and", "i32", control, 3)
    for number, selector in enumerate(_PERMUTATIONS[mode]):
        this = ops.compare("eq", "i32", low, ops.const("i32", number))
        chosen = ops.select(this, "i32", ops.const("i32", selector), chosen)
    return chosen


def _prmt(ops: Ops, ins: Instruction, args: Values) -> Values:
    """Pick four of the eight bytes of {b, a}; bit 3 of a selector replicates the byte's sign instead."""
    mode = ins.modifier("permute")
    control = args[2] if mode is None else _permutation(ops, mode, args[2])
    low, high = (ops.cast("zext", "i32", arg, "i64") for arg in args[:2])
    both = ops.two("or", "i64", low, ops.by("shl", "i64", high, 32))
    result = ops.const("i32", 0)
    for index in range(4):
        selector = ops.by("lshr", "i32", control, 4 * index)
        places = ops.cast("zext", "i32", ops.by("shl", "i32", ops.by("and", "i32", selector, 7), 3), "i64")
        byte = ops.cast("trunc", "i64", ops.two("lshr", "i64", both, places), "i8")
        signed = ops.compare("ne", "i32", ops.by("and", "i32", selector, 8), ops.const("i32", 0))
        byte = ops.select(signed, "i8", ops.by("ashr", "i8", byte, 7), byte)
        result = ops.two("or", "i32", result, ops.by("shl", "i32", ops.cast("zext", "i8", byte, "i32"), 8 * index))
    return [result]


BITWISE: Final[Mapping[str, LaneOperation]] = MappingProxyType(
    {
        **dict.fromkeys(("and", "or", "xor"), _logic),
        "not": _not,
        "cnot": _cnot,
        "lop3": _lop3,
        "shl": _shift,
        "shr": _shift,
        "shf": _shf,
        "popc": _count,
        "clz": _count,
        "brev": _brev,
        "bfind": _bfind,
        "bfe": _bfe,
        "bfi": _bfi,
        "prmt": _prmt,
    }
)
