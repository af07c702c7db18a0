"""`python -m tests.fuzz [TARGET …] --runs 1000000 --seed 1`: each target under atheris, and how many inputs it took."""

from __future__ import annotations

import argparse
import time

from tests.fuzz import corpus, guided
from tests.fuzz.target import NAMES


def main() -> None:
    parser = argparse.ArgumentParser(prog="fuzz")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(NAMES)}; all of them without")
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write-seeds", action="store_true", help="make the seeds anew, and nothing else")
    args = parser.parse_args()
    if args.write_seeds:
        corpus.write()
        return
    for name in args.targets or NAMES:
        begin = time.monotonic()
        runs = guided.run(name, args.runs, seed=args.seed)
        print(f"{name:<12} {runs:>9} inputs in {time.monotonic() - begin:6.0f} s, no defect", flush=True)


if __name__ == "__main__":
    main()
