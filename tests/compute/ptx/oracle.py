"""What single instructions must give, in plain Python: PTX ISA 8.4 chapter 9.7, one function per opcode."""

from __future__ import annotations

from collections.abc import Callable

from tests.compute.ptx import ieee


def bits_of(name: str) -> int:
    return int(name[1:])


def wrap(value: int, name: str) -> int:
    """Into the range of an integer type."""
    bits = bits_of(name)
    value %= 1 << bits
    return value - (1 << bits) if name[0] == "s" and value >> (bits - 1) else value


def _clamp(value: int, name: str) -> int:
    bits = bits_of(name)
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if name[0] == "s" else (0, (1 << bits) - 1)
    return min(max(value, low), high)


def divide(a: int, b: int, name: str) -> int:
    if b == 0:
        return wrap(-1, name)
    return wrap(abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1), name)


def remainder(a: int, b: int, name: str) -> int:
    if b == 0:
        return wrap(-1, name)
    return wrap(abs(a) % abs(b) * (-1 if a < 0 else 1), name)


def shift_left(a: int, b: int, name: str) -> int:
    return wrap(a << b, name) if b < bits_of(name) else 0


def shift_right(a: int, b: int, name: str) -> int:
    return a >> min(b, bits_of(name))


def bfe(a: int, b: int, c: int, name: str) -> int:
    msb, place, length = bits_of(name) - 1, b & 255, c & 255
    raw = a % (1 << (msb + 1))
    sign = 0 if name[0] == "u" or length == 0 else raw >> min(place + length - 1, msb) & 1
    out = 0
    for i in range(msb + 1):
        out |= (raw >> (place + i) & 1 if i < length and place + i <= msb else sign) << i
    return wrap(out, name)


def bfi(a: int, b: int, c: int, d: int, name: str) -> int:
    msb, place, length, out = bits_of(name) - 1, c & 255, d & 255, b
    for i in range(length):
        if place + i <= msb:
            out = out & ~(1 << (place + i)) | (a >> i & 1) << (place + i)
    return out


def bfind(a: int, name: str) -> int:
    raw = ~a if a < 0 else a
    return raw.bit_length() - 1 if raw else 0xFFFFFFFF


def prmt(a: int, b: int, c: int) -> int:
    both, out = b << 32 | a, 0
    for i in range(4):
        selector = c >> (4 * i) & 15
        byte = both >> (8 * (selector & 7)) & 255
        out |= (byte if selector < 8 else 255 if byte & 128 else 0) << (8 * i)
    return out


INTEGER: dict[str, Callable[..., int]] = {
    "add": lambda a, b, t: wrap(a + b, t),
    "sub": lambda a, b, t: wrap(a - b, t),
    "mul.lo": lambda a, b, t: wrap(a * b, t),
    "mul.hi": lambda a, b, t: wrap(a * b >> bits_of(t), t),
    "div": divide,
    "rem": remainder,
    "min": lambda a, b, t: min(a, b),
    "max": lambda a, b, t: max(a, b),
}


def integer_to_integer(value: int, target: str, *, saturate: bool) -> int:
    return _clamp(value, target) if saturate else wrap(value, target)


COMPARE: dict[str, Callable[[int, int], bool]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}


def selector(mode: str, control: int) -> int:
    """The selector word of a prmt mode (PTX ISA 9.7.8.7, table of the modes): bytes are numbered from the lowest."""
    n = control & 3
    places = {
        "": lambda i: control >> (4 * i) & 15,
        "f4e": lambda i: n + i,
        "b4e": lambda i: (n - i) % 8,
        "rc8": lambda i: n,
        "ecl": lambda i: max(i, n),
        "ecr": lambda i: min(i, n),
        "rc16": lambda i: 2 * (n & 1) + i % 2,
    }[mode]
    return sum(places(i) << (4 * i) for i in range(4))


def lop3(a: int, b: int, c: int, table: int) -> int:
    return sum((table >> ((a >> i & 1) << 2 | (b >> i & 1) << 1 | c >> i & 1) & 1) << i for i in range(32))


def _part(value: int, place: int, width: int, name: str) -> int:
    return wrap(value >> place & ((1 << width) - 1), f"{name[0]}{width}")


def dot(opcode: str, a: int, b: int, c: int, types: tuple[str, str]) -> int:
    parts = 4 if opcode == "dp4a" else 2
    first = 2 if opcode == "dp2a.hi" else 0
    products = (
        _part(a, 32 // parts * i, 32 // parts, types[0]) * _part(b, 8 * (first + i), 8, types[1]) for i in range(parts)
    )
    return (sum(products) + c) % 2**32


def vabsdiff(parts: int, a: int, b: int, c: int, types: tuple[str, str], merge: str) -> int:
    width = 32 // parts
    distances = [abs(_part(a, width * i, width, types[0]) - _part(b, width * i, width, types[1])) for i in range(parts)]
    if merge:
        return (sum(distances) + c) % 2**32
    return sum((d % (1 << width)) << (width * i) for i, d in enumerate(distances))


def is_class(number: ieee.Number, bits: int, name: str, test: str) -> int:
    form = ieee.FORMATS[name]
    exponent = bits >> (form.precision - 1) & ((1 << form.exponent_bits) - 1)
    finite = not number.is_nan and not number.is_infinite
    return int(
        {
            "finite": finite,
            "infinite": number.is_infinite,
            "number": not number.is_nan,
            "notanumber": number.is_nan,
            "normal": finite and exponent > 0,
            "subnormal": finite and exponent == 0 and not number.is_zero,
        }[test]
    )


def to_integer(number: ieee.Number, mode: str, target: str, source: str) -> int:
    """Saturates. NaN gives 0, or the top bit alone if the source is f64 or the target 64 bits wide."""
    if number.is_nan:
        wide = source == "f64" or bits_of(target) == 64
        return wrap(1 << (bits_of(target) - 1), target) if wide else 0
    if number.is_infinite:
        return _clamp(-(10**30) if number.negative else 10**30, target)
    return _clamp(ieee.WHOLE[mode](number.exact), target)
