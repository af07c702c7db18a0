"""Kernels that misbehave: each ends its job, and the next job is as if nothing had happened."""

from __future__ import annotations

import dataclasses
import signal
import time
from typing import Final

import numpy as np
import pytest

from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire import limits
from tests.gpu.client import Place, Worker
from tests.gpu.faults import case, ints, works
from tests.gpu.tasks import Task

BUSY_BLOCKS, BUSY_THREADS = 4, 64


def busy(turns: int, repeats: int = 1) -> Task:
    words = np.zeros(BUSY_BLOCKS * BUSY_THREADS, np.uint32)
    return case("busy", blocks=BUSY_BLOCKS, threads=BUSY_THREADS, repeats=repeats, out=words, turns=turns)


def busy_result(turns: int) -> np.ndarray:
    """The generator's own jump: x -> a^n x + (a^n - 1) / (a - 1) c."""
    factor, addend = 1, 0
    for _ in range(turns):
        factor, addend = factor * 1664525 % 2**32, (addend * 1664525 + 1013904223) % 2**32
    return (np.arange(BUSY_BLOCKS * BUSY_THREADS, dtype=np.uint64) * factor + addend).astype(np.uint32)


FAULTS: Final = {
    "far_away": {"blocks": 4, "far": np.int64(1 << 37)},
    "null_store": {"nowhere": np.int64(0)},
    "misaligned": {"threads": 1},
    "trapped": {},
    "asserted": {},
}


@pytest.mark.parametrize("entry", FAULTS)
def test_a_kernel_that_faults_is_a_trap_and_the_next_job_runs(worker: Worker, entry: str) -> None:
    task = case(entry, out=ints(64), **FAULTS[entry])
    result = worker.run(task)
    assert result.status is JobStatus.TRAP
    assert task.entry in result.reason
    assert result.outputs == {}
    assert works(worker)


def test_an_endless_kernel_ends_with_its_time_and_the_next_job_runs(worker: Worker) -> None:
    begin = time.monotonic()
    result = worker.run(case("endless", threads=1, out=ints(1), device_ms_max=500))
    took_s = time.monotonic() - begin
    assert (result.status, result.outputs) == (JobStatus.TIMEOUT, {})
    assert took_s >= 0.5
    assert works(worker)


def test_a_job_is_stopped_between_two_launches_and_its_worker_stays(worker: Worker) -> None:
    starts = worker.starts
    result = worker.run(dataclasses.replace(busy(1_000, repeats=1_000_000), device_ms_max=300))
    assert (result.status, result.outputs) == (JobStatus.TIMEOUT, {})
    assert works(worker)
    assert worker.starts == starts


def test_a_worker_answers_while_a_kernel_runs(place: Place) -> None:
    """Its listening thread must get Python's lock, whatever the driver does."""
    with Worker(place) as alone:
        alone.begin(case("endless", threads=1, out=ints(1)))
        assert alone.is_alive()


def test_a_killed_worker_is_replaced(place: Place) -> None:
    with Worker(place) as alone:
        alone.begin(case("endless", threads=1, out=ints(1)))
        alone.signal(signal.SIGKILL)
        alone.kill()
        assert works(alone)
        assert alone.starts == 2


def test_more_memory_than_the_device_has_is_refused(worker: Worker, place: Place) -> None:
    device = worker.start().device
    assert device is not None
    holders = [Worker(place) for _ in range(device.free_bytes // limits.MEMORY_BYTES_MAX)]
    try:
        for holder in holders:
            holder.begin(_large(limits.MEMORY_BYTES_MAX, entry="endless"))
        wanted = min(limits.MEMORY_BYTES_MAX, device.memory_bytes + limits.MIB)
        result = worker.run(_large(wanted, entry="store"))
        assert result.status is JobStatus.REFUSED
        assert "memory" in result.reason
    finally:
        for holder in holders:
            holder.kill()
    assert works(worker)


def _large(total_bytes: int, *, entry: str) -> Task:
    """A small buffer, and so much that is only taken."""
    arguments = {"value": 1} if entry == "store" else {}
    small = case(entry, threads=32, out=ints(32), **arguments)
    return dataclasses.replace(small, room_bytes=total_bytes - 128)


def test_a_job_over_the_workers_quota_is_refused(place: Place) -> None:
    with Worker(place, memory_bytes=limits.MIB) as small:
        result = small.run(case("store", out=ints(limits.MIB // 4 + 1), value=1))
        assert result.status is JobStatus.REFUSED
        assert works(small)


def test_two_workers_at_once_do_not_disturb_each_other(place: Place) -> None:
    turns = 200_000 if place.is_real else 2_000
    with Worker(place) as one, Worker(place) as other:
        one.start()
        other.start()
        for worker in (one, other):
            worker.begin(busy(turns, repeats=20))
        results = [worker.finish() for worker in (one, other)]
    want = busy_result(turns).tolist()
    for result in results:
        assert np.frombuffer(result.outputs["out"], np.uint32).tolist() == want
