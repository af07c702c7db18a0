"""Lane-wise arithmetic: add to sqrt, comparisons, selection. One function per opcode, generic over type and modifiers.

Each takes the operations of a shape, the instruction and its source values (in the LLVM types of `source_types`, with
the carry appended for addc, subc, madc), and returns one value per result, the carry last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from p2pcompute.compute.ptx import half
from p2pcompute.compute.ptx.ir import Instruction
from p2pcompute.compute.ptx.llvmtext import Ops, float_literal
from p2pcompute.compute.ptx.types import TYPES, WIDER, ScalarType
from p2pcompute.errors import PtxError

Values = list[str]
LaneOperation = Callable[[Ops, Instruction, Values], Values]

ONE_BITS: Final = {"half": 0x3C00, "float": 0x3F800000, "double": 0x3FF0000000000000}

_FLOAT_COMPARE: Final = {
    **{name: "o" + name for name in ("eq", "lt", "le", "gt", "ge")},
    "ne": "one",
    "equ": "ueq",
    "neu": "une",
    "ltu": "ult",
    "leu": "ule",
    "gtu": "ugt",
    "geu": "uge",
    "num": "ord",
    "nan": "uno",
}
_UNSIGNED_COMPARE: Final = {"lo": "ult", "ls": "ule", "hi": "ugt", "hs": "uge"}
_INTEGER_COMPARE: Final = frozenset(["eq", "ne", "lt", "le", "gt", "ge", *_UNSIGNED_COMPARE])


def one(ops: Ops, llvm: str) -> str:
    return ops.const(llvm, float_literal(ONE_BITS[llvm], llvm))


def zero(ops: Ops, llvm: str) -> str:
    return ops.const(llvm, float_literal(0, llvm))


def _float(ops: Ops, ins: Instruction, operation: str, args: Values) -> str:
    """A float operation in the instruction's rounding mode, saturated to [0, 1] if asked."""
    llvm = TYPES[ins.types[0]].llvm
    mode = ins.modifier("round") or "rn"
    if llvm == "half" and operation == "fma":
        value = half.fused(ops, *args)
    elif mode != "rn":
        value = ops.rounded(operation, mode, llvm, [(llvm, arg) for arg in args])
    elif operation in ("fma", "sqrt"):
        value = ops.call(operation, llvm, *args)
    else:
        value = ops.two(operation, llvm, *args)
    return saturate(ops, llvm, value) if ins.has("sat") else value


def saturate(ops: Ops, llvm: str, value: str) -> str:
    """Clamp to [+0, 1]; NaN becomes +0."""
    value = ops.select(ops.compare("ogt", llvm, value, zero(ops, llvm)), llvm, value, zero(ops, llvm))
    return ops.select(ops.compare("olt", llvm, value, one(ops, llvm)), llvm, value, one(ops, llvm))


def _add(ops: Ops, ins: Instruction, args: Values) -> Values:
    kind = TYPES[ins.types[0]]
    if kind.is_float:
        return [_float(ops, ins, "fadd", args)]
    if ins.opcode == "addc" or ins.has("cc"):
        return _with_carry(ops, ins, kind, args)
    if ins.has("sat"):
        return [ops.call("sadd.sat" if kind.is_signed else "uadd.sat", kind.llvm, *args)]
    return [ops.two("add", kind.llvm, *args)]


def _sub(ops: Ops, ins: Instruction, args: Values) -> Values:
    kind = TYPES[ins.types[0]]
    if kind.is_float:
        return [_float(ops, ins, "fsub", args)]
    if ins.opcode == "subc" or ins.has("cc"):
        return _with_borrow(ops, ins, kind, args)
    if ins.has("sat"):
        return [ops.call("ssub.sat" if kind.is_signed else "usub.sat", kind.llvm, *args)]
    return [ops.two("sub", kind.llvm, *args)]


def _with_carry(ops: Ops, ins: Instruction, kind: ScalarType, args: Values) -> Values:
    total = ops.two("add", kind.llvm, args[0], args[1])
    carry = ops.compare("ult", kind.llvm, total, args[0])
    if len(args) == 3:
        total = ops.two("add", kind.llvm, total, ops.cast("zext", "i1", args[2], kind.llvm))
        wrapped = ops.two("and", "i1", args[2], ops.compare("eq", kind.llvm, total, ops.const(kind.llvm, 0)))
        carry = ops.two("or", "i1", carry, wrapped)
    return [total, carry] if ins.has("cc") else [total]


def _with_borrow(ops: Ops, ins: Instruction, kind: ScalarType, args: Values) -> Values:
    rest = ops.two("sub", kind.llvm, args[0], args[1])
    borrow = ops.compare("ult", kind.llvm, args[0], args[1])
    if len(args) == 3:
        wrapped = ops.two("and", "i1", args[2], ops.compare("eq", kind.llvm, rest, ops.const(kind.llvm, 0)))
        rest = ops.two("sub", kind.llvm, rest, ops.cast("zext", "i1", args[2], kind.llvm))
        borrow = ops.two("or", "i1", borrow, wrapped)
    return [rest, borrow] if ins.has("cc") else [rest]


