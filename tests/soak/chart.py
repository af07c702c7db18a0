"""Memory, tasks and connections of every node over time, as one SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from tests.soak.node import Footprint
from tests.soak.record import MIB, Report, Sample

WIDTH: Final = 900
PANE: Final = 180
LEFT: Final = 60
GAP: Final = 40
PANES: Final[tuple[tuple[str, Callable[[Footprint], float]], ...]] = (
    ("memory, MiB", lambda f: f.memory_bytes / MIB),
    ("trio tasks", lambda f: float(f.tasks)),
    ("open files", lambda f: float(f.files)),
    ("connections", lambda f: float(f.connections)),
)
"""One under the other."""


def svg(report: Report) -> str:
    """Witnesses are drawn thick; a line of another node breaks where its process ended."""
    height = len(PANES) * (PANE + GAP) + GAP
    size = f'width="{WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for row, (title, value) in enumerate(PANES):
        parts += _pane(report, title, value, GAP + row * (PANE + GAP))
    return "\n".join([*parts, "</svg>"])


def _pane(report: Report, title: str, value: Callable[[Footprint], float], top: int) -> list[str]:
    values = [value(s.footprint) for s in report.samples] or [0.0]
    low, high = min(values), max(max(values), min(values) + 1)
    end_s = max([s.at_s for s in report.samples] or [1.0])

    def x(s: Sample) -> float:
        return LEFT + (WIDTH - LEFT - 20) * s.at_s / end_s

    def y(s: Sample) -> float:
        return top + PANE - PANE * (value(s.footprint) - low) / (high - low)

    parts = [
        f'<text x="{LEFT}" y="{top - 8}">{title}</text>',
        f'<text x="4" y="{top + 10}">{high:.0f}</text><text x="4" y="{top + PANE}">{low:.0f}</text>',
        f'<text x="{WIDTH - 60}" y="{top + PANE + 14}">{end_s:.0f} s</text>',
        f'<rect x="{LEFT}" y="{top}" width="{WIDTH - LEFT - 20}" height="{PANE}" fill="none" stroke="#bbb"/>',
    ]
    for node in sorted({s.node for s in report.samples}):
        witness = node in report.witnesses
        style = 'stroke="#c0392b" stroke-width="2"' if witness else 'stroke="#2c3e50" stroke-width="0.6" opacity="0.6"'
        for run in _runs([s for s in report.samples if s.node == node]):
            points = " ".join(f"{x(s):.1f},{y(s):.1f}" for s in run)
            parts.append(f'<polyline fill="none" {style} points="{points}"/>')
    return parts


def _runs(samples: Sequence[Sample], gap_s: float = 15.0) -> list[list[Sample]]:
    """Cut where a node was not seen for a while."""
    runs: list[list[Sample]] = []
    for sample in samples:
        if runs and sample.at_s - runs[-1][-1].at_s <= gap_s:
            runs[-1].append(sample)
        else:
            runs.append([sample])
    return runs
