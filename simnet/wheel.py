"""Virtual time: a calendar wheel of one-millisecond buckets. Same calls, same order, every time.

Within a millisecond everything happens in the order of its phase, and within a phase in the order of its key, whatever
the order in which it was scheduled: so a driver that runs tasks side by side sees the same world as one that does not.
"""

from __future__ import annotations

import enum
import heapq
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any, Final

Key = tuple[int | str, ...]
Call = tuple[Any, Callable[..., None], tuple[Any, ...]]


class Phase(enum.IntEnum):
    """The order of things within one millisecond."""

    LIFE = 0
    """Nodes start and stop, faults begin and end, connections come and go."""
    ARRIVE = 1
    """Frames reach their receivers."""
    SETTLE = 2
    """Requests, answers, blobs and results arrive; disks and engines finish."""
    TIMER = 3
    LATE = 4
    """Deadlines pass."""
    AFTER = 5
    """What timers and deadlines have set in motion begins."""
    DEPART = 6
    """What waits for its turn on a line of limited bandwidth is put on it."""


_first: Final = itemgetter(0)


class Wheel:
    """Runs what is scheduled, in virtual time."""

    def __init__(self) -> None:
        self.now_ms = 0
        self._buckets: dict[int, tuple[list[Call], ...]] = {}
        self._times: list[int] = []

    def bucket(self, time_ms: int, phase: Phase) -> list[Call]:
        """Where to put what happens at that time, as (key, call, arguments); keys of one bucket must be comparable and
        distinct. A time that has passed means the current millisecond."""
        if time_ms < self.now_ms:
            time_ms = self.now_ms
        found = self._buckets.get(time_ms)
        if found is None:
            found = self._buckets[time_ms] = ([], [], [], [], [], [], [])
            heapq.heappush(self._times, time_ms)
        return found[phase]

    def at(self, time_ms: int, phase: Phase, key: Key, call: Callable[..., None], *arguments: object) -> None:
        """Schedule one call."""
        self.bucket(time_ms, phase).append((key, call, arguments))

    def next_ms(self) -> int | None:
        """When something happens next; None when nothing will."""
        return self._times[0] if self._times else None

    def run(self, until_ms: int, done: Callable[[], bool]) -> int:
        """Run until this time, until `done()` after some millisecond, or until nothing is left; the calls made."""
        calls = 0
        while self._times and self._times[0] <= until_ms and not done():
            for _ in self.step(Phase.LIFE, Phase.DEPART):
                calls += 1
        if not self._times or self._times[0] > until_ms:
            self.now_ms = max(self.now_ms, until_ms) if not done() else self.now_ms
        return calls

    def step(self, first: Phase, last: Phase) -> Iterator[None]:
        """Go to the next millisecond in which something happens and run its phases from `first` to `last`, with a stop
        after every call. With `last` = DEPART the millisecond is over."""
        now_ms = self.now_ms = self._times[0]
        phases = self._buckets[now_ms]
        phase = int(first)
        while phase <= last:
            bucket = phases[phase]
            if not bucket:
                phase += 1
                continue
            calls = sorted(bucket, key=_first)
            bucket.clear()
            for _, call, arguments in calls:
                call(*arguments)
                yield
        if last == Phase.DEPART and not any(phases):
            del self._buckets[now_ms]
            heapq.heappop(self._times)
