"""The share of a launch that one host thread runs: its records and its block's memory."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Final

import numpy as np

from p2pcompute.compute.ptx import layout
from p2pcompute.compute.ptx.blocklist import BlockList
from p2pcompute.compute.ptx.jit import Compiled
from p2pcompute.compute.ptx.memory import Table, aligned_zeros
from p2pcompute.compute.ptx.outcome import Trap, TrapKind
from p2pcompute.compute.ptx.output import Record, records, were_lost
from p2pcompute.compute.ptx.uniform import Layout

CHUNKS_PER_THREAD: Final = 16
"""Ranges of blocks that each host thread takes, about: enough to even out unequal blocks, few enough to keep
neighbours together.
"""


class Abort:
    """A flag that stops launches from another thread. Once set it stays set."""

    def __init__(self) -> None:
        self._word = ctypes.c_int32(0)
        self._lock = threading.Lock()
        self._linked: list[Abort] = []

    def set(self) -> None:
        with self._lock:
            self._word.value = 1
            linked = list(self._linked)
        for other in linked:
            other.set()

    def is_set(self) -> bool:
        return self._word.value != 0

    @property
    def address(self) -> int:
        """Host address of the 32-bit flag that generated code polls."""
        return ctypes.addressof(self._word)

    @contextlib.contextmanager
    def linked(self) -> Iterator[Abort]:
        """A flag that this one sets too, but that can be set alone: a launch's own."""
        own = Abort()
        with self._lock:
            self._linked.append(own)
            if self.is_set():
                own._word.value = 1
        try:
            yield own
        finally:
            with self._lock:
                self._linked.remove(own)


@cache
def pool() -> ThreadPoolExecutor:
    """Host threads beyond the caller's; idle ones cost nothing."""
    return ThreadPoolExecutor(max_workers=max(1, (os.cpu_count() or 1) * 2), thread_name_prefix="ptx")


