"""The conformance vectors of the CPU engine's instruction set on a GPU: what they ask for was computed from the PTX
manual by arithmetic of our own, so the GPU is the judge of both.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np
import pytest

from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire.manifest import Role
from tests.compute.ptx import vectors
from tests.compute.ptx.vector import Vector
from tests.gpu.client import Place, Worker, WorkerGoneError
from tests.gpu.conftest import Note
from tests.gpu.tasks import Task

FAKE_EVERY = 12
"""On a fake device only every so many-th vector is run: the CPU engine has tests of its own for all of them."""


def task_of(vector: Vector) -> Task:
    given = {f"p{number}": data for number, data in enumerate(vector.before)}
    roles = dict.fromkeys(given, Role.INOUT)
    return Task(vector.name, vector.ptx_text, "k", vector.grid, vector.block, given, roles, device_ms_max=10_000)


def faults(worker: Worker, vector: Vector) -> list[str]:
    """What the device makes of a vector, beside what it asks for."""
    try:
        result = worker.run(task_of(vector))
    except WorkerGoneError as error:
        return [f"{vector.name}: {error}"]
    if result.status is not JobStatus.OK:
        return [f"{vector.name}: {result.status.name}, {result.reason}"]
    return vector.wrong([np.frombuffer(result.outputs[f"p{n}"], np.uint8) for n in range(len(vector.before))])


def all_vectors() -> Iterator[Vector]:
    return chain(vectors.arithmetic_vectors(), vectors.other_vectors())


def test_the_gpu_does_what_the_vectors_say(worker: Worker, place: Place, note: Note) -> None:
    wrong: list[str] = []
    instructions: set[str] = set()
    number = -1
    for number, vector in enumerate(all_vectors()):
        if place.is_real or number % FAKE_EVERY == 0:
            wrong += faults(worker, vector)
            instructions |= set(vector.cases)
    assert number > 100
    note("conformance", {"instructions": len(instructions), "wrong": wrong})
    assert wrong == []


@pytest.mark.parametrize("turned", [0, 9])
def test_a_wrong_bit_would_be_seen(worker: Worker, turned: int) -> None:
    """The comparison of this file can fail: a vector that asks for one bit more or less is refused."""
    vector = next(vectors.arithmetic_vectors())
    asked = [data.copy() for data in vector.after]
    place = int(np.flatnonzero(vector.mask[-1])[turned])
    asked[-1][place] ^= 1
    changed = Vector(
        vector.name, vector.ptx_text, vector.grid, vector.block, vector.before, tuple(asked), vector.mask, vector.cases
    )
    assert len(faults(worker, changed)) == 1
