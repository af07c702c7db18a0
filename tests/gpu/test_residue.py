"""What one tenant leaves for the next, in the same worker and in the next one: nothing."""

from __future__ import annotations

import numpy as np
import pytest

from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire.manifest import Role
from tests.gpu.client import Place, Worker
from tests.gpu.conftest import Note
from tests.gpu.faults import case, ints
from tests.gpu.tasks import Task

WORDS, FAKE_WORDS = 64 << 20, 1 << 20
SHARED_WORDS = 10 * 1024


def fill(words: int) -> Task:
    """Leaves a mark in every word of a buffer that only lives during the job, and in one that comes back."""
    return case("store", blocks=words // 256, threads=256, out=ints(words), value=0x5EC2E7)


def look(words: int) -> Task:
    """Counts the words that are not zero in a buffer that nobody has written to."""
    given = {"from_": ints(words), "used": np.zeros(1, np.uint32)}
    roles = {"from_": Role.TEMP, "used": Role.OUT}
    return case("count_used", blocks=256, threads=256, roles=roles, **given, words=words)


@pytest.fixture
def words(place: Place) -> int:
    return WORDS if place.is_real else FAKE_WORDS


def test_the_next_tenant_of_a_worker_sees_zeros(worker: Worker, words: int) -> None:
    for _ in range(2):
        assert worker.run(fill(words)).status is JobStatus.OK
        result = worker.run(look(words))
        assert result.status is JobStatus.OK
        assert np.frombuffer(result.outputs["used"], np.uint32).tolist() == [0]


def test_the_tenant_of_the_next_worker_sees_zeros(place: Place, words: int) -> None:
    with Worker(place) as first:
        assert first.run(fill(words)).status is JobStatus.OK
    with Worker(place) as second:
        result = second.run(look(words))
    assert np.frombuffer(result.outputs["used"], np.uint32).tolist() == [0]


def test_a_tenant_that_was_killed_leaves_zeros(place: Place, words: int) -> None:
    with Worker(place) as first:
        first.begin(case("endless", threads=1, out=np.zeros(words, np.int32)))
    with Worker(place) as second:
        result = second.run(look(words))
    assert np.frombuffer(result.outputs["used"], np.uint32).tolist() == [0]


def test_an_output_that_is_not_written_is_zero(worker: Worker, words: int) -> None:
    worker.run(fill(words))
    result = worker.run(case("store", blocks=1, threads=32, out=ints(words), value=3))
    assert not np.frombuffer(result.outputs["out"], np.int32)[32:].any()


def test_what_shared_memory_keeps_is_noted(worker: Worker, note: Note) -> None:
    """CUDA does not clear it between kernels of one context. What a device does is noted, not judged."""
    mark = case(
        "mark_shared", blocks=264, threads=256, shared_bytes=4 * SHARED_WORDS, out=ints(264), words=SHARED_WORDS
    )
    assert worker.run(mark).status is JobStatus.OK
    spy = case("look_shared", blocks=264, threads=256, shared_bytes=4 * SHARED_WORDS, out=ints(1), words=SHARED_WORDS)
    result = worker.run(spy)
    assert result.status is JobStatus.OK
    note("shared_memory_residue_words", int(np.frombuffer(result.outputs["out"], np.int32)[0]))
