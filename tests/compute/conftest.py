"""Kernels for the tests, compiled once, and the manifests that run them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio

import kernels_cu
from p2pcompute.compute.compiler import CompiledSource, Compiler
from p2pcompute.compute.cpu import CpuEngine
from p2pcompute.wire import limits

Compiled = Callable[[str], CompiledSource]


@pytest.fixture(scope="session")
def compiled() -> Compiled:
    """`compiled(name)` for each kernel of the library, and for the files that the tests bring."""
    sources = {name: kernels_cu.load(name).source for name in kernels_cu.names()}
    for name in ("cases.cu", "cuda_cases.cu", "constants.cu", "math_float.cu", "math_double.cu"):
        sources[name] = (Path(__file__).parent / name).read_text(encoding="utf-8")
    done: dict[str, CompiledSource] = {}

    async def compile_all() -> None:
        async with Compiler() as compiler:
            for name, text in sources.items():
                done[name] = await compiler.compile({f"{name}": text}, f"{name}")

    trio.run(compile_all)
    return done.__getitem__


@pytest.fixture
async def engine() -> AsyncIterator[CpuEngine]:
    engine = CpuEngine(threads=2, memory_bytes_max=256 * limits.MIB)
    yield engine
    await engine.aclose()
