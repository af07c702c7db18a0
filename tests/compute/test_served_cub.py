"""The served `cub/cub.cuh`: what its reductions, scans and exchanges give, against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from p2pcompute.client.kernel import Kernel
from p2pcompute.compute.cpu import CpuEngine
from tests.compute.test_served_headers import _run

PRELUDE = """
#include <cub/cub.cuh>
struct Running {
  int before;
  __device__ int operator()(int total) { int old = before; before += total; return old; }
};
struct Latter {  // not commutative
  __device__ int operator()(int a, int b) const { return b % 3 ? b : a; }
};
__global__ void k(int *out) {
  const int rank = threadIdx.x, x = rank * 7 % 31;
  int y = 0, total = 0, items[2] = {2 * rank, 2 * rank + 1};
"""
ROOM = "__shared__ typename G::TempStorage room; G g(room);"
RANK = np.arange(96)
X = RANK * 7 % 31
ITEMS = np.arange(192)
SUMS = np.cumsum(X)
BY_WARP = X.reshape(3, 32)


def _latter(values: list[int]) -> list[int]:
    found = [values[0]]
    for value in values[1:]:
        found.append(value if value % 3 else found[-1])
    return found


@pytest.mark.parametrize(
    ("group", "use", "expected"),
    [
        ("BlockReduce<int, 96>", "y = g.Sum(x);", np.full(96, X.sum())),
        ("BlockReduce<int, 96>", "y = g.Reduce(x, cub::Max(), 5);", np.full(96, X[:5].max())),
        ("BlockReduce<int, 96>", "y = g.Reduce(x, Latter());", np.full(96, _latter(X.tolist())[-1])),
        ("BlockReduce<int, 96>", "y = g.Sum(items);", np.full(96, ITEMS.sum())),
        ("BlockScan<int, 96>", "g.InclusiveSum(x, y);", SUMS),
        ("BlockScan<int, 96>", "g.ExclusiveSum(x, y, total); y += total;", SUMS - X + X.sum()),
        ("BlockScan<int, 96>", "g.InclusiveScan(x, y, Latter());", np.array(_latter(X.tolist()))),
        ("BlockScan<int, 96>", "g.ExclusiveScan(x, y, -1, cub::Max());", np.maximum.accumulate([-1, *X[:-1]])),
        ("BlockScan<int, 96>", "Running r{100}; g.ExclusiveSum(x, y, r);", 100 + SUMS - X),
        ("BlockScan<int, 96>", "g.InclusiveSum(items, items); y = items[1];", np.cumsum(ITEMS)[1::2]),
        ("BlockScan<int, 96>", "g.InclusiveSum(items, items, total); y = items[0];", np.cumsum(ITEMS)[::2]),
        ("BlockScan<int, 96>", "g.ExclusiveSum(items, items); y = items[1];", (np.cumsum(ITEMS) - ITEMS)[1::2]),
        (
            "BlockScan<int, 96>",
            "Running r{9}; g.ExclusiveSum(items, items, r); y = items[0];",
            9 + np.cumsum(ITEMS)[::2] - ITEMS[::2],
        ),
        (
            "BlockAdjacentDifference<int, 96>",
            "items[1] *= 2; g.SubtractLeft(items, items, cub::Difference()); y = items[0];",
            2 * RANK - np.array([0, *(2 * (2 * RANK[:-1] + 1))]),
        ),
        (
            "BlockAdjacentDifference<int, 96>",
            "items[0] *= 3; g.SubtractRight(items, items, cub::Difference()); y = items[1];",
            2 * RANK + 1 - np.array([*(6 * RANK[1:]), 0]),
        ),
        ("BlockExchange<int, 96, 2>", "g.BlockedToStriped(items); y = items[1];", ITEMS[96:]),
        ("BlockExchange<int, 96, 2>", "g.StripedToBlocked(items); y = items[1];", ITEMS.reshape(96, 2).T.ravel()[1::2]),
    ],
)
async def test_a_block_gives_what_numpy_gives(engine: CpuEngine, group: str, use: str, expected: np.ndarray) -> None:
    text = f"{PRELUDE} typedef cub::{group} G; {ROOM} {use} out[rank] = y; }}"
    out = np.zeros(96, np.int32)
    await _run(engine, Kernel(text, "k"), out)
    assert out.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("group", "use", "expected"),
    [
        ("WarpReduce<int>", "y = g.Sum(x);", np.repeat(BY_WARP.sum(1), 32)),
        ("WarpReduce<int>", "y = g.Reduce(x, cub::Min());", np.repeat(BY_WARP.min(1), 32)),
        ("WarpScan<int>", "g.ExclusiveSum(x, y, total);", (np.cumsum(BY_WARP, axis=1) - BY_WARP).ravel()),
        ("WarpScan<int>", "g.InclusiveScan(x, y, cub::Max());", np.maximum.accumulate(BY_WARP, axis=1).ravel()),
    ],
)
async def test_a_warp_gives_what_numpy_gives(engine: CpuEngine, group: str, use: str, expected: np.ndarray) -> None:
    room = "__shared__ typename G::TempStorage rooms[3]; G g(rooms[rank / 32]);"
    text = f"{PRELUDE} typedef cub::{group} G; {room} {use} out[rank] = y; }}"
    out = np.zeros(96, np.int32)
    await _run(engine, Kernel(text, "k"), out)
    assert out.tolist() == expected.tolist()


async def test_items_are_loaded_and_stored_up_to_a_bound(engine: CpuEngine) -> None:
    text = f"""{PRELUDE}
  cub::BlockStore<int, 96, 2, cub::BLOCK_STORE_TRANSPOSE>().Store(out, items, 51);
  __syncthreads();
  cub::BlockLoad<int, 96, 2>().Load(out, items, 51, -1);
  __syncthreads();
  out[rank] = items[1];
}}"""
    out = np.zeros(96, np.int32)
    await _run(engine, Kernel(text, "k"), out)
    assert out.tolist() == [2 * rank + 1 if rank < 25 else -1 for rank in range(96)]


async def test_the_largest_of_equals_is_the_first(engine: CpuEngine) -> None:
    text = f"""{PRELUDE}
  typedef cub::KeyValuePair<int, float> Pair;
  typedef cub::BlockReduce<Pair, 96> G;
  {ROOM}
  out[rank] = g.Reduce(Pair(rank, rank % 10), cub::ArgMax()).key;
}}"""
    out = np.zeros(96, np.int32)
    await _run(engine, Kernel(text, "k"), out)
    assert set(out.tolist()) == {9}


async def test_bits_of_numbers_are_ordered_as_the_numbers(engine: CpuEngine) -> None:
    text = f"""{PRELUDE}
  typedef cub::Traits<float> F;
  typedef cub::Traits<int> I;
  float f = rank - 47.5f;
  unsigned bits = F::TwiddleIn(__float_as_uint(f)), before = F::TwiddleIn(__float_as_uint(f - 1));
  y = before < bits && F::TwiddleOut(bits) == __float_as_uint(f);
  out[rank] = y && I::TwiddleIn(rank - 48) < I::TwiddleIn(rank - 47) && cub::Traits<unsigned>::TwiddleIn(rank) == rank;
}}"""
    out = np.zeros(96, np.int32)
    await _run(engine, Kernel(text, "k"), out)
    assert out.all()
