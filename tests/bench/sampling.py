"""What sampling costs on the CPU engine, over the frozen kernels of the benchmark `ptx`: how each launch is judged, a
list of blocks beside the whole launch, the access log and the writer map beside the plain launch.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import trio

from p2pcompute.compute import ptx
from p2pcompute.compute.ptx.accesslog import log_accesses
from p2pcompute.compute.sampling import KernelLaunch, Tier, eligibility
from p2pcompute.compute.sampling.writers import Mapper
from p2pcompute.errors import UsageError
from tests.bench import ptx_cases
from tests.bench.ptx_cases import Case
from tests.bench.timing import side_by_side_thread

GOALS: Final = {"list_over_full": ("<=", 1.15)}
ROUNDS: Final = 5
QUICK: Final = ("mandelbrot",)
LOGGED: Final = 44
"""Blocks whose accesses are logged: the usual sample."""


def measure(*, quick: bool) -> dict[str, object]:
    """Ratios of processor time of one thread, medians over the kernels. `log_over_blocks`: the log of 44 blocks over
    running them. `map_over_full`: the writer map, all its bytes named and checked, over the launch;
    `claim_over_full`: without the check, for launches that are proven.
    """
    cases = ptx_cases.read(QUICK if quick else None)
    texts = trio.run(ptx_cases.ptx_texts, cases)
    tiers: Counter[str] = Counter()
    rows = [_row(case, ptx.parse(texts[case.name]), tiers, 1 if quick else ROUNDS) for case in cases]
    figures: dict[str, object] = {f"tier_{tier.value}": tiers[tier.value] for tier in Tier}
    for key in ("list_over_full", "log_over_blocks", "judge_ms"):
        figures[key] = statistics.median(row[key] for row in rows)
    maps = {case.name: row["map_over_full"] for case, row in zip(cases, rows, strict=True) if "map_over_full" in row}
    figures["map_over_full"] = statistics.median(maps.values())
    figures["claim_over_full"] = statistics.median(row["claim_over_full"] for row in rows if "claim_over_full" in row)
    return {**figures, **{f"map_{name}": ratio for name, ratio in maps.items()}}


def _row(case: Case, module: ptx.Module, tiers: Counter[str], rounds: int) -> dict[str, float]:
    arguments = case.fresh()
    arrays = [a for a in arguments if isinstance(a, np.ndarray)]
    memory, launch = ptx.Memory(arrays), _launch(case, module, arguments)
    begin = time.thread_time()
    tiers[eligibility(module, case.name, launch).tier.value] += 1
    row = {"judge_ms": 1000 * (time.thread_time() - begin)}
    plain = ptx.compile_entry(module, case.name, case.block)
    watched = ptx.compile_entry(module, case.name, case.block, is_logged=True)
    everything = np.arange(launch.blocks)
    some = np.linspace(0, launch.blocks - 1, min(LOGGED, launch.blocks)).astype(np.int64)
    abort = ptx.Abort()

    def run(blocks: Sequence[int] | None) -> Callable[[], object]:
        return lambda: plain.launch(
            memory, launch.parameters, case.grid, case.shared_bytes, threads=1, abort=abort, blocks=blocks
        )

    def log() -> object:
        more: dict[str, Any] = {"blocks": some, "threads": 1, "abort": abort}
        return log_accesses(watched, memory, launch.parameters, case.grid, case.shared_bytes, **more)

    ways: dict[str, Callable[[], object]] = {"full": run(None), "list": run(everything), "some": run(some), "log": log}
    sizes = {f"b{number}": array.nbytes for number, array in enumerate(arrays)}
    try:
        mapper = Mapper(module, launch)
        ways["map"] = lambda: mapper.run(launch, sizes, threads=1, abort=abort)
        ways["claim"] = lambda: mapper.run(launch, sizes, threads=1, abort=abort, is_proven=True)
    except UsageError:
        pass  # addresses that depend on data have no slice
    seconds = side_by_side_thread(ways, rounds)
    row["list_over_full"] = seconds["list"] / seconds["full"]
    row["log_over_blocks"] = seconds["log"] / seconds["some"]
    if "map" in seconds:
        row["map_over_full"] = seconds["map"] / seconds["full"]
        row["claim_over_full"] = seconds["claim"] / seconds["full"]
    return row


def _launch(case: Case, module: ptx.Module, arguments: Sequence[Any]) -> KernelLaunch:
    entry = module.entries[case.name]
    memory = ptx.Memory([16] * len(arguments))
    buffers: dict[int, str] = {}
    values: list[bytes] = []
    for parameter, argument in zip(entry.parameters, arguments, strict=True):
        if isinstance(argument, np.ndarray) and argument.ndim:
            values.append(memory.address(len(buffers)).to_bytes(8, "little"))
            buffers[parameter.offset_bytes] = f"b{len(buffers)}"
        else:
            values.append(argument.tobytes())
    return KernelLaunch(case.name, case.grid, case.block, ptx.pack_parameters(entry, values), buffers)
