"""`python -m tests.soak --processes 20 --minutes 10 --seed 1`"""

from __future__ import annotations

import argparse
import functools
import tempfile
from pathlib import Path

import trio

from tests.soak.churn import churn, leaks


def main() -> None:
    """Churn, then print the report. Fails when the mesh is not whole or something leaked."""
    parser = argparse.ArgumentParser(prog="soak")
    parser.add_argument("--processes", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        run = functools.partial(
            churn, Path(directory), processes=args.processes, seconds=60 * args.minutes, seed=args.seed
        )
        report = trio.run(run)
    print(f"blows            {report.blows}")
    print(f"whole again in   {report.healed_s:.1f} s")
    print(f"witness before   {report.before}")
    print(f"witness after    {report.after}")
    print(f"grown            {report.grown_bytes / 2**20:.1f} MiB")
    assert not leaks(report.before, report.after)


if __name__ == "__main__":
    main()
