"""What really happens in a launch, from the access log, beside what the provers say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2pcompute.compute import ptx
from p2pcompute.compute.ptx import accesslog
from p2pcompute.compute.ptx.accesslog import Logged
from p2pcompute.compute.sampling import KernelLaunch

Index = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Setup:
    """A launch on fresh memory. `arrays`: what the buffers start with, in the order of the pointer parameters."""

    module: ptx.Module
    launch: KernelLaunch
    arrays: Sequence[NDArray[Any]]
    shared_bytes: int = 0

    @property
    def sizes(self) -> dict[str, int]:
        return {f"b{number}": array.nbytes for number, array in enumerate(self.arrays)}

    def memory(self) -> ptx.Memory:
        arrays = []
        for given in self.arrays:
            mine = ptx.Memory([given.nbytes]).array(0).view(given.dtype)
            mine[...] = given.reshape(-1)
            arrays.append(mine)
        return ptx.Memory(arrays)


def setup(
    module: ptx.Module, entry: str, grid: Index, block: Index, arguments: Sequence[Any], shared_bytes: int = 0
) -> Setup:
    """Arrays stand for buffers, numpy scalars for themselves."""
    kernel = module.entries[entry]
    arrays = [a for a in arguments if isinstance(a, np.ndarray) and a.ndim]
    memory, number, buffers, values = ptx.Memory([16] * len(arrays)), 0, {}, []
    for parameter, argument in zip(kernel.parameters, arguments, strict=True):
        if isinstance(argument, np.ndarray) and argument.ndim:
            buffers[parameter.offset_bytes] = f"b{number}"
            values.append(memory.address(number).to_bytes(8, "little"))
            number += 1
        else:
            values.append(np.asarray(argument).tobytes())
    launch = KernelLaunch(entry, grid, block, ptx.pack_parameters(kernel, values), buffers)
    return Setup(module, launch, arrays, shared_bytes)


@lru_cache(maxsize=16)
def _compiled(text: str, entry: str, block: Index) -> ptx.CompiledKernel:
    return ptx.compile_entry(ptx.parse(text), entry, block, is_logged=True)


def logged(case: Setup) -> Logged:
    launch = case.launch
    kernel = _compiled(ptx.canonicalise(case.module), launch.entry, launch.block)
    return accesslog.log_accesses(
        kernel, case.memory(), launch.parameters, launch.grid, case.shared_bytes, threads=1, abort=ptx.Abort()
    )


@dataclass(frozen=True, slots=True)
class Truth:
    """`writers`: per buffer the block of each byte, -1 for none. `is_disjoint`: no block meets another."""

    writers: Mapping[str, NDArray[np.int64]]
    is_disjoint: bool


def truth(case: Setup, log: Logged) -> Truth:
    writers = {name: np.full(size, -1, np.int64) for name, size in case.sizes.items()}
    writers[f"b{accesslog.MODULE_GLOBALS}"] = np.full(1 << 16, -1, np.int64)
    is_disjoint = True
    for number, access in log.blocks.items():
        for buffer, spans in access.stores.items():
            for start, end in spans:
                part = writers[f"b{buffer}"][start:end]
                is_disjoint &= bool((part == -1).all())
                part[:] = number
    for number, access in log.blocks.items():
        for buffer, spans in access.loads.items():
            for start, end in spans:
                part = writers[f"b{buffer}"][start:end]
                is_disjoint &= bool(((part == -1) | (part == number)).all())
    return Truth(writers, is_disjoint)
