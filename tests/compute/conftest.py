"""Kernels for the tests, compiled once, and the manifests that run them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio

import kernels_cu
from p2pcompute.compute import cuda_worker
from p2pcompute.compute.compiler import CompiledSource, Compiler
from p2pcompute.compute.cpu import CpuEngine
from p2pcompute.compute.cuda import CudaEngine
from p2pcompute.wire import limits
from tests.compute import fake_cuda

UUID = "GPU-6e2c0c3e-5d4e-4f6a-9b60-2c1d0e9f8a7b"
Compiled = Callable[[str], CompiledSource]


@pytest.fixture(scope="session")
def compiled() -> Compiled:
    """`compiled(name)` for each kernel of the library, and for the files that the tests bring."""
    sources = {name: kernels_cu.load(name).source for name in kernels_cu.names()}
    for name in ("cases.cu", "cuda_cases.cu", "constants.cu", "until.cu", "math_float.cu", "math_double.cu"):
        sources[name] = (Path(__file__).parent / name).read_text(encoding="utf-8")
    done: dict[str, CompiledSource] = {}

    async def compile_all() -> None:
        async with Compiler() as compiler:
            for name, text in sources.items():
                done[name] = await compiler.compile({f"{name}": text}, f"{name}")

    trio.run(compile_all)
    return done.__getitem__


@pytest.fixture(params=["cpu", "cuda"])
async def either(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[CpuEngine | CudaEngine]:
    """Each of the two engines; the one for CUDA finds a fake driver."""
    made: CpuEngine | CudaEngine = CpuEngine(threads=1, memory_bytes_max=64 * limits.MIB)
    if request.param == "cuda":
        fake_cuda.install(tmp_path, total_bytes=limits.GIB, needs_zeros=True)
        program = tuple(fake_cuda.command(tmp_path, cuda_worker.__name__)[3:])
        made = type("FakeCuda", (CudaEngine,), {"_PROGRAM": program})(UUID, memory_bytes_max=64 * limits.MIB)
    yield made
    await made.aclose()


@pytest.fixture
async def engine() -> AsyncIterator[CpuEngine]:
    engine = CpuEngine(threads=2, memory_bytes_max=256 * limits.MIB)
    yield engine
    await engine.aclose()
