"""Launches whose indices wrap get code that looks; the others need none, and both give the same."""

from __future__ import annotations

import numpy as np
import pytest

from p2pcompute.compute import ptx
from p2pcompute.compute.ptx import ranges
from p2pcompute.compute.ptx.ir import Entry
from p2pcompute.compute.ptx.launch import canonical_form
from p2pcompute.compute.ptx.lower import lower
from tests.compute.ptx.running import body_kernel, launch

REGISTERS = ".reg .b64 %a, %o; .reg .b32 %i, %v;"


def _assumed(body: str, threads: int = 32) -> tuple[bytes, Entry]:
    module = body_kernel(body, 1, REGISTERS, threads).module
    canonical = ptx.parse(canonical_form(module)[0])
    (entry,) = canonical.entries.values()
    return lower(canonical, entry, (threads, 1, 1)).assumed, entry


INDEX = "mov.u32 %v, %ctaid.x; mad.lo.s32 %i, %v, 32, %t; mul.wide.s32 %o, %i, 4; add.s64 %a, %in0, %o;"


@pytest.mark.parametrize(("blocks", "holds"), [(1, True), (1 << 26, True), ((1 << 26) + 1, False)])
def test_a_signed_index_holds_up_to_its_largest_number(blocks: int, holds: bool) -> None:
    steps, entry = _assumed(f"{INDEX} st.global.u32 [%a], %t;")
    assert ranges.hold(ranges.decode(steps), bytes(entry.parameter_bytes), (blocks, 1, 1), (32, 1, 1)) is holds


def test_a_kernel_without_lines_assumes_nothing() -> None:
    assert _assumed("st.global.u32 [%in0], 1;")[0] == b""


@pytest.mark.parametrize("start", [0, 0x7FFFFFF0, 0xFFFFFFF0])
def test_an_index_that_wraps_within_a_warp_addresses_what_ptx_says(start: int) -> None:
    """%i runs over the wrap; its square keeps few bits, so that the address stays inside."""
    body = f"""add.u32 %i, %t, {start}; cvt.s64.s32 %o, %i; shr.s64 %o, %o, 29; and.b64 %o, %o, 7; shl.b64 %o, %o, 2;
    add.s64 %a, %in0, %o; red.global.add.u32 [%a], 1;"""
    out = np.zeros(8, np.uint32)
    assert launch(body_kernel(body, 1, REGISTERS), (1, 1, 1), out).status is ptx.Status.OK
    indices = (start + np.arange(32)).astype(np.uint32).astype(np.int32).astype(np.int64)
    wanted = np.bincount((indices >> 29) & 7, minlength=8)
    assert out.tolist() == wanted.tolist()
