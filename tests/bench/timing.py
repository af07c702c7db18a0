"""Clocks for benchmarks: several ways side by side, round after round, so that a noisy machine disturbs all alike."""

from __future__ import annotations

import random
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


def thread_seconds(way: Callable[[], object]) -> Callable[[], float]:
    """A function that gives what the calling thread itself spends on a run of `way`, in seconds of processor time.
    Another run comes before it, so that the caches hold `way`'s own data and code, not those of who ran last.
    """

    def timed() -> float:
        way()
        begin = time.thread_time()
        way()
        return time.thread_time() - begin

    return timed


def side_by_side_reported(
    ways: Mapping[str, Callable[[], float]], rounds: int, *, rounds_max: int = 0, budget_s: float = 0.0
) -> dict[str, float]:
    """As `side_by_side`, for ways that report their own seconds; the order changes from round to round, so that none
    always finds the caches as the same other one left them. After `rounds`, more of them up to `rounds_max` while all
    ways together have spent less than `budget_s`.
    """
    order, shuffled = list(ways), random.Random(0)
    seen: dict[str, list[float]] = {name: [] for name in ways}
    spent = 0.0
    for number in range(max(rounds, rounds_max)):
        if number >= rounds and spent >= budget_s:
            break
        shuffled.shuffle(order)
        for name in order:
            seen[name].append(ways[name]())
            spent += seen[name][-1]
    return {name: statistics.median(times) for name, times in seen.items()}
