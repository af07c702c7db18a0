"""The writer map of a launch: which block writes which byte, found by running the kernel's address slice.

Running it is also a proof: where no two blocks claim one byte, and no block loads what another claimed, blocks of this
launch are independent (rule 9 of docs/spec/sampling.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2pcompute.compute.ptx.ir import Module
from p2pcompute.compute.ptx.launch import (
    CompiledKernel,
    canonical_form,
    canonical_module,
    compile_entry,
    pack_parameters,
)
from p2pcompute.compute.ptx.memory import Memory
from p2pcompute.compute.ptx.outcome import LaunchResult, Status
from p2pcompute.compute.ptx.parse import parse
from p2pcompute.compute.ptx.run import Abort
from p2pcompute.compute.ptx.symbolic import addresses, launch_world
from p2pcompute.compute.ptx.symbolic.world import BUFFER
from p2pcompute.compute.sampling.eligibility import KernelLaunch
from p2pcompute.compute.sampling.slices import Slice, cut
from p2pcompute.errors import UsageError

MAP_BYTES_MAX: Final = 4 << 30
"""Of all maps of a launch together."""
BLOCKS_MAX: Final = 2**32 - 2
"""A map's words are block numbers plus one."""

Words = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class WriterMap:
    """Per stored buffer one word per granule of `granules[buffer]` bytes: the block's number plus one, 0 for none.
    `conflicts`: PTX lines at which a block meets another; empty is the proof. `result`: how the slice ended.
    Not `is_checked`: nobody looked for conflicts, as there are none in a launch that is proven otherwise.
    """

    words: Mapping[str, Words]
    granules: Mapping[str, int]
    conflicts: tuple[int, ...]
    result: LaunchResult
    is_checked: bool = True

    @property
    def is_proof(self) -> bool:
        return self.is_checked and self.result.status is Status.OK and not self.conflicts

    def writer(self, buffer: str, byte: int) -> int | None:
        """The block that writes a byte; None for no block."""
        word = int(self.words[buffer][byte // self.granules[buffer]])
        return word - 1 if word else None

    def unwritten(self, buffer: str) -> NDArray[np.int64]:
        """Intervals of bytes, shape (n, 2), that no block writes; the last may reach beyond a ragged end."""
        free = np.concatenate(([False], self.words[buffer] == 0, [False])).astype(np.int8)
        steps = np.diff(free)
        ends = np.stack([np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)], axis=1)
        return ends.astype(np.int64) * self.granules[buffer]


class Mapper:
    """The compiled slice of one kernel and block shape, for launches that differ in grid or scalars."""

    def __init__(self, module: Module, launch: KernelLaunch) -> None:
        """Raises UsageError where no slice can be cut, PtxError for what the engine cannot compile."""
        canonical = canonical_module(module)
        self._entry = canonical.entries[launch.entry]
        pointers = {offset: f"{BUFFER}{name}" for offset, name in launch.buffers.items()}
        world = launch_world(launch.grid, launch.block, launch.parameters, pointers)
        accesses = addresses(canonical, self._entry, world)
        self.slice: Slice = cut(canonical, self._entry, accesses, launch.buffers)
        self._kernels = _compiled(canonical_form(self.slice.module)[0], launch.block)

    def run(
        self, launch: KernelLaunch, sizes: Mapping[str, int], *, threads: int, abort: Abort, is_proven: bool = False
    ) -> WriterMap:
        """Map a launch. `sizes`: bytes of each buffer; `is_proven`: leave the second half, the check, out. Raises
        UsageError beyond this module's limits.
        """
        if launch.blocks > BLOCKS_MAX:
            raise UsageError(f"A map names at most {BLOCKS_MAX} blocks.")
        granules = self.slice.granules
        words = {name: -(-sizes[name] // granules[name]) for name in self.slice.buffers}
        if 4 * sum(words.values()) > MAP_BYTES_MAX:
            raise UsageError(f"The maps of these buffers take more than {MAP_BYTES_MAX} bytes.")
        memory = Memory([*(4 * count for count in words.values()), 4 * len(self.slice.lines)])
        values = [launch.parameters[p.offset_bytes : p.offset_bytes + p.size_bytes] for p in self._entry.parameters]
        values += [memory.address(number).to_bytes(8, "little") for number in range(len(memory))]
        result = LaunchResult(Status.OK)
        for kernel in self._kernels[:1] if is_proven else self._kernels:
            packed = pack_parameters(kernel.entry, values)
            result = kernel.launch(memory, packed, launch.grid, threads=threads, abort=abort)
            if result.status is not Status.OK:
                break
        maps = {name: memory.array(number).view(np.uint32) for number, name in enumerate(words)}
        met = memory.array(len(words)).view(np.uint32)
        lines = tuple(line for line, block in zip(self.slice.lines, met.tolist(), strict=True) if block)
        return WriterMap(maps, granules, lines, result, is_checked=not is_proven)


@lru_cache(maxsize=32)
def _compiled(text: str, block: tuple[int, int, int]) -> tuple[CompiledKernel, ...]:
    """Launches that differ in scalars mostly have the same slice."""
    module = parse(text)
    return tuple(compile_entry(module, name, block) for name in ("claim", "check"))


def writer_map(
    module: Module, launch: KernelLaunch, sizes: Mapping[str, int], *, threads: int, abort: Abort
) -> WriterMap:
    """Cut, compile and run the slice of one launch."""
    return Mapper(module, launch).run(launch, sizes, threads=threads, abort=abort)
