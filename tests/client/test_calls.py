"""Several kernels in one task, on real providers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trio

from p2pcompute.client.arguments import InOut, Out, Temp, Value
from p2pcompute.client.calls import Call
from p2pcompute.client.kernel import Kernel
from p2pcompute.errors import UsageError
from p2pcompute.wire.policy import Policy, replicate, sample
from tests.node.market import open_market

HEAT = Kernel(
    """
struct Rod { int n; float k; };
__global__ void step(Rod rod, const float *from, float *to) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i == 0 || i == rod.n - 1) to[i] = from[i];
    else if (i < rod.n) to[i] = from[i] + rod.k * (from[i - 1] - 2.0f * from[i] + from[i + 1]);
}
template <typename T> __global__ void warmest(const T *from, T *most, const T *beside, int n) {
    T found = beside ? beside[0] : from[0];
    for (int i = 0; i < n; i++) found = from[i] > found ? from[i] : found;
    most[0] = found;
}
""",
    "step",
    "heat.cu",
)
N = 64
ROD = np.dtype([("n", np.int32), ("k", np.float32)], align=True)
SHAPE = {"grid": 1, "block": N}


def cooled(rod: np.ndarray, steps: int) -> np.ndarray:
    """What numpy says, rounded alike."""
    k, two = np.float32(0.25), np.float32(2)
    for _ in range(steps):
        inner = rod[1:-1] + k * (rod[:-2] - two * rod[1:-1] + rod[2:])
        rod = np.concatenate([rod[:1], inner, rod[-1:]])
    return rod


def heat(rod: InOut, most: Out, turns: int) -> list[Call]:
    there, constants = Temp.like(rod.array), np.array((N, 0.25), ROD)[()]
    turn = [
        Call({"rod": constants, "from": rod, "to": there}, **SHAPE),
        Call({"rod": constants, "from": there, "to": rod}, **SHAPE),
    ]
    last: dict[str, Value] = {"from": rod, "most": most, "beside": None, "n": N}
    return turn * turns + [Call(last, grid=1, block=1, entry="warmest<float>")]


@pytest.mark.parametrize("policy", [replicate(2), replicate(2, referee=True), sample(8)])
async def test_launches_share_memory_whatever_verifies_them(tmp_path: Path, policy: Policy) -> None:
    start = np.zeros(N, np.float32)
    start[N // 2] = 100.0
    rod, most = InOut(start.copy()), Out.of(1, np.float32)
    async with open_market(tmp_path, [None, None]) as (client, _):
        with trio.fail_after(60):
            job = await client.submit(HEAT, calls=heat(rod, most, 5), policy=policy)
            result = await job.result()
    assert np.array_equal(rod.array, cooled(start, 10))
    assert np.array_equal(result["from"], rod.array)
    assert result["most"][0] == most.array[0] == rod.array.max()


async def test_shapes_stand_in_the_calls_or_outside(tmp_path: Path) -> None:
    async with open_market(tmp_path, [None]) as (client, _):
        calls = heat(InOut(np.zeros(N, np.float32)), Out.of(1, np.float32), 1)
        with pytest.raises(UsageError, match="stand in each call"):
            await client.submit(HEAT, calls=calls, grid=1)
        with pytest.raises(UsageError, match="needs a grid and a block"):
            await client.submit(HEAT, n=1, grid=1)