def _product(ops: Ops, ins: Instruction, args: Values) -> str:
    """The lo, hi or wide part of an integer product."""
    kind = TYPES[ins.types[0]]
    if ins.has("lo"):
        return ops.two("mul", kind.llvm, args[0], args[1])
    wide = f"i{2 * kind.bits}"
    extend = "sext" if kind.is_signed else "zext"
    left, right = (ops.cast(extend, kind.llvm, arg, wide) for arg in args[:2])
    product = ops.two("mul", wide, left, right)
    if ins.has("wide"):
        return product
    return ops.cast("trunc", wide, ops.two("lshr", wide, product, ops.const(wide, kind.bits)), kind.llvm)


def _mul(ops: Ops, ins: Instruction, args: Values) -> Values:
    if TYPES[ins.types[0]].is_float:
        return [_float(ops, ins, "fmul", args)]
    return [_product(ops, ins, args)]


def _mad(ops: Ops, ins: Instruction, args: Values) -> Values:
    kind = TYPES[ins.types[0]]
    if kind.is_float:
        return [_float(ops, ins, "fma", args)]
    product = _product(ops, ins, args)
    if ins.has("wide"):
        return [ops.two("add", TYPES[WIDER[kind.name]].llvm, product, args[2])]
    if ins.opcode == "madc" or ins.has("cc"):
        return _with_carry(ops, ins, kind, [product, *args[2:]])
    return [ops.two("add", kind.llvm, product, args[2])]


def _fma(ops: Ops, ins: Instruction, args: Values) -> Values:
    return [_float(ops, ins, "fma", args)]


def _div(ops: Ops, ins: Instruction, args: Values) -> Values:
    if TYPES[ins.types[0]].is_float:
        return [_float(ops, ins, "fdiv", args)]
    return [_divide(ops, ins, args)]


def _divide(ops: Ops, ins: Instruction, args: Values) -> str:
    """Integer quotient or remainder that never faults. By zero: all ones, as the machine code of a GPU gives."""
    kind = TYPES[ins.types[0]]
    dividend, divisor = args
    by_zero = ops.compare("eq", kind.llvm, divisor, ops.const(kind.llvm, 0))
    unsafe = by_zero
    if kind.is_signed:
        least = ops.compare("eq", kind.llvm, dividend, ops.const(kind.llvm, 1 << (kind.bits - 1)))
        minus = ops.compare("eq", kind.llvm, divisor, ops.const(kind.llvm, -1))
        unsafe = ops.two("or", "i1", by_zero, ops.two("and", "i1", least, minus))
    safe = ops.select(unsafe, kind.llvm, ops.const(kind.llvm, 1), divisor)
    if kind.bits <= 32 and ops.lanes:
        quotient = _quotient_by_double(ops, kind, dividend, safe)
    else:
        quotient = ops.two("sdiv" if kind.is_signed else "udiv", kind.llvm, dividend, safe)
    if ins.opcode == "rem":
        quotient = ops.two("sub", kind.llvm, dividend, ops.two("mul", kind.llvm, quotient, safe))
    return ops.select(by_zero, kind.llvm, ops.const(kind.llvm, -1), quotient)


def _quotient_by_double(ops: Ops, kind: ScalarType, dividend: str, divisor: str) -> str:
    """x86 has no vector integer division, so divide in double precision.

    Exact for 32 bits: a quotient that is no integer is at least 1/divisor away from one, and the rounding error is
    below 2**32 / divisor * 2**-53.
    """
    into, back = ("sitofp", "fptosi") if kind.is_signed else ("uitofp", "fptoui")
    wide = "i64" if kind.is_signed and kind.bits == 32 else kind.llvm
    quotient = ops.two(
        "fdiv", "double", ops.cast(into, kind.llvm, dividend, "double"), ops.cast(into, kind.llvm, divisor, "double")
    )
    return ops.resize(wide, ops.cast(back, "double", quotient, wide), kind.llvm)


def _sign_free(ops: Ops, ins: Instruction, args: Values) -> Values:
    kind = TYPES[ins.types[0]]
    if ins.opcode == "abs":
        return (
            [ops.call("fabs", kind.llvm, *args)] if kind.is_float else [ops.call("abs", kind.llvm, *args, flag="false")]
        )
    if kind.is_float:
        return [ops.code.value(f"fneg {ops.type(kind.llvm)} {args[0]}")]
    return [ops.two("sub", kind.llvm, ops.const(kind.llvm, 0), args[0])]


def _extreme(ops: Ops, ins: Instruction, args: Values) -> Values:
    """min and max. Of a NaN and a number the number; -0 is below +0."""
    kind = TYPES[ins.types[0]]
    if kind.is_float:
        return [ops.call({"min": "minimumnum", "max": "maximumnum"}[ins.opcode], kind.llvm, *args)]
    return [ops.call(("s" if kind.is_signed else "u") + ins.opcode, kind.llvm, *args)]


