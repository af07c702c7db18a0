"""Time that stands still while a worker is stopped: a job that the machine's owner interrupts loses none of its own."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import trio


class Stopwatch:
    """Runs from the start. Not for use by several tasks at a time, but for `stop` and `go`."""

    def __init__(self) -> None:
        self._limits: dict[trio.CancelScope, float] = {}
        """Those that run, with what they had left when the clock was stopped, in seconds."""
        self._stopped_s: float | None = None
        self._lost_s = 0.0

    @property
    def is_stopped(self) -> bool:
        return self._stopped_s is not None

    def now_s(self) -> float:
        """Seconds of trio's clock, less those that this one stood still."""
        return (trio.current_time() if self._stopped_s is None else self._stopped_s) - self._lost_s

    @contextlib.contextmanager
    def limit(self, seconds: float) -> Iterator[trio.CancelScope]:
        """As trio.move_on_after, on this clock."""
        with trio.CancelScope() as scope:
            self._limits[scope] = max(0.0, seconds)
            if not self.is_stopped:
                self._arm(scope)
            try:
                yield scope
            finally:
                del self._limits[scope]

    def stop(self) -> None:
        """Stand still."""
        if self._stopped_s is None:
            self._stopped_s = trio.current_time()
            for scope in self._limits:
                self._limits[scope] = max(0.0, scope.deadline - self._stopped_s)
                scope.deadline = math.inf

    def go(self) -> None:
        """Go on."""
        if self._stopped_s is not None:
            self._lost_s += trio.current_time() - self._stopped_s
            self._stopped_s = None
            for scope in self._limits:
                self._arm(scope)

    def _arm(self, scope: trio.CancelScope) -> None:
        scope.deadline = trio.current_time() + self._limits[scope]
