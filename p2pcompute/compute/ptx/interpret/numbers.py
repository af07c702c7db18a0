"""IEEE 754 numbers as bits, and one rounding function that everything goes through: an exact ratio to a format.

Nothing here rounds twice. Where Python's own double arithmetic is used instead of ratios, the comment says why the
bits cannot differ.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Final

from p2pcompute.compute.ptx.nan import CANONICAL_BITS


@dataclass(frozen=True, slots=True)
class Format:
    """A binary interchange format. `nan_bits` is the one NaN that an operation gives."""

    name: str
    bits: int
    fraction_bits: int
    letter: str
    nan_bits: int

    @property
    def sign_bit(self) -> int:
        return 1 << (self.bits - 1)

    @property
    def infinity_bits(self) -> int:
        return self.sign_bit - (1 << self.fraction_bits)

    @property
    def exponent_min(self) -> int:
        """Of the smallest normal number."""
        return 2 - (1 << (self.bits - 2 - self.fraction_bits))


FORMATS: Final = {
    "f16": Format("f16", 16, 10, "e", CANONICAL_BITS["half"]),
    "f32": Format("f32", 32, 23, "f", CANONICAL_BITS["float"]),
    "f64": Format("f64", 64, 52, "d", CANONICAL_BITS["double"]),
}
_WORDS: Final = {16: "<H", 32: "<I", 64: "<Q"}


def to_float(bits: int, kind: Format) -> float:
    """The value; every format fits a double."""
    value: float = struct.unpack("<" + kind.letter, struct.pack(_WORDS[kind.bits], bits))[0]
    return value


def to_bits(value: float, kind: Format) -> int:
    """A double rounded to the format, to nearest, ties to even; any NaN becomes the canonical one."""
    if math.isnan(value):
        return kind.nan_bits
    try:
        bits: int = struct.unpack(_WORDS[kind.bits], struct.pack("<" + kind.letter, value))[0]
    except OverflowError:
        return kind.infinity_bits | (kind.sign_bit if value < 0 else 0)
    return bits


def is_nan(bits: int, kind: Format) -> bool:
    return bits & (kind.sign_bit - 1) > kind.infinity_bits


def round_ratio(numerator: int, denominator: int, kind: Format, mode: str) -> int:
    """The bits of numerator / denominator (not zero, denominator positive) rounded rn, rz, rm or rp."""
    negative, size = numerator < 0, abs(numerator)
    exponent = size.bit_length() - denominator.bit_length()
    if size << max(0, -exponent) < denominator << max(0, exponent):
        exponent -= 1
    quantum = max(exponent, kind.exponent_min) - kind.fraction_bits
    divisor = denominator << max(0, quantum)
    count, rest = divmod(size << max(0, -quantum), divisor)
    match mode:
        case "rn":
            up = 2 * rest > divisor or (2 * rest == divisor and bool(count & 1))
        case "rp":
            up = rest > 0 and not negative
        case "rm":
            up = rest > 0 and negative
        case _:
            up = False
    bits = count + up + ((quantum - kind.exponent_min + kind.fraction_bits) << kind.fraction_bits)
    if bits >= kind.infinity_bits:
        outward = mode == "rn" or mode == ("rm" if negative else "rp")
        bits = kind.infinity_bits if outward else kind.infinity_bits - 1
    return bits | kind.sign_bit if negative else bits


def zero(kind: Format, *, negative: bool) -> int:
    return kind.sign_bit if negative else 0


def wrap(value: int, bits: int) -> int:
    """Modulo 2**bits, unsigned."""
    return value & ((1 << bits) - 1)


def signed(value: int, bits: int) -> int:
    """Two's complement."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def clamp(value: int, bits: int, *, is_signed: bool) -> int:
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if is_signed else (0, (1 << bits) - 1)
    return min(max(value, low), high)
