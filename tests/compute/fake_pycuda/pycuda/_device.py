"""The one device of this process: its thread, its contexts, its memory, and the error that stays."""

from __future__ import annotations

import bisect
import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable

import numpy as np

from p2pcompute.compute.ptx.memory import aligned_zeros
from pycuda import _errors
from pycuda._switches import SWITCHES

BASE = 1 << 48
"""Where device memory begins: no host address, and no address of the CPU engine's."""
ALIGN_BYTES = 512
GARBAGE = 0xAB


class DeviceFault(Exception):
    """Raised on the device's thread: the context is lost with this code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Region:
    """Some device memory: an allocation, or (`space` global or const) the variables of a module."""

    def __init__(self, address: int, data: np.ndarray, space: str) -> None:
        self.address = address
        self.data = data
        self.space = space

    @property
    def end(self) -> int:
        return self.address + self.data.nbytes


class Device:
    """State of the driver in this process. Calls are made on the thread that owns the context."""

    def __init__(self) -> None:
        self.is_initialized = False
        self.contexts: list[object] = []
        self.owner = 0
        self.sticky = 0
        self.printed = ""
        self.launches = 0
        self.generation = 0
        self._regions: list[Region] = []
        self._addresses: list[int] = []
        self._next = BASE
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def check(self, routine: str) -> None:
        """What every routine but a few looks at first."""
        _errors.enter(routine)
        if not self.is_initialized:
            raise _errors.error(routine, _errors.NOT_INITIALIZED)
        if not self.contexts or threading.get_ident() != self.owner:
            raise _errors.error(routine, _errors.INVALID_CONTEXT)
        if self.sticky:
            raise _errors.error(routine, self.sticky)

    def start(self) -> None:
        """A real context brings threads of the driver's with it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="fake device", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            work = self._work.get()
            work()

    def submit(self, work: Callable[[], None]) -> threading.Event:
        """Have the device do it after all before; after a fault it only says that it is done."""
        done = threading.Event()

        def guarded() -> None:
            try:
                if not self.sticky:
                    work()
            except DeviceFault as fault:
                self.sticky = fault.code
            except BaseException:
                import traceback

                traceback.print_exc()  # a defect of the fake: no test may pass over it
                os._exit(70)
            finally:
                done.set()

        self._work.put(guarded)
        return done

    def drain(self, routine: str) -> None:
        """Wait for all work; raises the error it came to."""
        self.submit(lambda: None).wait()
        if self.printed:
            with contextlib.suppress(BlockingIOError):  # nobody reads: what does not fit is lost
                os.write(1, self.printed.encode(errors="replace"))
            self.printed = ""
        if self.sticky:
            raise _errors.error(routine, self.sticky)

    @property
    def taken_bytes(self) -> int:
        return sum(region.data.nbytes for region in self._regions)

    @property
    def free_bytes(self) -> int:
        return max(0, SWITCHES.total_bytes - SWITCHES.held_bytes - self.taken_bytes)

    def allocate(self, size_bytes: int) -> Region:
        data = aligned_zeros(size_bytes)
        data[:] = GARBAGE
        return self.add(data)

    def add(self, data: np.ndarray, space: str = "") -> Region:
        region = Region(self._next, data, space)
        self._next += -(-data.nbytes // ALIGN_BYTES) * ALIGN_BYTES + ALIGN_BYTES
        self._regions.append(region)
        self._addresses.append(region.address)
        self.generation += 1
        return region

    def remove(self, region: Region) -> None:
        place = self._regions.index(region)
        del self._regions[place], self._addresses[place]
        self.generation += 1

    def regions(self) -> tuple[Region, ...]:
        return tuple(self._regions)

    def region_at(self, address: int) -> Region | None:
        """The region that holds an address, or that ends there."""
        place = bisect.bisect_right(self._addresses, address) - 1
        if place >= 0 and address <= self._regions[place].end:
            return self._regions[place]
        return None

    def bytes_at(self, routine: str, address: int, size_bytes: int) -> np.ndarray:
        """A window on device memory. Raises for what is not all inside of one region."""
        region = self.region_at(address)
        if region is None or address + size_bytes > region.end:
            if size_bytes == 0:
                return np.empty(0, np.uint8)
            raise _errors.error(routine, _errors.INVALID_VALUE)
        start = address - region.address
        return region.data[start : start + size_bytes]


DEVICE = Device()


def now_ms() -> float:
    return time.perf_counter_ns() / 1e6
