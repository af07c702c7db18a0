"""What is remembered about memory: which bytes were written at all, and who touched them since they were last in order.

A cell stands for the bytes of one access; where accesses of different sizes overlap, cells fall apart into single
bytes. Two touches by different threads are in order when a block barrier lies between them, or, inside a warp, a
`bar.warp.sync` that both took part in: each thread of a warp keeps a vector clock. Blocks are never in order. Of each
kind of touch the last two by different threads are kept, so whoever comes finds one that is not his own.
"""

from __future__ import annotations

from typing import Final, NamedTuple

ACCESS_BYTES_MAX: Final = 8
"""Of one element; the elements of a vector access are touched one by one."""

PLAIN, VOLATILE, ATOMIC = 0, 1, 2
"""How strongly an access is ordered. Two touches get along when one is atomic and the other at least volatile."""


class Touch(NamedTuple):
    """One access. `thread` counts within the block; `stamp` is the thread's own clock, `epoch` the block's barriers,
    `time` that of the launch.
    """

    block: int
    thread: int
    epoch: int
    stamp: int
    strength: int
    line: int
    time: int


class Conflict(NamedTuple):
    """`other` and the touch that was just made are unordered, and one of the two writes."""

    other: Touch
    other_wrote: bool


class Cell:
    """`writes` and `reads` are those of `block` since its last barrier; `past_*` the weakest of earlier blocks."""

    __slots__ = ("block", "is_written", "offset", "past_read", "past_write", "reads", "size", "writes")

    def __init__(self, offset: int, size: int, *, is_written: bool) -> None:
        self.offset = offset
        self.size = size
        self.is_written = is_written
        self.forget()

    def forget(self) -> None:
        """A launch has ended: whatever comes now is in order."""
        self.block = -1
        self.writes: tuple[Touch, ...] = ()
        self.reads: tuple[Touch, ...] = ()
        self.past_write: Touch | None = None
        self.past_read: Touch | None = None

    def part(self, offset: int) -> Cell:
        """One byte of this cell, with its history."""
        byte = Cell(offset, 1, is_written=self.is_written)
        byte.block, byte.writes, byte.reads = self.block, self.writes, self.reads
        byte.past_write, byte.past_read = self.past_write, self.past_read
        return byte

    def touch(self, touch: Touch, clock: list[int] | None, *, writes: bool, reads: bool) -> Conflict | None:
        """Record an access of the thread whose vector clock this is (None: it never met its warp)."""
        if touch.block != self.block:
            self._enter(touch.block)
        conflict = self._past_conflict(touch, writes=writes) or self._conflict(touch, clock, writes=writes)
        if writes:
            self.writes = _kept(self.writes, touch)
            self.is_written = True
        if reads:
            self.reads = _kept(self.reads, touch)
        return conflict

    def _enter(self, block: int) -> None:
        for touch in self.writes:
            self.past_write = _weaker(self.past_write, touch)
        for touch in self.reads:
            self.past_read = _weaker(self.past_read, touch)
        self.block, self.writes, self.reads = block, (), ()

    def _past_conflict(self, touch: Touch, *, writes: bool) -> Conflict | None:
        if self.past_write is not None and not get_along(self.past_write, touch):
            return Conflict(self.past_write, other_wrote=True)
        if writes and self.past_read is not None and not get_along(self.past_read, touch):
            return Conflict(self.past_read, other_wrote=False)
        return None

    def _conflict(self, touch: Touch, clock: list[int] | None, *, writes: bool) -> Conflict | None:
        for other in self.writes:
            if _unordered(other, touch, clock):
                return Conflict(other, other_wrote=True)
        if writes:
            for other in self.reads:
                if _unordered(other, touch, clock):
                    return Conflict(other, other_wrote=False)
        return None


def get_along(one: Touch, other: Touch) -> bool:
    """Whether two unordered touches are no race: `atom` with `atom` or with a volatile access."""
    low, high = sorted((one.strength, other.strength))
    return high == ATOMIC and low >= VOLATILE


def _unordered(other: Touch, touch: Touch, clock: list[int] | None) -> bool:
    if other.thread == touch.thread or other.epoch != touch.epoch or get_along(other, touch):
        return False
    same_warp = other.thread // 32 == touch.thread // 32
    return not (same_warp and clock is not None and clock[other.thread % 32] >= other.stamp)


def _kept(touches: tuple[Touch, ...], touch: Touch) -> tuple[Touch, ...]:
    """The new one and the latest other thread's since the last barrier; of one thread the weaker stays in view."""
    mine = [t for t in touches if t.thread == touch.thread and t.epoch == touch.epoch and t.stamp == touch.stamp]
    if mine and mine[0].strength <= touch.strength:
        touch = mine[0]
    others = tuple(t for t in touches if t.thread != touch.thread and t.epoch == touch.epoch)
    return (*others[-1:], touch)


def _weaker(one: Touch | None, other: Touch) -> Touch:
    return other if one is None or other.strength < one.strength else one


class Shadow:
    """The shadow of one segment. `is_written`: whether its bytes had a value before anybody wrote them."""

    def __init__(self, *, is_written: bool) -> None:
        self._cells: dict[int, Cell] = {}
        self._is_written = is_written

    def forget(self) -> None:
        """Between launches only what was written matters."""
        for cell in self._cells.values():
            cell.forget()

    def cells(self, offset: int, size: int) -> list[Cell]:
        """The cells that make up these bytes: one, or, where sizes differ, one per byte."""
        cell = self._cells.get(offset)
        if cell is not None and cell.size == size:
            return [cell]
        first = offset - ACCESS_BYTES_MAX + 1
        near = [self._cells[place] for place in range(first, offset + size) if place in self._cells]
        overlapping = [c for c in near if c.offset + c.size > offset]
        if not overlapping:
            cell = self._cells[offset] = Cell(offset, size, is_written=self._is_written)
            return [cell]
        for cell in overlapping:
            if cell.size > 1:
                for place in range(cell.offset, cell.offset + cell.size):
                    self._cells[place] = cell.part(place)
        return [self._byte(place) for place in range(offset, offset + size)]

    def _byte(self, place: int) -> Cell:
        cell = self._cells.get(place)
        if cell is None:
            cell = self._cells[place] = Cell(place, 1, is_written=self._is_written)
        return cell
