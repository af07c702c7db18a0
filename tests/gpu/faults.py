"""Tasks from cases.cu, and the first of them that a device is asked to do."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire.manifest import Role
from tests.gpu import compiling
from tests.gpu.client import Place, Worker, WorkerGoneError
from tests.gpu.tasks import Array, Given, Task

HERE = Path(__file__).parent


def case(
    entry: str,
    *,
    blocks: int = 1,
    threads: int = 32,
    roles: dict[str, Role] | None = None,
    device_ms_max: int = 20_000,
    shared_bytes: int = 0,
    repeats: int = 1,
    until: str = "",
    constants: Mapping[str, Array] | None = None,
    **given: Given | int,
) -> Task:
    """One launch of a kernel of cases.cu. Integers are i32; buffers are outputs unless `roles` says otherwise."""
    arguments = {name: np.int32(value) if isinstance(value, int) else value for name, value in given.items()}
    buffers = (name for name, value in arguments.items() if isinstance(value, np.ndarray))
    text = (HERE / "cases.cu").read_text(encoding="utf-8")
    return Task(
        name=f"cases/{entry}",
        ptx_text=compiling.canonical("cases.cu", text),
        entry=entry,
        grid=(blocks, 1, 1),
        block=(threads, 1, 1),
        given=arguments,
        roles=dict.fromkeys(buffers, Role.OUT) | (roles or {}),
        shared_bytes=shared_bytes,
        repeats=repeats,
        until=until,
        constants=constants or {},
        device_ms_max=device_ms_max,
    )


def ints(count: int) -> np.ndarray:
    return np.zeros(count, np.int32)


def works(worker: Worker) -> bool:
    """Whether an ordinary job has an ordinary result."""
    result = worker.run(case("store", out=ints(32), value=7))
    return result.status is JobStatus.OK and np.frombuffer(result.outputs["out"], np.int32).tolist() == [7] * 32


def usable(place: Place) -> tuple[Place, str]:
    """The place, jailed if a jailed worker ends a job there, and what it said if it does not: time on a lent device
    is too short to see nothing but that. Raises WorkerGoneError when none works."""
    fault = ""
    for jailed in (True, False):
        tried = dataclasses.replace(place, jailed=jailed)
        with Worker(tried) as worker:
            try:
                result = worker.run(case("store", out=ints(32), value=7))
                if result.status is JobStatus.OK:
                    return tried, fault
                fault = fault or f"the first job of a worker ends with {result.status.name}, {result.reason}"
            except WorkerGoneError as error:
                fault = fault or str(error)
    raise WorkerGoneError(fault)
