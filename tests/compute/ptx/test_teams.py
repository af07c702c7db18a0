"""Two warps in lockstep: only where PTX cannot show it, with the same results, and faults that name their thread."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from p2pcompute.compute import ptx
from p2pcompute.compute.ptx import teams
from p2pcompute.compute.ptx.lower import lower
from tests.compute.ptx.running import body_kernel, launch, module, run
from tests.compute.ptx.vector import kernel_text

LOOP = "mov.u32 %n, 0;\n$turn: add.u32 %n, %n, 1; setp.lt.u32 %q, %n, 3; @%q bra $turn;\n"
REGISTERS = ".reg .b64 %a, %w; .reg .b32 %n, %i, %v; .reg .pred %p, %q, %r; .reg .f32 %f;"
TILE = ".shared .align 4 .b8 tile[512];\n"


def lanes(body: str, block: int = 64, extra: str = "") -> int:
    parsed = ptx.parse(kernel_text(body, 2, REGISTERS, extra=extra))
    return lower(parsed, parsed.entries["k"], (block, 1, 1)).lanes


@pytest.mark.parametrize("block", [64, 128, 1024])
def test_a_loop_runs_in_teams(block: int) -> None:
    assert lanes(LOOP + "st.global.u32 [%in0], %n;", block) == 64


@pytest.mark.parametrize("block", [32, 33, 96, 100])
def test_warps_without_a_partner_run_alone(block: int) -> None:
    assert lanes(LOOP + "st.global.u32 [%in0], %n;", block) == 32


@pytest.mark.parametrize(
    "body",
    [
        "shfl.sync.idx.b32 %v, %t, 0, 31, -1;",
        "vote.sync.any.pred %p, %q, -1;",
        "activemask.b32 %v;",
        "bar.warp.sync -1;",
        "mov.u32 %v, %laneid;",
        "mov.u32 %v, %lanemask_lt;",
        "mov.u32 %v, %warpid;",
        "atom.global.add.u32 %v, [%in0], 1;",
        "red.global.add.u32 [%in0], 1;",
        "ld.volatile.global.u32 %v, [%in0];",
        "membar.cta;",
        "bar.sync 0, 64;",
        "bar.arrive 1, 64; bar.sync 1, 64;",
        "barrier.red.popc.u32 %v, 0, %q;",
    ],
)
def test_what_shows_a_warp_is_not_run_in_teams(body: str) -> None:
    assert lanes(LOOP + body + "st.global.u32 [%in0], %v;") == 32


def test_without_a_loop_warps_run_alone() -> None:
    assert lanes("st.global.u32 [%in0], %t;") == 32


def test_loops_that_keep_many_lanes_run_warp_by_warp() -> None:
    """Each of `count` sums needs registers of its own all along."""

    def sums(count: int) -> int:
        body = "".join(f"mul.lo.u32 %s{n}, %t, %t;\n" for n in range(count)) + "mov.u32 %n, 0;\n$turn: "
        body += "".join(f"mad.lo.u32 %s{n}, %s{n}, %s{n}, {n};\n" for n in range(count))
        body += "add.u32 %n, %n, 1; setp.lt.u32 %q, %n, 3; @%q bra $turn;\n"
        body += "".join(f"st.global.u32 [%in0], %s{n};\n" for n in range(count))
        return lanes(f".reg .b32 %s<{count}>;\n" + body)

    assert (sums(6), sums(7)) == (64, 32)


def test_warps_may_go_different_ways_to_their_barriers() -> None:
    """One warp of a would-be team waits inside of a branch, the other one in its other side."""
    body = f"""{LOOP} mov.u32 %i, tile; mad.lo.u32 %i, %t, 4, %i; st.shared.u32 [%i], %t;
    setp.lt.u32 %p, %t, 32; @%p bra $low; bar.sync 0; bra $on;
$low: bar.sync 0; bra $on;
$on: xor.b32 %i, %i, 252; ld.shared.u32 %v, [%i]; mul.wide.u32 %w, %t, 4; add.s64 %a, %in0, %w;
    st.global.u32 [%a], %v;"""
    assert lanes(body, extra=TILE) == 32
    out = np.zeros(64, np.uint32)
    run(body_kernel(body, 1, REGISTERS, 64, TILE), (1, 1, 1), out)
    assert out.tolist() == list(range(63, -1, -1))


def test_a_warp_that_skips_a_barrier_skips_it() -> None:
    body = f"{LOOP} setp.lt.u32 %p, %t, 32; @%p bra $on; bar.sync 0;\n$on: st.global.u32 [%in0], 7;"
    assert lanes(body) == 32
    result = launch(body_kernel(body, 1, REGISTERS, 64), (1, 1, 1), np.zeros(1, np.uint32))
    assert result.trap is None


@pytest.mark.parametrize("stay", [5, 32, 40, 64])
def test_lanes_that_are_done_are_not_waited_for(stay: int) -> None:
    """A team goes on with the warp, or the part of one, that is left."""
    body = f"""setp.ge.u32 %p, %t, {stay}; @%p bra $out; mov.u32 %i, tile; mad.lo.u32 %i, %t, 4, %i; mov.u32 %n, 0;
