"""`python -m tests.soak --processes 20 --minutes 10 --seed 1 --chart soak.svg`"""

from __future__ import annotations

import argparse
import functools
import tempfile
from pathlib import Path

import trio

from tests.soak import chart
from tests.soak.churn import churn
from tests.soak.record import GROWTH_MIB_PER_MIN_MAX


def main() -> None:
    """Churn, then print the report. Fails when the mesh is not whole or something leaked."""
    parser = argparse.ArgumentParser(prog="soak")
    parser.add_argument("--processes", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--chart", type=Path, help="an SVG of memory, tasks, files and connections over time")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        say = functools.partial(print, flush=True)
        seconds = 60 * args.minutes
        run = functools.partial(
            churn, Path(directory), processes=args.processes, seconds=seconds, seed=args.seed, say=say
        )
        report = trio.run(run)
    if args.chart is not None:
        args.chart.write_text(chart.svg(report))
    print("\n".join(report.lines()))
    assert not report.leaks, report.leaks
    assert not report.defects, "\n".join(report.defects)
    assert max(report.grown_mib_per_min.values()) < GROWTH_MIB_PER_MIN_MAX, report.grown_mib_per_min


if __name__ == "__main__":
    main()
