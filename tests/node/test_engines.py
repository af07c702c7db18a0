"""What a run leaves in the store: outputs, and the states between its steps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import trio
import trio.testing

from p2pcompute.compute.cpu import CpuEngine
from p2pcompute.node.engines import Engines
from p2pcompute.protocol.machine import JobOutcome, JobStatus
from p2pcompute.storage.blobs import BlobStore
from p2pcompute.wire import limits, merkle
from p2pcompute.wire.manifest import Argument, Buffer, Launch, Manifest, Role, encode_manifest
from tests.node.tasks import ADD, compiled_ptx

COUNT = 1024
TOKEN = "job"


@pytest.fixture(params=[1, 2])
async def engines(request: pytest.FixtureRequest) -> AsyncIterator[Engines]:
    pool = Engines([CpuEngine(threads=request.param, memory_bytes_max=64 * limits.MIB)])
    yield pool
    await pool.aclose()


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path, merkle.blob_root)


async def job(blobs: BlobStore, *, repeats: int = 2, spare: int = 16) -> Manifest:
    """y = x + 1, then y += y `repeats` times; `spare` integers are never touched."""
    ptx = await compiled_ptx(ADD)
    x = np.arange(COUNT, dtype=np.int32)

    def add(*names: str, one: int, repeats: int) -> Launch:
        scalars = [Argument(value=value.to_bytes(4, "little")) for value in (COUNT, one)]
        return Launch("add", (8, 1, 1), (128, 1, 1), (*(Argument(n) for n in names), *scalars), 0, repeats)

    return Manifest(
        name="add", toolchain="", sources=(), ptx_root=blobs.put(ptx, "task")[0], ptx_size_bytes=len(ptx),
        buffers=(
            Buffer("x", "i32", (COUNT,), Role.IN, blobs.put(x.tobytes(), "task")[0]),
            Buffer("spare", "i32", (spare,), Role.TEMP),
            Buffer("y", "i32", (COUNT,), Role.OUT),
        ),
        launches=(add("x", "x", "y", one=1, repeats=1), add("y", "y", "y", one=0, repeats=repeats)),
        device_ms_max=60_000, memory_bytes_max=2 * limits.GIB,
    )  # fmt: skip


async def run(engines: Engines, blobs: BlobStore, manifest: Manifest, *, snapshots: bool = True) -> JobOutcome:
    small = msgspec.structs.replace(manifest, memory_bytes_max=16 * limits.MIB)
    return await engines.run(TOKEN, encode_manifest(small), blobs, snapshots=snapshots)


async def test_the_state_after_every_step_is_kept(engines: Engines, blobs: BlobStore) -> None:
    outcome = await run(engines, blobs, await job(blobs))
    assert (outcome.status, outcome.reason) == (JobStatus.OK, "")
    first = 2 * np.arange(COUNT, dtype=np.int32) + 1
    spare = merkle.blob_root(bytes(64))
    assert outcome.states == tuple((spare, merkle.blob_root((first * n).astype(np.int32).tobytes())) for n in (1, 2, 4))
    assert outcome.outputs == ((outcome.states[-1][1], 4 * COUNT),)
    assert all(blobs.has(root) for state in outcome.states for root in state)


async def test_without_snapshots_only_outputs_are_kept(engines: Engines, blobs: BlobStore) -> None:
    before = len(blobs)
    outcome = await run(engines, blobs, await job(blobs), snapshots=False)
    assert (outcome.status, outcome.states, len(outcome.outputs)) == (JobStatus.OK, (), 1)
    assert len(blobs) == before + 3  # the PTX, the input and the output


async def test_a_run_that_fails_keeps_no_state(blobs: BlobStore, engines: Engines) -> None:
    made = await job(blobs)
    too_many = Argument(value=(9 * 128).to_bytes(4, "little"))
    arguments = (*made.launches[1].arguments[:3], too_many, Argument(value=bytes(4)))
    wrong = msgspec.structs.replace(made.launches[1], grid=(9, 1, 1), arguments=arguments)
    outcome = await run(engines, blobs, msgspec.structs.replace(made, launches=(made.launches[0], wrong)))
    assert (outcome.status, outcome.states) == (JobStatus.TRAP, ())
    assert not any(TOKEN in tokens for tokens in blobs._pins.values())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"repeats": limits.SNAPSHOT_STEPS_MAX}, "65 steps"), ({"spare": limits.SNAPSHOT_BYTES_MAX // 12}, "take")],
)
async def test_too_many_or_too_large_states_are_refused(
    engines: Engines, blobs: BlobStore, changes: dict[str, int], reason: str
) -> None:
    outcome = await engines.run(TOKEN, encode_manifest(await job(blobs, **changes)), blobs, snapshots=True)
    assert outcome.status is JobStatus.REFUSED
    assert reason in outcome.reason


# Which engine is lent ------------------------------------------------------------------------------------------------


class Named(CpuEngine):
    """An engine whose device is well, or is not."""

    well = True

    @property
    def quarantine(self) -> str:
        return "" if self.well else "out of service"


def two() -> tuple[Named, Named]:
    first, second = (Named(threads=1, memory_bytes_max=1) for _ in range(2))
    return first, second


async def test_an_engine_in_quarantine_is_lent_only_when_all_are() -> None:
    first, second = two()
    pool = Engines([first, second])
    second.well = False
    async with pool.lend() as lent:
        assert lent is first
        first.well = False
        async with pool.lend() as other:
            assert other is second


async def test_a_run_waits_for_an_engine_that_can_be_used(autojump_clock: trio.testing.MockClock) -> None:
    first, second = two()
    pool, waited = Engines([first, second]), []
    second.well = False

    async def borrow(for_s: float) -> None:
        async with pool.lend() as lent:
            assert lent is first
            await trio.sleep(for_s)
        waited.append(trio.current_time())

    begin_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(borrow, 2.0)
    assert [at_s - begin_s for at_s in waited] == pytest.approx([2.0, 4.0, 6.0])


async def test_who_gives_up_waiting_is_passed_over(autojump_clock: trio.testing.MockClock) -> None:
    first, second = two()
    pool = Engines([first, second])
    second.well = False
    async with pool.lend():
        with trio.move_on_after(1) as tired:
            async with pool.lend():
                raise AssertionError("there was no engine to lend")
        assert tired.cancelled_caught
    async with pool.lend() as lent:
        assert lent is first
