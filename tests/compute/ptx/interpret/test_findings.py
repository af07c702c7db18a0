"""Every planted bug is found and named; the same kernel without the bug is clean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from p2pcompute.compute.ptx.interpret import CheckResult, Kind
from tests.compute.ptx.interpret.checking import body, checked, kinds, nvrtc

I32 = np.int32
rng = np.random.default_rng(3)


def ints(count: int) -> Any:
    return rng.integers(0, 100, count, I32)


def zeros(count: int) -> Any:
    return np.zeros(count, I32)


def planted(entry: str, block: int, *arguments: Any, grid: int = 1, empty: tuple[int, ...] = ()) -> CheckResult:
    return checked(nvrtc("planted"), entry, (grid, 1, 1), (block, 1, 1), *arguments, empty=empty)


def test_overrun_is_found_with_its_place_and_the_rest_goes_on() -> None:
    source, out = np.ones(100, np.float32), np.zeros(100, np.float32)
    result = planted("beyond", 64, source, out, I32(100), grid=2)
    assert kinds(result) == {Kind.OUT_OF_BOUNDS: 2}
    load, store = result.findings
    assert (load.block, load.thread, load.buffer) == ((1, 0, 0), (36, 0, 0), "b0")
    assert store.message == "writes 4 bytes at b1[100]; it has 400 bytes"
    assert store.address & 0xFFFFFFFF == 400
    assert store.instruction.startswith("st.global.f32")
    assert out.all()
    assert planted("beyond", 64, source, out, I32(99), grid=2).findings == ()


def test_misaligned_access_is_found() -> None:
    result = planted("crooked", 4, np.zeros(16, np.uint8), zeros(4))
    assert kinds(result) == {Kind.MISALIGNED: 1}
    assert result.findings[0].count == 3


def test_read_of_shared_memory_that_nobody_wrote_is_found() -> None:
    result = planted("unwritten", 64, ints(64), zeros(64))
    assert kinds(result) == {Kind.UNINITIALISED: 1}
    assert result.findings[0].thread == (56, 0, 0)
    assert result.findings[0].buffer == "shared memory"


def test_sum_onto_an_output_is_uninitialised_and_onto_an_input_is_not() -> None:
    result = planted("accumulate", 32, ints(32), zeros(32), empty=(1,))
    assert kinds(result) == {Kind.UNINITIALISED: 1}
    assert result.findings[0].count == 32
    assert planted("accumulate", 32, ints(32), zeros(32)).findings == ()


def test_what_one_thread_wrote_another_may_read() -> None:
    result = planted("reduce", 64, ints(128), zeros(2), I32(0), grid=2, empty=(1,))
    assert result.findings == ()
    assert result.blocks_are_independent


@pytest.mark.parametrize("forgotten", [32, 16, 8])
def test_forgotten_barrier_is_a_race(forgotten: int) -> None:
    result = planted("reduce", 64, ints(64), zeros(1), I32(forgotten))
    assert set(kinds(result)) == {Kind.RACE}
    assert "no barrier between them" in result.findings[0].message
    assert result.findings[0].count > 1


def test_blocks_that_meet_are_found_and_one_block_alone_races_too() -> None:
    assert kinds(planted("neighbours", 32, ints(64), I32(64), grid=2))[Kind.BLOCK_RACE] == 1
    assert set(kinds(planted("neighbours", 32, ints(32), I32(32)))) == {Kind.RACE}
    assert not planted("neighbours", 32, ints(64), I32(64), grid=2).blocks_are_independent


def test_atomics_do_not_race_and_plain_sums_do() -> None:
    assert planted("count", 64, ints(128), zeros(4), I32(1), grid=2).findings == ()
    assert {Kind.RACE, Kind.BLOCK_RACE} <= set(kinds(planted("count", 64, ints(128), zeros(4), I32(0), grid=2)))


def test_threads_that_write_the_same_value_do_no_harm() -> None:
    assert planted("mark", 64, ints(128), zeros(1), grid=2).findings == ()


def test_barrier_that_a_part_of_the_warp_skips_is_found() -> None:
    result = planted("half_barrier", 64, zeros(64))
    assert set(kinds(result)) == {Kind.BARRIER}


def test_thread_that_returned_before_a_barrier_is_not_waited_for() -> None:
    assert planted("early_return", 64, ints(40), zeros(40), I32(40)).findings == ()


def test_lanes_that_wait_for_each_other_at_different_shuffles_are_found() -> None:
    result = planted("lonely_shuffle", 32, zeros(32), zeros(32))
    assert kinds(result) == {Kind.WARP: 1}
    assert result.is_complete


def test_trap_is_found() -> None:
    result = planted("stop", 32, zeros(32))
    assert kinds(result) == {Kind.TRAP: 1}
    assert result.findings[0].thread == (5, 0, 0)


def test_lanes_of_a_warp_need_a_warp_barrier() -> None:
    assert planted("in_warp", 32, ints(32), zeros(32), I32(1)).findings == ()
    assert Kind.RACE in kinds(planted("in_warp", 32, ints(32), zeros(32), I32(0)))


def test_warp_sums_by_shuffle_are_clean() -> None:
    values, out = ints(128), zeros(1)
    assert planted("shuffled", 64, values, out, grid=2).findings == ()
    assert out[0] == values.sum()


def test_thread_may_spin_on_what_another_of_its_block_hands_over() -> None:
    source, out = ints(1), zeros(1)
    result = planted("relay", 64, source, out, I32(1))
    assert result.findings == ()
    assert out[0] == source[0]
    assert set(kinds(planted("relay", 64, ints(1), zeros(1), I32(0)))) == {Kind.RACE}


def test_last_block_may_add_up_what_the_others_handed_over() -> None:
    values, parts, sums = ints(128), zeros(4), zeros(2)
    result = planted("last_block", 32, values, parts, sums, I32(1), grid=4)
    assert result.findings == ()
    assert sums[1] == values.sum()
    assert Kind.BLOCK_RACE in kinds(planted("last_block", 32, values, zeros(4), zeros(2), I32(0), grid=4))


def test_endless_kernel_ends_the_check_and_says_so() -> None:
    result = checked(nvrtc("planted"), "endless", (3, 1, 1), (32, 1, 1), zeros(1), steps_max=100_000)
    assert not result.is_complete
    assert (result.blocks, result.blocks_total) == (0, 3)


def test_findings_are_counted_by_place_and_bounded() -> None:
    stores = "\n".join(f"st.global.u32 [%in0+{4096 + 4 * n}], %t;" for n in range(25))
    result = checked(body(stores), "k", (2, 1, 1), (32, 1, 1), zeros(4))
    assert len(result.findings) == 20
    assert {finding.count for finding in result.findings} == {64}
    assert result.left_out == 5 * 64


def test_volatile_is_no_barrier() -> None:
    text = "st.volatile.global.u32 [%in0], %t;"
    assert kinds(checked(body(text), "k", (1, 1, 1), (32, 1, 1), zeros(4))) == {Kind.RACE: 1}


def test_parts_of_a_word_are_followed_byte_by_byte() -> None:
    text = """and.b32 %i, %t, 1; mul.wide.u32 %a, %i, 2; add.s64 %a, %a, %in0; setp.gt.u32 %p, %t, 1; @%p bra $end;
    st.global.u16 [%a], %t;\nbar.sync 0;\nld.global.u32 %i, [%in0];\n$end:"""
    registers = ".reg .b64 %a; .reg .b32 %i; .reg .pred %p;"
    assert checked(body(text, registers=registers), "k", (1, 1, 1), (2, 1, 1), zeros(1), empty=(0,)).findings == ()
    one = text.replace("st.global.u16", "st.global.u8")
    result = checked(body(one, registers=registers), "k", (1, 1, 1), (2, 1, 1), zeros(1), empty=(0,))
    assert kinds(result) == {Kind.UNINITIALISED: 1}
