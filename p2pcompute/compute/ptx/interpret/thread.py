"""One thread: its registers, its place in the program, and what orders it with others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from p2pcompute.compute.ptx.interpret.memory import Segment

if TYPE_CHECKING:
    from p2pcompute.compute.ptx.interpret.block import Block
    from p2pcompute.compute.ptx.interpret.program import Program

WARP: Final = 32
ENDED: Final = -1
"""The next place of a thread that has returned."""
HELD: Final = -2
"""Instead of a next place: the thread stands at an instruction that others must reach, too."""


class Thread:
    """`place` is the index of its next instruction; `linear` counts within the block. `epoch` numbers the last block
    barrier it passed. `clock` is its vector clock among the warp, None until it first meets others; `stamp` its own
    entry in there. `came_from` is the last place before the one at which it ended.
    """

    __slots__ = (
        "block", "came_from", "clock", "epoch", "index", "is_held", "lane", "linear", "place", "registers", "stack",
        "stamp",
    )  # fmt: skip

    def __init__(self, block: Block, linear: int, program: Program) -> None:
        self.block = block
        self.linear = linear
        self.lane = linear % WARP
        self.index = block.thread_of(linear)
        self.place = 0
        self.registers = [0] * program.register_count
        self.is_held = False
        self.came_from = 0
        self.stack = Segment.empty("local memory", program.local_bytes)
        self.epoch = 0
        self.stamp = 1
        self.clock: list[int] | None = None

    @property
    def is_over(self) -> bool:
        return self.place == ENDED

    def special(self, name: str) -> int:
        """A read-only register such as `tid.x`. What only a machine can tell reads as 0."""
        head, _, axis = name.partition(".")
        if axis:
            triple = {
                "tid": self.index,
                "ntid": self.block.dims,
                "ctaid": self.block.index,
                "nctaid": self.block.grid,
            }[head]
            return triple["xyz".index(axis)]
        values = {
            "laneid": self.lane,
            "warpid": self.linear // WARP,
            "nwarpid": -(-self.block.size // WARP),
            "nsmid": 1,
            "lanemask_eq": 1 << self.lane,
            "lanemask_lt": (1 << self.lane) - 1,
            "lanemask_le": (2 << self.lane) - 1,
            "lanemask_gt": -(2 << self.lane) & 0xFFFFFFFF,
            "lanemask_ge": -(1 << self.lane) & 0xFFFFFFFF,
        }
        return values.get(head, 0)


def meet(threads: list[Thread]) -> None:
    """A warp barrier: what each of these did is now in order with what the others do next."""
    clocks = [_clock(thread) for thread in threads]
    joined = [max(column) for column in zip(*clocks, strict=True)]
    for thread in threads:
        thread.clock = list(joined)
        thread.stamp += 1
        thread.clock[thread.lane] = thread.stamp


def _clock(thread: Thread) -> list[int]:
    if thread.clock is None:
        thread.clock = [0] * WARP
        thread.clock[thread.lane] = thread.stamp
    return thread.clock
