"""What sampling costs on the CPU engine, over the frozen kernels of the benchmark `ptx`: how each launch is judged, a
list of blocks beside the whole launch, the access log and the writer map beside the plain launch.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import trio

from p2pcompute.compute import ptx
from p2pcompute.compute.ptx.accesslog import log_accesses
from p2pcompute.compute.sampling import KernelLaunch, Tier, eligibility
from p2pcompute.compute.sampling.writers import Mapper
from p2pcompute.errors import UsageError
from tests.bench import inspections, ptx_cases
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
    figures.update({f"map_{name}": ratio for name, ratio in maps.items()})
    return {**figures, **_inspections(cases, texts, 1 if quick else ROUNDS, quick=quick)}


def _inspections(cases: Sequence[Case], texts: Mapping[str, str], rounds: int, *, quick: bool) -> dict[str, object]:
    """`inspect_ms` of 44 blocks, `inspect_over_run` (with the writers' map known) and `inspect_uncached_over_run`, by
    the wall clock: medians over the kernels of the list that can be sampled. `longer_…`: over compute-bound ones in
    launches of thousands of blocks, each with its own ratio and `_run_s`."""
    found = inspections.costs(cases, texts, rounds)
    figures: dict[str, object] = {
        "inspected": len(found),
        "inspect_ms": 1000 * statistics.median(row["cached"] for row in found.values()),
        "inspect_over_run": statistics.median(row["cached"] / row["run"] for row in found.values()),
        "inspect_uncached_over_run": statistics.median(row["uncached"] / row["run"] for row in found.values()),
    }
    if quick:
        return figures
    longer = inspections.longer()
    rows = inspections.costs(longer, texts, rounds)
    for key, way in (("longer_over_run", "cached"), ("longer_uncached_over_run", "uncached")):
        ratios = {name: row[way] / row["run"] for name, row in rows.items()}
        figures[key] = statistics.median(ratios.values())
        figures.update({f"{key}_{name}": ratio for name, ratio in ratios.items()})
    figures.update({f"longer_run_s_{name}": row["run"] for name, row in rows.items()})
    return figures


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
