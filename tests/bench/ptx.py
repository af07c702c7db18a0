"""The CPU engine over the frozen list of kernels, against natural C++, PoCL and numba in the same run; what its range
tests cost, and how long compiling takes.
"""

from __future__ import annotations

import ctypes
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import trio

from p2pcompute.compute import ptx
from tests.bench import progress, ptx_cases, ptx_rivals
from tests.bench.ptx_cases import Case
from tests.bench.ptx_rivals import Rival
from tests.bench.ptx_unchecked import without_range_tests
from tests.bench.timing import side_by_side_reported, side_by_side_wall, thread_seconds
from tests.compute.ptx.running import kernel as kernel_of
from tests.compute.ptx.running import pack

GOALS: Final = {
    "geomean": ("<=", 0.4),
    "worst": ("<=", 1.5),
    "worst_vs_pocl": ("<", 1.0),
    "worst_vs_numba": ("<", 1.0),
    "bounds_check_cost": ("<=", 0.07),
    "jit_ms_median": ("<=", 100.0),
    "cached_ms_median": ("<=", 5.0),
    "two_thread_speedup": (">=", 1.8),
    "abort_ms_max": ("<=", 100.0),
}
BESIDE: Final = {"ratio_": "time / C++", "pocl_": "/ PoCL", "numba_": "/ numba", "unchecked_": "/ without range tests"}
ROUNDS: Final = 5
ROUNDS_MAX: Final = 31
BUDGET_S: Final = 1.0
"""Processor time per kernel within which there are more rounds than `ROUNDS`: most run only some milliseconds."""
QUICK: Final = ("scan", "mandelbrot")
TWO_THREADS: Final = ("mandelbrot", "sgemm", "nbody", "kmeans", "heat3d")
"""Kernels that run long enough for two threads: compute-bound, with barriers, and memory-bound."""
WAYS: Final = ("twin", "engine", "unchecked")
Seconds = Mapping[str, Mapping[str, float]]
"""Processor time of one run, per kernel and way: `engine`, `twin` (C++), `unchecked`, and each rival by its name."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """One kernel, and the milliseconds of `compile_entry`: cold, from the PTX text on; cached, as a worker does it that
    has the program.
    """

    kernel: ptx.CompiledKernel
    unchecked: ptx.CompiledKernel
    cold_ms: float
    cached_ms: float


def measure(*, quick: bool) -> dict[str, object]:
    """Ratios of processor time, engine over the other; `two_thread_speedup` by the wall clock. The engine and C++ are
    measured by their one thread, the others by their whole process. Raises MissingPeerError without PoCL or numba.
    """
    with ptx_rivals.all_running() as rivals:
        return measure_kernels(QUICK if quick else None, rivals, quick=quick)


def measure_kernels(names: Sequence[str] | None, rivals: Sequence[Rival], *, quick: bool) -> dict[str, object]:
    """As `measure`, for some kernels only (None: all), beside these rivals only."""
    load_before = os.getloadavg()[0]
    cases = ptx_cases.read(names)
    texts = trio.run(ptx_cases.ptx_texts, cases)
    compiled: list[Compiled] = []
    seconds: dict[str, dict[str, float]] = {}
    speedups: list[float] = []
    with tempfile.TemporaryDirectory() as directory:
        library = ptx_cases.build_twins(cases, Path(directory))
        for number, case in enumerate(cases, 1):
            progress.step(f"ptx: {case.name}, kernel {number} of {len(cases)}")
            compiled.append(_compile(case, texts[case.name], Path(directory) / "cache"))
            seconds[case.name] = _seconds(case, compiled[-1], library, rivals, quick=quick)
            if case.name in TWO_THREADS:
                speedups.append(_speedup(case, compiled[-1].kernel, 1 if quick else ROUNDS))
    figures = _figures(seconds, [rival.name for rival in rivals])
    return figures | {
        "jit_ms_median": statistics.median(one.cold_ms for one in compiled),
        "cached_ms_median": statistics.median(one.cached_ms for one in compiled),
        "two_thread_speedup": statistics.geometric_mean(speedups),
        "abort_ms_max": max(_abort_ms() for _ in range(ROUNDS)),
        "load_before": load_before,
        "load_after": os.getloadavg()[0],
    }


def _abort_ms() -> float:
    """From the moment in which a deadline would set the abort flag until an endless launch on two threads has ended."""
    flag, abort, set_at = np.zeros(1, np.int32), ptx.Abort(), [0.0]
    compiled = kernel_of("control", "forever", (32, 1, 1))
    memory = ptx.Memory([flag])

    def expire() -> None:
        set_at[0] = time.perf_counter()
        abort.set()

    timer = threading.Timer(0.05, expire)
    timer.start()
    result = compiled.launch(memory, pack(compiled, memory, [flag]), (4, 1, 1), threads=2, abort=abort)
    took_s = time.perf_counter() - set_at[0]
    assert result.status is ptx.Status.ABORTED
    return took_s * 1e3


def _compile(case: Case, text: str, cache: Path) -> Compiled:
    begin = time.thread_time()
    kernel = ptx.compile_entry(ptx.parse(text), case.name, case.block)
    cold = time.thread_time() - begin
    program = ptx.parse(text)
    ptx.compile_entry(program, case.name, case.block, cache_dir=cache)
    begin = time.thread_time()
    ptx.compile_entry(program, case.name, case.block, cache_dir=cache)
    cached = time.thread_time() - begin
    with without_range_tests():
        unchecked = ptx.compile_entry(ptx.parse(text), case.name, case.block)
    return Compiled(kernel, unchecked, 1000 * cold, 1000 * cached)


def _seconds(
    case: Case, compiled: Compiled, library: ctypes.CDLL, rivals: Sequence[Rival], *, quick: bool
) -> dict[str, float]:
    """Medians of interleaved rounds, after one run of each way whose outputs have to agree with the C++ twin's. In the
    rounds `WAYS` share their data: where the pages lie must not decide between them.
    """
    arguments = {way: case.fresh() for way in WAYS}
    calls = _calls(case, compiled, library, arguments)
    for call in calls.values():
        call()
    for way in ("engine", "unchecked"):
        wrong = ptx_cases.differing(case, arguments[way], arguments["twin"])
        if wrong:
            raise AssertionError(f"{case.name}: argument {wrong[0]} of the {way} differs from the twin's")
    theirs = [rival for rival in rivals if case.name in ptx_rivals.TWINS]
    for rival in theirs:
        rival.open(case, arguments["twin"])
    shared = dict.fromkeys(WAYS, arguments["engine"])
    ways = {way: thread_seconds(call) for way, call in _calls(case, compiled, library, shared).items()}
    ways |= {rival.name: rival.clock(case.name) for rival in theirs}
    if quick:
        return side_by_side_reported(ways, 1)
    return side_by_side_reported(ways, ROUNDS, rounds_max=ROUNDS_MAX, budget_s=BUDGET_S)


def _calls(
    case: Case, compiled: Compiled, library: ctypes.CDLL, arguments: Mapping[str, Sequence[Any]]
) -> dict[str, Callable[[], object]]:
    return {
        "twin": ptx_cases.twin_call(library, case, arguments["twin"]),
        "engine": ptx_cases.kernel_call(compiled.kernel, case, arguments["engine"], 1),
        "unchecked": ptx_cases.kernel_call(compiled.unchecked, case, arguments["unchecked"], 1),
    }


def _speedup(case: Case, kernel: ptx.CompiledKernel, rounds: int) -> float:
    arguments = case.fresh()
    one, two = (ptx_cases.kernel_call(kernel, case, arguments, threads) for threads in (1, 2))
    walls = side_by_side_wall({"one": one, "two": two}, rounds)
    return walls["one"] / walls["two"]


def _figures(seconds: Seconds, rivals: Sequence[str]) -> dict[str, object]:
    ratios = _over(seconds, "twin")
    bounds = _over(seconds, "unchecked")
    worst = max(ratios, key=lambda name: ratios[name])
    figures: dict[str, object] = {
        "geomean": statistics.geometric_mean(ratios.values()),
        "worst": ratios[worst],
        "worst_kernel": worst,
    }
    details = {f"ratio_{name}": ratio for name, ratio in ratios.items()}
    for rival in rivals:
        beside = _over(seconds, rival)
        worst = max(beside, key=lambda name: beside[name])
        figures |= {f"worst_vs_{rival}": beside[worst], f"worst_vs_{rival}_kernel": worst}
        details |= {f"{rival}_{name}": ratio for name, ratio in beside.items()}
    details |= {f"unchecked_{name}": ratio for name, ratio in bounds.items()}
    return figures | {"bounds_check_cost": statistics.geometric_mean(bounds.values()) - 1.0} | details


def _over(seconds: Seconds, way: str) -> dict[str, float]:
    """The engine's time over another way's, of each kernel that has it."""
    return {name: ways["engine"] / ways[way] for name, ways in seconds.items() if way in ways}
