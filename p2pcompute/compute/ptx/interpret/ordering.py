"""Order made by fences and atomics: who released what before whom.

A thread that passes a fence and then writes atomically (or volatile) hands over what it did before the fence. Whoever
reads that place atomically (or volatile) afterwards takes it over: inside a block the thread, across blocks the whole
block, as the threads that go on with it stand behind a barrier. This is how the last block of a reduction may add up
what the others left. It is a generous reading of the memory model (PTX ISA 8.4, chapter 8): scopes and the reader's
own fence are not asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from p2pcompute.compute.ptx.interpret.shadow import Touch

if TYPE_CHECKING:
    from p2pcompute.compute.ptx.interpret.thread import Thread

Place = tuple[int, int]
"""A segment's base and an offset in it."""
Who = tuple[int, int]
"""A block and a thread in it."""
_Key = TypeVar("_Key", int, Who)


class Ordering:
    """`time` counts accesses. One for each launch."""

    def __init__(self) -> None:
        self.time = 0
        self._fences: dict[Who, int] = {}
        self._handed_over: dict[Place, dict[Who, int]] = {}
        self._taken_by_thread: dict[Who, dict[Who, int]] = {}
        self._taken_by_block: dict[int, dict[int, int]] = {}

    def fence(self, thread: Thread) -> None:
        """What the thread did until now may be handed over."""
        self._fences[thread.block.linear, thread.linear] = self.time

    def strong_access(self, thread: Thread, place: Place, *, reads: bool, writes: bool) -> None:
        """An atomic or volatile access."""
        me = thread.block.linear, thread.linear
        if reads:
            for who, time in self._handed_over.get(place, {}).items():
                self._take(me, who, time)
        if writes and me in self._fences:
            self._handed_over.setdefault(place, {})[me] = self._fences[me]

    def _take(self, me: Who, who: Who, time: int) -> None:
        if who[0] == me[0]:
            _raise(self._taken_by_thread.setdefault(me, {}), who, time)
            return
        mine = self._taken_by_block.setdefault(me[0], {})
        _raise(mine, who[0], time)
        for block, earlier in list(self._taken_by_block.get(who[0], {}).items()):
            _raise(mine, block, earlier)

    def orders(self, other: Touch, thread: Thread) -> bool:
        """Whether what `other` did comes before what this thread does now."""
        if other.block != thread.block.linear:
            return self._taken_by_block.get(thread.block.linear, {}).get(other.block, -1) >= other.time
        mine = self._taken_by_thread.get((thread.block.linear, thread.linear), {})
        return mine.get((other.block, other.thread), -1) >= other.time


def _raise(times: dict[_Key, int], key: _Key, time: int) -> None:
    times[key] = max(time, times.get(key, -1))
