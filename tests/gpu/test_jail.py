"""The worker's jail on a machine with the real driver."""

from __future__ import annotations

import pytest

from p2pcompute.compute import sandbox
from tests.gpu.client import Place
from tests.gpu.conftest import Note


def test_a_jailed_worker_does_its_work(tried: tuple[Place, str], note: Note) -> None:
    """Where it does not, all other tests run without a jail, and this one says why."""
    note("jail_fault", tried[1])
    if not sandbox.available().is_full:
        note("jail_lacks", list(sandbox.available().missing))
    assert tried[1] == ""
    assert tried[0].jailed


@pytest.mark.skipif(not sandbox.available().is_full, reason="this machine lacks layers of the sandbox")
def test_it_had_every_layer(tried: tuple[Place, str]) -> None:
    assert tried[0].jailed
