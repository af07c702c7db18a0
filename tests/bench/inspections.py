"""What it costs to inspect a result instead of computing it again: 44 blocks beside the plain run, on one thread.

Everything counts that a requester's node does: finding the blocks, running them with the access log, fetching and
proving leaves of the provider's states (in this process, without a network), comparing.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import trio

from p2pcompute.compute.ptx.launch import compile_entry
from p2pcompute.compute.ptx.parse import parse
from p2pcompute.compute.sampling.task import sampled
from p2pcompute.node.inspection import Inspector
from p2pcompute.protocol.machine import Finding
from p2pcompute.wire.manifest import Argument, Launch, Manifest, Role
from tests.bench import ptx_cases
from tests.bench.ptx_cases import Case
from tests.node.inspecting import DTYPES, Bench, Input, open_bench, task_of

BLOCKS: Final = 44
"""Enough to find a provider who fakes 10 % of them 99 times in 100."""
POINTS: Final = 8 * BLOCKS
"""As a requester draws them: several may lead to one block."""


def costs(cases: Sequence[Case], texts: Mapping[str, str], rounds: int) -> dict[str, dict[str, float]]:
    """Of each kernel that can be sampled, medians: seconds of the plain run (`run`), of the inspection (`cached`), of
    one that maps the writers first (`uncached`), and the leaves fetched."""
    return trio.run(_costs, cases, texts, rounds)


async def _costs(cases: Sequence[Case], texts: Mapping[str, str], rounds: int) -> dict[str, dict[str, float]]:
    found = {}
    for case in cases:
        ptx = texts[case.name].encode()
        made = _task(case, ptx)
        judged = sampled(made[0], ptx)
        if judged.fault:
            continue
        kernel = compile_entry(parse(texts[case.name]), case.name, case.block)
        run = ptx_cases.kernel_call(kernel, case, case.fresh(), 1)
        with tempfile.TemporaryDirectory() as folder:
            async with open_bench(Path(folder), made) as bench:
                found[case.name] = await _measured(bench, run, judged.stored, rounds)
    return found


def _task(case: Case, ptx: bytes) -> tuple[Manifest, list[bytes]]:
    buffers: dict[str, Input] = {}
    arguments: list[Argument] = []
    for number, given in enumerate(case.arguments):
        if not isinstance(given, np.ndarray):
            arguments.append(Argument(value=given.tobytes()))
            continue
        name = f"b{number}"
        arguments.append(Argument(buffer=name))
        is_output = number in case.outputs
        if is_output and not given.any():
            buffers[name] = Input(Role.OUT, dtype=DTYPES[given.dtype.name], count=given.size)
        else:
            buffers[name] = Input(Role.INOUT if is_output else Role.IN, given)
    launch = Launch(case.name, case.grid, case.block, tuple(arguments), case.shared_bytes)
    return task_of(ptx, buffers, [launch])


def longer() -> list[Case]:
    """Compute-bound kernels of the list in launches of thousands of blocks, which take a second or so: work that is
    worth a sample."""
    return [
        dataclasses.replace(case, grid=grid, arguments=change(case.arguments))
        for name, grid, change in LONGER
        for case in ptx_cases.read([name])
    ]


def _scalars(arguments: Sequence[Any], **values: float) -> list[Any]:
    """With other values for some scalars, named by their place: `_3=2000`."""
    changed = {int(name[1:]): value for name, value in values.items()}
    return [given.dtype.type(changed[n]) if n in changed else given for n, given in enumerate(arguments)]


def _mandelbrot(arguments: Sequence[Any]) -> list[Any]:
    return _scalars(
        [np.zeros(4096 * 3072, np.int32), *arguments[1:]], _1=4096, _2=3072, _5=0.003 / 4, _6=0.003 / 4, _7=1000
    )


def _montecarlo(arguments: Sequence[Any]) -> list[Any]:
    return _scalars([np.zeros(128 * 4096, np.uint32), *arguments[1:]], _1=4096)


def _collatz(arguments: Sequence[Any]) -> list[Any]:
    return _scalars([np.zeros(256 * 16384, np.int32), *arguments[1:]], _2=256 * 16384)


def _sgemm(arguments: Sequence[Any]) -> list[Any]:
    a, b = (np.tile(given, 16) for given in arguments[:2])
    return _scalars([a, b, np.zeros(2048 * 2048, np.float32), arguments[3]], _3=2048)


LONGER: Final[tuple[tuple[str, tuple[int, int, int], Callable[[Sequence[Any]], list[Any]]], ...]] = (
    ("mandelbrot", (256, 192, 1), _mandelbrot),
    ("montecarlo", (4096, 1, 1), _montecarlo),
    ("collatz", (16384, 1, 1), _collatz),
    ("sgemm", (128, 128, 1), _sgemm),
)


async def _measured(
    bench: Bench, run: Callable[[], object], stored: Sequence[Sequence[int]], rounds: int
) -> dict[str, float]:
    points = bench.draw(np.random.default_rng(1), POINTS, stored)
    seconds: dict[str, list[float]] = {"run": [], "cached": [], "uncached": []}
    leaves = 0
    for _ in range(rounds + 1):  # the first one compiles
        inspector = Inspector(bench.pool, bench.mine)
        for name in ("uncached", "cached"):
            effect = bench.effect(points, blocks=BLOCKS)
            begin = time.perf_counter()
            found = await inspector.inspect(effect, bench.source())
            seconds[name].append(time.perf_counter() - begin)
            assert found.finding is Finding.CLEAN, found.reason
            leaves = found.leaves
        begin = time.perf_counter()
        run()
        seconds["run"].append(time.perf_counter() - begin)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()} | {"leaves": leaves}
