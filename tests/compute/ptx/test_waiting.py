"""Barriers of all kinds, and warps that wait for each other in loops."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from p2pcompute.compute import ptx
from tests.compute.ptx.running import body_kernel, launch, run

SHARED = ".shared .align 4 .b8 tile[256];\n"


def test_guarded_barrier_is_met_by_the_warps_whose_guard_is_on() -> None:
    """Both warps read the same parameter; the second sees what the first stored before the barrier."""
    body = """ld.global.u32 %g, [%in1]; setp.ne.u32 %p, %g, 0; shl.b32 %a, %t, 2; mov.u32 %b, tile; add.u32 %a, %a, %b;
    st.shared.u32 [%a], %t; @%p bar.sync 0; xor.b32 %a, %a, 252; ld.shared.u32 %v, [%a];
    mul.wide.u32 %o, %t, 4; add.s64 %o, %o, %in0; st.global.u32 [%o], %v;"""
    registers = f".reg .pred %p; .reg .b32 %g, %a, %b, %v; .reg .b64 %o; {SHARED}"
    out = np.zeros(64, np.uint32)
    run(body_kernel(body, 2, registers, 64), (1, 1, 1), out, np.ones(1, np.uint32))
    assert out.tolist() == list(range(63, -1, -1))


def test_barrier_under_a_guard_that_differs_within_a_warp_is_a_trap() -> None:
    body = "setp.lt.u32 %p, %t, 5; @%p bar.sync 0; membar.cta;"
    trap = launch(body_kernel(body, 1, ".reg .pred %p;", 64), (1, 1, 1), np.zeros(4, np.uint8)).trap
    assert trap is not None
    assert trap.kind is ptx.TrapKind.PARTIAL_BARRIER


@pytest.mark.parametrize("farewell", ["", "st.global.u32 [%o], 7;"], ids=["returning", "storing"])
def test_lanes_that_are_done_are_not_waited_for(farewell: str) -> None:
    """As after `if (i >= n) return;`: three lanes in four leave, the others turn their words round between barriers."""
    body = f"""and.b32 %g, %t, 3; setp.ne.u32 %p, %g, 0; mul.wide.u32 %o, %t, 4; add.s64 %o, %o, %in0; mov.u32 %n, 0;
    mov.u32 %b, tile; shl.b32 %a, %t, 2; add.u32 %a, %a, %b; @%p bra $leave;
$turn: st.shared.u32 [%a], %t; bar.sync 0; xor.b32 %v, %a, 252; and.b32 %v, %v, -16; ld.shared.u32 %v, [%v];
    bar.sync 0; add.u32 %n, %n, 1; setp.lt.u32 %p, %n, 3; @%p bra $turn;
    st.global.u32 [%o], %v; bra $out;
$leave: {farewell} bra $out;
$out:"""
    registers = f".reg .pred %p; .reg .b32 %g, %a, %b, %v, %n; .reg .b64 %o; {SHARED.replace('4 .b8', '256 .b8')}"
    out = np.zeros(64, np.uint32)
    run(body_kernel(body, 1, registers, 64), (1, 1, 1), out)
    left = 7 if farewell else 0
    assert out.tolist() == [left if t & 3 else 60 - t for t in range(64)]


@pytest.mark.parametrize("spelling", ["bar.sync", "barrier.sync"])
def test_named_barriers_hold_their_own_warps_only(spelling: str) -> None:
    """Warps 0 and 1 meet three times at barrier 1 while warps 2 and 3 meet at barrier 2: each sums the other's word."""
    body = f"""shr.u32 %g, %t, 6; add.u32 %g, %g, 1; shl.b32 %a, %t, 2; mov.u32 %b, tile; add.u32 %a, %a, %b;
    mov.u32 %v, %t; mov.u32 %n, 0;
$loop: st.shared.u32 [%a], %v; {spelling} %g, 64; xor.b32 %b, %a, 128; ld.shared.u32 %w, [%b]; {spelling} %g, 64;
    add.u32 %v, %v, %w; add.u32 %n, %n, 1; setp.lt.u32 %p, %n, %g; @%p bra $loop;
    mul.wide.u32 %o, %t, 4; add.s64 %o, %o, %in0; st.global.u32 [%o], %v;"""
    registers = ".reg .pred %p; .reg .b32 %g, %a, %b, %v, %w, %n; .reg .b64 %o; .shared .align 256 .b8 tile[512];"
    out = np.zeros(128, np.uint32)
    run(body_kernel(body, 1, registers, 128), (2, 1, 1), out)
    values = np.arange(128)
    once = values + (values ^ 32)
    assert out.tolist() == np.where(values < 64, once, 2 * once).tolist()


