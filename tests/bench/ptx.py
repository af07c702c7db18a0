"""The CPU engine over the frozen list of kernels, against natural C++ in the same run, and how long compiling takes."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import trio

from p2pcompute.compute import ptx
from tests.bench import ptx_cases
from tests.bench.ptx_cases import Case
from tests.bench.timing import side_by_side_thread, side_by_side_wall

GOALS: Final = {
    "geomean": ("<=", 0.4),
    "worst": ("<=", 1.5),
    "jit_ms_median": ("<=", 100.0),
    "cached_ms_median": ("<=", 5.0),
    "two_thread_speedup": (">=", 1.8),
}
ROUNDS: Final = 5
QUICK: Final = ("scan", "mandelbrot")
TWO_THREADS: Final = ("mandelbrot", "sgemm", "nbody", "kmeans", "heat3d")
"""Kernels that run long enough for two threads: compute-bound, with barriers, and memory-bound."""
Call = Callable[[], object]


def measure(*, quick: bool) -> dict[str, object]:
    """Ratios of processor time of one thread, engine over twin; `two_thread_speedup` by the wall clock."""
    return measure_kernels(QUICK if quick else None, 1 if quick else ROUNDS)


def measure_kernels(names: Sequence[str] | None, rounds: int) -> dict[str, object]:
    """As `measure`, for some kernels only."""
    cases = ptx_cases.read(names)
    texts = trio.run(ptx_cases.ptx_texts, cases)
    ratios: dict[str, float] = {}
    speedups: list[float] = []
    with tempfile.TemporaryDirectory() as directory:
        library = ptx_cases.build_twins(cases, Path(directory))
        cold, cached, kernels = _compile_all(cases, texts, Path(directory) / "cache")
        for case in cases:
            mine, twins = case.fresh(), case.fresh()
            run = ptx_cases.kernel_call(kernels[case.name], case, mine, 1)
            twin = ptx_cases.twin_call(library, case, twins)
            _check(case, run, twin, mine, twins)
            seconds = side_by_side_thread({"engine": run, "twin": twin}, rounds)
            ratios[case.name] = seconds["engine"] / seconds["twin"]
            if case.name in TWO_THREADS:
                both = {"one": run, "two": ptx_cases.kernel_call(kernels[case.name], case, mine, 2)}
                walls = side_by_side_wall(both, rounds)
                speedups.append(walls["one"] / walls["two"])
    return _figures(ratios, speedups, cold, cached)


def _figures(
    ratios: Mapping[str, float], speedups: Sequence[float], cold: Mapping[str, float], cached: Mapping[str, float]
) -> dict[str, object]:
    worst = max(ratios, key=lambda name: ratios[name])
    return {
        "geomean": statistics.geometric_mean(ratios.values()),
        "worst": ratios[worst],
        "worst_kernel": worst,
        "jit_ms_median": statistics.median(cold.values()),
        "cached_ms_median": statistics.median(cached.values()),
        "two_thread_speedup": statistics.geometric_mean(speedups),
        **{f"ratio_{name}": ratio for name, ratio in ratios.items()},
    }


def _compile_all(
    cases: Sequence[Case], texts: Mapping[str, str], cache: Path
) -> tuple[dict[str, float], dict[str, float], dict[str, ptx.CompiledKernel]]:
    """Milliseconds of `compile_entry`: cold, from the PTX text on; cached, as a worker does that has the program."""
    cold: dict[str, float] = {}
    cached: dict[str, float] = {}
    kernels: dict[str, ptx.CompiledKernel] = {}
    for case in cases:
        begin = time.thread_time()
        kernels[case.name] = ptx.compile_entry(ptx.parse(texts[case.name]), case.name, case.block)
        cold[case.name] = 1000 * (time.thread_time() - begin)
        program = ptx.parse(texts[case.name])
        ptx.compile_entry(program, case.name, case.block, cache_dir=cache)
        begin = time.thread_time()
        ptx.compile_entry(program, case.name, case.block, cache_dir=cache)
        cached[case.name] = 1000 * (time.thread_time() - begin)
    return cold, cached, kernels


def _check(case: Case, run: Call, twin: Call, mine: Sequence[object], twins: Sequence[object]) -> None:
    run()
    twin()
    wrong = ptx_cases.differing(case, mine, twins)
    if wrong:
        raise AssertionError(f"{case.name}: argument {wrong[0]} differs from the twin's")
