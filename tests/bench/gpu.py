"""The CUDA engine on a GPU, beside plain programs of the driver interface, the speed of a copy, cuBLAS, and the CPU
engine's bits. Only where there is a GPU.

    device_time_ratio     device time in the engine over that of the same kernel, compiled by the same compiler with the
                          same flags to machine code, in a plain program; geometric mean over kernels of 20 us or
                          more, as below
    price_of_determinism  the same over the compiler's default flags: contraction, and NVIDIA's mathematical functions
    assembler_ratio       the same over NVRTC's PTX as it is, through the driver's compiler as the engine's: what making
                          PTX canonical costs, without what two versions of the assembler differ in
    bandwidth_ratio       bytes that memory-bound kernels must move per second, over those of a copy within the device
    sgemm_ratio           kernels_cu/sgemm over cuBLAS, in full single precision; null where the machine has no cuBLAS
    exact_kernels         kernels of class exact that were run; bit_equal_kernels of them gave the CPU engine's bits,
                          bits_differ did not
"""

from __future__ import annotations

import dataclasses
import os
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np

import kernels_cu
from kernels_cu import sgemm
from p2pcompute.protocol.machine import JobStatus
from tests.bench import progress, ptx_cases, registry
from tests.gpu import plain, tasks
from tests.gpu.client import Place, Worker, WorkerGoneError, has_device
from tests.gpu.faults import usable
from tests.gpu.tasks import Task

GOALS: Final[Mapping[str, tuple[str, float]]] = {
    "device_time_ratio": ("<=", 1.02),
    "bandwidth_ratio": (">=", 0.9),
    "sgemm_ratio": (">=", 0.7),
    "bits_differ": ("==", 0),
}
BESIDE: Final = {"same_": "engine / same flags", "default_": "/ default flags", "ptx_": "/ plain PTX"}
ROUNDS: Final = 5
ROUND_S: Final = 0.02
"""Device time of one measurement of one way, about."""
REPEATS_MAX: Final = 1_000
HOST_BOUND_S: Final = 20e-6
"""Kernels that take less are over before Python has put the next one in line; they are listed, but do not count."""
QUICK: Final = ("kernels_cu/saxpy", "kernels_cu/mandelbrot", "ptx_kernels/life")
SCALES: Final = {"kernels_cu/mandelbrot": 12, "kernels_cu/black_scholes_mc": 40, "kernels_cu/saxpy": 100}
"""Of the library's kernels: work that fills a large device."""
SGEMM_N, QUICK_SGEMM_N = 4_096, 128
COPY_BYTES, QUICK_COPY_BYTES = 1 << 28, 1 << 16
"""Of each array of memory-bound kernels: several times what caches hold."""


class TaskFailedError(Exception):
    """The engine did not do what it was given; the text names the kernel."""


@dataclasses.dataclass(frozen=True)
class Scope:
    """How much is measured."""

    names: tuple[str, ...]
    rounds: int
    round_s: float
    sgemm_n: int
    copy_bytes: int


FULL: Final = Scope(tuple(tasks.names()), ROUNDS, ROUND_S, SGEMM_N, COPY_BYTES)
SMALL: Final = Scope(QUICK, 1, 0.0, QUICK_SGEMM_N, QUICK_COPY_BYTES)


def measure(*, quick: bool) -> registry.Figures:
    """Raises MissingPeerError where there is no GPU, or the worker does not start on it."""
    if not has_device():
        raise registry.MissingPeerError("the benchmark 'gpu' needs an NVIDIA GPU, and this machine has none")
    return measure_on(Place("gpu"), SMALL if quick else FULL)


def measure_on(place: Place, scope: Scope) -> registry.Figures:
    """On any device, also a fake one, whose figures mean nothing. What of it fails is told in `failed`, and its goals
    are then null: device time is rare, and the rest is worth having."""
    try:
        place, fault = usable(place)
    except WorkerGoneError as error:
        raise registry.MissingPeerError(f"the CUDA engine does not work here: {error}") from error
    with Worker(place) as worker:
        device = worker.start().device
        figures: registry.Figures = dict.fromkeys(GOALS)
        failed = [f"jail: {fault}"] if fault else []
        if device is not None:
            figures |= {"device": device.name, "driver": device.driver, "memory_bytes": device.memory_bytes}
        program = plain.Program(place)
        try:
            for part in (_bits, _times, _bandwidth, _products):
                try:
                    figures |= part(worker, program, scope)
                except Exception as error:
                    failed.append(f"{part.__name__[1:]}: {type(error).__name__}: {error}")
        finally:
            program.close()
    return figures | {"failed": "; ".join(failed)}


