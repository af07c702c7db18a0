"""The benchmark `gpu` and what the tests observed, as one JSON file and one table.

    python -m tests.gpu.report OUTDIR [--junit FILE] [--notes FILE] [--fake-pycuda FOLDER --small]

OUTDIR/gpu-MODEL.json has the benchmark's keys at its top level, beside `tests`, `observed` and `environment`.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from p2pcompute.compute import sandbox, source
from p2pcompute.compute.ptx import CANONICAL_VERSION
from tests.bench import gpu, progress, registry
from tests.gpu.client import Place

NOT_A_RESULT = "made on a fake device, by the CPU engine: no result of a GPU"


def main(arguments: list[str] | None = None) -> int:
    """0 when everything was measured and no test failed; the files are written in any case."""
    parser = argparse.ArgumentParser(prog="report")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--junit", type=Path)
    parser.add_argument("--notes", type=Path)
    parser.add_argument("--fake-pycuda", help=argparse.SUPPRESS)
    parser.add_argument("--small", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    place = Place("fake", (args.fake_pycuda,)) if args.fake_pycuda else Place("gpu")
    scope = gpu.SMALL if args.small else gpu.FULL
    try:
        with progress.watched(lambda text: print(text, file=sys.stderr, flush=True)):
            figures = gpu.measure_on(place, scope) if args.fake_pycuda else gpu.measure(quick=args.small)
    except Exception as error:  # a report of what is known is worth more than none
        figures = {"failed": f"{type(error).__name__}: {error}"}
    report: dict[str, Any] = {
        **figures,
        **({"fake": NOT_A_RESULT} if args.fake_pycuda else {}),
        "tests": tests(args.junit),
        "observed": _json(args.notes),
        "environment": environment(),
    }
    folder: Path = args.folder
    folder.mkdir(parents=True, exist_ok=True)
    name = f"gpu-{slug(str(figures.get('device', 'unknown')))}"
    (folder / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (folder / f"{name}.md").write_text(table(report), encoding="utf-8")
    print(f"{folder / name}.json and .md", file=sys.stderr)
    return 1 if figures["failed"] or report["tests"]["failed"] else 0


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def tests(junit: Path | None) -> dict[str, Any]:
    """How many tests passed, failed and were skipped, why those were, and the first lines of each failure."""
    if junit is None or not junit.exists():
        return {"passed": 0, "failed": 1, "failures": {"all": "the tests did not end: there is no report of theirs"}}
    failures: dict[str, str] = {}
    skipped: dict[str, str] = {}
    passed = 0
    for case in ElementTree.parse(junit).getroot().iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        wrong = [found for kind in ("failure", "error") if (found := case.find(kind)) is not None]
        skip = case.find("skipped")
        if wrong:
            failures[name] = str(wrong[0].get("message"))[:600]
        elif skip is not None:
            skipped[name] = str(skip.get("message"))
        else:
            passed += 1
    return {"passed": passed, "failed": len(failures), "skipped": skipped, "failures": failures}


def environment() -> dict[str, object]:
    """The machine, its driver, and the project's own versions."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit", "--format=csv"]
    try:
        smi = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        smi = ""
    return gpu.environment() | {
        "nvidia_smi": smi,
        "toolchain": source.toolchain_id(CANONICAL_VERSION),
        "sandbox": sandbox.available().level,
        "sandbox_lacks": list(sandbox.available().missing),
    }


def table(report: Mapping[str, Any]) -> str:
    """For people: the goals first, then each kernel, then what was seen."""
    lines = [f"# CUDA engine on {report.get('device', 'an unknown device')}", ""]
    if "fake" in report:
        lines += [f"**{report['fake']}**", ""]
    if report["failed"]:
        lines += [f"Not all was measured: {_line(report['failed'])}", ""]
    counted = report["tests"]
    lines += [
        f"Tests: {counted['passed']} passed, {counted['failed']} failed, {len(counted.get('skipped', {}))} skipped."
    ]
    lines += [f"- failed: `{name}`: {_line(text)}" for name, text in counted.get("failures", {}).items()]
    lines += [f"- skipped: `{name}`: {_line(text)}" for name, text in counted.get("skipped", {}).items()]
    lines += ["", "| figure | measured | goal | |", "|---|---|---|---|"]
    beside = tuple(gpu.BESIDE)
    for key, value in report.items():
        if key in ("tests", "observed", "environment", "fake", "failed") or key.startswith((*beside, "us_")):
            continue
        goal = gpu.GOALS.get(key)
        verdict = registry.verdict(dict(report), key, goal) if goal else ""
        lines.append(f"| {key} | {_figure(value)} | {f'{goal[0]} {goal[1]:g}' if goal else ''} | {verdict} |")
    rows = [key.removeprefix("us_") for key in report if key.startswith("us_")]
    if rows:
        lines += ["", f"| kernel | us | {' | '.join(gpu.BESIDE.values())} |", f"|---|---|{'---|' * len(beside)}"]
        for name in rows:
            values = [report[f"us_{name}"], *(report[f"{prefix}{name}"] for prefix in beside)]
            lines.append(f"| {name} | {' | '.join(_figure(value) for value in values)} |")
    for title in ("observed", "environment"):
        lines += ["", f"## {title.capitalize()}", ""]
        lines += [f"- {key}: {_line(json.dumps(value))}" for key, value in report[title].items()]
    return "\n".join(lines) + "\n"


def _figure(value: object) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else _line(str(value))


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")[:400]


def _json(path: Path | None) -> dict[str, Any]:
    if path is None or not path.exists():
        return {}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    sys.exit(main())
