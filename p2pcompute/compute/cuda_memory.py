"""Device memory of one job: an allocation for each buffer, zeroed before use and before it is given back; and the way
between it and the memory shared with the parent, through pinned pages.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from p2pcompute.compute.shared import Layout
from p2pcompute.errors import UsageError
from p2pcompute.wire import limits
from p2pcompute.wire.manifest import Manifest
from p2pcompute.wire.texture import Texture

Bytes = NDArray[np.uint8]

STAGE_BYTES: Final = 4 * limits.MIB
"""Of each of the two pinned pieces: long enough that a copy's start does not show (0.3 ms at 12 GB/s)."""


class Stage:
    """Two pinned pieces that take turns: while one is on its way, the other is filled. `driver` is pycuda.driver, here
    as everywhere; `stream` is the copies' own."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self.stream = driver.Stream()
        self._pieces: list[Bytes] = [driver.pagelocked_empty(STAGE_BYTES, np.uint8) for _ in range(2)]
        self._events = [driver.Event(driver.event_flags.DISABLE_TIMING) for _ in range(2)]
        self._used_bytes = [STAGE_BYTES, STAGE_BYTES]
        self._next = 0

    def upload(self, source: Bytes, address: int) -> None:
        """Returns when the last piece is on its way; `stream` says when it is there."""
        for start in range(0, source.nbytes, STAGE_BYTES):
            part, event = self._take(source.nbytes - start)
            np.copyto(part, source[start : start + part.nbytes])
            self._driver.memcpy_htod_async(address + start, part, self.stream)
            event.record(self.stream)

    def download(self, address: int, target: Bytes) -> None:
        """Returns when all has arrived."""
        waiting: list[tuple[Any, Bytes, int]] = []
        for start in range(0, target.nbytes, STAGE_BYTES):
            part, event = self._take(target.nbytes - start)
            self._driver.memcpy_dtoh_async(part, address + start, self.stream)
            event.record(self.stream)
            waiting.append((event, part, start))
            if len(waiting) == len(self._pieces):
                _settle(waiting.pop(0), target)
        for arrived in waiting:
            _settle(arrived, target)

    def wipe(self) -> None:
        """Nothing of a job stays in the pinned pieces."""
        for number, piece in enumerate(self._pieces):
            self._events[number].synchronize()
            piece[: self._used_bytes[number]] = 0
            self._used_bytes[number] = 0

    def _take(self, wanted_bytes: int) -> tuple[Bytes, Any]:
        """The start of the piece whose copy is the older one, when that is over."""
        number, self._next = self._next, 1 - self._next
        self._events[number].synchronize()
        size = min(STAGE_BYTES, wanted_bytes)
        self._used_bytes[number] = max(self._used_bytes[number], size)
        return self._pieces[number][:size], self._events[number]


def _settle(arrived: tuple[Any, Bytes, int], target: Bytes) -> None:
    event, part, start = arrived
    event.synchronize()
    np.copyto(target[start : start + part.nbytes], part)


class DeviceMemory:
    """The buffers of one manifest (docs/spec/engines.md, 4.2). Close it while the context lives, also when not all
    could be allocated; a lost context takes them along."""

    def __init__(self, driver: Any, stage: Stage, manifest: Manifest) -> None:
        self._driver = driver
        self._stage = stage
        self._manifest = manifest
        self._allocations: list[Any] = []
        self._brought: set[int] = set()

    def allocate(self, quota_bytes: int) -> None:
        """All buffers. Raises UsageError when they exceed the quota or the device has no room for them."""
        left = quota_bytes
        for buffer in self._manifest.buffers:
            left -= buffer.size_bytes
            if left < 0:
                raise UsageError(f"the job's buffers take more than the {quota_bytes} bytes it may have")
            self._allocations.append(self._allocate(buffer.name, _taken_bytes(buffer.size_bytes)))
        for allocation, size in self._taken():
            self._driver.memset_d8_async(int(allocation), 0, size, self._stage.stream)

    def _allocate(self, name: str, size_bytes: int) -> Any:
        try:
            return self._driver.mem_alloc(size_bytes)
        except self._driver.MemoryError as error:
            raise UsageError(f"the device has no memory for the {size_bytes} bytes of buffer {name}") from error

    def _taken(self) -> list[tuple[Any, int]]:
        sizes = [_taken_bytes(buffer.size_bytes) for buffer in self._manifest.buffers]
        return list(zip(self._allocations, sizes, strict=False))

    def address(self, index: int) -> int:
        """The device pointer of a buffer; that of an empty one is no null pointer either."""
        return int(self._allocations[index])

    def texture(self, index: int, dtype: str, texture: Texture) -> int:
        """Raises UsageError: PyCUDA makes no texture objects."""
        name = self._manifest.buffers[index].name
        raise UsageError(f"buffer {name} is read through a texture, which only the CPU engine offers")

    def bring(self, everything: Bytes, place: Layout, stream: Any, numbers: Iterable[int]) -> None:
        """Have these buffers zeroed or filled from the shared memory, and what comes next in `stream` wait for that;
        each buffer is brought once."""
        for number in numbers:
            if number in self._brought:
                continue
            self._brought.add(number)
            offset, size = place.buffers[number]
            if self._manifest.buffers[number].is_input and size:
                self._stage.upload(everything[offset : offset + size], self.address(number))
            arrived = self._driver.Event(self._driver.event_flags.DISABLE_TIMING)
            stream.wait_for_event(arrived.record(self._stage.stream))

    def fetch(self, everything: Bytes, place: Layout, numbers: Iterable[int]) -> None:
        """Copy buffers that were brought into the shared memory. Nothing may run on them."""
        for number in numbers:
            offset, size = place.buffers[number]
            if size:
                self._stage.download(self.address(number), everything[offset : offset + size])

    def close(self) -> None:
        """Zero what was allocated, then give it back. Raises what the driver raises; nothing was given back then."""
        for allocation, size in self._taken():
            self._driver.memset_d8_async(int(allocation), 0, size, self._stage.stream)
        self._stage.stream.synchronize()
        for allocation in self._allocations:
            allocation.free()
        self._allocations = []

    def abandon(self) -> None:
        """The context is lost, and the memory with it."""
        _LOST.extend(self._allocations)
        self._allocations = []


_LOST: Final[list[Any]] = []
"""Kept until the process ends: PyCUDA complains about every allocation that it cannot free."""


def _taken_bytes(size_bytes: int) -> int:
    """The driver allocates nothing of no size."""
    return max(1, size_bytes)