$turn: st.shared.u32 [%i], %n; bar.sync 0; add.u32 %n, %n, 1; setp.lt.u32 %q, %n, 3; @%q bra $turn;
    ld.shared.u32 %v, [%i]; add.u32 %v, %v, %t; mul.wide.u32 %w, %t, 4; add.s64 %a, %in0, %w; st.global.u32 [%a], %v;
$out:"""
    assert lanes(body, extra=TILE) == 64
    out = np.zeros(64, np.uint32)
    run(body_kernel(body, 1, REGISTERS, 64, TILE), (1, 1, 1), out)
    assert out.tolist() == [t + 2 if t < stay else 0 for t in range(64)]


@pytest.mark.parametrize("index", ["mov.u32 %i, %t;", "xor.b32 %i, %t, 5; mul.lo.u32 %i, %i, %i;", "mov.u32 %i, %n;"])
@pytest.mark.parametrize("operation", ["ld.global.u32 %v, [%a];", "st.global.u32 [%a], %t;"])
@pytest.mark.parametrize("guilty", [0, 31, 32, 63])
def test_a_fault_names_its_thread(index: str, operation: str, guilty: int) -> None:
    """In both warps of the second team; other lanes touch the buffer's first element."""
    body = f"""{LOOP} {index} setp.ne.u32 %p, %t, {64 + guilty}; @%p mov.u32 %i, 0; mul.wide.u32 %w, %i, 4;
    add.s64 %a, %in1, %w; @!%p add.s64 %a, %a, 65536; {operation} st.global.u32 [%in0], %v;"""
    assert lanes(body, 128) == 64
    trap = launch(body_kernel(body, 2, REGISTERS, 128), (1, 1, 1), np.zeros(1, np.uint32), np.zeros(9, np.uint32)).trap
    assert trap is not None
    assert (trap.kind, trap.thread) == (ptx.TrapKind.OUT_OF_BOUNDS, (64 + guilty, 0, 0))


@pytest.mark.parametrize("guilty", [0, 31, 32, 63])
def test_a_fault_of_a_shared_access_names_its_thread(guilty: int) -> None:
    body = f"""{LOOP} mov.u32 %i, tile; mad.lo.u32 %i, %t, 4, %i; setp.eq.u32 %p, %t, {guilty};
    @%p add.u32 %i, %i, 4096; xor.b32 %i, %i, 4; st.shared.u32 [%i], %t;"""
    trap = launch(body_kernel(body, 1, REGISTERS, 64, TILE), (1, 1, 1), np.zeros(1, np.uint32)).trap
    assert trap is not None
    assert (trap.kind, trap.thread) == (ptx.TrapKind.OUT_OF_BOUNDS, (guilty, 0, 0))


def test_trap_instruction_names_its_thread() -> None:
    body = f"{LOOP} setp.eq.u32 %p, %t, 45; @%p trap;"
    trap = launch(body_kernel(body, 1, REGISTERS, 64), (1, 1, 1), np.zeros(1, np.uint32)).trap
    assert trap is not None
    assert (trap.kind, trap.thread) == (ptx.TrapKind.TRAP_INSTRUCTION, (45, 0, 0))


def _matmul() -> bytes:
    a, b = np.random.default_rng(5).random((2, 64, 64), np.float32)
    c = np.zeros((64, 64), np.float32)
    run(ptx.compile_entry(module("blockwise"), "matmul", (16, 16, 1)), (4, 4, 1), a.copy(), b.copy(), c, np.int32(64))
    return c.tobytes()


def _mandelbrot() -> bytes:
    out, f = np.zeros((48, 64), np.int32), np.float32
    scalars = [*map(np.int32, (64, 48)), f(-2), f(-1.2), f(0.05), f(0.05), np.int32(60)]
    run(ptx.compile_entry(module("mandelbrot"), "mandelbrot", (16, 16, 1)), (4, 3, 1), out, *scalars)
    return out.tobytes()


def _nested() -> bytes:
    values, out = np.random.default_rng(5).integers(0, 1000, 256, np.int32), np.zeros(256, np.int32)
    run(ptx.compile_entry(module("control"), "nested", (128, 1, 1)), (2, 1, 1), values, out, np.int32(40))
    return out.tobytes()


@pytest.mark.parametrize("kernel", [_matmul, _mandelbrot, _nested])
def test_teams_give_the_bits_of_warps(kernel: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    together = kernel()
    monkeypatch.setattr(teams, "INSTRUCTIONS_MAX", 0)
    assert kernel() == together
