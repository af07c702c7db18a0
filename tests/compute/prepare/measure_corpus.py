"""How much of a folder of real `.cu` files can be handed in: prepared and compiled, kernel by kernel accepted.

    python -m tests.compute.prepare.measure_corpus FOLDER ... [--include FOLDER] [--define NAME=VALUE] [--json]
        [--every N] [--first K] [--compile | --launch]

Only files with a `__global__` of their own count, and of those not the `pieces` that another `.cu` file includes: who
hands in that one hands them in too. `-D` options of a Makefile beside a file are taken over, as by its
author. Kernels are lowered to LLVM for blocks of 256 threads; with `--compile` machine code is made and linked too,
and the slowest kernels are listed. With `--launch` every kernel is also run, in a child process, on arguments invented
from its PTX (`launch_kernels`), and short launches are compared with the reference interpreter, bit for bit.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import os
import re
import time
from pathlib import Path

import trio

from p2pcompute.client.headers import included_files, read_source
from p2pcompute.compute import ptx
from p2pcompute.compute.compiler import CompiledSource, Compiler
from p2pcompute.compute.ptx.lower import lower
from p2pcompute.errors import CompileError, P2PComputeError, PtxError
from tests.compute.prepare.launch_kernels import launch_all

_DEFINE = re.compile(r"(?<!\S)-D\s*([A-Za-z_]\w*)(?:=([\w.+-]+))?(?!\S)")
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*["<]([^"<>]+\.cu)[">]', re.MULTILINE)
_BLOCK = (256, 1, 1)
_SLOWEST_SHOWN = 10
_TOLD = ("error", "deadline", "trapped", "differs", "disagree")
"""Outcomes of a launch that are listed kernel by kernel."""
_COMMENTS = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


@dataclasses.dataclass
class Tally:
    """Counts over all files; `refusals` by reason, each with one example."""

    files: int = 0
    pieces: int = 0
    as_is: int = 0
    whole: int = 0
    partly: int = 0
    templates_only: int = 0
    kernels_found: int = 0
    kernels_compiled: int = 0
    kernels_accepted: int = 0
    seconds: float = 0.0
    launches: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    comparisons: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    jit_seconds: list[tuple[float, str]] = dataclasses.field(default_factory=list)
    compile_refusals: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    engine_refusals: dict[str, list[str]] = dataclasses.field(default_factory=dict)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--include", action="append", default=[], type=Path)
    parser.add_argument("--define", action="append", default=[])
    parser.add_argument("--every", type=int, default=1, help="take each n-th file only")
    parser.add_argument("--first", type=int, default=0, help="beginning with this one")
    parser.add_argument("--compile", action="store_true", help="make machine code of every kernel")
    parser.add_argument("--launch", action="store_true", help="run every kernel on invented arguments")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    tally = trio.run(_measure, options)
    _show(tally, options.json)


async def _measure(options: argparse.Namespace) -> Tally:
    tally = Tally()
    files = sorted(file for folder in options.folders for file in folder.rglob("*.cu"))
    included = _included(files)
    async with Compiler() as compiler:
        for file in files[options.first :: options.every]:
            if "__global__" not in _COMMENTS.sub("", file.read_text(errors="replace")):
                continue
            if file in included:
                tally.pieces += 1
                continue
            tally.files += 1
            defines = dict(item.partition("=")[::2] for item in options.define)
            start = time.monotonic()
            compiled = await _one(compiler, file, options.include, {**_makefile_defines(file), **defines}, tally)
            tally.seconds += time.monotonic() - start
            if compiled is not None and options.launch:
                await trio.to_thread.run_sync(_launch, compiled, file, tally)
            elif compiled is not None:
                await trio.to_thread.run_sync(_engine, compiled, file, tally, options.compile)
    return tally


def _included(files: list[Path]) -> set[Path]:
    """Files that another one of `files` names in an `#include`."""
    known, found = set(files), set[Path]()
    for file in files:
        for name in _INCLUDE.findall(file.read_text(errors="replace")):
            target = Path(os.path.normpath(file.parent / name))
            if target in known and target != file:
                found.add(target)
    return found


def _makefile_defines(file: Path) -> dict[str, str]:
    makefile = next((file.parent / name for name in ("Makefile", "makefile") if (file.parent / name).is_file()), None)
    if makefile is None:
        return {}
    return {name: value or "1" for name, value in _DEFINE.findall(makefile.read_text(errors="replace"))}


async def _one(
    compiler: Compiler, file: Path, include: list[Path], defines: dict[str, str], tally: Tally
) -> CompiledSource | None:
    try:
        sources = {**included_files(file, include), file.name: read_source(file)}
        compiled = await compiler.compile(sources, file.name, defines=defines, timeout_s=60)
    except CompileError as error:
        if "what the engines accept" in str(error):
            refused = [line for line in str(error).splitlines() if "accept: " in line]  # not the notes
            tally.whole += 1
            tally.kernels_found += len(refused)
            tally.kernels_compiled += len(refused)
            for line in refused:
                _refuse(tally.engine_refusals, _generic(line.partition("accept: ")[2]), str(file))
            return None
        tally.templates_only += "templates of kernels only" in str(error)
        _refuse(tally.compile_refusals, _first_error(str(error)), str(file))
        return None
    except P2PComputeError as error:
        _refuse(tally.compile_refusals, str(error)[:100], str(file))
        return None
    outcome = compiled.outcome
    by_engine = [left for left in outcome.left_out if "what the engines accept" in left.reason]
    by_compiler = [left for left in outcome.left_out if left not in by_engine]
    tally.as_is += not outcome.prepared
    tally.whole += not by_compiler
    tally.partly += bool(by_compiler)
    tally.kernels_found += len(compiled.entries) + len(outcome.left_out)
    tally.kernels_compiled += len(compiled.entries) + len(by_engine)
    for left in by_compiler:
        _refuse(tally.compile_refusals, f"[kernel] {_first_error(left.reason)}", f"{file}:{left.kernel}")
    for left in by_engine:
        _refuse(tally.engine_refusals, _generic(left.reason.partition("accept: ")[2]), f"{file}:{left.kernel}")
    return compiled


def _engine(compiled: CompiledSource, file: Path, tally: Tally, with_code: bool) -> None:
    module = ptx.parse(compiled.ptx)
    for entry in compiled.entries:
        start = time.monotonic()
        try:
            if with_code:
                ptx.compile_entry(module, entry.name, _BLOCK)
                tally.jit_seconds.append((time.monotonic() - start, f"{file}:{entry.name}"))
            else:
                lower(module, module.entries[entry.name], _BLOCK, careful=False)
            tally.kernels_accepted += 1
        except PtxError as error:
            _refuse(tally.engine_refusals, _generic(str(error)), f"{file}:{entry.name}")


def _launch(compiled: CompiledSource, file: Path, tally: Tally) -> None:
    for result in launch_all(compiled.ptx):
        where = f"{file}:{result.entry}"
        if result.outcome == "refused":
            _refuse(tally.engine_refusals, _generic(result.detail), where)
            continue
        tally.kernels_accepted += 1
        is_told = result.outcome != "finished" and result.detail
        tally.launches.setdefault(result.outcome, []).append(f"{where}: {result.detail}" if is_told else where)
        if result.compared:
            tally.comparisons.setdefault(result.compared, []).append(f"{where} ({result.outcome}): {result.why}")


def _first_error(log: str) -> str:
    match = re.search(r"error: (.*)", log)
    return re.sub(r"\d+", "N", match[1] if match else log.splitlines()[0])[:110]


def _generic(reason: str) -> str:
    reason = re.sub(r"PTX line \d+|line \d+", "line N", reason)
    return re.sub(r"'(_Z\w+|\w*\$\w+|%\w+)'", "'…'", reason)[:140]


def _refuse(refusals: dict[str, list[str]], reason: str, where: str) -> None:
    refusals.setdefault(reason, []).append(where)


def _show(tally: Tally, as_json: bool) -> None:
    for title, refusals in (("compiler", tally.compile_refusals), ("engine", tally.engine_refusals)):
        print(f"--- refused by the {title}")
        ranked = collections.Counter({reason: len(where) for reason, where in refusals.items()}).most_common()
        for reason, count in ranked:
            print(f"{count:5} {reason}   e.g. {refusals[reason][0]}")
    for places in (tally.launches, tally.comparisons):
        for outcome in _TOLD:
            for where in places.get(outcome, []):
                print(f"--- {outcome}: {where}")
    figures = {k: v for k, v in dataclasses.asdict(tally).items() if not isinstance(v, dict | list)}
    files = max(1, tally.files)
    figures["whole_percent"] = round(100 * tally.whole / files, 1)
    figures["usable_percent"] = round(100 * (tally.whole + tally.partly) / files, 1)
    figures["accepted_percent"] = round(100 * tally.kernels_accepted / max(1, tally.kernels_compiled), 1)
    figures |= {f"launch_{outcome}": len(where) for outcome, where in sorted(tally.launches.items())}
    figures |= {f"bits_{outcome}": len(where) for outcome, where in sorted(tally.comparisons.items())}
    times = sorted(tally.jit_seconds, reverse=True)
    if times:
        figures["jit_seconds_median"] = round(times[len(times) // 2][0], 3)
        print("--- slowest to make machine code of")
        for seconds, where in times[:_SLOWEST_SHOWN]:
            print(f"{seconds:8.2f} s {where}")
    print(json.dumps(figures) if as_json else "\n".join(f"{k:18} {v}" for k, v in figures.items()))


if __name__ == "__main__":
    main()
