"""Served device headers, run on the CPU engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from p2pcompute.client.arguments import Out
from p2pcompute.client.calls import Call
from p2pcompute.client.kernel import Kernel
from p2pcompute.client.local import run_here
from p2pcompute.client.task import make_task
from p2pcompute.compute.compiler import Compiler
from p2pcompute.compute.cpu import CpuEngine

DATA = Path(__file__).parent / "prepare" / "data"


async def _run(engine: CpuEngine, kernel: Kernel, out: np.ndarray, **scalars: int) -> None:
    """One block of a thread per number of `out`."""
    async with Compiler() as compiler:
        sources = {**kernel.headers, kernel.name: kernel.source}
        compiled = await compiler.compile(sources, kernel.name)
    call = Call({"out": Out(out), **scalars}, grid=1, block=out.size)
    task = make_task(kernel, compiled, [call], device_ms_max=10_000, name="test")
    outputs, _ = await run_here(task, engine)
    out[...] = outputs["out"]


@pytest.mark.parametrize(
    ("seed", "subsequence", "expected"),
    [
        (0, 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        (0xFFFFFFFFFFFFFFFF, 0, None),
    ],
)
async def test_random_numbers_are_those_of_philox(
    engine: CpuEngine, seed: int, subsequence: int, expected: list[int] | None
) -> None:
    """Known answer of Philox4x32-10 for counter 0 and key 0: Random123, kat_vectors."""
    text = """
#include <curand_kernel.h>
__global__ void draw(unsigned int *out, unsigned long long seed, unsigned long long subsequence) {
  curandState state;
  curand_init(seed, subsequence, threadIdx.x, &state);
  out[threadIdx.x] = curand(&state);
}
"""
    out = np.zeros(8, np.uint32)
    await _run(engine, Kernel(text, "draw"), out, seed=seed, subsequence=subsequence)
    assert list(out) == _philox(seed, subsequence, 8)
    assert expected is None or list(out[:4]) == expected


def _philox(seed: int, subsequence: int, count: int) -> list[int]:
    """The paper's definition, on Python integers."""
    numbers: list[int] = []
    mask = 0xFFFFFFFF
    for block in range(count // 4):
        c = [block, 0, subsequence & mask, subsequence >> 32]
        k = [seed & mask, seed >> 32]
        for _ in range(10):
            first, second = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
            c = [(second >> 32) ^ c[1] ^ k[0], second & mask, (first >> 32) ^ c[3] ^ k[1], first & mask]
            k = [(k[0] + 0x9E3779B9) & mask, (k[1] + 0xBB67AE85) & mask]
        numbers += c
    return numbers


async def test_normal_numbers_have_mean_zero_and_variance_one(engine: CpuEngine) -> None:
    text = """
#include <curand_kernel.h>
__global__ void draw(float *out) {
  curandState state;
  curand_init(7, threadIdx.x, 0, &state);
  float sum = 0, squares = 0;
  for (int i = 0; i < 64; i++) {
    float x = curand_normal(&state);
    sum += x;
    squares += x * x;
  }
  out[threadIdx.x] = threadIdx.x % 2 ? squares / 64 : sum / 64;
}
"""
    out = np.zeros(1024, np.float32)
    await _run(engine, Kernel(text, "draw"), out)
    assert abs(out[::2].mean()) < 0.03
    assert abs(out[1::2].mean() - 1) < 0.05


async def test_a_real_file_runs(engine: CpuEngine) -> None:
    text = '#include "part.h"\nint main() { half_of<<<1, 4>>>(0); }\n'
    header = "#include <vector>\n__global__ void half_of(float *out) { out[threadIdx.x] = threadIdx.x / 2.0f; }\n"
    out = np.zeros(4, np.float32)
    await _run(engine, Kernel(text, "half_of", headers={"part.h": header}), out)
    assert list(out) == [0, 0.5, 1, 1.5]