class Launch:
    """What all host threads of one launch share."""

    def __init__(
        self,
        compiled: Compiled,
        threads: Layout,
        parameters: bytes,
        grid: tuple[int, int, int],
        shared_bytes: int,
        shares: int,
        *,
        prints: bool,
        listed: BlockList | None = None,
    ) -> None:
        self.compiled = compiled
        self.prints = prints
        self.threads = Layout(threads.block, compiled.lanes)
        self.grid = grid
        self.shared_bytes = compiled.shared_bytes + shared_bytes
        self.listed = listed
        self.blocks = grid[0] * grid[1] * grid[2] if listed is None else len(listed)
        self.chunk = max(1, self.blocks // (shares * CHUNKS_PER_THREAD))
        self._parameters = ctypes.create_string_buffer(parameters, len(parameters) + 1)
        self._next_block = ctypes.c_uint64(0)
        values = {
            "parameters": ctypes.addressof(self._parameters),
            "next_block": ctypes.addressof(self._next_block),
            "blocks": self.blocks,
            "chunk": self.chunk,
            "list": 0 if listed is None else listed.ctypes.data,
            **dict(zip(("grid_x", "grid_y", "grid_z"), grid, strict=True)),
        }
        self.fields = [(_FIELD[name], value) for name, value in values.items()]
        """What the launch record holds of it, by number."""

    def restart(self) -> None:
        """Hand out the blocks from the first on again."""
        self._next_block.value = 0

    def block_of(self, linear: int) -> tuple[int, int, int]:
        x, y, _ = self.grid
        return linear % x, linear // x % y, linear // x // y


class Arena:
    """What one host thread needs to run blocks of one kernel, in one piece of memory: a launch record, segment tables,
    a state record, shared memory, contexts, stacks and a log. Launches use it again.
    """

    def __init__(self, launch: Launch) -> None:
        threads, compiled = launch.threads, launch.compiled
        sizes = {
            "table": 2 * layout.TABLE_BYTES,
            "state": layout.STATE_BYTES,
            "shared": launch.shared_bytes,
            "contexts": threads.teams * compiled.context_bytes,
            "stacks": threads.teams * threads.lanes * compiled.local_bytes,
            "log": layout.LOG_RECORDS * layout.LOG_RECORD_BYTES if launch.prints else 0,
        }
        ends = itertools.accumulate(_whole_lines(size) for size in sizes.values())
        starts = dict(zip(sizes, [0, *ends], strict=False))
        self.size_bytes = sum(map(_whole_lines, sizes.values()))
        self._bytes = aligned_zeros(self.size_bytes)
        base = self._bytes.ctypes.data
        self._table = self._bytes[: sizes["table"]].view(np.uint64)
        self._shared_row = np.array([base + starts["shared"], launch.shared_bytes, launch.shared_bytes], np.uint64)
        self.state = self._bytes[starts["state"] : starts["state"] + layout.STATE_BYTES].data
        self.log = self._bytes[starts["log"] : starts["log"] + sizes["log"]]
        self._clean = bytearray(layout.STATE_BYTES)
        self._clean[layout.STATE_LOG : layout.STATE_LOG + 8] = (base + starts["log"]).to_bytes(8, "little")
        self.record = (ctypes.c_uint64 * len(layout.LAUNCH_FIELDS))()
        for name in ("table", "state", "shared", "contexts", "stacks"):
            self.record[_FIELD[name]] = base + starts[name]
        self.record[_FIELD["shared_bytes"]] = launch.shared_bytes

    def prepare(self, launch: Launch, table: Table, abort: Abort) -> None:
        """Set all that differs between launches."""
        self._table[:] = table.ravel()
        self._table[_SHARED_ROW : _SHARED_ROW + 3] = self._shared_row
        self.state[:] = self._clean
        for number, value in launch.fields:
            self.record[number] = value
        self.record[_FIELD["abort"]] = abort.address


_FIELD: Final = {name: number for number, name in enumerate(layout.LAUNCH_FIELDS)}
_SHARED_ROW: Final = (layout.TABLE_BYTES + layout.SHARED_SEGMENT * layout.ROW_BYTES) // 8


class Run:
    """One host thread's share of a launch. `arena` is its own until `records` and `trap` have been read."""

    def __init__(self, launch: Launch, arena: Arena, table: Table, abort: Abort) -> None:
        self._launch = launch
        self.arena = arena
        arena.prepare(launch, table, abort)

    @property
    def address(self) -> int:
        """Host address of the launch record."""
        return ctypes.addressof(self.arena.record)

    def _word(self, offset: int, size: int) -> int:
        return int.from_bytes(self.arena.state[offset : offset + size], "little")

    @property
    def trapped_block(self) -> int:
        return self._word(layout.STATE_BLOCK, 8)

    def records(self) -> list[Record]:
        """What the kernel printed on this thread."""
        log = self.arena.log
        return records(log.tobytes(), self._word(layout.STATE_LOG_COUNT, 4)) if log.size else []

    @property
    def lost_records(self) -> bool:
        return were_lost(self._word(layout.STATE_LOG_COUNT, 4))

    def trap(self) -> Trap:
        """The witness, once the generated code has reported a trap."""
        x, y, _ = self._launch.threads.block
        thread = self._word(layout.STATE_WARP, 4) * self._launch.threads.lanes + self._word(layout.STATE_LANE, 4)
        return Trap(
            TrapKind(self._word(layout.STATE_KIND, 4)),
            self._word(layout.STATE_LINE, 4),
            self._launch.block_of(self.trapped_block),
            (thread % x, thread // x % y, thread // x // y),
            self._word(layout.STATE_ADDRESS, 8),
        )


def _whole_lines(size_bytes: int) -> int:
    """Rounded up to cache lines, so that every part is aligned and threads do not share lines."""
    return -(-size_bytes // 64) * 64
