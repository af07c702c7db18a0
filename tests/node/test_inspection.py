"""Blocks of a provider's result, recomputed: honest ones are clean, and what is wrong is found where it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from p2pcompute.compute.sampling.task import eligible_fault, sampled
from p2pcompute.protocol.machine import Finding
from p2pcompute.wire.manifest import Argument, Launch, Manifest, Role
from tests.node.inspecting import Input, open_bench, scalar, task

PIPELINE = """
struct Shape { int n; float scale; };
#define I (blockIdx.x * blockDim.x + threadIdx.x)
extern "C" __global__ void spread(Shape s, const float* in, float* out, const float* none) {
    extern __shared__ float tile[];
    int i = I;
    tile[threadIdx.x] = i < s.n ? in[i] : 0.0f;
    __syncthreads();
    float sum = tile[threadIdx.x] + tile[(threadIdx.x + 1) % blockDim.x];
    if (none) sum += 1.0f;
    if (i < s.n) out[i] = sum * s.scale;
}
extern "C" __global__ void gather(int n, const int* index, const float* from, float* to) {
    int i = I;
    if (i < n) to[i] = from[index[i]] + 1.0f;
}
extern "C" __global__ void grow(int n, const float* by, float* y) {
    int i = I;
    if (i < n) y[i] = y[i] * 0.5f + by[i];
}
"""
COUNT = 20_000
BLOCK = 64
BLOCKS = COUNT // BLOCK + 1
NULL = Argument(value=bytes(8))


def of(*names: str) -> tuple[Argument, ...]:
    return tuple(Argument(buffer=name) for name in names)


def launch(entry: str, *arguments: Argument, shared: int = 0, repeats: int = 1, blocks: int = BLOCKS) -> Launch:
    return Launch(entry, (blocks, 1, 1), (BLOCK, 1, 1), arguments, shared, repeats)


async def pipeline() -> tuple[Manifest, list[bytes]]:
    """Five steps: spread, gather, and grow three times. The last block writes less than its threads."""
    rng = np.random.default_rng(3)
    shape = np.int32(COUNT).tobytes() + np.float32(0.75).tobytes()
    buffers = {
        "x": Input(Role.IN, rng.uniform(-1, 1, COUNT).astype(np.float32)),
        "a": Input(Role.TEMP, count=COUNT + 100),
        "index": Input(Role.IN, rng.permutation(COUNT).astype(np.int32)),
        "b": Input(Role.OUT, count=COUNT),
        "y": Input(Role.INOUT, rng.uniform(-1, 1, COUNT).astype(np.float32)),
    }
    return await task(PIPELINE, buffers, [
        launch("spread", scalar(shape), *of("x", "a"), NULL, shared=4 * BLOCK),
        launch("gather", scalar(COUNT), *of("index", "a", "b")),
        launch("grow", scalar(COUNT), *of("b", "y"), repeats=3),
    ])  # fmt: skip


async def test_an_honest_pipeline_is_clean_at_every_step(tmp_path: Path) -> None:
    made = await pipeline()
    assert eligible_fault(made[0], made[1][0]) == ""
    stored = sampled(made[0], made[1][0]).stored
    assert stored == ((1,), (3,), (4,))
    async with open_bench(tmp_path, made) as bench:
        for step, name in enumerate(("a", "b", "y", "y", "y")):
            found = await bench.inspect(*((step, name, byte) for byte in range(17, 4 * COUNT, 4 * BLOCK * 40)))
            assert (found.finding, found.reason, found.blocks) == (Finding.CLEAN, "", 8)
            assert found.leaves > 0
            assert found.device_us > 0
        found = await bench.inspect(*bench.draw(np.random.default_rng(1), 44, stored))
        assert (found.finding, found.reason) == (Finding.CLEAN, "")
        assert 30 <= found.blocks <= 44
