"""Single blocks of a launch through the jailed worker."""

from __future__ import annotations

import numpy as np
import pytest

from p2pcompute.compute import blocks, jobs
from p2pcompute.compute.cpu import CpuEngine
from p2pcompute.compute.engine import EngineResult
from p2pcompute.compute.sampling import Tier
from p2pcompute.compute.shared import Extents
from p2pcompute.errors import UsageError
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire.manifest import Manifest, Role
from tests.compute.conftest import Compiled
from tests.compute.manifests import buffer, launch, manifest

SAXPY_BLOCK = 32


@pytest.fixture(scope="session")
def saxpy(compiled: Compiled) -> bytes:
    return compiled("saxpy").ptx.encode()


def _job(ptx: bytes) -> Manifest:
    """y += 0 * x over 200 floats in 7 blocks of 32: what blocks write is what they read."""
    made = launch("saxpy", 200, 0, "x", "y", threads=SAXPY_BLOCK, blocks=7)
    return manifest(ptx, [buffer("x", "f32", 200, Role.IN), buffer("y", "f32", 200, Role.INOUT)], [made])


def _state() -> dict[str, bytes]:
    return {name: np.full(200, value, np.float32).tobytes() for name, value in (("x", 3), ("y", 5))}


async def test_listed_blocks_run_on_a_given_state(engine: CpuEngine, saxpy: bytes) -> None:
    job, state = _job(saxpy), _state()
    result = await blocks.run_blocks(engine, job, saxpy, {**state, "y": bytes(800)}, launch=0, blocks=[6, 1])
    assert (result.status, result.reason) == (JobStatus.OK, "")
    assert set(result.outputs) == {"y"}
    assert np.frombuffer(result.outputs["y"], np.float32).tolist() == [0.0] * 200


async def test_the_log_names_the_bytes_of_each_block(engine: CpuEngine, saxpy: bytes) -> None:
    found = await blocks.log_blocks(engine, _job(saxpy), saxpy, _state(), launch=0, blocks=[2, 6])
    assert found.result.status is JobStatus.OK
    assert {n: a.stores[1].tolist() for n, a in found.accesses.items()} == {2: [[256, 384]], 6: [[768, 800]]}
    assert {n: a.loads[0].tolist() for n, a in found.accesses.items()} == {2: [[256, 384]], 6: [[768, 800]]}
    assert found.left == {2: {1: _state()["y"][256:384]}, 6: {1: _state()["y"][768:800]}}


async def test_a_state_may_be_given_in_parts(engine: CpuEngine, saxpy: bytes) -> None:
    five = np.full(32, 5, np.float32).tobytes()
    state = {"y": Extents([(256, five), (768, five[:8])])}
    found = await blocks.log_blocks(engine, _job(saxpy), saxpy, state, launch=0, blocks=[6, 2])
    assert found.left == {2: {1: five}, 6: {1: five[:8] + bytes(24)}}
    for part in ((-1, b"xx"), (799, b"xx")):
        found = await blocks.log_blocks(engine, _job(saxpy), saxpy, {"y": Extents([part])}, launch=0, blocks=[6])
        assert found.result.status is JobStatus.REFUSED
        assert "outside" in found.result.reason


async def test_blocks_that_trap_or_never_end_are_logged_until_then(engine: CpuEngine, compiled: Compiled) -> None:
    cases = compiled("cases.cu").ptx.encode()
    cast = [buffer("to", "i32", 2, Role.OUT), buffer("from", "i32", 4, Role.IN)]
    trap = manifest(cases, cast, [launch("copy", "to", "from", threads=4)])
    found = await blocks.log_blocks(engine, trap, cases, {}, launch=0, blocks=[0])
    assert found.result.status is JobStatus.TRAP
    assert found.accesses[0].loads[1].tolist() == [[0, 16]]
    endless = manifest(cases, [buffer("out", "i32", 4, Role.OUT)], [launch("endless", "out")], device_ms_max=20)
    found = await blocks.log_blocks(engine, endless, cases, {}, launch=0, blocks=[0])
    assert found.result.status is JobStatus.TIMEOUT
    assert found.accesses[0].loads[0].tolist() == [[0, 4]]


async def test_a_launch_is_judged_without_running(engine: CpuEngine, saxpy: bytes) -> None:
    judged = await blocks.judge(engine, _job(saxpy), saxpy, launch=0)
    assert judged.eligibility is not None
    assert (judged.eligibility.tier, judged.eligibility.stored) == (Tier.STATIC, ("y",))


