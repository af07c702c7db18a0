"""Affine registers whose lanes leave the line, atomics of full and partial warps, stores of all lanes to one place."""

from __future__ import annotations

import numpy as np
import pytest

from p2pcompute.compute import ptx
from tests.compute.ptx.running import body_kernel, launch

REGISTERS = ".reg .b64 %a, %o; .reg .b32 %i, %n, %v; .reg .pred %p, %q;"


def test_an_induction_variable_keeps_its_value_in_lanes_that_left_the_loop() -> None:
    body = """mul.wide.u32 %o, %t, 4; add.s64 %a, %in0, %o; ld.global.u32 %n, [%a]; mov.u32 %i, %t;
    $head: setp.ge.u32 %p, %i, %n; @%p bra $end; add.u32 %i, %i, 32; bra $head;
    $end: st.global.u32 [%a], %i;"""
    limits = np.arange(32, dtype=np.uint32) ** 2
    wanted = [next(i for i in range(t, 2000, 32) if i >= t * t) for t in range(32)]
    assert launch(body_kernel(body, 1, REGISTERS), (1, 1, 1), limits).status is ptx.Status.OK
    assert limits.tolist() == wanted


def test_an_index_that_left_the_line_addresses_its_own_element() -> None:
    body = """mov.u32 %i, %t;
    $head: setp.ge.u32 %p, %i, 100; @%p bra $end; add.u32 %i, %i, 32; bra $head;
    $end: mul.wide.u32 %o, %i, 4; add.s64 %a, %in0, %o; st.global.u32 [%a], %t;"""
    out = np.full(132, 99, np.uint32)
    assert launch(body_kernel(body, 1, REGISTERS), (1, 1, 1), out).status is ptx.Status.OK
    assert out[100:].tolist() == [*range(4, 32), *range(4)]
    assert (out[:100] == 99).all()
    short = np.zeros(131, np.uint32)
    trap = launch(body_kernel(body, 1, REGISTERS), (1, 1, 1), short).trap
    assert trap is not None
    assert trap.thread == (3, 0, 0)


@pytest.mark.parametrize("threads", [32, 40])
@pytest.mark.parametrize(("operation", "wanted"), [("add", 2), ("max", 1), ("or", 1), ("xor", 0)])
def test_shared_counters_of_full_and_partial_warps(operation: str, wanted: int, threads: int) -> None:
    extra = ".shared .align 4 .b8 bins[128];"
    body = f"""mov.u64 %a, bins; shr.u32 %i, %t, 1; mul.wide.u32 %o, %i, 4; add.s64 %a, %a, %o;
    red.shared.{operation}.u32 [%a], 1; bar.sync 0; ld.shared.u32 %v, [%a];
    mul.wide.u32 %o, %t, 4; add.s64 %o, %in0, %o; st.global.u32 [%o], %v;"""
    out = np.zeros(threads, np.uint32)
    compiled = body_kernel(body, 1, f"{extra} {REGISTERS}", threads)
    assert launch(compiled, (1, 1, 1), out).status is ptx.Status.OK
    assert (out == wanted).all()


def test_shared_counter_outside_its_memory_traps_in_the_first_lane_outside() -> None:
    body = "mul.wide.u32 %o, %t, 4; red.shared.add.u32 [%o], 1;"
    compiled = body_kernel(body, 1, f".shared .align 4 .b8 bins[64]; {REGISTERS}")
    trap = launch(compiled, (1, 1, 1), np.zeros(4, np.uint8)).trap
    assert trap is not None
    assert trap.thread == (16, 0, 0)


def test_the_last_lane_that_stores_to_one_address_wins() -> None:
    body = "setp.lt.u32 %p, %t, 20; @%p st.global.u32 [%in0], %t; @!%p st.global.u32 [%in0+4], 7;"
    out = np.zeros(4, np.uint32)
    assert launch(body_kernel(body, 1, REGISTERS), (1, 1, 1), out).status is ptx.Status.OK
    assert out.tolist() == [19, 7, 0, 0]


def test_warp_and_lane_numbers_from_thread_numbers() -> None:
    body = """shr.u32 %i, %t, 5; and.b32 %n, %t, 31; mad.lo.u32 %v, %i, 1000, %n;
    mul.wide.u32 %o, %t, 4; add.s64 %a, %in0, %o; st.global.u32 [%a], %v;"""
    out = np.zeros(96, np.uint32)
    assert launch(body_kernel(body, 1, REGISTERS, 96), (1, 1, 1), out).status is ptx.Status.OK
    assert out.tolist() == [t // 32 * 1000 + t % 32 for t in range(96)]
