"""The memory a job's parent and worker share: the PTX, then every buffer, each on its own page.

Both sides compute the same layout from the manifest, so no offset ever travels. The memory is a sealed memfd: neither
side can shrink it under the other.
"""

from __future__ import annotations

import dataclasses
import fcntl
import mmap
import os
from collections.abc import Mapping, Sequence
from typing import Final

from p2pcompute.wire.manifest import Manifest

_PAGE_BYTES: Final = 4096
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """Byte offsets in the shared memory; `buffers` in the manifest's order. The PTX lies at 0."""

    ptx_size_bytes: int
    buffers: tuple[tuple[int, int], ...]
    total_bytes: int


def layout(manifest: Manifest) -> Layout:
    """(offset, size) of each buffer."""
    end = _page_up(manifest.ptx_size_bytes)
    buffers = []
    for buffer in manifest.buffers:
        buffers.append((end, buffer.size_bytes))
        end += _page_up(buffer.size_bytes)
    return Layout(manifest.ptx_size_bytes, tuple(buffers), end)


@dataclasses.dataclass(frozen=True, slots=True)
class Extents:
    """Parts of a buffer's bytes, each with its first byte's place; all else is zero and takes no memory."""

    parts: Sequence[tuple[int, bytes | memoryview]]


Content = bytes | memoryview | Extents
State = Mapping[str, Content]
"""The bytes of some buffers, by name; the others are zero."""


def content_fault(content: Content, size_bytes: int) -> str:
    """Why this is no content of a buffer of this size, as the end of a sentence; empty when it is."""
    if not isinstance(content, Extents):
        size = memoryview(content).nbytes
        return "" if size == size_bytes else f"has {size} bytes; the manifest says {size_bytes}"
    fits = all(offset >= 0 and offset + memoryview(part).nbytes <= size_bytes for offset, part in content.parts)
    return "" if fits else f"has parts outside of its {size_bytes} bytes"


class SharedMemory:
    """The parent's side: made filled with the inputs, all else zero. Close it when the job is over."""

    def __init__(self, manifest: Manifest, ptx_text: bytes, inputs: State, *, is_state: bool = False) -> None:
        """`is_state`: `inputs` may hold any buffer, not only those that a job starts from."""
        self._layout = layout(manifest)
        self.descriptor = sealed(self._layout.total_bytes)
        try:
            _write_at(self.descriptor, memoryview(ptx_text), 0)
            for buffer, (offset, _) in zip(manifest.buffers, self._layout.buffers):
                if (buffer.name in inputs) if is_state else buffer.is_input:
                    content = inputs[buffer.name]
                    for start, part in content.parts if isinstance(content, Extents) else ((0, content),):
                        _write_at(self.descriptor, memoryview(part).cast("B"), offset + start)
        except BaseException:
            self.close()
            raise

    def read(self, index: int) -> bytes:
        """A copy of buffer `index`: what the worker does to it afterwards is not seen."""
        offset, size = self._layout.buffers[index]
        data = bytearray(size)
        view = memoryview(data)
        done = 0
        while done < size:
            done += os.preadv(self.descriptor, [view[done:]], offset + done)
        return bytes(data)

    def close(self) -> None:
        os.close(self.descriptor)


def sealed(size_bytes: int) -> int:
    """A descriptor of zeroed memory that can neither shrink nor grow; pages take memory when they are touched."""
    descriptor = os.memfd_create("p2pcompute-job", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, size_bytes)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def attach(descriptor: int, manifest: Manifest) -> mmap.mmap:
    """The worker's side: the whole memory, mapped for reading and writing. Closes the descriptor."""
    try:
        return mmap.mmap(descriptor, layout(manifest).total_bytes)
    finally:
        os.close(descriptor)


def _write_at(descriptor: int, data: memoryview, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], offset + done)


def _page_up(count: int) -> int:
    return -(-count // _PAGE_BYTES) * _PAGE_BYTES
