"""Clocks for benchmarks: several ways side by side, round after round, so that a noisy machine disturbs all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

ROUNDS = 7


def side_by_side(ways: Mapping[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Seconds of processor time of one call of each way, the median of `rounds` interleaved rounds."""
    return _interleave(ways, rounds, time.process_time)


def side_by_side_thread(ways: Mapping[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """As `side_by_side`, but only what the calling thread itself spends."""
    return _interleave(ways, rounds, time.thread_time)


def side_by_side_wall(ways: Mapping[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """As `side_by_side`, by the wall clock: for work that waits."""
    return _interleave(ways, rounds, time.perf_counter)


def _interleave(ways: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    seen: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            begin = clock()
            way()
            seen[name].append(clock() - begin)
    return {name: statistics.median(times) for name, times in seen.items()}
