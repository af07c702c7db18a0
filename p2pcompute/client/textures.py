"""Arrays that a kernel reads through a texture object (`cudaTextureObject_t`)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt

from p2pcompute.errors import UsageError
from p2pcompute.wire.texture import CHANNELS, Addressing, Geometry, Texture

AddressingName = Literal["clamp", "border", "wrap", "mirror"]
_GEOMETRIES: Final = {
    (1, False): Geometry.LINE,
    (2, False): Geometry.PLANE,
    (3, False): Geometry.VOLUME,
    (1, True): Geometry.LAYERED_LINES,
    (2, True): Geometry.LAYERED_PLANES,
}


@dataclasses.dataclass(frozen=True)
class TextureArgument:
    """`array` has shape (depth, height, width) as far as the texture has these, layers before them, and perhaps 2 or 4
    channels behind them.

    `addressing`: what lies outside, for all axes or for x, y, z. `linear`: blend neighbours, which makes a kernel
    approximate. `normalized`: coordinates from 0 to 1. `as_float`: read integers of 8 or 16 bits as fractions.
    """

    array: npt.NDArray[Any]
    _: dataclasses.KW_ONLY
    addressing: AddressingName | tuple[AddressingName, ...] = "clamp"
    linear: bool = False
    normalized: bool = False
    as_float: bool = False
    layered: bool = False
    axes: ClassVar[int] = 2

    def view(self) -> Texture:
        """Raises UsageError where the array has no such shape."""
        geometry = _GEOMETRIES.get((self.axes, self.layered))
        if geometry is None:
            raise UsageError("a 3D texture has no layers")
        leading, shape = self.axes + self.layered, self.array.shape
        channels = shape[-1] if len(shape) == leading + 1 else 1
        if len(shape) not in (leading, leading + 1) or channels not in CHANNELS:
            raise UsageError(
                f"a {type(self).__name__} takes an array of {leading} axes, and 1, 2 or 4 channels behind them, "
                f"not one of shape {shape}"
            )
        names = (self.addressing,) * 3 if isinstance(self.addressing, str) else (*self.addressing, "clamp", "clamp")
        unknown = [name for name in names if name.upper() not in Addressing.__members__]
        if unknown:
            raise UsageError(f"a texture is addressed by clamp, border, wrap or mirror, not {unknown[0][:32]!r}")
        x, y, z = (Addressing[name.upper()] for name in names[:3])
        extent = [*(int(n) for n in reversed(shape[self.layered : leading])), 1, 1]
        if self.layered:
            extent[2] = int(shape[0])
        width, height, depth = extent[:3]
        return Texture(
            geometry, (width, height, depth), int(channels), (x, y, z), self.linear, self.normalized, self.as_float
        )

    def elements(self) -> npt.NDArray[Any]:
        """In C order; a bool array as bytes."""
        return np.ascontiguousarray(self.array)


class Texture1D(TextureArgument):
    """`tex1D`, `tex1Dfetch` and, with `layered`, `tex1DLayered`."""

    axes: ClassVar[int] = 1


class Texture2D(TextureArgument):
    """`tex2D` and, with `layered`, `tex2DLayered`."""


class Texture3D(TextureArgument):
    """`tex3D`."""

    axes: ClassVar[int] = 3
