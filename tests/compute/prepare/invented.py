"""Arguments for a kernel that nobody describes: what its parameters are is read off its PTX.

A 64-bit field that addresses are made from is a pointer and gets a buffer of its own, of numbers of the type that is
loaded through it; one that names a texture gets a texture object; integers are a small size, floats 1.0. Fields of
structs are told apart by the offsets they are loaded from. What no instruction loads is zero.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2pcompute.compute import ptx
from p2pcompute.compute.ptx.ir import Address, Entry, Group, Instruction, Register, Special, Symbol, Texel
from p2pcompute.compute.ptx.memory import aligned_zeros
from p2pcompute.compute.ptx.provenance import guess
from p2pcompute.compute.ptx.types import TYPES
from p2pcompute.wire.texture import Geometry, Texture

BUFFER_BYTES = 1 << 20
SHARED_BYTES = 16 << 10
VALUES_BELOW = 8
"""Buffers of integers hold numbers below this: small enough to be an index or a shift, too."""
TEXTURE_SIDE = 32
SHAPES = {
    1: ((128, 1, 1), (2, 1, 1)),
    2: ((16, 8, 1), (2, 2, 1)),
    3: ((8, 4, 4), (2, 2, 2)),
}
"""Block and grid by the number of axes that the kernel looks at."""
_GEOMETRIES = {
    "1d": Geometry.LINE,
    "2d": Geometry.PLANE,
    "3d": Geometry.VOLUME,
    "a1d": Geometry.LAYERED_LINES,
    "a2d": Geometry.LAYERED_PLANES,
}
Array = NDArray[Any]


@dataclass(frozen=True)
class Fields:
    """Offset in the parameter block -> type name of a plain field, element type behind a pointer, geometry of a texture
    and the type it is read as.
    """

    plain: dict[int, str]
    pointers: dict[int, str]
    textures: dict[int, tuple[Geometry, str]]


@dataclass(frozen=True)
class Invented:
    """One launch. `memory` has the buffers in order of their pointers."""

    memory: ptx.Memory
    parameters: bytes
    block: tuple[int, int, int]
    grid: tuple[int, int, int]
    shared_bytes: int


def shape(entry: Entry) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Block and grid: as many axes as the kernel reads, `.reqntid` and `.maxntid` respected."""
    read = {
        s.name
        for instruction in entry.instructions()
        for source in instruction.sources
        for s in (source.items if isinstance(source, Group) else (source,))
        if isinstance(s, Special) and s.name.partition(".")[0] in ("tid", "ctaid", "ntid", "nctaid")
    }
    axes = max((" xyz".index(name[-1]) for name in read), default=1)
    block, grid = SHAPES[axes]
    required = entry.tuning.get("reqntid")
    if required:
        x, y, z = (*required, 1, 1)[:3]
        return (x, y, z), grid
    most = entry.tuning.get("maxntid")
    if most:
        x, y, z = ((*most, 1, 1)[:3]) if len(most) > 1 else block
        limit = int(np.prod(most))
        while x * y * z > limit:
            x, y, z = (x, y, z // 2) if z > 1 else (x, y // 2, z) if y > 1 else (x // 2, y, z)
        return (x, y, z), grid
    return block, grid


def fields(entry: Entry) -> Fields:
    """What the parameter block of a canonical kernel holds."""
    origins = guess(entry)
    found = Fields({}, {}, {})
    for instruction in entry.instructions():
        _note_load(instruction, entry, found.plain)
        for operand in (*instruction.sources, *instruction.destinations):
            if isinstance(operand, Texel) and isinstance(operand.handle, Register) and operand.handle.name in origins:
                geometry = next(g for suffix, g in _GEOMETRIES.items() if instruction.has(suffix))
                found.textures[origins[operand.handle.name]] = geometry, instruction.types[0]
            elif isinstance(operand, Address) and isinstance(operand.base, Register):
                offset = origins.get(operand.base.name)
                if offset is not None and found.pointers.get(offset, "b") in ("b", "u8"):
                    found.pointers[offset] = instruction.types[0]
        if instruction.opcode == "cvta" and isinstance(instruction.sources[0], Register):
            offset = origins.get(instruction.sources[0].name)
            if offset is not None:
                found.pointers.setdefault(offset, "b")
    return found


def _note_load(instruction: Instruction, entry: Entry, plain: dict[int, str]) -> None:
    if instruction.opcode != "ld" or instruction.modifier("space") != "param":
        return
    address = instruction.sources[0]
    if not isinstance(address, Address) or not isinstance(address.base, Symbol):
        return
    parameter = entry.parameter(address.base.name)
    if parameter is None:
        return
    first = instruction.destinations[0]
    count = len(first.items) if isinstance(first, Group) else 1
    for number in range(count):
        size = TYPES[instruction.types[0]].size_bytes
        plain[parameter.offset_bytes + address.offset_bytes + number * size] = instruction.types[0]


def invent(entry: Entry, size: int) -> Invented:
    """A launch of a canonical kernel; every integer is `size`. The same for the same kernel, always."""
    found = fields(entry)
    arrays = [_numbers(f"{entry.name} {offset}", kind) for offset, kind in sorted(found.pointers.items())]
    images = [_image(f"{entry.name} {offset}", *each) for offset, each in found.textures.items()]
    memory = ptx.Memory([*arrays, *(image for image, _ in images)])
    values = bytearray(entry.parameter_bytes)
    for offset, kind in found.plain.items():
        data = _plain(kind, size)
        values[offset : offset + len(data)] = data
    for number, offset in enumerate(sorted(found.pointers)):
        values[offset : offset + 8] = memory.address(number).to_bytes(8, "little")
    for number, (offset, (_, kind)) in enumerate(found.textures.items(), start=len(arrays)):
        handle = memory.texture(number, kind.replace("s", "i"), images[number - len(arrays)][1])
        values[offset : offset + 8] = handle.to_bytes(8, "little")
    block, grid = shape(entry)
    shared_bytes = max(0, min(SHARED_BYTES, (48 << 10) - entry.shared_bytes))
    return Invented(memory, bytes(values), block, grid, shared_bytes)


def _plain(kind: str, size: int) -> bytes:
    width = TYPES[kind].size_bytes
    if kind in ("f32", "f64"):
        return np.array(1, f"f{width}").tobytes()
    return (size % (1 << 8 * width)).to_bytes(width, "little")


def _numbers(seed: str, kind: str) -> Array:
    """BUFFER_BYTES of small numbers: floats in (0, 1], integers below VALUES_BELOW."""
    chance = np.random.default_rng(zlib.crc32(seed.encode()))
    if kind in ("f32", "f64"):
        return _aligned((1 - chance.random(BUFFER_BYTES // int(kind[1:]) * 8)).astype(f"f{int(kind[1:]) // 8}"))
    width = TYPES[kind].size_bytes if kind in TYPES and kind != "pred" else 4
    return _aligned(chance.integers(0, VALUES_BELOW, BUFFER_BYTES // width).astype(f"u{min(width, 8)}"))


def _aligned(array: Array) -> Array:
    place = aligned_zeros(array.nbytes)
    place[:] = array.view(np.uint8)
    return place


def _image(seed: str, geometry: Geometry, kind: str) -> tuple[Array, Texture]:
    depth = 1 if geometry in (Geometry.LINE, Geometry.PLANE) else TEXTURE_SIDE
    height = TEXTURE_SIDE if geometry in (Geometry.PLANE, Geometry.VOLUME, Geometry.LAYERED_PLANES) else 1
    elements = TEXTURE_SIDE * height * depth
    return _numbers(seed, kind)[: 4 * elements], Texture(geometry, (TEXTURE_SIDE, height, depth))
