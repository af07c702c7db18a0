"""What a texture read gives, one thread at a time. Source: docs/spec/ptx.md, section 8."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Final

from p2pcompute.compute.ptx.interpret.numbers import FORMATS, signed, to_bits, to_float
from p2pcompute.wire.texture import Addressing, Texture

_F32: Final = FORMATS["f32"]
CHANNELS: Final = 4

Fetch = Callable[[int], int]
"""The bits of an element by its number in the buffer."""


def by_number(texture: Texture, dtype: str, place: Sequence[int], layer: int, fetch: Fetch) -> list[int]:
    """At integer coordinates: no addressing, nothing is blended, zero outside."""
    inside = all(0 <= number < size for number, size in zip(place, texture.extent, strict=False))
    return _element(texture, dtype, list(place), layer, fetch) if inside else [0] * CHANNELS


def at(texture: Texture, dtype: str, place: Sequence[float], layer: int, fetch: Fetch, *, as_float: bool) -> list[int]:
    """At float coordinates. Four channels as 32 bits each."""
    pairs = list(zip(place, texture.extent, texture.addressing, strict=False))
    scaled = [_scaled(x, size, mode, texture) for x, size, mode in pairs]
    sizes = [(size, mode) for _, size, mode in pairs]
    if not (texture.linear and as_float):
        numbers = [_addressed(_floor(x, size), size, mode) for x, (size, mode) in zip(scaled, sizes, strict=True)]
        return _element(texture, dtype, numbers, layer, fetch)
    axes = [_pair(x, size) for x, (size, _) in zip(scaled, sizes, strict=True)]
    sums = [0.0] * CHANNELS
    for corner in product((0, 1), repeat=len(axes)):
        sides = corner[::-1]
        weight = math.prod(w if side else 1.0 - w for (_, w), side in zip(axes, sides, strict=True))
        numbers = [
            _addressed(number + side, size, mode)
            for (number, _), side, (size, mode) in zip(axes, sides, sizes, strict=True)
        ]
        for channel, bits in enumerate(_element(texture, dtype, numbers, layer, fetch)):
            sums[channel] += weight * to_float(bits, _F32)
    return [to_bits(total, _F32) for total in sums]


def _round(value: float) -> float:
    """To single precision."""
    return to_float(to_bits(value, _F32), _F32)


def _scaled(x: float, size: int, mode: Addressing, texture: Texture) -> float:
    if not texture.normalized:
        return x
    if mode in (Addressing.WRAP, Addressing.MIRROR):
        if not math.isfinite(x):
            return math.nan
        whole = math.floor(x)
        part = _round(x - whole)
        x = _round(1.0 - part) if mode is Addressing.MIRROR and whole % 2 else part
    return _round(x * _round(size))


def _floor(x: float, size: int) -> int:
    """From -2 to about size + 1."""
    if math.isnan(x):
        return -2
    return int(min(max(math.floor(x) if math.isfinite(x) else x, -2), _round(size + 1)))


def _pair(x: float, size: int) -> tuple[int, float]:
    """The lower of two neighbours, and the upper one's weight in steps of 1/256."""
    moved = _round(x - 0.5)
    if not math.isfinite(moved):
        return _floor(moved, size), 0.0
    return _floor(moved, size), round((moved - math.floor(moved)) * 256) / 256


def _addressed(number: int, size: int, mode: Addressing) -> int | None:
    """None on the border."""
    if mode is Addressing.BORDER and not 0 <= number < size:
        return None
    if mode is Addressing.WRAP:
        number += size if number < 0 else 0
        number -= size if number >= size else 0
    return min(max(number, 0), size - 1)


def _element(texture: Texture, dtype: str, numbers: Sequence[int | None], layer: int, fetch: Fetch) -> list[int]:
    known = [number for number in numbers if number is not None]
    if len(known) != len(numbers):
        return [0] * CHANNELS
    width, height, depth = texture.extent
    axes = texture.geometry.axes
    x, y, z = [*known, 0, 0][:3]
    if texture.geometry > 3:
        z = min(layer, depth - 1)
    assert axes <= len(known)
    first = ((z * height + y) * width + x) * texture.channels
    return [_value(fetch(first + n), texture, dtype) if n < texture.channels else 0 for n in range(CHANNELS)]


def _value(bits: int, texture: Texture, dtype: str) -> int:
    width = int(dtype[1:])
    if dtype == "f16":
        return to_bits(to_float(bits, FORMATS["f16"]), _F32) if bits & 0x7FFF <= 0x7C00 else _wide_nan(bits)
    number = signed(bits, width) if dtype[0] == "i" else bits
    if texture.float_reads:
        most = (1 << (width - (dtype[0] == "i"))) - 1
        return to_bits(max(number / most, -1.0), _F32)
    return number & 0xFFFFFFFF


def _wide_nan(bits: int) -> int:
    """A conversion keeps a NaN's payload and makes it quiet."""
    return (bits & 0x8000) << 16 | 0x7FC00000 | (bits & 0x3FF) << 13
