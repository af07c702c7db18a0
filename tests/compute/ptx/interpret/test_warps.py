"""What the lanes of a warp do together: engine and interpreter give the same, in every mode and width."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compute.ptx.interpret.checking import body, both, nvrtc

rng = np.random.default_rng(8)
VALUES = rng.integers(0, 2**32, 64, np.uint32)
OUT = "mul.wide.u32 %d, %t, 8; add.s64 %d, %d, %in1; st.global.u32 [%d], %v; st.global.u32 [%d+4], %w;"
LOAD = "mul.wide.u32 %d, %t, 4; add.s64 %d, %d, %in0; ld.global.u32 %x, [%d];"
FLAG = "selp.u32 %w, 1, 0, %p;"
REGISTERS = ".reg .b64 %d; .reg .b32 %x, %v, %w, %s; .reg .pred %p, %q;"


def agree(text: str) -> None:
    both(body(f"{LOAD}\n{text}\n{OUT}", 2, REGISTERS), "k", (1, 1, 1), (64, 1, 1), VALUES, np.zeros(128, np.uint32))


@pytest.mark.parametrize("width", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize("mode", ["up", "down", "bfly", "idx"])
def test_shuffles(mode: str, width: int) -> None:
    """The step differs between lanes, and is beyond the part of the warp in some."""
    control = (32 - width) << 8 | (0 if mode == "up" else 31)
    agree(f"and.b32 %s, %x, 31; shfl.sync.{mode}.b32 %v|%p, %x, %s, {control}, -1; selp.u32 %w, 1, 0, %p;")
    agree(f"shfl.sync.{mode}.b32 %v|%p, %x, {width // 2}, {control}, -1; selp.u32 %w, 1, 0, %p;")


@pytest.mark.parametrize("mask", ["-1", "0x0000ffff", "0x55555555"])
def test_votes_and_matches_of_a_part_of_a_warp(mask: str) -> None:
    """Lanes outside of the mask go round them."""
    inside = f"mov.u32 %s, %laneid; shr.u32 %s, {mask}, %s; and.b32 %s, %s, 1; setp.ne.u32 %q, %s, 0; @!%q bra $past;"
    for text in (
        f"and.b32 %x, %x, 3; match.any.sync.b32 %v, %x, {mask}; mov.u32 %w, 0;",
        f"and.b32 %x, %t, 32; match.all.sync.b32 %v|%p, %x, {mask}; {FLAG}",
        f"setp.gt.s32 %p, %x, 0; vote.sync.ballot.b32 %v, %p, {mask};\nvote.sync.any.pred %p, %p, {mask}; {FLAG}",
        f"setp.gt.s32 %p, %x, 0; vote.sync.all.pred %q, %p, {mask};\nvote.sync.uni.pred %p, %p, {mask}; {FLAG}",
    ):
        agree(f"mov.u32 %v, 7; mov.u32 %w, 9; {inside}\n{text}\n$past:")


def test_parts_of_a_warp_vote_and_match_apart() -> None:
    """Each quarter names itself: one instruction, four groups."""
    quarter = "mov.u32 %s, %laneid; and.b32 %s, %s, 24; mov.u32 %m, 255; shl.b32 %m, %m, %s; and.b32 %x, %x, 1;"
    for text in (
        f"setp.eq.u32 %p, %x, 0; vote.sync.ballot.b32 %v, %p, %m; vote.sync.any.pred %p, %p, %m; {FLAG}",
        f"shr.u32 %s, %s, 4; setp.eq.u32 %p, %s, 0; mov.u32 %v, 0; vote.sync.all.pred %p, %p, %m; {FLAG}",
        f"setp.lt.u32 %p, %s, 8; mov.u32 %v, 0; vote.sync.uni.pred %p, %p, %m; {FLAG}",
        "match.any.sync.b32 %v, %x, %m; mov.u32 %w, 0;",
        f"and.b32 %x, %x, %s; match.all.sync.b32 %v|%p, %x, %m; {FLAG}",
    ):
        agree(f".reg .b32 %m; {quarter}\n{text}")


@pytest.mark.parametrize("spelling", ["bar.red", "barrier.red", "bar.cta.red", "barrier.cta.red"])
def test_barriers_that_reduce(spelling: str) -> None:
    agree(f"setp.gt.s32 %p, %x, 0; {spelling}.popc.u32 %v, 1, %p; {spelling}.or.pred %q, 2, %p; selp.u32 %w, 1, 0, %q;")
    agree(f"setp.ne.s32 %p, %x, 0; mov.u32 %v, 0; {spelling}.and.pred %q, 0, %p; selp.u32 %w, 1, 0, %q;")


def test_indexed_branches() -> None:
    agree("""$list: .branchtargets $a, $b, $c;
    and.b32 %s, %x, 3; min.u32 %s, %s, 2; mov.u32 %w, 0; brx.idx %s, $list;
    $a: mov.u32 %v, 10; bra.uni $end;
    $b: mov.u32 %v, 20;
    $c: add.u32 %v, %s, 5; mov.u32 %w, 3;
    $end:""")


def test_warps_that_wait_for_each_other() -> None:
    """The second warp waits for a word of the first one's, in shared memory and behind a fence."""
    text = """setp.ge.u32 %p, %t, 32; mov.u32 %v, 0; mov.u32 %w, 0; @%p bra $wait;
    setp.ne.u32 %q, %t, 5; @%q bra $end; st.shared.u32 [s+4], 77; membar.cta; st.volatile.shared.u32 [s], 1; bra $end;
    $wait: ld.volatile.shared.u32 %v, [s]; setp.eq.u32 %q, %v, 0; @%q bra $wait; membar.cta; ld.shared.u32 %w, [s+4];
    $end:"""
    both(
        body(f"{LOAD}\n{text}\n{OUT}", 2, f"{REGISTERS} .shared .align 4 .b32 s[2];"),
        "k",
        (1, 1, 1),
        (64, 1, 1),
        VALUES,
        np.zeros(128, np.uint32),
    )


def test_tiles_of_cooperative_groups() -> None:
    x, y = rng.integers(0, 9, 64, np.int32), np.zeros(6 * 64, np.int32)
    both(nvrtc("tiles"), "tiles", (1, 1, 1), (64, 1, 1), x, y)
