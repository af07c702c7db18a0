"""Irregular loads in loops: what lies inside is loaded, and nothing else is touched, whatever a single lane does."""

from __future__ import annotations

import numpy as np
import pytest

from p2pcompute.compute import ptx
from tests.compute.ptx.running import body_kernel, launch

COUNT = 29
"""Elements of the table: fewer than its segment's rounded size could hold."""
SIZES = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "v2.u32": 8}
REGISTERS = ".reg .b64 %a, %w, %d, %s; .reg .b32 %n, %i, %x, %y; .reg .b16 %h; .reg .pred %p, %q, %r;"
TARGETS = {"u8": "%h", "u16": "%h", "u32": "%x", "u64": "%d", "v2.u32": "{%x, %y}"}


def gather(
    kind: str, guilty: int, offset: int, block: int, *, is_guarded: bool = False
) -> tuple[ptx.LaunchResult, int]:
    """Lane t loads element t * t % COUNT; in the second of three turns lane `guilty` does so `offset` bytes further.
    How the launch ended, and how many lanes have a wrong sum.
    """
    size = SIZES[kind]
    wide = {"u8": "cvt.u64.u16 %d, %h;", "u16": "cvt.u64.u16 %d, %h;", "u64": ""}.get(kind, "cvt.u64.u32 %d, %x;")
    guard = "@%r " if is_guarded else ""
    body = f"""mov.u32 %n, 0; mov.u64 %s, 0; setp.ne.u32 %r, %t, {guilty};
$turn: mul.lo.u32 %i, %t, %t; rem.u32 %i, %i, {COUNT}; mul.wide.u32 %w, %i, {size}; add.s64 %a, %in0, %w;
    setp.eq.u32 %p, %t, {guilty}; setp.eq.and.u32 %p, %n, 1, %p; @%p add.s64 %a, %a, {offset};
    {guard}ld.global.{kind} {TARGETS[kind]}, [%a]; {wide} add.u64 %s, %s, %d;
    add.u32 %n, %n, 1; setp.lt.u32 %q, %n, 3; @%q bra $turn;
    mul.wide.u32 %w, %t, 8; add.s64 %a, %in1, %w; st.global.u64 [%a], %s;"""
    table = np.arange(1, COUNT * size + 1, dtype=np.uint8)
    sums = np.zeros(block, np.uint64)
    result = launch(body_kernel(body, 2, REGISTERS, block), (1, 1, 1), table, sums)
    elements = [
        int.from_bytes(table.tobytes()[n * size :][: min(size, 4 if kind[0] == "v" else 8)], "little")
        for n in range(COUNT)
    ]
    expected = [3 * elements[t * t % COUNT] % 2**64 for t in range(block)]
    return result, sum(int(s) != e for s, e in zip(sums, expected, strict=True))


@pytest.mark.parametrize("block", [32, 64])
@pytest.mark.parametrize("kind", sorted(SIZES))
def test_every_lane_gets_its_element(kind: str, block: int) -> None:
    result, wrong = gather(kind, 7, 0, block)
    assert (result.status, wrong) == (ptx.Status.OK, 0)


@pytest.mark.parametrize("block", [32, 64])
@pytest.mark.parametrize("kind", sorted(SIZES))
@pytest.mark.parametrize("far", [1, -1, 1 << 38, 2 << 40, -(1 << 40), 1 << 62, -(1 << 63)])
def test_one_lane_outside_is_a_trap(kind: str, far: int, block: int) -> None:
    """Lane 29 loads element 0: COUNT elements on is the first one beyond the end, one back the first before it."""
    offset = {1: COUNT * SIZES[kind], -1: -SIZES[kind]}.get(far, far)
    trap = gather(kind, 29, offset, block)[0].trap
    assert trap is not None
    assert (trap.kind, trap.thread) == (ptx.TrapKind.OUT_OF_BOUNDS, (29, 0, 0))


@pytest.mark.parametrize("kind", sorted(kind for kind, size in SIZES.items() if size > 1))
def test_one_lane_askew_is_a_trap(kind: str) -> None:
    trap = gather(kind, 3, SIZES[kind] // 2, 32)[0].trap
    assert trap is not None
    assert (trap.kind, trap.thread) == (ptx.TrapKind.MISALIGNED, (3, 0, 0))


def test_a_lane_that_is_switched_off_may_point_anywhere() -> None:
    assert gather("u32", 3, 1 << 40, 32, is_guarded=True)[0].status is ptx.Status.OK


def test_a_pointer_that_left_its_buffer_for_another_is_followed() -> None:
    """Which parameter an address comes from is a guess: here each lane subtracts it and adds the other one."""
    body = """sub.s64 %d, %in1, %in0; mov.u32 %n, 0;
$turn: mul.lo.u32 %i, %t, %t; rem.u32 %i, %i, 29; mul.wide.u32 %w, %i, 4; add.s64 %a, %in0, %w; add.s64 %a, %a, %d;
    ld.global.u32 %x, [%a]; add.u32 %n, %n, 1; setp.lt.u32 %q, %n, 3; @%q bra $turn;
    mul.wide.u32 %w, %t, 4; add.s64 %a, %in2, %w; st.global.u32 [%a], %x;"""
    first, second, out = np.zeros(29, np.uint32), np.arange(29, dtype=np.uint32), np.zeros(32, np.uint32)
    result = launch(body_kernel(body, 3, REGISTERS), (1, 1, 1), first, second, out)
    assert result.status is ptx.Status.OK
    assert out.tolist() == [t * t % 29 for t in range(32)]
