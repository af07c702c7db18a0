"""Virtual time: a calendar wheel of one-millisecond buckets. Same calls, same order, every time."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class Wheel:
    """Runs callbacks in the order of their time, and within a millisecond in the order they were scheduled."""

    def __init__(self) -> None:
        self.now_ms = 0
        self._buckets: dict[int, list[tuple[Callable[..., None], tuple[Any, ...]]]] = {}
        self._times: list[int] = []

    def at(self, time_ms: int, call: Callable[..., None], *arguments: Any) -> None:
        """Schedule `call(*arguments)`; a time that has passed means the current millisecond."""
        self.bucket(time_ms).append((call, arguments))

    def bucket(self, time_ms: int) -> list[tuple[Callable[..., None], tuple[Any, ...]]]:
        """What is scheduled for a millisecond: whoever has much to schedule appends to it."""
        if time_ms < self.now_ms:
            time_ms = self.now_ms
        bucket = self._buckets.get(time_ms)
        if bucket is None:
            bucket = self._buckets[time_ms] = []
            heapq.heappush(self._times, time_ms)
        return bucket

    def after(self, delay_ms: int, call: Callable[..., None], *arguments: Any) -> None:
        """Schedule `call(*arguments)` that many milliseconds from now."""
        self.at(self.now_ms + delay_ms, call, *arguments)

    def run(self, until_ms: int, done: Callable[[], bool]) -> int:
        """Run until this time, until `done()` after some millisecond, or until nothing is left; the calls made."""
        calls = 0
        while self._times and self._times[0] <= until_ms and not done():
            self.now_ms = self._times[0]
            bucket = self._buckets[self.now_ms]
            for call, arguments in bucket:  # calls may append to this very bucket
                call(*arguments)
            calls += len(bucket)
            del self._buckets[self.now_ms]
            heapq.heappop(self._times)
        return calls