def test_producer_announces_and_consumer_waits() -> None:
    body = """setp.ge.u32 %p, %t, 32; mov.u32 %b, tile; and.b32 %a, %t, 31; shl.b32 %a, %a, 2; add.u32 %a, %a, %b;
    @%p bra $produce; bar.sync 3, 64; ld.shared.u32 %v, [%a]; mul.wide.u32 %o, %t, 4; add.s64 %o, %o, %in0;
    st.global.u32 [%o], %v; ret;
$produce: mul.lo.u32 %v, %t, %t; st.shared.u32 [%a], %v; bar.arrive 3, 64;"""
    registers = f".reg .pred %p; .reg .b32 %a, %b, %v; .reg .b64 %o; {SHARED}"
    out = np.zeros(32, np.uint32)
    run(body_kernel(body, 1, registers, 64), (1, 1, 1), out)
    assert out.tolist() == [t * t for t in range(32, 64)]


def test_barrier_that_can_never_complete_is_a_trap() -> None:
    body = "setp.ge.u32 %p, %t, 32; @%p bra $end; bar.sync 1, 64;\n$end:"
    trap = launch(body_kernel(body, 1, ".reg .pred %p;", 64), (1, 1, 1), np.zeros(4, np.uint8)).trap
    assert trap is not None
    assert (trap.kind, trap.thread) == (ptx.TrapKind.PARTIAL_BARRIER, (0, 0, 0))


def test_reductions_of_two_named_barriers_do_not_mix() -> None:
    body = """and.b32 %n, %t, 1; setp.ne.u32 %q, %n, 0; bar.red.popc.u32 %v, 5, %q; setp.ge.u32 %q, %t, 32;
    bar.red.or.pred %p, 0, %q; selp.u32 %n, 100, 0, %p; add.u32 %v, %v, %n;
    mul.wide.u32 %o, %t, 4; add.s64 %o, %o, %in0; st.global.u32 [%o], %v;"""
    out = np.zeros(96, np.uint32)
    run(body_kernel(body, 1, ".reg .pred %p, %q; .reg .b32 %n, %v; .reg .b64 %o;", 96), (1, 1, 1), out)
    assert out.tolist() == [148] * 96


WAIT = {
    "volatile": "$wait: ld.volatile.shared.u32 %v, [%b]; setp.ne.u32 %q, %v, %w; @%q bra $wait;",
    "atomic": "$wait: atom.shared.or.b32 %v, [%b], 0; setp.ne.u32 %q, %v, %w; @%q bra $wait;",
    "fenced": "$wait: membar.cta; ld.shared.u32 %v, [%b]; setp.ne.u32 %q, %v, %w; @%q bra $wait;",
}