# Bits -----------------------------------------------------------------------------------------------------------------


def _bits(worker: Worker, program: plain.Program, scope: Scope) -> registry.Figures:
    exact, unequal, wrong = 0, [], []
    for name in scope.names:
        progress.step(f"gpu: bits of {name}")
        task = tasks.load(name)
        result = worker.run(task)
        if result.status is not JobStatus.OK:
            difference = f"{result.status.name}, {result.reason}"
        else:
            difference = task.difference(task.shaped(result.outputs), tasks.on_cpu(task))
        exact += task.agree is None
        if difference:
            (unequal if task.agree is None else wrong).append(f"{name}: {difference}")
    return {
        "exact_kernels": exact,
        "bit_equal_kernels": exact - len(unequal),
        "bits_differ": len(unequal),
        "kernels_not_bit_equal": "; ".join(unequal),
        "other_kernels": len(scope.names) - exact,
        "other_kernels_wrong": "; ".join(wrong),
    }


# Time -----------------------------------------------------------------------------------------------------------------


def _times(worker: Worker, program: plain.Program, scope: Scope) -> registry.Figures:
    figures: registry.Figures = {}
    seconds: dict[str, dict[str, float]] = {}
    failed: list[str] = []
    for name in scope.names:
        progress.step(f"gpu: time of {name}")
        try:
            task = _large(name) if scope is FULL else tasks.load(name)
            seconds[name] = _seconds(worker, program, task, name, scope)
        except TaskFailedError as error:
            failed.append(str(error))
            continue
        figures[f"us_{name}"] = 1e6 * seconds[name]["engine"]
        figures |= {f"{way}_{name}": seconds[name]["engine"] / seconds[name][way] for way in ("same", "default", "ptx")}
    long = [name for name, found in seconds.items() if found["same"] >= HOST_BOUND_S] or list(seconds)
    worst = max(long, key=lambda name: float(str(figures[f"same_{name}"])))

    def mean(way: str) -> float:
        return statistics.geometric_mean(seconds[name]["engine"] / seconds[name][way] for name in long)

    return {
        "device_time_ratio": mean("same"),
        "price_of_determinism": mean("default"),
        "assembler_ratio": mean("ptx"),
        "device_time_worst": figures[f"same_{worst}"],
        "device_time_worst_kernel": worst,
        "short_kernels": ", ".join(name for name in seconds if name not in long),
        "times_failed": "; ".join(failed),
    } | figures


def _seconds(worker: Worker, program: plain.Program, task: Task, name: str, scope: Scope) -> dict[str, float]:
    """Of one launch, each way's median of interleaved rounds."""
    file, text = _source(name)
    images = {
        "same": program.image(file, text, plain.SAME_FLAGS),
        "default": program.image(file, text, plain.DEFAULT_FLAGS),
        "ptx": program.ptx_image(file, text, plain.SAME_FLAGS),
    }
    seen: dict[str, list[float]] = {}
    with program.loaded(task, images["same"]) as same, program.loaded(task, images["default"]) as default:
        with program.loaded(task, images["ptx"]) as unchanged:
            ways: dict[str, plain.Loaded] = {"same": same, "default": default, "ptx": unchanged}
            same.seconds(1)
            repeats = max(2, min(REPEATS_MAX, int(scope.round_s / max(same.seconds(2), 1e-7))))
            repeated = dataclasses.replace(task, repeats=repeats)
            for number in range(scope.rounds + 1):
                for way, loaded in ways.items():
                    seen.setdefault(way, []).append(loaded.seconds(repeats))
                seen.setdefault("engine", []).append(_in_engine(worker, repeated))
                if number == 0:
                    seen.clear()  # clocks and caches get warm
    return {way: statistics.median(values) for way, values in seen.items()}


def _in_engine(worker: Worker, task: Task) -> float:
    """Seconds of one launch, by the worker's own count, which is what a receipt says."""
    result = worker.run(task)
    if result.status is not JobStatus.OK:
        raise TaskFailedError(f"{task.name}: {result.status.name}, {result.reason}")
    return max(result.device_us, 1) / 1e6 / task.repeats