def _sad(ops: Ops, ins: Instruction, args: Values) -> Values:
    kind = TYPES[ins.types[0]]
    sign = "s" if kind.is_signed else "u"
    high, low = (ops.call(f"{sign}{which}", kind.llvm, args[0], args[1]) for which in ("max", "min"))
    return [ops.two("add", kind.llvm, ops.two("sub", kind.llvm, high, low), args[2])]


def _reciprocal(ops: Ops, ins: Instruction, args: Values) -> Values:
    return [_float(ops, ins, "fdiv", [one(ops, TYPES[ins.types[0]].llvm), *args])]


def _root(ops: Ops, ins: Instruction, args: Values) -> Values:
    value = _float(ops, ins, "sqrt", args)
    if ins.opcode == "sqrt":
        return [value]
    llvm = TYPES[ins.types[0]].llvm
    return [ops.two("fdiv", llvm, one(ops, llvm), value)]


def _transcendental(ops: Ops, ins: Instruction, args: Values) -> Values:
    """Approximate by definition: the host's library stands in for the GPU's tables, and the kernel is not exact."""
    name = {"ex2": "exp2", "lg2": "log2"}.get(ins.opcode, ins.opcode)
    return [ops.call(name, TYPES[ins.types[0]].llvm, *args)]


def _copysign(ops: Ops, ins: Instruction, args: Values) -> Values:
    return [ops.call("copysign", TYPES[ins.types[0]].llvm, args[1], args[0])]


_CLASS_MASK: Final = {
    "notanumber": 0x003,
    "number": 0x3FC,
    "infinite": 0x204,
    "finite": 0x1F8,
    "normal": 0x108,
    "subnormal": 0x090,
}
"""Masks of llvm.is.fpclass; "number" is everything that is not a NaN."""


def _testp(ops: Ops, ins: Instruction, args: Values) -> Values:
    llvm = TYPES[ins.types[0]].llvm
    mask = _CLASS_MASK[ins.modifier("test") or ""]
    name = f"llvm.is.fpclass.{ops.suffix(llvm)}"
    return [ops.code.intrinsic(name, ops.type("i1"), [(ops.type(llvm), args[0]), ("i32", str(mask))])]


def comparison(ops: Ops, ins: Instruction, args: Values) -> str:
    kind = TYPES[ins.source_types[0]]
    compare = ins.modifier("cmp") or ""
    if compare not in (_FLOAT_COMPARE if kind.is_float else _INTEGER_COMPARE):
        raise PtxError(f"PTX line {ins.line}: '.{compare}' does not go with '{ins.spelling}'.")
    if kind.is_float:
        predicate = _FLOAT_COMPARE[compare]
    elif compare in ("eq", "ne"):
        predicate = compare
    else:
        predicate = _UNSIGNED_COMPARE.get(compare) or ("s" if kind.is_signed else "u") + compare
    return ops.compare(predicate, kind.llvm, args[0], args[1])


def _setp(ops: Ops, ins: Instruction, args: Values) -> Values:
    result = comparison(ops, ins, args)
    results = [result] if len(ins.destinations) == 1 else [result, ops.negate_bit(result)]
    if len(args) == 3:
        results = [ops.two(ins.modifier("bool") or "and", "i1", each, args[2]) for each in results]
    return results


def _set(ops: Ops, ins: Instruction, args: Values) -> Values:
    result = comparison(ops, ins, args)
    if len(args) == 3:
        result = ops.two(ins.modifier("bool") or "and", "i1", result, args[2])
    kind = TYPES[ins.types[0]]
    yes = one(ops, kind.llvm) if kind.is_float else ops.const(kind.llvm, -1)
    no = zero(ops, kind.llvm) if kind.is_float else ops.const(kind.llvm, 0)
    return [ops.select(result, kind.llvm, yes, no)]


def _selp(ops: Ops, ins: Instruction, args: Values) -> Values:
    return [ops.select(args[2], TYPES[ins.types[0]].llvm, args[0], args[1])]


def _slct(ops: Ops, ins: Instruction, args: Values) -> Values:
    chosen = ops.compare("sge", "i32", args[2], ops.const("i32", 0))
    return [ops.select(chosen, TYPES[ins.types[0]].llvm, args[0], args[1])]


ARITHMETIC: Final[Mapping[str, LaneOperation]] = MappingProxyType(
    {
        "add": _add,
        "addc": _add,
        "sub": _sub,
        "subc": _sub,
        "mul": _mul,
        "mad": _mad,
        "madc": _mad,
        "fma": _fma,
        "div": _div,
        "rem": _div,
        "abs": _sign_free,
        "neg": _sign_free,
        "min": _extreme,
        "max": _extreme,
        "sad": _sad,
        "rcp": _reciprocal,
        "sqrt": _root,
        "rsqrt": _root,
        "copysign": _copysign,
        "testp": _testp,
        **dict.fromkeys(("sin", "cos", "ex2", "lg2", "tanh"), _transcendental),
        "setp": _setp,
        "set": _set,
        "selp": _selp,
        "slct": _slct,
    }
)