@pytest.mark.parametrize("how", sorted(WAIT))
def test_warps_of_a_block_pass_a_token_in_reverse(how: str) -> None:
    """Warp w waits until the token is w; the last warp starts it. In order of warps nobody could go on."""
    body = f"""shr.u32 %w, %t, 5; mov.u32 %b, tile; mul.wide.u32 %o, %t, 4; add.s64 %o, %o, %in0;
    xor.b32 %w, %w, 3; mov.u32 %n, 7; mad.lo.u32 %n, %t, 3, %n;\n{WAIT[how]}
    add.u32 %n, %n, %v; st.global.u32 [%o], %n; bar.warp.sync -1; and.b32 %a, %t, 31; setp.ne.u32 %q, %a, 0;
    @%q bra $end; add.u32 %w, %w, 1; st.volatile.shared.u32 [%b], %w;\n$end:"""
    registers = f".reg .pred %p, %q; .reg .b32 %a, %b, %v, %w, %n; .reg .b64 %o; {SHARED}"
    out = np.zeros(128, np.uint32)
    run(body_kernel(body, 1, registers, 128), (3, 1, 1), out)
    assert out.tolist() == [7 + 3 * t + (3 ^ t // 32) for t in range(128)]


def test_waiting_in_global_memory_and_meeting_at_a_barrier() -> None:
    """Warp 0 waits for a flag that warp 1 sets; all meet behind it; lanes leave the loop at different times."""
    body = """setp.ge.u32 %p, %t, 32; @%p bra $set; mov.u32 %n, 0;
$wait: add.u32 %n, %n, 1; setp.ge.u32 %q, %n, %t; ld.volatile.global.u32 %v, [%in1];
    setp.eq.u32 %p, %v, 0; @%p bra $wait; @!%q bra $wait; bra $meet;
$set: st.global.u32 [%in1], 9; membar.gl;
$meet: bar.sync 0; ld.global.u32 %v, [%in1]; mul.wide.u32 %o, %t, 4; add.s64 %o, %o, %in0; st.global.u32 [%o], %v;"""
    registers = ".reg .pred %p, %q; .reg .b32 %v, %n; .reg .b64 %o;"
    out = np.zeros(64, np.uint32)
    run(body_kernel(body, 2, registers, 64), (1, 1, 1), out, np.zeros(1, np.uint32))
    assert out.tolist() == [9] * 64


@pytest.mark.parametrize("threads", [1, 2])
def test_wait_for_a_block_that_never_comes_ends_when_aborted(threads: int) -> None:
    body = "$wait: ld.volatile.global.u32 %v, [%in0]; setp.eq.u32 %p, %v, 0; @%p bra $wait;"
    compiled = body_kernel(body, 1, ".reg .pred %p; .reg .b32 %v;", 64)
    flag, abort = np.zeros(4, np.uint32), ptx.Abort()
    memory = ptx.Memory([flag])
    timer = threading.Timer(0.05, abort.set)
    timer.start()
    result = compiled.launch(memory, np.uint64(memory.address(0)).tobytes(), (4, 1, 1), threads=threads, abort=abort)
    timer.join()
    assert result.status is ptx.Status.ABORTED


def test_a_sum_whose_bits_are_kept_across_waiting_is_the_one_that_was_made() -> None:
    """The largest of 64 sums, by compare-and-swap of their bits: warps that lose try again."""
    body = """mul.wide.u32 %o, %t, 4; add.s64 %o, %o, %in1; ld.global.f32 %f, [%o]; add.rn.f32 %f, %f, %f;
    mov.b32 %w, %f; ld.global.u32 %old, [%in0];
$loop: mov.b32 %c, %old; setp.leu.f32 %p, %f, %c; @%p bra $end; atom.global.cas.b32 %seen, [%in0], %old, %w;
    setp.ne.s32 %q, %seen, %old; mov.u32 %old, %seen; @%q bra $loop;
$end:"""
    registers = ".reg .pred %p, %q; .reg .b32 %w, %old, %seen; .reg .f32 %f, %c; .reg .b64 %o;"
    values = (np.arange(64) * 37 % 64).astype(np.float32)
    out = np.zeros(1, np.float32)
    run(body_kernel(body, 2, registers, 64), (1, 1, 1), out, values)
    assert out[0] == 126
