"""What is asked of memory ahead of time, where the hardware's own prefetching does not see what comes.

A hint never faults and changes no result, so it needs no range test.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from p2pcompute.compute.ptx.ir import Entry, Special
from p2pcompute.compute.ptx.llvmtext import Code, Ops

BLOCKS_AHEAD: Final = 6
"""Blocks along x between a load and what is prefetched with it; 4 to 8 are alike."""
TURNS_AHEAD: Final = 12
"""Turns of a loop between a load and what is prefetched with it."""
LINE_BYTES: Final = 64


def may_stride_by_grid(entry: Entry) -> bool:
    """Whether a kernel asks for the size of the grid: for loops that step over all of it, mostly."""
    return any(
        isinstance(source, Special) and source.name.startswith("nctaid.")
        for instruction in entry.instructions()
        for source in instruction.sources
    )


def of_rows(code: Code, pointers: Sequence[str], reach_bytes: int, *, is_write: bool) -> None:
    """Ask for what the next blocks along x will touch: a tile's rows are too many streams for the hardware's own
    prefetching (transposing takes 0.6 to 0.8 of the time with it). For blocks of code that every thread passes:
    elsewhere hints cost more than they give.
    """
    for pointer in pointers:
        for ahead in range(BLOCKS_AHEAD * reach_bytes, (BLOCKS_AHEAD + 1) * reach_bytes, LINE_BYTES):
            _hint(code, code.value(f"getelementptr i8, ptr {pointer}, i64 {ahead}"), is_write=is_write)


def of_turns(code: Code, pointers: Sequence[str], reach_bytes: int) -> None:
    """Ask for what a later turn of the loop will load, if it goes on as it did since the last turn. One with a stride
    of the whole grid touches another page in every turn, where the hardware's own prefetching ends.
    """
    ops, last = Ops(code, 0), f"%{code.fresh('last')}"
    code.slot(last, "i64")
    code.entry_lines.append(f"  store i64 0, ptr {last}")
    now = code.value(f"ptrtoint ptr {pointers[0]} to i64")
    before = code.value(f"load i64, ptr {last}")
    code.do(f"store i64 {now}, ptr {last}")
    ahead = ops.by("mul", "i64", ops.two("sub", "i64", now, before), TURNS_AHEAD)
    for pointer in pointers:
        place = code.value(f"getelementptr i8, ptr {pointer}, i64 {ahead}")
        for line in range(0, reach_bytes, LINE_BYTES):
            _hint(code, code.value(f"getelementptr i8, ptr {place}, i64 {line}"), is_write=False)


def _hint(code: Code, place: str, *, is_write: bool) -> None:
    code.call("llvm.prefetch.p0", [("ptr", place), ("i32", str(int(is_write))), ("i32", "3"), ("i32", "1")])
