"""Device memory of one task: its buffers, each a segment of its own, and the variables of its modules.

Arrays are used in place, without a copy, and may lie in memory shared between processes. An address is `segment << 40 |
offset`; every access is checked against the length of the segment its address names, so the byte behind a buffer is
never another buffer's first.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from p2pcompute.compute.ptx import layout
from p2pcompute.compute.ptx.descriptors import HANDLES, RECORD_BYTES, TEXTURES_MAX, record
from p2pcompute.compute.ptx.ir import Module
from p2pcompute.errors import UsageError
from p2pcompute.wire.limits import BUFFERS_MAX
from p2pcompute.wire.manifest import DTYPES
from p2pcompute.wire.texture import Texture, texture_fault

Bytes = NDArray[np.uint8]
Table = NDArray[np.uint64]

STRING_BYTES_MAX: Final = 1_024
ALIGN_BYTES: Final = 16
"""What a vector access or an atomic of 16 bytes needs of a buffer's host address."""


class Memory:
    """The buffers of a task, in order. Pass arrays (used in place, any dtype, C-contiguous) or sizes in bytes
    (zeroed).
    """

    def __init__(self, buffers: Sequence[NDArray[Any] | int]) -> None:
        if len(buffers) > BUFFERS_MAX:
            raise UsageError(f"A task has at most {BUFFERS_MAX} buffers, not {len(buffers)}.")
        self._arrays: list[NDArray[Any]] = [aligned_zeros(b) if isinstance(b, int) else b for b in buffers]
        for index, array in enumerate(self._arrays):
            _check(index, array)
        self._variables: dict[tuple[str, str], Bytes] = {}
        self._tables: dict[str, Table] = {}
        self._textures: dict[tuple[int, str, Texture], int] = {}
        self._descriptors = aligned_zeros(0)

    def __len__(self) -> int:
        return len(self._arrays)

    def array(self, index: int) -> NDArray[Any]:
        """The array of buffer `index`, as given."""
        return self._arrays[index]

    def address(self, index: int) -> int:
        """The 64-bit device pointer of buffer `index`."""
        if not 0 <= index < len(self._arrays):
            raise UsageError(f"There is no buffer {index}; the task has {len(self._arrays)}.")
        return (layout.BUFFER_SEGMENT + index) << layout.OFFSET_BITS

    def texture(self, index: int, dtype: str, texture: Texture) -> int:
        """The 64-bit texture object that reads buffer `index` as elements of `dtype`. Raises UsageError for a texture
        that does not fit its buffer.
        """
        self.address(index)
        known = self._textures.get((index, dtype, texture))
        if known is not None:
            return known
        array = self._arrays[index]
        width = DTYPES.get(dtype, 1)
        fault = texture_fault(texture, dtype, array.nbytes // width) or ("" if array.nbytes % width == 0 else "is cut")
        if fault:
            raise UsageError(f"A texture of buffer {index} {fault}.")
        if len(self._textures) >= TEXTURES_MAX:
            raise UsageError(f"A task has at most {TEXTURES_MAX} textures.")
        handle = self._textures[index, dtype, texture] = HANDLES + len(self._textures)
        old, self._descriptors = self._descriptors, aligned_zeros(len(self._textures) * RECORD_BYTES)
        self._descriptors[: old.nbytes] = old
        self._descriptors[old.nbytes :] = np.frombuffer(record(texture, dtype, array.ctypes.data), np.uint8)
        self._tables.clear()
        return handle

    def textures(self) -> dict[int, tuple[int, str, Texture]]:
        """What each texture object reads: buffer, element type and view."""
        return {handle: key for key, handle in self._textures.items()}

    def variable(self, module: Module, digest: str, name: str) -> Bytes:
        """The bytes of a module variable (`.global` or `.const`), which stay between launches; write to set it."""
        variable = module.variables.get(name)
        if variable is None or variable.space not in ("global", "const"):
            raise UsageError(f"The module has no variable '{name}'.")
        image = self.image(module, digest, variable.space)
        return image[variable.offset_bytes : variable.offset_bytes + variable.size_bytes]

    def image(self, module: Module, digest: str, space: str) -> Bytes:
        """The module's global or const segment, made from its initial values at first use."""
        key = (digest, space)
        if key not in self._variables:
            initial = module.space_image(space)
            array = aligned_zeros(len(initial))
            array[:] = np.frombuffer(initial, np.uint8)
            self._variables[key] = array
        return self._variables[key]

    def string(self, module: Module, digest: str, address: int) -> str:
        """The text at a device address up to its NUL, at most STRING_BYTES_MAX bytes; `?` where there is no memory."""
        base, readable = (int(word) for word in self.table(module, digest)[0][_row(address), :2])
        start = address & ((1 << layout.OFFSET_BITS) - 1)
        if start >= readable:
            return "?"
        data = ctypes.string_at(base + start, min(STRING_BYTES_MAX, readable - start))
        return data.partition(b"\0")[0].decode(errors="replace")

    def table(self, module: Module, digest: str) -> Table:
        """Both segment tables as (2, rows, words), without the shared window. Do not write to it."""
        table = self._tables.get(digest)
        if table is None:
            table = self._tables[digest] = self._make_table(module, digest)
        return table

    def _make_table(self, module: Module, digest: str) -> Table:
        table = np.zeros((2, layout.TABLE_ROWS, layout.ROW_BYTES // 8), np.uint64)
        for index, array in enumerate(self._arrays):
            writable = array.nbytes if array.flags.writeable else 0
            table[:, layout.BUFFER_SEGMENT + index, :3] = (array.ctypes.data, array.nbytes, writable)
        for segment, space in ((layout.GLOBAL_SEGMENT, "global"), (layout.CONST_SEGMENT, "const")):
            image = self.image(module, digest, space)
            table[:, segment, :3] = (image.ctypes.data, image.nbytes, image.nbytes if space == "global" else 0)
        words = table[0].ravel()
        words[layout.TEXTURES_BASE // 8] = self._descriptors.ctypes.data
        words[layout.TEXTURES_COUNT // 8] = len(self._textures)
        return table


def _row(address: int) -> int:
    return min(address >> layout.OFFSET_BITS, layout.TABLE_ROWS - 1)


def _check(index: int, array: NDArray[Any]) -> None:
    if not array.flags.c_contiguous:
        raise UsageError(f"Buffer {index} is not C-contiguous.")
    if array.nbytes and array.ctypes.data % ALIGN_BYTES:
        raise UsageError(f"Buffer {index} does not start at a multiple of {ALIGN_BYTES} bytes.")
    if array.nbytes >= 1 << layout.OFFSET_BITS:
        raise UsageError(f"Buffer {index} is larger than 2**{layout.OFFSET_BITS} bytes.")


def aligned_zeros(size_bytes: int, align_bytes: int = 64) -> Bytes:
    """Zeroed bytes at an aligned address."""
    whole = np.zeros(size_bytes + align_bytes, np.uint8)
    start = -whole.ctypes.data % align_bytes
    return whole[start : start + size_bytes]