def _large(name: str) -> Task:
    if name == "kernels_cu/sgemm":
        return tasks.of_library("sgemm", sgemm.product(2048, 2048, 2048))
    if name in SCALES:
        kernel = name.partition("/")[2]
        return tasks.of_library(kernel, kernels_cu.load(kernel).build(SCALES[name]))
    return tasks.load(name)


def _source(name: str) -> tuple[str, str]:
    shelf, _, kernel = name.partition("/")
    if shelf == "kernels_cu":
        spec = kernels_cu.load(kernel)
        return spec.file_name, spec.source
    return f"{kernel}.cu", tasks.case_source(kernel)


# Memory ---------------------------------------------------------------------------------------------------------------


def _bandwidth(worker: Worker, program: plain.Program, scope: Scope) -> registry.Figures:
    """Each kernel's bytes are what its buffers hold: every number is read and written once."""
    repeats = 20 if scope is FULL else 2
    copies: list[float] = []
    moved: dict[str, list[float]] = {}
    for name, make in MEMORY_BOUND.items():
        progress.step(f"gpu: memory, {name}")
        task = dataclasses.replace(make(scope.copy_bytes), repeats=repeats)
        for _ in range(scope.rounds):
            copies.append(2 * scope.copy_bytes / program.copy_seconds(scope.copy_bytes, repeats))
            moved.setdefault(name, []).append(task.bytes_touched / _in_engine(worker, task))
    copy = statistics.median(copies)
    ratios = {name: statistics.median(values) / copy for name, values in moved.items()}
    return {
        "bandwidth_ratio": min(ratios.values()),
        "copy_gb_s": copy / 1e9,
        **{f"bandwidth_{name}": ratio for name, ratio in ratios.items()},
    }


def _case(name: str, grid: tuple[int, int, int], arguments: list[object]) -> Task:
    return tasks.of_case(dataclasses.replace(ptx_cases.read([name])[0], grid=grid, arguments=arguments))


def _saxpy(size_bytes: int) -> Task:
    n = size_bytes // 4
    x, y = (np.linspace(0, 1, n, dtype=np.float32) for _ in range(2))
    return _case("saxpy", (-(-n // 256), 1, 1), [np.float32(1.0001), x, y, np.int32(n)])


def _transpose(size_bytes: int) -> Task:
    n = int((size_bytes // 4) ** 0.5) // 32 * 32
    x = np.linspace(0, 1, n * n, dtype=np.float32)
    return _case("transpose", (n // 32, n // 32, 1), [x, np.zeros_like(x), np.int32(n)])


def _jacobi2d(size_bytes: int) -> Task:
    tiles = int((size_bytes // 4) ** 0.5) // 32 - 1
    n = 32 * tiles + 2
    x = np.linspace(0, 1, n * n, dtype=np.float32)
    return _case("jacobi2d", (tiles, 2 * tiles, 1), [x, np.zeros_like(x), np.int32(n)])


MEMORY_BOUND: Final[Mapping[str, Callable[[int], Task]]] = {
    "saxpy": _saxpy,
    "transpose": _transpose,
    "jacobi2d": _jacobi2d,
}


# Products -------------------------------------------------------------------------------------------------------------


def _products(worker: Worker, program: plain.Program, scope: Scope) -> registry.Figures:
    n, repeats = scope.sgemm_n, 10 if scope is FULL else 2
    task = tasks.of_library("sgemm", sgemm.product(n, n, n), repeats=repeats)
    library = plain.find_cublas()
    cublas = None if library is None else plain.Cublas(library)
    ours, theirs = [], []
    for _ in range(scope.rounds):
        progress.step("gpu: sgemm")
        ours.append(_in_engine(worker, task))
        if cublas is not None:
            theirs.append(program.sgemm_seconds(cublas, n, repeats))
    mine = statistics.median(ours)
    figures: registry.Figures = {"sgemm_n": n, "sgemm_tflops": 2 * n**3 / mine / 1e12}
    if not theirs:
        return {"sgemm_ratio": None, "sgemm_note": "this machine has no cuBLAS to compare with"} | figures
    return {"sgemm_ratio": statistics.median(theirs) / mine, "sgemm_note": ""} | figures


def environment() -> dict[str, object]:
    """What of this machine the figures depend on."""
    import platform

    processor = next((line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if "model name" in line), "")
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": platform.platform(),
        "processor": processor,
        "cores": os.cpu_count(),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8", errors="replace").splitlines() if Path(path).exists() else []
