"""Which bytes of which buffer each block reads and writes: exact, from code compiled for it.

    kernel = compile_entry(module, "k", block, is_logged=True)
    logged = log_accesses(kernel, memory, parameters, grid, blocks=[7], threads=1, abort=Abort())
    logged.blocks[7].stores[0]          # intervals of buffer 0, shape (n, 2): first byte, byte behind the last

Blocks run one at a time per host thread, each into maps that its thread clears afterwards, so the cost of a block is
that of what it touches.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2pcompute.compute.ptx import layout
from p2pcompute.compute.ptx.blocklist import BlockList, Blocks, block_list
from p2pcompute.compute.ptx.launch import CompiledKernel
from p2pcompute.compute.ptx.memory import Memory, Table
from p2pcompute.compute.ptx.outcome import LaunchResult, Status
from p2pcompute.compute.ptx.run import Abort, Arena, Run, pool
from p2pcompute.compute.ptx.touch import LOADED, PAGE_BITS, STORED
from p2pcompute.errors import UsageError

LOGGED_BLOCKS_MAX: Final = 1 << 18
INTERVALS_MAX: Final = 1 << 22
"""Of all blocks together: 64 MiB."""
LOGGED_BYTES_MAX: Final = 4 << 30
"""Of all buffers together, per host thread: a map has as many bytes, though only touched pages of it take memory."""
MODULE_GLOBALS: Final = -1
"""Instead of a buffer's number: the module's `.global` variables."""

PAGE_BYTES: Final = 1 << PAGE_BITS
Intervals = NDArray[np.int64]
_Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class BlockAccess:
    """One block: buffer number (or MODULE_GLOBALS) -> intervals of bytes, ascending, none touching the next.

    An atomic counts as load and store, whether or not it changes anything.
    """

    loads: Mapping[int, Intervals]
    stores: Mapping[int, Intervals]


@dataclass(frozen=True, slots=True)
class Logged:
    """How the blocks ended, and what they did. After a trap or an abort some blocks may be missing, and those that were
    stopped are there with what they did until then."""

    result: LaunchResult
    blocks: Mapping[int, BlockAccess]


class _Budget:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left = INTERVALS_MAX

    def spend(self, access: BlockAccess) -> None:
        count = sum(len(each) for part in (access.loads, access.stores) for each in part.values())
        with self._lock:
            self._left -= count
            if self._left < 0:
                raise UsageError(f"The log of these blocks takes more than {INTERVALS_MAX} intervals; log fewer.")


def log_accesses(
    kernel: CompiledKernel,
    memory: Memory,
    parameters: bytes,
    grid: tuple[int, int, int],
    shared_bytes: int = 0,
    *,
    blocks: Blocks | None = None,
    by_page: bool = False,
    threads: int,
    abort: Abort,
) -> Logged:
    """Run these blocks (all if not given) and say what each touched. `kernel` was compiled with `is_logged`. `by_page`:
    what was loaded is told in whole pages of PAGE_BYTES, for a fraction of the time.

    Raises UsageError as `CompiledKernel.launch` does, and beyond the limits of this module.
    """
    if not kernel.is_logged:
        raise UsageError("The kernel was not compiled for logging its accesses.")
    kernel.check(parameters, grid, shared_bytes, threads)
    total = math.prod(grid) if blocks is None else len(blocks)
    if total > LOGGED_BLOCKS_MAX:
        raise UsageError(f"The accesses of at most {LOGGED_BLOCKS_MAX} blocks are logged at a time, not of {total}.")
    numbers = block_list(range(total) if blocks is None else blocks, grid)
    table = memory.table(kernel.module, kernel.digest)
    if int(table[0, :, layout.ROW_READABLE // 8].sum()) * threads > LOGGED_BYTES_MAX:
        raise UsageError(f"Accesses are logged for at most {LOGGED_BYTES_MAX} bytes of buffers, times threads.")
    budget = _Budget()

    def share(mine: BlockList, stop: Abort) -> tuple[LaunchResult, dict[int, BlockAccess]]:
        try:
            maps = _Maps(table, by_page=by_page)
            return _share(kernel, maps, parameters, grid, shared_bytes, mine, stop, budget)
        except BaseException:
            stop.set()
            raise

    with abort.linked() as own:
        futures: list[Future[tuple[LaunchResult, dict[int, BlockAccess]]]] = [
            pool().submit(share, numbers[n::threads], own) for n in range(1, min(threads, len(numbers)))
        ]
        try:
            done = [share(numbers[::threads], own)]
        finally:
            shares = [future.result() for future in futures]
    return _joined([*done, *shares])


def _joined(shares: list[tuple[LaunchResult, dict[int, BlockAccess]]]) -> Logged:
    """Of several traps that of the lowest block counts, as in a launch."""
    merged = {number: access for _, part in shares for number, access in part.items()}
    results = [result for result, _ in shares]
    traps = [result for result in results if result.trap is not None]
    worst = next((result for result in results if result.status is Status.ABORTED), results[0])
    if traps:
        worst = min(traps, key=lambda result: result.trap.block[::-1] if result.trap else (0, 0, 0))
    return Logged(worst, dict(sorted(merged.items())))


def _share(
    kernel: CompiledKernel,
    maps: _Maps,
    parameters: bytes,
    grid: tuple[int, int, int],
    shared_bytes: int,
    numbers: BlockList,
    abort: Abort,
    budget: _Budget,
) -> tuple[LaunchResult, dict[int, BlockAccess]]:
    one = np.zeros(1, np.uint64)
    work = kernel.share(parameters, grid, shared_bytes, 1, one)
    run = Run(work.launch, Arena(work.launch), maps.table, abort)
    found: dict[int, BlockAccess] = {}
    for number in numbers.tolist():
        one[0] = number
        work.launch.restart()
        status = work.step(run)
        found[number] = maps.take()
        budget.spend(found[number])
        if status == layout.TRAPPED:
            abort.set()
            return LaunchResult(Status.TRAP, run.trap()), found
        if status != layout.DONE:
            return LaunchResult(Status.ABORTED), found
    return LaunchResult(Status.OK), found


class _Maps:
    """The maps of one host thread, and a segment table that leads to them."""

    def __init__(self, table: Table, *, by_page: bool) -> None:
        self.table = table.copy()
        self._by_page = by_page
        self._parts: list[tuple[int, _Bytes, _Bytes, int]] = []
        self._pairs: list[NDArray[np.uint64]] = []
        for segment in range(layout.GLOBAL_SEGMENT, layout.TABLE_ROWS):
            size = int(table[0, segment, layout.ROW_READABLE // 8])
            if size and segment != layout.CONST_SEGMENT:
                pages = -(-size // PAGE_BYTES)
                self._add(segment, np.zeros((pages, PAGE_BYTES), np.uint8), np.zeros(pages, np.uint8), size)

    def _add(self, segment: int, touched: _Bytes, pages: _Bytes, size: int) -> None:
        pair = np.array([touched.ctypes.data, pages.ctypes.data], np.uint64)
        self.table[0, segment, layout.ROW_LOG // 8] = pair.ctypes.data
        self._pairs.append(pair)
        number = MODULE_GLOBALS if segment == layout.GLOBAL_SEGMENT else segment - layout.BUFFER_SEGMENT
        self._parts.append((number, touched, pages, size))

    def take(self) -> BlockAccess:
        """What the block that just ran touched; forgets it."""
        loads: dict[int, Intervals] = {}
        stores: dict[int, Intervals] = {}
        for number, touched, pages, size in self._parts:
            places = np.flatnonzero(pages)
            if not places.size:
                continue
            kinds = pages[places]
            loaded, stored = (places[(kinds & bit) != 0] for bit in (LOADED, STORED))
            if loaded.size and self._by_page:
                loads[number] = _whole_pages(loaded, size)
            elif loaded.size:
                loads[number] = intervals((touched[loaded] & LOADED) != 0, loaded)
            if stored.size:
                stores[number] = intervals((touched[stored] & STORED) != 0, stored)
            touched[stored if self._by_page else places] = 0  # by page, nobody looks at the marks of loads
            pages[places] = 0
        return BlockAccess(loads, stores)


def _whole_pages(places: NDArray[np.int64], size: int) -> Intervals:
    """Runs of pages, of a segment of this size."""
    breaks = np.flatnonzero(np.diff(places) != 1) + 1
    first, last = places[np.concatenate(([0], breaks))], places[np.concatenate((breaks, [places.size])) - 1]
    return np.stack([first * PAGE_BYTES, np.minimum((last + 1) * PAGE_BYTES, size)], axis=1).astype(np.int64)


def intervals(marked: NDArray[np.bool_], places: NDArray[np.int64]) -> Intervals:
    """Runs of marked bytes. `marked` (pages, page bytes); `places`: the number of each page, ascending."""
    flat = marked.reshape(-1)
    breaks = PAGE_BYTES * (np.flatnonzero(np.diff(places) != 1) + 1)
    """First bytes of pages that do not follow the one before."""
    begins, ends = flat.copy(), flat.copy()
    begins[1:] &= ~flat[:-1]
    begins[breaks] = flat[breaks]
    ends[:-1] &= ~flat[1:]
    ends[breaks - 1] = flat[breaks - 1]
    found = np.stack([np.flatnonzero(begins), np.flatnonzero(ends)], axis=1).astype(np.int64)
    first_bytes: Intervals = places[found >> PAGE_BITS] * PAGE_BYTES
    return first_bytes + (found & (PAGE_BYTES - 1)) + np.array([0, 1], np.int64)