async def test_the_map_names_the_writer_of_each_byte(engine: CpuEngine, saxpy: bytes) -> None:
    found = await blocks.map_writers(engine, _job(saxpy), saxpy, launch=0)
    assert (found.result.status, found.conflicts, found.granules) == (JobStatus.OK, (), {"y": 4})
    assert found.words["y"].tolist() == [1 + n // SAXPY_BLOCK for n in range(200)]
    claimed = await blocks.map_writers(engine, _job(saxpy), saxpy, launch=0, is_proven=True)
    assert claimed.words["y"].tolist() == found.words["y"].tolist()


async def test_blocks_that_do_not_exist_are_refused_before_the_worker(engine: CpuEngine, saxpy: bytes) -> None:
    with pytest.raises(UsageError, match="no block 7"):
        await blocks.run_blocks(engine, _job(saxpy), saxpy, _state(), launch=0, blocks=[7])
    with pytest.raises(UsageError, match="no launch 1"):
        await blocks.judge(engine, _job(saxpy), saxpy, launch=1)
    assert engine.worker_pid is None


async def test_a_state_of_the_wrong_size_is_refused(engine: CpuEngine, saxpy: bytes) -> None:
    result = await blocks.run_blocks(engine, _job(saxpy), saxpy, {"y": b"123"}, launch=0, blocks=[0])
    assert result.status is JobStatus.REFUSED
    assert "y has 3 bytes" in result.reason


async def test_a_trap_in_a_block_is_the_outcome(engine: CpuEngine, saxpy: bytes) -> None:
    made = launch("saxpy", 400, 0, "x", "y", threads=SAXPY_BLOCK, blocks=7)
    job = manifest(saxpy, [buffer("x", "f32", 200, Role.IN), buffer("y", "f32", 200, Role.INOUT)], [made])
    fine = await blocks.run_blocks(engine, job, saxpy, _state(), launch=0, blocks=[1])
    trap = await blocks.run_blocks(engine, job, saxpy, _state(), launch=0, blocks=[6])
    assert (fine.status, trap.status) == (JobStatus.OK, JobStatus.TRAP)
    assert "block (6, 0, 0)" in trap.reason


class _Liar:
    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    async def ask(self, *_: object) -> tuple[EngineResult, bytes]:
        return EngineResult(JobStatus.OK), self._answer


def _row(*numbers: int, left: bytes = b"") -> bytes:
    return np.array([len(numbers) // 5, *numbers], np.int64).tobytes() + left


@pytest.mark.parametrize(
    "answer",
    [b"123", _row(1, 0, 0, 0, 4), _row(0, 2, 0, 0, 4), _row(0, 0, 2, 0, 4), _row(0, 0, 0, 4, 4),
     _row(0, 0, 0, -4, 4), _row(0, 0, 0, 0, 801), _row(0, 0, 0, 4, 8, 0, 0, 0, 0, 4), _row(0, 0, 0, 0, 4)[:-1],
     _row(0, 0, 0, 0, 4, 0, 1, 0, 0, 4, 0, 0, 0, 8, 12), _row(0, 1, 1, 0, 4), _row(0, 1, 1, 0, 4, left=bytes(5))],
)  # fmt: skip
async def test_a_log_that_makes_no_sense_counts_as_a_crash(saxpy: bytes, answer: bytes) -> None:
    found = await blocks.log_blocks(_Liar(answer), _job(saxpy), saxpy, {}, launch=0, blocks=[0])
    assert found.result.status is JobStatus.CRASHED
    assert found.accesses == {}


@pytest.mark.parametrize("answer", [b"", b"\1\0\0\0\xc1", b"\3\0\0\0\x92\x91\x93", b"\xff\xff\xff\xff"])
async def test_a_map_or_judgement_that_makes_no_sense_counts_as_a_crash(saxpy: bytes, answer: bytes) -> None:
    liar = _Liar(answer)
    assert (await blocks.map_writers(liar, _job(saxpy), saxpy, launch=0)).result.status is JobStatus.CRASHED
    assert (await blocks.judge(liar, _job(saxpy), saxpy, launch=0)).result.status is JobStatus.CRASHED


async def test_there_is_room_for_the_map_of_what_is_stored(saxpy: bytes) -> None:
    rooms: list[int] = []

    class Recorder:
        async def ask(self, *asked: object) -> tuple[EngineResult, bytes]:
            rooms.append(int(str(asked[-1])))
            return EngineResult(JobStatus.REFUSED), b""

    await blocks.map_writers(Recorder(), _job(saxpy), saxpy, launch=0)
    await blocks.map_writers(Recorder(), _job(saxpy), saxpy, launch=0, stored=["y"])
    assert rooms[0] - rooms[1] == 4 * 800  # one word for each byte at most


def test_a_question_survives_the_channel() -> None:
    asked = jobs.Blocks(b"m", 3, jobs.Question.MAP, 5, 7)
    assert jobs.decode_order(jobs.encode(asked)) == asked
