"""`python -m tests.bench NAME [--json]`, or `--all`."""

from __future__ import annotations

import argparse
import json
import sys

from rich.console import Console
from rich.table import Table

from tests.bench import registry


def main() -> int:
    """Run, print a table for people and, with --json, one object as the last line."""
    parser = argparse.ArgumentParser(prog="bench", description="Measure, and print each figure beside its goal.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(registry.NAMES))
    parser.add_argument("--all", action="store_true", help="every benchmark")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of stdout")
    args = parser.parse_args()
    names = list(registry.NAMES) if args.all else args.names
    if not names or any(name not in registry.NAMES for name in names):
        parser.error(f"name one of {', '.join(registry.NAMES)}, or --all")
    console = Console(stderr=True)
    results: dict[str, registry.Figures] = {}
    for name in names:
        benchmark = registry.load(name)
        with console.status(f"measuring {name}"):
            results[name] = benchmark.measure(quick=False)
        table = Table(title=name)
        for column in ("figure", "measured", "goal", ""):
            table.add_column(column)
        for key, value in results[name].items():
            goal = benchmark.GOALS.get(key)
            shown = f"{value:.4g}" if isinstance(value, float) else str(value)
            wanted = f"{goal[0]} {goal[1]:g}" if goal else ""
            table.add_row(key, shown, wanted, registry.verdict(results[name], key, goal) if goal else "")
        console.print(table)
    if args.json:
        print(json.dumps(results[names[0]] if len(names) == 1 else results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
