"""What was seen of the nodes over time, and what follows from it."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Final

from tests.soak.node import Footprint

MIB: Final = 1 << 20
SLACK: Final = 8
"""Tasks or files that come and go: a query under way, a dial, a blob. One more task for each connection may be
comparing books just now."""
WARM_SHARE: Final = 0.4
"""Of the run; memory that grows later than that grows for ever."""
GROWTH_MIB_PER_MIN_MAX: Final = 0.5
"""Of a witness, by least squares over the rest of the run. A kilobyte leaked for each connection would show."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """One node at one time, in seconds after the begin."""

    at_s: float
    node: int
    footprint: Footprint


@dataclasses.dataclass
class Report:
    """How it went."""

    seconds: float
    blows: dict[str, int]
    healed_s: float
    before: dict[int, Footprint]
    """Of the witnesses, when the mesh had formed."""
    after: list[Footprint]
    """Of all nodes, when it was whole again."""
    samples: list[Sample]
    defects: list[str]
    witnesses: tuple[int, ...]

    @property
    def grown_mib_per_min(self) -> dict[int, float]:
        """By witness, after the warm part."""
        return {node: self._slope(node) for node in self.witnesses}

    def _slope(self, node: int) -> float:
        late = [s for s in self.samples if s.node == node and s.at_s >= WARM_SHARE * self.seconds]
        if len(late) < 3:
            return 0.0
        line = statistics.linear_regression([s.at_s / 60 for s in late], [s.footprint.memory_bytes / MIB for s in late])
        return line.slope

    @property
    def leaks(self) -> list[str]:
        """Nodes that hold tasks or files that no connection accounts for."""
        usual = list(self.before.values())
        return [f"node {i}: {now}" for i, now in enumerate(self.after) if leaks(usual, now)]

    def lines(self) -> list[str]:
        """For people."""
        memory = [now.memory_bytes / MIB for now in self.after]
        rows = [
            f"blows              {', '.join(f'{count} x {kind}' for kind, count in self.blows.items())}",
            f"whole again after  {self.healed_s:.1f} s",
            f"memory at the end  {min(memory):.1f} to {max(memory):.1f} MiB",
            f"tasks at the end   {min(n.tasks for n in self.after)} to {max(n.tasks for n in self.after)}",
            f"files at the end   {min(n.files for n in self.after)} to {max(n.files for n in self.after)}",
        ]
        for node in self.witnesses:
            rows.append(f"witness {node}         before {self.before[node]}")
            rows.append(f"                   after  {self.after[node]}, {self.grown_mib_per_min[node]:+.2f} MiB/min")
        return rows


def leaks(usual: Sequence[Footprint], now: Footprint) -> bool:
    """Whether a node holds tasks or files beyond those of nodes in a fresh mesh that no connection accounts for."""
    return (
        now.tasks_beside_connections > max(one.tasks_beside_connections for one in usual) + SLACK + now.connections
        or now.files_beside_connections > max(one.files_beside_connections for one in usual) + SLACK
    )
