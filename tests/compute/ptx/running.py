"""How the tests run PTX: kernels made by NVRTC from data/*.cu, and one-instruction templates."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2pcompute.compute import ptx
from tests.compute.ptx.vector import HEADER as HEADER
from tests.compute.ptx.vector import kernel_text

DATA = Path(__file__).parent / "data"
Array = NDArray[Any]


@cache
def module(name: str) -> ptx.Module:
    return ptx.parse((DATA / f"{name}.ptx").read_text())


@cache
def kernel(name: str, entry: str, block: tuple[int, int, int]) -> ptx.CompiledKernel:
    return ptx.compile_entry(module(name), entry, block)


def pack(compiled: ptx.CompiledKernel, memory: ptx.Memory, arguments: Sequence[Any]) -> bytes:
    """Arrays stand for the next buffer's address; everything else is a numpy scalar or bytes."""
    values: list[bytes] = []
    buffer = 0
    for argument in arguments:
        if isinstance(argument, np.ndarray) and argument.ndim:
            values.append(np.uint64(memory.address(buffer)).tobytes())
            buffer += 1
        else:
            values.append(argument if isinstance(argument, bytes) else np.asarray(argument).tobytes())
    return ptx.pack_parameters(compiled.entry, values)


def launch(
    compiled: ptx.CompiledKernel, grid: tuple[int, int, int], *arguments: Any, shared: int = 0, threads: int = 2
) -> ptx.LaunchResult:
    memory = ptx.Memory([a for a in arguments if isinstance(a, np.ndarray) and a.ndim])
    return compiled.launch(memory, pack(compiled, memory, arguments), grid, shared, threads=threads, abort=ptx.Abort())


def run(
    compiled: ptx.CompiledKernel, grid: tuple[int, int, int], *arguments: Any, shared: int = 0, threads: int = 2
) -> None:
    result = launch(compiled, grid, *arguments, shared=shared, threads=threads)
    assert result.status is ptx.Status.OK, result.trap


def body_kernel(body: str, parameters: int, registers: str, block: int = 32, extra: str = "") -> ptx.CompiledKernel:
    """A kernel `k` of u64 parameters loaded to %in0.., with %tid.x in %t."""
    text = kernel_text(body, parameters, registers, extra=extra)
    return ptx.compile_entry(ptx.parse(text), "k", (block, 1, 1))
