"""Float instructions on bits, correctly rounded. Same contract as `integers`; every value, in and out, is bits.

Sources: PTX ISA 8.4, 9.7.3 and 9.7.4; IEEE 754-2019. Approximate instructions take Python's `math` as a stand-in:
kernels that use them are not exact anyway.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from p2pcompute.compute.ptx.interpret.integers import LaneFunction
from p2pcompute.compute.ptx.interpret.numbers import FORMATS, Format, is_nan, round_ratio, to_bits, to_float, zero
from p2pcompute.compute.ptx.ir import Instruction


def _format(ins: Instruction) -> Format:
    return FORMATS[ins.types[0]]


def _mode(ins: Instruction) -> str:
    return ins.modifier("round") or "rn"


def _finished(ins: Instruction, function: LaneFunction) -> LaneFunction:
    """With .sat: clamped to [+0, 1], NaN to +0."""
    if not ins.has("sat"):
        return function
    kind = _format(ins)
    return lambda *args: saturated(function(*args), kind)


def saturated(bits: int, kind: Format) -> int:
    value = to_float(bits, kind)
    return to_bits(1.0, kind) if value >= 1 else bits if value > 0 else 0


def _rounding(ins: Instruction, quick: Callable[[float, float], float], exact: LaneFunction) -> LaneFunction:
    """To nearest, Python's doubles give the bits: they are the f64 operation itself, and for narrower formats rounding
    the double again is innocuous, as 53 >= 2 * 24 + 2 (Figueroa 1995, for +, -, *, / and square root).
    """
    kind, mode = _format(ins), _mode(ins)
    if mode == "rn":
        return _finished(ins, lambda a, b: to_bits(quick(to_float(a, kind), to_float(b, kind)), kind))

    def directed(a: int, b: int) -> int:
        x, y = to_float(a, kind), to_float(b, kind)
        if not (math.isfinite(x) and math.isfinite(y)):
            return to_bits(quick(x, y), kind)
        return int(exact(x, y, kind, mode))

    return _finished(ins, directed)


def _add(ins: Instruction) -> LaneFunction:
    return _rounding(ins, operator.add, add_exactly)


def _subtract(ins: Instruction) -> LaneFunction:
    return _rounding(ins, operator.sub, lambda x, y, kind, mode: add_exactly(x, -y, kind, mode))


def _multiply(ins: Instruction) -> LaneFunction:
    return _rounding(ins, operator.mul, multiply_exactly)


def add_exactly(x: float, y: float, kind: Format, mode: str) -> int:
    """x + y for finite doubles, rounded once."""
    return fuse_exactly(x, 1.0, y, kind, mode)


def multiply_exactly(x: float, y: float, kind: Format, mode: str) -> int:
    (n, d), (m, e) = x.as_integer_ratio(), y.as_integer_ratio()
    if n * m == 0:
        return zero(kind, negative=_is_negative(x) != _is_negative(y))
    return round_ratio(n * m, d * e, kind, mode)


def fuse_exactly(x: float, y: float, z: float, kind: Format, mode: str) -> int:
    """x * y + z for finite doubles, rounded once. An exact zero is +0, or -0 towards minus infinity or of two -0."""
    (a, b), (c, d), (e, f) = x.as_integer_ratio(), y.as_integer_ratio(), z.as_integer_ratio()
    numerator = a * c * f + e * b * d
    if numerator:
        return round_ratio(numerator, b * d * f, kind, mode)
    product_is_negative = _is_negative(x) != _is_negative(y)
    if a * c == 0 and product_is_negative == _is_negative(z):
        return zero(kind, negative=product_is_negative)
    return zero(kind, negative=mode == "rm")


def _is_negative(value: float) -> bool:
    return math.copysign(1.0, value) < 0


def _fuse(ins: Instruction) -> LaneFunction:
    kind, mode = _format(ins), _mode(ins)

    def fuse(a: int, b: int, c: int) -> int:
        x, y, z = to_float(a, kind), to_float(b, kind), to_float(c, kind)
        if math.isfinite(x) and math.isfinite(y):
            return fuse_exactly(x, y, z, kind, mode) if math.isfinite(z) else to_bits(z, kind)
        return to_bits(x * y + z, kind)  # an infinity or a NaN: nothing is rounded

    return _finished(ins, fuse)


def divide_exactly(x: float, y: float, kind: Format, mode: str) -> int:
    """x / y for any doubles."""
    negative = _is_negative(x) != _is_negative(y)
    if math.isnan(x) or math.isnan(y) or (math.isinf(x) and math.isinf(y)) or x == y == 0:
        return kind.nan_bits
    if math.isinf(x) or y == 0:
        return kind.infinity_bits | zero(kind, negative=negative)
    if x == 0 or math.isinf(y):
        return zero(kind, negative=negative)
    (n, d), (m, e) = x.as_integer_ratio(), y.as_integer_ratio()
    return round_ratio(n * e * (1 if m > 0 else -1), d * abs(m), kind, mode)


def _divide(ins: Instruction) -> LaneFunction:
    kind, mode = _format(ins), _mode(ins)
    return lambda a, b: divide_exactly(to_float(a, kind), to_float(b, kind), kind, mode)


def _reciprocal(ins: Instruction) -> LaneFunction:
    kind, mode = _format(ins), _mode(ins)
    return lambda a: divide_exactly(1.0, to_float(a, kind), kind, mode)


ROOT_BITS: Final = 160
"""Bits of the integer square root: more than any format needs to see on which side of a tie the root lies."""


def root_exactly(x: float, kind: Format, mode: str) -> int:
    """The square root: an integer root with a half added when it is not exact, which no rounding mode can miss."""
    if math.isnan(x) or x < 0:
        return kind.nan_bits
    if x == 0 or math.isinf(x):
        return to_bits(x, kind)
    n, d = x.as_integer_ratio()
    shift = max(0, ROOT_BITS - (n.bit_length() - d.bit_length()) // 2)
    scaled, rest = divmod(n << 2 * shift, d)
    root = math.isqrt(scaled)
    is_exact = root * root == scaled and rest == 0
    return round_ratio(2 * root + (not is_exact), 2 << shift, kind, mode)


def _root(ins: Instruction) -> LaneFunction:
    kind, mode = _format(ins), _mode(ins)
    return lambda a: root_exactly(to_float(a, kind), kind, mode)


def _inverse_root(ins: Instruction) -> LaneFunction:
    kind = _format(ins)

    def inverse(a: int) -> int:
        return divide_exactly(1.0, to_float(root_exactly(to_float(a, kind), kind, "rn"), kind), kind, "rn")

    return inverse


def _approximate(function: Callable[[float], float]) -> Callable[[Instruction], LaneFunction]:
    def make(ins: Instruction) -> LaneFunction:
        kind = _format(ins)

        def approximate(a: int) -> int:
            try:
                return to_bits(function(to_float(a, kind)), kind)
            except OverflowError:
                return kind.infinity_bits
            except ValueError:
                return kind.nan_bits

        return approximate

    return make


def _log2(x: float) -> float:
    return -math.inf if x == 0 else math.log2(x)


def _magnitude(ins: Instruction) -> LaneFunction:
    kind = _format(ins)
    return lambda a: a & ~kind.sign_bit


def _negative(ins: Instruction) -> LaneFunction:
    kind = _format(ins)
    return lambda a: a ^ kind.sign_bit


def _copysign(ins: Instruction) -> LaneFunction:
    sign = _format(ins).sign_bit
    return lambda a, b: (a & sign) | (b & ~sign)


def _extreme(ins: Instruction) -> LaneFunction:
    """Of a NaN and a number the number; -0 is below +0."""
    kind, want_least = _format(ins), ins.opcode == "min"

    def pick(a: int, b: int) -> int:
        if is_nan(a, kind):
            return kind.nan_bits if is_nan(b, kind) else b
        if is_nan(b, kind):
            return a
        x, y = to_float(a, kind), to_float(b, kind)
        a_is_least = x < y or (x == y and _is_negative(x))
        return a if a_is_least == want_least else b

    return pick


def _test(ins: Instruction) -> LaneFunction:
    kind, wanted = _format(ins), ins.modifier("test") or ""

    def test(a: int) -> int:
        size = a & (kind.sign_bit - 1)
        found = {
            "notanumber": size > kind.infinity_bits,
            "number": size <= kind.infinity_bits,
            "infinite": size == kind.infinity_bits,
            "finite": size < kind.infinity_bits,
            "normal": 1 << kind.fraction_bits <= size < kind.infinity_bits,
            "subnormal": 0 < size < 1 << kind.fraction_bits,
        }
        return int(found[wanted])

    return test


FLOATS: Final[Mapping[str, Callable[[Instruction], LaneFunction]]] = MappingProxyType(
    {
        "add": _add,
        "sub": _subtract,
        "mul": _multiply,
        **dict.fromkeys(("fma", "mad"), _fuse),
        "div": _divide,
        "rcp": _reciprocal,
        "sqrt": _root,
        "rsqrt": _inverse_root,
        "abs": _magnitude,
        "neg": _negative,
        "copysign": _copysign,
        **dict.fromkeys(("min", "max"), _extreme),
        "testp": _test,
        "sin": _approximate(math.sin),
        "cos": _approximate(math.cos),
        "ex2": _approximate(lambda x: math.pow(2.0, x)),
        "lg2": _approximate(_log2),
        "tanh": _approximate(math.tanh),
    }
)
