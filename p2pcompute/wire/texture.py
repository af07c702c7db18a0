"""How a kernel reads a buffer through a texture object: the layout of its elements and what a coordinate means.

Source of the terms, of the limits (compute capability 7.5) and of what goes together: CUDA C++ Programming Guide 12.4,
3.2.14.1 "Texture Memory", appendix "Texture Fetching", and its table of technical specifications.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec


class Geometry(enum.IntEnum):
    """What coordinates there are. A layered texture's layer is a number; layers are never blended."""

    LINE = 1
    PLANE = 2
    VOLUME = 3
    LAYERED_LINES = 4
    LAYERED_PLANES = 5

    @property
    def axes(self) -> int:
        """Coordinates besides the layer."""
        return {1: 1, 2: 2, 3: 3, 4: 1, 5: 2}[self.value]


class Addressing(enum.IntEnum):
    """What lies beyond the last element, by CUDA's numbers."""

    WRAP = 0
    CLAMP = 1
    MIRROR = 2
    BORDER = 3


class Texture(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A view of a buffer in C order: (depth or layers, height, width, channels).

    `extent` is (width, height, depth or layers), 1 where the geometry has none. `addressing` holds for x, y and z.
    `linear`: between elements, blended; else the nearest one. `normalized`: coordinates go from 0 to 1. `float_reads`:
    integers are read as floats from 0 (or -1) to 1.
    """

    geometry: Geometry
    extent: tuple[int, int, int]
    channels: int = 1
    addressing: tuple[Addressing, Addressing, Addressing] = (Addressing.CLAMP,) * 3
    linear: bool = False
    normalized: bool = False
    float_reads: bool = False

    @property
    def is_approximate(self) -> bool:
        """Whether GPUs compute something here that no document fixes to the last bit: blending, scaling of coordinates
        or of values. Reading the nearest element at plain coordinates is exact."""
        return self.linear or self.normalized or self.float_reads

    @property
    def elements(self) -> int:
        width, height, depth = self.extent
        return width * height * depth * self.channels


EXTENTS_MAX: Final = {
    Geometry.LINE: (1 << 28, 1, 1),
    Geometry.PLANE: (131_072, 65_536, 1),
    Geometry.VOLUME: (16_384, 16_384, 16_384),
    Geometry.LAYERED_LINES: (32_768, 1, 2_048),
    Geometry.LAYERED_PLANES: (32_768, 32_768, 2_048),
}
LINE_ARRAY_MAX: Final = 131_072
"""The longest line that a GPU blends or addresses by a fraction; longer ones are plain memory read by number."""
DTYPES: Final = frozenset({"i8", "u8", "i16", "u16", "f16", "i32", "u32", "f32"})
CHANNELS: Final = frozenset({1, 2, 4})


def texture_fault(texture: Texture, dtype: str, elements: int) -> str:
    """What is wrong with a texture over `elements` elements of `dtype`, as the end of a sentence; empty when nothing
    is."""
    limits = EXTENTS_MAX[texture.geometry]
    if any(not 1 <= size <= limit for size, limit in zip(texture.extent, limits)):
        return f"has extent {texture.extent}, outside of 1 to {limits}"
    if dtype not in DTYPES:
        return f"reads {dtype}; textures hold 8, 16 and 32 bit elements"
    if texture.channels not in CHANNELS:
        return "has not 1, 2 or 4 channels"
    if texture.elements != elements:
        return f"has {texture.elements} elements; its buffer has {elements}"
    if texture.float_reads and dtype not in ("i8", "u8", "i16", "u16"):
        return "reads floats from what is no integer of 8 or 16 bits"
    if texture.linear and dtype not in ("f16", "f32") and not texture.float_reads:
        return "blends integers"
    if not texture.normalized and not {Addressing.WRAP, Addressing.MIRROR}.isdisjoint(texture.addressing):
        return "wraps or mirrors, which needs normalised coordinates"
    is_long = texture.geometry is Geometry.LINE and texture.extent[0] > LINE_ARRAY_MAX
    if is_long and (texture.linear or texture.normalized):
        return f"is a line of more than {LINE_ARRAY_MAX} elements, which can be read by number only"
    return ""
