"""`python -m tests.bench NAME [--json]`, or `--all`."""

from __future__ import annotations

import argparse
import json
import sys

from rich.console import Console
from rich.table import Table

from tests.bench import progress, registry
from tests.interop.javascript import MissingJavaScriptError


def main(arguments: list[str] | None = None) -> int:
    """Run, print tables for people and, with --json, one object as the last line. 1 when what is compared with is not
    installed.
    """
    parser = argparse.ArgumentParser(prog="bench", description="Measure, and print each figure beside its goal.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(registry.NAMES))
    parser.add_argument("--all", action="store_true", help="every benchmark")
    parser.add_argument("--quick", action="store_true", help="only try the benchmark itself; its figures mean nothing")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of stdout")
    args = parser.parse_args(arguments)
    names = list(registry.NAMES) if args.all else args.names
    if not names or any(name not in registry.NAMES for name in names):
        parser.error(f"name one of {', '.join(registry.NAMES)}, or --all")
    console = Console(stderr=True)
    results: dict[str, registry.Figures] = {}
    for name in names:
        benchmark = registry.load(name)
        try:
            results[name] = _measured(console, name, benchmark, quick=args.quick)
        except (registry.MissingPeerError, MissingJavaScriptError) as error:
            print(error, file=sys.stderr)
            if args.all and name in registry.NEED_GPU:
                continue
            return 1
        _show(console, name, benchmark, results[name])
    if args.json:
        print(json.dumps(results[names[0]] if len(names) == 1 else results))
    return 0


def _measured(console: Console, name: str, benchmark: registry.Benchmark, *, quick: bool) -> registry.Figures:
    """Steps stand in the status line, or, where stderr is no terminal, one below the other."""
    with console.status(f"measuring {name}") as status:
        with progress.watched(status.update if console.is_terminal else console.print):
            return benchmark.measure(quick=quick)


def _show(console: Console, name: str, benchmark: registry.Benchmark, figures: registry.Figures) -> None:
    beside: dict[str, str] = getattr(benchmark, "BESIDE", {})
    table = Table("figure", "measured", "goal", "", title=name)
    for key, value in figures.items():
        if key.startswith(tuple(beside)):
            continue
        goal = benchmark.GOALS.get(key)
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        wanted = f"{goal[0]} {goal[1]:g}" if goal else ""
        table.add_row(key, shown, wanted, registry.verdict(figures, key, goal) if goal else "")
    rows = registry.rows(benchmark, figures)
    if rows:
        second = Table(name, *beside.values())
        for row, values in rows.items():
            second.add_row(row, *("" if value is None else f"{value:.3f}" for value in values))
        console.print(second)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
