"""Which function a lane-wise instruction is: arithmetic by type, conversions, comparisons, pairs of halves."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Final

from p2pcompute.compute.ptx.interpret.floats import FLOATS, saturated
from p2pcompute.compute.ptx.interpret.integers import INTEGERS, LaneFunction
from p2pcompute.compute.ptx.interpret.numbers import FORMATS, Format, clamp, round_ratio, to_bits, to_float, wrap, zero
from p2pcompute.compute.ptx.ir import Instruction
from p2pcompute.compute.ptx.types import TYPES
from p2pcompute.errors import PtxError

PAIR: Final = "f16x2"
_ORDER: Final[dict[str, Callable[[float, float], bool]]] = {
    **dict.fromkeys(("eq", "equ"), operator.eq),
    **dict.fromkeys(("ne", "neu"), operator.ne),
    **dict.fromkeys(("lt", "lo", "ltu"), operator.lt),
    **dict.fromkeys(("le", "ls", "leu"), operator.le),
    **dict.fromkeys(("gt", "hi", "gtu"), operator.gt),
    **dict.fromkeys(("ge", "hs", "geu"), operator.ge),
}
_UNORDERED: Final = frozenset({"equ", "neu", "ltu", "leu", "gtu", "geu", "nan"})
_UNSIGNED: Final = frozenset({"lo", "ls", "hi", "hs"})
_COMBINE: Final[dict[str, LaneFunction]] = {"and": operator.and_, "or": operator.or_, "xor": operator.xor}
_INTEGRAL: Final[dict[str, Callable[[Fraction], int]]] = {
    "rni": round,
    "rzi": math.trunc,
    "rmi": math.floor,
    "rpi": math.ceil,
}


def lane_function(ins: Instruction) -> LaneFunction:
    """Raises PtxError, naming line and instruction, for what the interpreter does not know."""
    if PAIR in ins.types:
        return _pairwise(ins)
    maker = _MAKERS.get(ins.opcode)
    if maker is None and ins.types:
        maker = (FLOATS if TYPES[ins.types[0]].is_float else INTEGERS).get(ins.opcode)
    if maker is None and "pred" in ins.types:
        maker = INTEGERS.get(ins.opcode)
    if maker is None:
        raise PtxError(f"PTX line {ins.line}: the checker does not know '{ins.spelling}'.")
    return maker(ins)


def _pairwise(ins: Instruction) -> LaneFunction:
    """The operation on the low halves and on the high ones."""
    width = {PAIR: "f16", "u32": "u16", "s32": "s16"}
    one = replace(
        ins,
        types=tuple(width.get(name, name) for name in ins.types),
        destinations=ins.destinations[:1],
        destination_types=tuple(width.get(name, name) for name in ins.destination_types[:1]),
        source_types=tuple(width.get(name, name) for name in ins.source_types),
    )
    operation = lane_function(one)
    is_pair = [name == PAIR for name in ins.source_types]

    def half(args: tuple[int, ...], place: int) -> int:
        parts = [arg >> place & 0xFFFF if pair else arg for arg, pair in zip(args, is_pair, strict=True)]
        return int(operation(*parts))

    if len(ins.destinations) == 2:
        return lambda *args: (half(args, 0), half(args, 16))
    return lambda *args: wrap(half(args, 0), 16) | wrap(half(args, 16), 16) << 16


def _test(ins: Instruction) -> LaneFunction:
    """The comparison alone: two values to 0 or 1."""
    compare, kind = ins.modifier("cmp") or "", TYPES[ins.source_types[0]]
    if not kind.is_float:
        if compare not in _ORDER or compare in _UNORDERED:
            raise PtxError(f"PTX line {ins.line}: '.{compare}' does not compare integers.")
        order = _ORDER[compare]
        if compare in _UNSIGNED:
            return lambda a, b: int(order(wrap(a, kind.bits), wrap(b, kind.bits)))
        return lambda a, b: int(order(a, b))
    if compare in _UNSIGNED:
        raise PtxError(f"PTX line {ins.line}: '.{compare}' does not compare floats.")
    form, unordered = FORMATS[kind.name], compare in _UNORDERED

    def test(a: int, b: int) -> int:
        x, y = to_float(a, form), to_float(b, form)
        if math.isnan(x) or math.isnan(y):
            return int(unordered)
        return int(compare == "num" or (compare != "nan" and _ORDER[compare](x, y)))

    return test


def _set_predicate(ins: Instruction) -> LaneFunction:
    test, combine = _test(ins), _COMBINE[ins.modifier("bool") or "and"]
    if len(ins.destinations) == 1:
        return lambda a, b, c=None: test(a, b) if c is None else combine(test(a, b), c)

    def both(a: int, b: int, c: int | None = None) -> tuple[int, int]:
        result = test(a, b)
        return (result, 1 - result) if c is None else (combine(result, c), combine(1 - result, c))

    return both


def _set(ins: Instruction) -> LaneFunction:
    predicate = _set_predicate(ins)
    kind = TYPES[ins.types[0]]
    yes = to_bits(1.0, FORMATS[kind.name]) if kind.is_float else -1
    return lambda *args: yes if predicate(*args) else 0


def _convert(ins: Instruction) -> LaneFunction:
    target, source = (TYPES[name] for name in ins.types)
    saturates = ins.has("sat")
    if target.is_float and source.is_float:
        return _float_to_float(FORMATS[target.name], FORMATS[source.name], ins.modifier("round"), saturates)
    if target.is_float:
        return _integer_to_float(FORMATS[target.name], ins.modifier("round") or "rn", saturates)
    if source.is_float:
        return _float_to_integer(ins, FORMATS[source.name])
    if saturates:
        return lambda a: clamp(a, target.bits, is_signed=target.is_signed)
    return lambda a: a


def _float_to_float(target: Format, source: Format, mode: str | None, saturates: bool) -> LaneFunction:
    def convert(a: int) -> int:
        value = to_float(a, source)
        if not math.isfinite(value):
            bits = to_bits(value, target)
        elif mode in _INTEGRAL:
            bits = to_bits(math.copysign(float(_INTEGRAL[mode](Fraction(value))), value), target)
        elif value == 0:
            bits = zero(target, negative=math.copysign(1.0, value) < 0)
        else:
            bits = round_ratio(*value.as_integer_ratio(), target, mode or "rn")
        return saturated(bits, target) if saturates else bits

    return convert


def _integer_to_float(target: Format, mode: str, saturates: bool) -> LaneFunction:
    def convert(a: int) -> int:
        bits = round_ratio(a, 1, target, mode) if a else 0
        return saturated(bits, target) if saturates else bits

    return convert


def _float_to_integer(ins: Instruction, source: Format) -> LaneFunction:
    """Out of range saturates. NaN gives 0, or the top bit alone where the source is f64 or the target 64 bits wide."""
    target = TYPES[ins.types[0]]
    whole = _INTEGRAL[ins.modifier("round") or "rzi"]
    of_nan = 1 << (target.bits - 1) if 64 in (source.bits, target.bits) else 0
    beyond = 1 << 2000

    def convert(a: int) -> int:
        value = to_float(a, source)
        if math.isnan(value):
            return of_nan
        number = whole(Fraction(value)) if math.isfinite(value) else beyond if value > 0 else -beyond
        return clamp(number, target.bits, is_signed=target.is_signed)

    return convert


_MAKERS: Final[dict[str, Callable[[Instruction], LaneFunction]]] = {
    "setp": _set_predicate,
    "set": _set,
    "selp": lambda ins: lambda a, b, c: a if c else b,
    "slct": lambda ins: lambda a, b, c: a if c >= 0 else b,
    "cvt": _convert,
    **{name: INTEGERS[name] for name in ("and", "or", "xor", "not")},
}
