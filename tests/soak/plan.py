"""Who is struck when, and how: all of it follows from the seed."""

from __future__ import annotations

import dataclasses
import random
from typing import Final

KINDS: Final = ("kill", "restart", "stop")
"""SIGKILL and start again; SIGTERM and start again; SIGSTOP and SIGCONT."""
BLOW_S: Final = 2.5
"""Mean time between two blows."""
DOWN_S_MAX: Final = 5.0
STOPPED_S_MEAN: Final = 8.0
STOPPED_S_MAX: Final = 40.0
"""Beyond what it takes to be given up by the others (IDLE_S + PONG_S)."""
START_S: Final = 6.0
"""What the plan allows for a start."""
DOWN_SHARE_MAX: Final = 0.5


@dataclasses.dataclass(frozen=True)
class Blow:
    """`node` is struck `at_s` after the begin; `pause_s` later it is brought back."""

    at_s: float
    node: int
    kind: str
    pause_s: float


def plan(seed: int, processes: int, witnesses: int, seconds: float) -> list[Blow]:
    """Blows in order. The last `witnesses` nodes are stopped at times, but never ended. No more than half of the nodes
    are meant to be away at once."""
    rng = random.Random(seed)
    away_until_s = [0.0] * processes
    blows: list[Blow] = []
    at_s = rng.expovariate(1 / BLOW_S)
    while at_s < seconds:
        here = [i for i in range(processes) if away_until_s[i] <= at_s]
        if len(here) > processes * (1 - DOWN_SHARE_MAX):
            node = rng.choice(here)
            kind = "stop" if node >= processes - witnesses else rng.choice(KINDS)
            stopped_s = min(STOPPED_S_MAX, rng.expovariate(1 / STOPPED_S_MEAN))
            pause_s = stopped_s if kind == "stop" else rng.uniform(0, DOWN_S_MAX)
            blows.append(Blow(at_s, node, kind, pause_s))
            away_until_s[node] = at_s + pause_s + (0 if kind == "stop" else START_S)
        at_s += rng.expovariate(1 / BLOW_S)
    return blows
