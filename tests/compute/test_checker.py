"""The checker's own process."""

from __future__ import annotations

import pytest

from p2pcompute.compute.checker import check_apart
from p2pcompute.compute.compiler import compile_cuda
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


async def test_what_it_refuses_is_the_same_error_here() -> None:
    text = b".version 8.4 .target sm_75 .address_size 64 nonsense"
    with pytest.raises(PtxError, match="line 1"):
        await check_apart(manifest(text, BUFFERS, [launch("next", "x", "y")]), text, {"x": bytes(128)})
    with pytest.raises(UsageError, match="input x is missing"):
        await check_apart(manifest(text, BUFFERS, [launch("next", "x", "y")]), text, {})
