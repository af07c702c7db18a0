"""The checker's own process."""

from __future__ import annotations

import pytest

from p2pcompute.compute.checker import check_apart, check_blocks_apart
from p2pcompute.compute.compiler import compile_cuda
from p2pcompute.compute.shared import Extents
from p2pcompute.errors import PtxError, UsageError
from p2pcompute.wire.manifest import Role
from tests.compute.manifests import buffer, launch, manifest

SOURCE = """
extern "C" __global__ void next(const int *x, int *y) {
  y[threadIdx.x] = x[threadIdx.x + 1];
}
"""
BUFFERS = [buffer("x", "i32", 32, Role.IN), buffer("y", "i32", 32, Role.OUT)]


async def test_line_information_changes_no_instruction() -> None:
    plain = await compile_cuda({"next.cu": SOURCE}, "next.cu")
    told = await compile_cuda({"next.cu": SOURCE}, "next.cu", line_info=True)
    assert told.ptx == plain.ptx
    assert plain.lines == {}
    loads = [number for number, line in enumerate(told.ptx.splitlines(), 1) if "ld.global" in line]
    assert [told.lines[number] for number in loads] == [("next.cu", 3)]


async def test_findings_and_progress_come_from_the_process() -> None:
    text = (await compile_cuda({"next.cu": SOURCE}, "next.cu")).ptx.encode()
    seen: list[tuple[int, int]] = []
    found = await check_apart(
        manifest(text, BUFFERS, [launch("next", "x", "y", threads=32)]),
        text,
        {"x": bytes(128)},
        progress=lambda done, total: seen.append((done, total)),
    )
    (finding,) = found.result.findings
    assert (finding.kind.value, finding.thread, finding.buffer) == ("out of bounds", (31, 0, 0), "x")
    assert (found.determinism, seen) == ("exact", [(1, 1)])


RACY = """
extern "C" __global__ void turn(const int *x, int *y) {
  __shared__ int cells[64];
  cells[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
  if (blockIdx.x == 1) __syncthreads();
  y[blockIdx.x * blockDim.x + threadIdx.x] = cells[(threadIdx.x + 1) % 64];
}
"""


async def test_single_blocks_are_checked_on_a_state() -> None:
    text = (await compile_cuda({"turn.cu": RACY}, "turn.cu")).ptx.encode()
    job = manifest(
        text,
        [buffer("x", "i32", 192, Role.IN), buffer("y", "i32", 192, Role.OUT)],
        [launch("turn", "x", "y", threads=64, blocks=4)],
    )
    state = {"x": Extents([(512, bytes(256))])}
    found = await check_blocks_apart(job, text, state, launch=0, blocks=[1])
    assert (found.findings, found.blocks, found.is_complete) == ((), 1, True)
    found = await check_blocks_apart(job, text, state, launch=0, blocks=[2])
    assert ("race", (2, 0, 0)) in {(finding.kind.value, finding.block) for finding in found.findings}
    found = await check_blocks_apart(job, text, state, launch=0, blocks=[3, 1])
    assert found.findings[0].kind.value == "out of bounds"
    found = await check_blocks_apart(job, text, state, launch=0, blocks=[1], steps_max=100)
    assert not found.is_complete
    with pytest.raises(UsageError, match="no launch 1"):
        await check_blocks_apart(job, text, state, launch=1, blocks=[0])


async def test_what_it_refuses_is_the_same_error_here() -> None:
    text = b".version 8.4 .target sm_75 .address_size 64 nonsense"
    with pytest.raises(PtxError, match="line 1"):
        await check_apart(manifest(text, BUFFERS, [launch("next", "x", "y")]), text, {"x": bytes(128)})
    with pytest.raises(UsageError, match="input x is missing"):
        await check_apart(manifest(text, BUFFERS, [launch("next", "x", "y")]), text, {})
