"""Engines whose owner wants the machine back: stopped in the middle of a job, and going on later."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from p2pcompute.compute.cpu import CpuEngine
from p2pcompute.compute.engine import EngineResult
from p2pcompute.compute.stopwatch import Stopwatch
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire.manifest import Buffer, Manifest, Role
from tests.compute.conftest import Compiled
from tests.compute.manifests import launch, manifest

OUT = Buffer("out", "u32", (4,), Role.OUT)
STOPPED = "T"


def state_of(pid: int) -> str:
    return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture
def cases(compiled: Compiled) -> bytes:
    return compiled("cases.cu").ptx.encode()


def endless(cases: bytes, *, device_ms_max: int) -> Manifest:
    """A job that ends by its deadline only, on any machine."""
    slow = launch("append_digit", "out", 1, threads=4, blocks=1 << 20, repeats=60_000)
    return manifest(cases, [OUT], [slow], device_ms_max=device_ms_max)


def quick(cases: bytes) -> Manifest:
    return manifest(cases, [OUT], [launch("append_digit", "out", 1, threads=4)])


async def worker_of(engine: CpuEngine) -> int:
    while engine.worker_pid is None:
        await trio.sleep(0.01)
    return engine.worker_pid


async def test_a_job_that_is_paused_has_as_much_time_as_before(engine: CpuEngine, cases: bytes) -> None:
    results: list[EngineResult] = []
    await engine.start()

    async def run() -> None:
        results.append(await engine.run(endless(cases, device_ms_max=500), cases, {}))

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await trio.sleep(0.2)
            engine.pause()
            pid = await worker_of(engine)
            while state_of(pid) != STOPPED:
                await trio.sleep(0.01)
            await trio.sleep(1.0)
            assert (results, engine.worker_pid) == ([], pid)
            engine.resume()
    assert results[0].status is JobStatus.TIMEOUT
    assert results[0].device_us < 1_000_000


async def test_a_job_that_comes_while_paused_waits_and_then_runs(engine: CpuEngine, cases: bytes) -> None:
    results: list[EngineResult] = []
    engine.pause()
    engine.pause()

    async def run() -> None:
        results.append(await engine.run(quick(cases), cases, {}))

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await trio.sleep(0.3)
            assert results == []
            engine.resume()
            engine.resume()
    assert (results[0].status, results[0].outputs["out"][:1]) == (JobStatus.OK, b"\x01")


async def test_an_engine_that_is_evicted_gives_its_memory_back_and_ends_its_job(
    engine: CpuEngine, cases: bytes
) -> None:
    results: list[EngineResult] = []
    await engine.start()
    pid = await worker_of(engine)

    async def run(job: Manifest) -> None:
        results.append(await engine.run(job, cases, {}))

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, endless(cases, device_ms_max=60_000))
            await trio.sleep(0.2)
            nursery.start_soon(run, quick(cases))
            await engine.evict("not paused")
            assert engine.worker_pid == pid
            engine.pause()
            await engine.evict("the owner needs the machine")
            assert engine.worker_pid is None
            assert not (Path("/proc") / str(pid)).exists()
    assert [(r.status, r.reason) for r in results] == [(JobStatus.CRASHED, "the owner needs the machine")] * 2
    engine.resume()
    assert (await engine.run(quick(cases), cases, {})).status is JobStatus.OK


async def test_a_worker_can_be_killed_while_paused(engine: CpuEngine) -> None:
    await engine.start()
    engine.pause()
    await engine.aclose()
    assert engine.worker_pid is None


async def test_a_clock_that_stands_still_moves_its_limits(autojump_clock: trio.testing.MockClock) -> None:
    clock = Stopwatch()
    begin_s = trio.current_time()

    async def interrupt() -> None:
        await trio.sleep(2)
        clock.stop()
        clock.stop()
        await trio.sleep(10)
        clock.go()
        clock.go()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(interrupt)
        with clock.limit(5) as outer:
            await trio.sleep(1)
            with clock.limit(100) as inner:
                await trio.sleep_forever()
    assert (outer.cancelled_caught, inner.cancelled_caught) == (True, False)
    assert trio.current_time() - begin_s == pytest.approx(15)


async def test_a_limit_set_while_the_clock_stands_still_begins_when_it_goes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    clock = Stopwatch()
    clock.stop()
    began_s = clock.now_s()
    async with trio.open_nursery() as nursery:

        async def go() -> None:
            await trio.sleep(7)
            assert clock.now_s() == began_s
            clock.go()

        nursery.start_soon(go)
        begin_s = trio.current_time()
        with clock.limit(3):
            await trio.sleep_forever()
    assert trio.current_time() - begin_s == pytest.approx(10)
    assert not clock.is_stopped
