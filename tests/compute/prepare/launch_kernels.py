"""Launches every kernel of a PTX file on invented arguments: `python -m tests.compute.prepare.launch_kernels FILE`.

A child of `measure_corpus --launch`: it prints the kernel it is at, then a line of JSON on it, so that who reads knows
whose fault a crash is. A kernel that finds the first arguments too large for its buffers is given smaller ones. Where
the launch is short the reference interpreter does it too, and what both left in memory is compared.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from p2pcompute.compute import ptx
from p2pcompute.compute.ptx import interpret
from p2pcompute.compute.ptx.interpret import Kind
from p2pcompute.compute.ptx.launch import canonical_form
from p2pcompute.errors import PtxError, UsageError
from tests.compute.prepare.invented import Invented, invent

SIZES = (64, 16, 5, 1)
"""What integers are, in this order, until a kernel finishes."""
DEADLINE_S = 10.0
CHILD_S = 600.0
"""For all kernels of one file; the machine code of the largest takes half a minute."""
STEPS_MAX = 400_000
"""Of the interpreter: two seconds."""
_RACES = frozenset({Kind.RACE, Kind.BLOCK_RACE})
_BROKEN = frozenset({Kind.BARRIER, Kind.WARP, Kind.TRAP, Kind.OUT_OF_BOUNDS, Kind.MISALIGNED})


@dataclass(frozen=True)
class Launched:
    """`outcome`: finished, trapped, deadline, refused (by name, before running) or error, which is the engine's fault.

    `compared`: same, differs, agreed (both say that the kernel breaks a rule), disagree (only one does), open (threads
    race, or the kernel is not exact: other bits are no fault), long (not interpreted to the end) or empty.
    """

    entry: str
    outcome: str
    detail: str = ""
    size: int = 0
    compared: str = ""
    why: str = ""


def launched(module: ptx.Module, name: str) -> Launched:
    """`module` is canonical."""
    entry = module.entries[name]
    result = Launched(name, "refused")
    for size in SIZES:
        invented = invent(entry, size)
        try:
            compiled = ptx.compile_entry(module, name, invented.block)
            status, trap = _on_engine(compiled, invented)
        except PtxError as error:
            return Launched(name, "refused", str(error)[:200])
        except UsageError as error:
            return Launched(name, "error", str(error)[:200])
        outcome = {"ok": "finished", "trap": "trapped", "aborted": "deadline"}[status.value]
        result = Launched(name, outcome, str(trap or ""), size)
        if status is ptx.Status.OK:
            break
    return result if result.outcome == "deadline" else _compared(module, name, result, invented)


def _on_engine(compiled: ptx.CompiledKernel, launch: Invented) -> tuple[ptx.Status, ptx.Trap | None]:
    abort = ptx.Abort()
    timer = threading.Timer(DEADLINE_S, abort.set)
    timer.start()
    try:
        done = compiled.launch(
            launch.memory, launch.parameters, launch.grid, launch.shared_bytes, threads=1, abort=abort
        )
    finally:
        timer.cancel()
    return done.status, done.trap


def _compared(module: ptx.Module, name: str, result: Launched, launch: Invented) -> Launched:
    """The same launch, done by the interpreter on the same arguments."""
    again = invent(module.entries[name], result.size)
    notes = [interpret.BufferNote(f"buffer {n}", is_written=True) for n in range(len(again.memory))]
    order = interpret.CheckedLaunch(name, again.grid, again.block, again.parameters, again.shared_bytes)
    try:
        checked = interpret.check(module, again.memory, notes, [order], steps_max=STEPS_MAX)
    except PtxError as error:
        return _with(result, "long", f"the interpreter refuses it: {error}"[:200])
    kinds = {finding.kind for finding in checked.findings}
    if not checked.is_complete:
        return _with(result, "long", "")
    if (result.outcome == "trapped") != bool(kinds & _BROKEN):
        if checked.left_out or kinds & _RACES:
            return _with(result, "open", "")
        return _with(result, "disagree", "; ".join(f"{f.kind.value}: {f.message}" for f in checked.findings)[:300])
    if result.outcome == "trapped":
        return _with(result, "agreed", "")
    places = zip(_places(module, launch.memory), _places(module, again.memory), strict=True)
    different = [n for n, (ours, theirs) in enumerate(places) if not np.array_equal(ours, theirs)]
    if not different:
        return _with(result, "same", "")
    reasons = [reason for _, reason in ptx.classify(module, name).reasons]
    if kinds & _RACES or checked.left_out or reasons:
        return _with(result, "open", (reasons or ["race"])[0])
    return _with(result, "differs", f"buffers {different} (the last is the module's variables)")


def _places(module: ptx.Module, memory: ptx.Memory) -> list[np.ndarray]:
    """All that a launch can leave behind: buffers, and the module's variables."""
    buffers = [memory.array(n).view(np.uint8) for n in range(len(memory))]
    return [*buffers, memory.image(module, canonical_form(module)[1], "global")]


def _with(result: Launched, compared: str, why: str) -> Launched:
    return Launched(result.entry, result.outcome, result.detail, result.size, compared, why)


def launch_all(text: str) -> list[Launched]:
    """All kernels of a PTX text, each launched in a child; one that ends the child is an error, the rest go on."""
    results: list[Launched] = []
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(text)
        file.flush()
        while True:
            command = [sys.executable, "-m", "tests.compute.prepare.launch_kernels", file.name, str(len(results))]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=CHILD_S, check=False)
                out, end = done.stdout, f"ended with {done.returncode}: {done.stderr[-500:]}"
            except subprocess.TimeoutExpired as error:
                out, end = (error.stdout or b"").decode(), f"did not end within {CHILD_S:.0f} s"
                done = None
            lines = out.splitlines()
            results += [Launched(**json.loads(line)) for line in lines[1::2]]
            if done is not None and done.returncode == 0:
                return results
            if len(lines) % 2 == 0:
                return [*results, Launched("?", "error", end)]
            results.append(Launched(lines[-1], "error", end))


def main(file: Path, skip: int) -> None:
    module = ptx.parse(ptx.canonicalise(ptx.parse(file.read_text())))
    for name in list(module.entries)[skip:]:
        print(name, flush=True)
        try:
            result = launched(module, name)
        except Exception:
            result = Launched(name, "error", traceback.format_exc()[-1500:])
        print(json.dumps(asdict(result)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
