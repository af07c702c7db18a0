"""IEEE 754 arithmetic on exact fractions: slow, obvious, and none of it done by the machine's own floats.

Values travel as bits. A NaN result has the bits that PTX gives it (f64: that this project gives it).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

NAN = {"f16": 0x7FFF, "f32": 0x7FFFFFFF, "f64": 0xFFF8000000000000}


@dataclass(frozen=True)
class Format:
    precision: int
    exponent_bits: int

    @property
    def bits(self) -> int:
        return self.precision + self.exponent_bits

    @property
    def infinity(self) -> int:
        return ((1 << self.exponent_bits) - 1) << (self.precision - 1)

    @property
    def least(self) -> int:
        """Exponent of the smallest subnormal."""
        return 3 - (1 << (self.exponent_bits - 1)) - self.precision


FORMATS = {"f16": Format(11, 5), "f32": Format(24, 8), "f64": Format(53, 11)}


@dataclass(frozen=True)
class Number:
    """`value` is None for a NaN; infinities are `math.inf`."""

    negative: bool
    value: Fraction | float | None

    @property
    def is_nan(self) -> bool:
        return self.value is None

    @property
    def is_infinite(self) -> bool:
        return isinstance(self.value, float)

    @property
    def is_zero(self) -> bool:
        return self.value == 0

    @property
    def exact(self) -> Fraction:
        assert isinstance(self.value, Fraction)
        return -self.value if self.negative else self.value


def decode(bits: int, name: str) -> Number:
    form = FORMATS[name]
    negative, rest = bool(bits >> (form.bits - 1)), bits & ((1 << (form.bits - 1)) - 1)
    if rest >= form.infinity:
        return Number(negative, None if rest > form.infinity else math.inf)
    exponent, fraction = rest >> (form.precision - 1), rest & ((1 << (form.precision - 1)) - 1)
    if exponent:
        fraction += 1 << (form.precision - 1)
    return Number(negative, Fraction(fraction) * Fraction(2) ** (form.least + max(exponent - 1, 0)))


def encode(value: Fraction, name: str, mode: str, *, negative_zero: bool = False) -> int:
    form = FORMATS[name]
    sign = 1 << (form.bits - 1)
    if value == 0:
        return sign if negative_zero else 0
    negative, size = value < 0, abs(value)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    if Fraction(2) ** exponent > size:
        exponent -= 1
    place = max(exponent - form.precision + 1, form.least)
    scaled = size / Fraction(2) ** place
    whole = math.floor(scaled)
    rest = scaled - whole
    up = {
        "rn": rest > Fraction(1, 2) or (rest == Fraction(1, 2) and whole & 1),
        "rz": False,
        "rm": negative and rest > 0,
        "rp": not negative and rest > 0,
    }[mode]
    bits = ((place - form.least) << (form.precision - 1)) + whole + bool(up)
    if bits >= form.infinity:
        toward_zero = mode == "rz" or (mode == "rm" and not negative) or (mode == "rp" and negative)
        bits = form.infinity - 1 if toward_zero else form.infinity
    return bits | (sign if negative else 0)


def infinity(name: str, *, negative: bool) -> int:
    form = FORMATS[name]
    return form.infinity | (1 << (form.bits - 1) if negative else 0)


def fma(a: Number, b: Number, c: Number, name: str, mode: str) -> int:
    """a * b + c, rounded once."""
    sign = a.negative != b.negative
    if a.is_nan or b.is_nan or c.is_nan:
        return NAN[name]
    if a.is_infinite or b.is_infinite:
        if a.is_zero or b.is_zero or (c.is_infinite and c.negative != sign):
            return NAN[name]
        return infinity(name, negative=sign)
    if c.is_infinite:
        return infinity(name, negative=c.negative)
    product = a.exact * b.exact
    total = product + c.exact
    both = product == 0 and c.is_zero and sign == c.negative
    return encode(total, name, mode, negative_zero=sign if both else mode == "rm")


def mul(a: Number, b: Number, name: str, mode: str) -> int:
    return fma(a, b, Number(a.negative != b.negative, Fraction(0)), name, mode)


def add(a: Number, b: Number, name: str, mode: str) -> int:
    return fma(a, Number(False, Fraction(1)), b, name, mode)


def sub(a: Number, b: Number, name: str, mode: str) -> int:
    return add(a, Number(not b.negative, b.value), name, mode)


def div(a: Number, b: Number, name: str, mode: str) -> int:
    sign = a.negative != b.negative
    if a.is_nan or b.is_nan or (a.is_infinite and b.is_infinite) or (a.is_zero and b.is_zero):
        return NAN[name]
    if a.is_infinite or b.is_zero:
        return infinity(name, negative=sign)
    if b.is_infinite:
        return encode(Fraction(0), name, mode, negative_zero=sign)
    return encode(a.exact / b.exact, name, mode, negative_zero=sign)


def sqrt(a: Number, name: str, mode: str) -> int:
    if a.is_nan or (a.negative and not a.is_zero):
        return NAN[name]
    if a.is_infinite:
        return infinity(name, negative=False)
    if a.is_zero:
        return encode(Fraction(0), name, mode, negative_zero=a.negative)
    exponent = 4 * FORMATS[name].precision - (a.exact.numerator.bit_length() - a.exact.denominator.bit_length()) // 2
    scaled = a.exact * Fraction(4) ** exponent
    root = math.isqrt(math.floor(scaled))
    tail = Fraction(root * root) != scaled  # a half that no format can hold, so that rounding sees it
    return encode(Fraction(2 * root + tail, 2) / Fraction(2) ** exponent, name, mode)


def convert(a: Number, target: str, mode: str) -> int:
    if a.is_nan:
        return NAN[target]
    if a.is_infinite:
        return infinity(target, negative=a.negative)
    return encode(a.exact, target, mode, negative_zero=a.negative)


WHOLE = {"rni": round, "rzi": math.trunc, "rmi": math.floor, "rpi": math.ceil}


def whole(a: Number, name: str, mode: str) -> int:
    """Rounded to an integral float."""
    if a.is_nan or a.is_infinite:
        return convert(a, name, "rn")
    return encode(Fraction(WHOLE[mode](a.exact)), name, "rn", negative_zero=a.negative)


def saturate(bits: int, name: str) -> int:
    """To [+0, 1]; NaN to +0."""
    number = decode(bits, name)
    one = encode(Fraction(1), name, "rn")
    if number.is_nan or number.negative or number.is_zero:
        return 0
    return one if number.is_infinite or number.exact >= 1 else bits


def compare(name: str, a: Number, b: Number) -> bool:
    unordered = a.is_nan or b.is_nan
    if name in ("num", "nan"):
        return unordered == (name == "nan")
    if unordered:
        return name.endswith("u")
    x, y = (math.inf * (-1 if n.negative else 1) if n.is_infinite else n.exact for n in (a, b))
    return {"eq": x == y, "ne": x != y, "lt": x < y, "le": x <= y, "gt": x > y, "ge": x >= y}[name.removesuffix("u")]


def extreme(which: str, a: int, b: int, name: str) -> int:
    """min or max: the number if the other is a NaN; -0 is below +0."""
    x, y = decode(a, name), decode(b, name)
    if x.is_nan or y.is_nan:
        return NAN[name] if x.is_nan and y.is_nan else b if x.is_nan else a
    below = compare("lt", x, y) or (x.is_zero and y.is_zero and x.negative)
    return (a if below else b) if which == "min" else (b if below else a)
