"""Launches of some blocks of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from p2pcompute.compute import ptx
from p2pcompute.compute.ptx import blocklist
from p2pcompute.errors import UsageError
from tests.compute.ptx.interpret.checking import body
from tests.compute.ptx.running import pack

WHO_AND_WHERE = """
    .reg .b32 %x<9>; .reg .b64 %a;
    mov.u32 %x1, %ctaid.x; mov.u32 %x2, %ctaid.y; mov.u32 %x3, %ctaid.z;
    mov.u32 %x4, %nctaid.x; mov.u32 %x5, %nctaid.y; mov.u32 %x6, %nctaid.z;
    mad.lo.u32 %x7, %x3, %x5, %x2; mad.lo.u32 %x7, %x7, %x4, %x1;
    mad.lo.u32 %x8, %x4, 100, %x5; mad.lo.u32 %x8, %x8, 100, %x6;
    mad.wide.u32 %a, %x7, 4, %in0;
    st.global.u32 [%a], %x8;
"""
GRID = (5, 3, 2)
MARK = (5 * 100 + 3) * 100 + 2


def _run(
    blocks: Sequence[int] | np.ndarray[Any, Any], threads: int = 2, block: tuple[int, int, int] = (1, 1, 1)
) -> tuple[ptx.LaunchResult, set[int]]:
    compiled = ptx.compile_entry(body(WHO_AND_WHERE), "k", block)
    out = np.zeros(30, np.uint32)
    memory = ptx.Memory([out])
    result = compiled.launch(
        memory, pack(compiled, memory, [out]), GRID, threads=threads, abort=ptx.Abort(), blocks=blocks
    )
    assert set(out.tolist()) <= {0, MARK}
    return result, set(np.flatnonzero(out).tolist())


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("blocks", [[0], [29], [3, 1, 2], [28, 0, 14, 5, 6], list(range(30))])
def test_exactly_the_listed_blocks_run_as_blocks_of_the_whole_grid(blocks: list[int], threads: int) -> None:
    result, ran = _run(blocks, threads)
    assert result.status is ptx.Status.OK
    assert ran == set(blocks)


def test_blocks_whose_rows_would_run_together_are_listed_one_by_one() -> None:
    assert _run([0, 2, 9, 10], threads=1, block=(4, 8, 1))[1] == {0, 2, 9, 10}


def test_arrays_of_any_integer_type_are_lists() -> None:
    assert _run(np.array([7, 8], np.uint8))[1] == {7, 8}
    assert _run(np.arange(0, 30, 3)[::-1])[1] == set(range(0, 30, 3))


def test_an_empty_list_runs_nothing() -> None:
    result, ran = _run([])
    assert (result.status, ran) == (ptx.Status.OK, set())


@pytest.mark.parametrize("blocks", [[30], [-1], [0, 2**62], np.array([2**64 - 1], np.uint64)])
def test_blocks_outside_the_grid_are_refused_by_number(blocks: list[int]) -> None:
    with pytest.raises(UsageError, match=r"no block -?\d+; the grid has 30"):
        _run(blocks)


def test_a_block_that_stands_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="Block 4 stands twice"):
        _run([4, 1, 4])


@pytest.mark.parametrize("blocks", [[0.5], np.zeros((2, 2), np.int64), ["0"], [2**70]])
def test_anything_but_whole_numbers_is_refused(blocks: Any) -> None:
    with pytest.raises(UsageError, match="whole numbers"):
        _run(blocks)


def test_longer_lists_than_the_limit_are_refused() -> None:
    with pytest.raises(UsageError, match="exceeds"):
        _run(range(blocklist.BLOCK_LIST_MAX + 1))


def test_a_trap_in_a_listed_block_names_that_block() -> None:
    compiled = ptx.compile_entry(body("st.global.u32 [%in0+64], %t;"), "k", (1, 1, 1))
    memory = ptx.Memory([np.zeros(4, np.uint32)])
    parameters = np.uint64(memory.address(0)).tobytes()
    result = compiled.launch(memory, parameters, GRID, threads=2, abort=ptx.Abort(), blocks=[17, 23])
    assert result.trap is not None
    assert result.trap.block in ((2, 0, 1), (3, 1, 1))


def test_blocks_run_alone_give_the_bytes_of_a_full_launch() -> None:
    source = body(
        "shl.b32 %x, %t, 2; mov.u32 %y, buf; add.u32 %y, %y, %x; xor.b32 %x, %x, 124; mov.u32 %z, buf;"
        "add.u32 %z, %z, %x; st.shared.u32 [%y], %c; bar.sync 0; ld.shared.u32 %y, [%z];"
        "mad.lo.u32 %z, %c, 32, %t; mad.lo.u32 %y, %y, 7, %z; mad.wide.u32 %a, %z, 4, %in0; st.global.u32 [%a], %y;",
        registers=".reg .b32 %x, %y, %z; .reg .b64 %a; .shared .align 4 .b8 buf[128];",
    )
    compiled = ptx.compile_entry(source, "k", (32, 1, 1))
    whole, parts = np.zeros(320, np.uint32), np.zeros(320, np.uint32)
    for array, lists in ((whole, [None]), (parts, [[0, 9, 4], [1, 2, 3], [8, 7, 6, 5]])):
        memory = ptx.Memory([array])
        for listed in lists:
            compiled.launch(
                memory, pack(compiled, memory, [array]), (10, 1, 1), threads=2, abort=ptx.Abort(), blocks=listed
            )
    assert whole.tolist() == parts.tolist()


def test_the_last_block_of_the_largest_grid() -> None:
    text = "\n".join(
        f"mov.u32 %x{n}, %ctaid.{axis}; st.global.u32 [%in0+{4 * n}], %x{n};" for n, axis in enumerate("xyz")
    )
    compiled = ptx.compile_entry(body(f".reg .b32 %x<3>;\n{text}"), "k", (1024, 1, 1))
    out, grid = np.zeros(4, np.uint32), (2**31 - 1, 65_535, 65_535)
    memory = ptx.Memory([out])
    parameters = pack(compiled, memory, [out])
    last = [grid[0] * grid[1] * grid[2] - 1]
    done = compiled.launch(memory, parameters, grid, threads=1, abort=ptx.Abort(), blocks=last)
    assert done.status is ptx.Status.OK
    assert out.tolist() == [2**31 - 2, 65_534, 65_534, 0]
