"""What the device says it used."""

from __future__ import annotations

import pytest

from p2pcompute.protocol.machine import JobStatus
from tests.gpu.client import Place, Worker
from tests.gpu.conftest import Note
from tests.gpu.test_faults import busy


def test_a_longer_job_uses_more_energy(worker: Worker, place: Place, note: Note) -> None:
    turns = 400_000 if place.is_real else 2_000
    results = [worker.run(busy(turns, repeats=repeats)) for repeats in (5, 100)]
    assert [result.status for result in results] == [JobStatus.OK] * 2
    if place.is_real:  # the fake compiles within the first launch
        assert results[1].device_us > 4 * results[0].device_us
    short, long = (result.energy_mj for result in results)
    note("energy_mj", [short, long])
    if short is None or long is None:
        pytest.skip("nothing measures energy here: no NVML, or a device that does not tell")
    assert 0 <= short < long
