"""Processor time of a delivered gossip message: our peers and js-libp2p's, side by side, N of each in one process.

Real TCP, Noise and yamux on loopback; StrictSign, validation and scoring on; the same ring of dials, degrees and
300-byte messages on both sides. Upkeep (heartbeats, idle connections) counts for both.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from tests.interop.javascript import HERE, node_command

GOALS: Final = {
    "ratio_to_js_10": ("<=", 0.3),
    "ratio_to_js_20": ("<=", 0.3),
    "saturated_ratio_to_js": ("<=", 0.15),
    "verifies_per_delivery_cost": ("<=", 3.5),
    "lost": ("==", 0.0),
}
TOPIC: Final = "bench"
RATE_PER_PEER: Final = 5.0
ROUNDS: Final = 5
SECONDS: Final = 3.0
MESH_MIN: Final = 4
SETTLE_S_MAX: Final = 60.0


class Crowd:
    """A process with N peers."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.runs: list[dict[str, Any]] = []

    def ask(self, command: str, **options: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"command": command, **options}) + "\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the peers have ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def settle(self) -> None:
        """Wait until everybody has a mesh."""
        end = time.monotonic() + SETTLE_S_MAX
        while self.ask("mesh")["mesh_min"] < MESH_MIN:
            assert time.monotonic() < end, "the meshes do not form"
            time.sleep(0.5)

    def cost_us(self, rate: float, seconds: float) -> float:
        """Processor time per delivery of one run; what was lost counts as delivered, in favour of who lost it."""
        run = self.ask("run", rate=rate, seconds=seconds)
        self.runs.append(run)
        return float(run["cpu_us"]) / max(1, run["delivered"] + run["lost"])

    @property
    def lost(self) -> float:
        return float(sum(run["lost"] for run in self.runs))


@contextmanager
def running(*command: str) -> Iterator[Crowd]:
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        made = Crowd(process)
        made.answer()
        yield made
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


@contextmanager
def both(count: int) -> Iterator[tuple[Crowd, Crowd]]:
    """Ours and js's, settled."""
    ours = (sys.executable, "-m", "tests.bench.gossip_peers", str(count), TOPIC)
    js = (node_command(), str(HERE / "bench.mjs"), str(count), TOPIC)
    with running(*ours) as left, running(*js) as right:
        left.settle()
        right.settle()
        yield left, right


def measure(*, quick: bool) -> dict[str, object]:
    """Ratios of processor time per delivery, medians of interleaved rounds. `js_*` and `*_us` say what they are made
    of; `load` is the machine's average load before and after. Raises MissingJavaScriptError."""
    rounds, seconds = (1, 0.5) if quick else (ROUNDS, SECONDS)
    figures: dict[str, object] = {"load_before": os.getloadavg()[0]}
    lost = js_lost = 0.0
    for count in (10, 20):
        with both(count) as (ours, js):
            for crowd in (ours, js):
                crowd.cost_us(RATE_PER_PEER * count, seconds)  # warm code and buffers; js at 20 does not survive more
            figures |= _compare(f"_{count}", ours, js, RATE_PER_PEER * count, seconds, rounds)
            if count == 10:
                saturated = _compare("_saturated", ours, js, 0, seconds, rounds)
                saturated["saturated_ratio_to_js"] = saturated.pop("ratio_to_js_saturated")
                check_us = statistics.median(ours.ask("check")["check_us"] for _ in range(rounds))
                figures |= saturated
                figures |= {"check_us": check_us, "verifies_per_delivery_cost": saturated["us_saturated"] / check_us}
            lost += ours.lost
            js_lost += js.lost
    return {**figures, "lost": lost, "js_lost": js_lost, "load_after": os.getloadavg()[0]}


def _compare(name: str, ours: Crowd, js: Crowd, rate: float, seconds: float, rounds: int) -> dict[str, float]:
    pairs = [(ours.cost_us(rate, seconds), js.cost_us(rate, seconds)) for _ in range(rounds)]
    figures = {
        f"ratio_to_js{name}": statistics.median(left / right for left, right in pairs),
        f"us{name}": statistics.median(left for left, _ in pairs),
        f"js_us{name}": statistics.median(right for _, right in pairs),
    }
    if not rate:
        figures[f"per_s{name}"] = statistics.median(run["published"] / run["seconds"] for run in ours.runs[-rounds:])
        figures[f"js_per_s{name}"] = statistics.median(run["published"] / run["seconds"] for run in js.runs[-rounds:])
    return figures
