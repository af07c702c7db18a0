"""Texture descriptors: what generated code reads about a texture at run time.

A record of 64 bytes each. The host checks once that the extent fits the buffer; generated code brings every coordinate
inside the extent before it forms an address, so a texture cannot be left, whatever the coordinates are.
"""

from __future__ import annotations

import struct
from typing import Final

from p2pcompute.wire.texture import Texture

HANDLES: Final = 1 << 62
"""The first texture object's number. As an address it names no segment."""
TEXTURES_MAX: Final = 1_024
"""Of one task; each launch may look at its buffers in its own way."""

RECORD_BYTES: Final = 64
BASE, WIDTH, HEIGHT, DEPTH, GEOMETRY, ELEMENT_BYTES, CHANNELS, KIND = 0, 8, 12, 16, 20, 24, 28, 32
ADDRESSING, LINEAR, NORMALIZED, DIVISOR = 36, 48, 52, 56
"""Offsets: the host address, then 32-bit numbers. Addressing is three of them; the divisor is a float."""

UNSIGNED, SIGNED, HALF, UNSIGNED_SCALED, SIGNED_SCALED = range(5)
"""How the bits of an element become a result; the last two are divided by the greatest integer."""
_RECORD: Final = struct.Struct("<QiiiiiiiiiiiifI")
assert _RECORD.size == RECORD_BYTES


def record(texture: Texture, dtype: str, base: int) -> bytes:
    """The descriptor of a texture whose elements start at host address `base`."""
    element_bytes = int(dtype[1:]) // 8
    is_signed = dtype[0] == "i"
    divisor = float((1 << (8 * element_bytes - is_signed)) - 1)
    kind = SIGNED if is_signed else UNSIGNED
    if texture.float_reads:
        kind = SIGNED_SCALED if is_signed else UNSIGNED_SCALED
    elif dtype == "f16":
        kind = HALF
    return _RECORD.pack(
        base,
        *texture.extent,
        texture.geometry,
        element_bytes,
        texture.channels,
        kind,
        *texture.addressing,
        texture.linear,
        texture.normalized,
        divisor,
        0,
    )
