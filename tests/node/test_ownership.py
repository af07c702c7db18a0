"""What is known of launches is asked for once, and kept within bounds."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from p2pcompute.compute.blocks import Judged, MappedWriters
from p2pcompute.compute.engine import EngineResult
from p2pcompute.compute.sampling import Eligibility, Reason, Tier
from p2pcompute.errors import KernelError
from p2pcompute.node import ownership
from p2pcompute.node.ownership import Ownership, Ownerships
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire.manifest import Manifest, Role
from tests.compute.manifests import buffer, launch, manifest

PTX = b"ptx"
GOOD, BAD = EngineResult(JobStatus.OK), EngineResult(JobStatus.CRASHED, reason="power")
PROVEN = Judged(GOOD, Eligibility(Tier.STATIC, (), ("y",)))


def job(*scalars: int, size: int = 8) -> Manifest:
    launches = [launch("k", "y", n, blocks=2, threads=size // 2) for n in scalars]
    return manifest(PTX, [buffer("y", "i32", size, Role.OUT)], launches)


class Oracle:
    """In place of the engine's answers; counts the questions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.judged, self.words, self.conflicts, self.result = PROVEN, 8, tuple[int, ...](), GOOD
        self.asked: list[tuple[str, int, bool]] = []
        monkeypatch.setattr(ownership, "judge", self._judge)
        monkeypatch.setattr(ownership, "map_writers", self._map)

    async def _judge(self, engine: object, task: Manifest, ptx: bytes, *, launch: int) -> Judged:
        self.asked.append(("judge", launch, False))
        return self.judged

    async def _map(
        self, engine: object, task: Manifest, ptx: bytes, *, launch: int, stored: tuple[str, ...], is_proven: bool
    ) -> MappedWriters:
        assert stored == self.judged.eligibility.stored  # type: ignore[union-attr]
        self.asked.append(("map", launch, is_proven))
        words = np.arange(self.words, dtype=np.uint32)
        return MappedWriters(self.result, {"y": words}, {"y": 4}, self.conflicts)


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> Oracle:
    return Oracle(monkeypatch)


async def ask(known: Ownerships, task: Manifest, number: int = 0) -> Ownership:
    return await known.of(None, task, PTX, number)  # type: ignore[arg-type]


async def test_a_launch_is_asked_about_once(oracle: Oracle) -> None:
    known, task = Ownerships(), job(1, 1, 2)
    for number in (0, 1, 0, 2):
        found = await ask(known, task, number)
    assert oracle.asked == [("judge", 0, False), ("map", 0, True), ("judge", 2, False), ("map", 2, True)]
    assert [found.writer("y", byte) for byte in (0, 3, 4, 31)] == [None, None, 0, 6]
    assert found.writer("x", 0) is None


CHANGES: list[Callable[[Manifest], Manifest]] = [
    lambda m: msgspec.structs.replace(m, ptx_root=b"\x01" * 32),
    lambda m: msgspec.structs.replace(m, buffers=(buffer("y", "i32", 9, Role.OUT),)),
    lambda m: msgspec.structs.replace(m, launches=(launch("k", "y", 1, blocks=3, threads=4),)),
]


@pytest.mark.parametrize("change", CHANGES)
async def test_another_launch_is_another_question(oracle: Oracle, change: Callable[[Manifest], Manifest]) -> None:
    known = Ownerships()
    await ask(known, job(1))
    await ask(known, change(job(1)))
    assert len(oracle.asked) == 4


async def test_a_refusal_is_kept_too(oracle: Oracle) -> None:
    oracle.judged = Judged(GOOD, Eligibility(Tier.NONE, (Reason("2", 5, "an atomic"),)))
    known = Ownerships()
    for _ in range(2):
        assert "an atomic" in (await ask(known, job(1))).fault
    assert oracle.asked == [("judge", 0, False)]


async def test_tier_map_is_decided_by_its_conflicts(oracle: Oracle) -> None:
    oracle.judged = Judged(GOOD, Eligibility(Tier.MAP, ()))
    assert (await ask(Ownerships(), job(1))).fault == ""
    assert oracle.asked[-1] == ("map", 0, False)
    oracle.conflicts = (17,)
    assert "PTX line 17" in (await ask(Ownerships(), job(1))).fault
    oracle.conflicts, oracle.result = (), EngineResult(JobStatus.TRAP, reason="out of bounds")
    assert "out of bounds" in (await ask(Ownerships(), job(1))).fault


async def test_what_the_engine_could_not_say_is_asked_again(oracle: Oracle) -> None:
    known = Ownerships()
    oracle.judged = Judged(BAD)
    with pytest.raises(KernelError, match="power"):
        await ask(known, job(1))
    oracle.judged, oracle.result = PROVEN, BAD
    with pytest.raises(KernelError, match="power"):
        await ask(known, job(1))
    oracle.result = GOOD
    assert (await ask(known, job(1))).fault == ""


async def test_maps_are_kept_within_their_bounds(oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "MAPS_BYTES_MAX", 2 * 4 * oracle.words)
    known = Ownerships()
    for scalar in (1, 2, 3, 2, 3, 1):
        await ask(known, job(scalar))
    assert len(oracle.asked) == 2 * 4
    oracle.words *= 3
    for _ in range(2):
        await ask(known, job(9))
    assert len(oracle.asked) == 2 * 6  # too large to be kept
    await ask(known, job(1))
    assert len(oracle.asked) == 2 * 6
    monkeypatch.setattr(ownership, "LAUNCHES_MAX", 1)
    oracle.words = 1
    for scalar in (4, 4, 5, 4):
        await ask(known, job(scalar))
    assert len(oracle.asked) == 2 * 9
