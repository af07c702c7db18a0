"""Every kernel of the library and of the frozen list of the benchmark `ptx`: the GPU's results beside the CPU engine's,
bit for bit where the kernel is exact.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

import kernels_cu
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire.manifest import Role
from tests.gpu import tasks
from tests.gpu.client import Worker
from tests.gpu.conftest import Note
from tests.gpu.faults import case
from tests.gpu.tasks import Task


@pytest.mark.parametrize("name", tasks.names())
def test_the_gpu_and_the_cpu_engine_agree(worker: Worker, name: str) -> None:
    task = tasks.load(name)
    result = worker.run(task)
    assert (result.status, result.reason) == (JobStatus.OK, "")
    assert task.difference(task.shaped(result.outputs), tasks.on_cpu(task)) == ""
    assert result.device_us > 0


@pytest.mark.parametrize("name", ["kernels_cu/mandelbrot", "kernels_cu/sgemm", "kernels_cu/saxpy"])
def test_library_kernels_agree_with_numpy(worker: Worker, name: str) -> None:
    task, spec = tasks.load(name), kernels_cu.load(name.partition("/")[2])
    outputs = task.shaped(worker.run(task).outputs)
    assert spec.check(spec.build(1), outputs) == ""


NUMBERS = np.random.default_rng(4).uniform(0.01, 100, 1 << 16).astype(np.float32)
OUT = np.zeros_like(NUMBERS)


def approximate() -> Task:
    """PTX ISA 9.7.3: 2 ulp at most for ex2, and about as much for the others; each machine may be off that far."""
    task = case(
        "approximate", blocks=256, threads=256, roles={"x": Role.IN}, x=NUMBERS, powers=OUT, roots=OUT, inverses=OUT
    )
    return dataclasses.replace(task, ulp_max=4)


def unordered() -> Task:
    """2**16 roundings of half a unit of the last place each, mostly undoing each other."""
    task = case("sum_in_any_order", blocks=256, threads=256, roles={"x": Role.IN}, x=NUMBERS, sum=OUT[:1])
    return dataclasses.replace(task, rtol_ppb=1_000_000)


@pytest.mark.parametrize("make", [approximate, unordered], ids=["approx", "order-dependent"])
def test_what_is_not_exact_agrees_within_what_is_declared(worker: Worker, note: Note, make: Callable[[], Task]) -> None:
    task = make()
    assert not task.classification().exact
    result = worker.run(task)
    assert (result.status, result.reason) == (JobStatus.OK, "")
    got, want = task.shaped(result.outputs), tasks.on_cpu(task)
    note(f"{task.entry}_differs_in_bits", tasks.differing_bits(got, want))
    assert task.difference(got, want) == ""


def test_a_difference_beyond_what_is_declared_is_seen(worker: Worker) -> None:
    task = approximate()
    got = task.shaped(worker.run(task).outputs)
    off = {name: (array.view(np.int32) + 9).view(np.float32) for name, array in got.items()}
    assert task.difference(off, got) != ""
