"""The parent's side, against workers that follow a script in a process of their own."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable

import pytest
import trio
import trio.testing

from p2pcompute.compute import jobs
from p2pcompute.compute.child import Child
from p2pcompute.compute.supervisor import PING_S, SILENCE_S, Bounds, Supervisor
from p2pcompute.errors import DeviceError, SandboxError
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire.manifest import Manifest, Role, encode_manifest
from tests.compute.manifests import buffer, launch, manifest

_SCRIPT = """
import os, signal, socket, sys
from p2pcompute.compute.channel import ChildChannel
channel = ChildChannel(int(sys.argv[1]), 1 << 20)
for step in {steps!r}:
    if isinstance(step, bytes):
        channel.send(step)
    elif step == "hear":
        channel.receive()
    elif step == "announce too much":
        os.write(int(sys.argv[1]), b"\\xff" * 4)
    elif step == "die":
        sys.exit("last words")
signal.pause()
"""
BOUNDS = Bounds(start_s=60, prepare_s=60, grace_s=5)
DEVICE = jobs.Device("Fake", 90, 1 << 30, 1 << 29, 132, 12040, "0000:17:00.0", False)
READY, STARTED, STEPPED, BEAT = jobs.Ready(), jobs.Started(), jobs.Stepped(), jobs.Beat()
OK = jobs.Done(JobStatus.OK, 0, "")
JOB = manifest(b"ptx", [buffer("out", "i32", 4, Role.OUT)], [launch("f", "out", repeats=2)], device_ms_max=20_000)
ORDER = jobs.Job(encode_manifest(JOB))
PAUSING = jobs.Job(encode_manifest(JOB), pauses=True)

Step = jobs.Answer | bytes | str
Supervise = Callable[..., Supervisor]


@pytest.fixture
async def supervise() -> AsyncIterator[Supervise]:
    made: list[Supervisor] = []

    def supervise(*steps: Step) -> Supervisor:
        script = [step if isinstance(step, bytes | str) else jobs.encode(step) for step in steps]
        program = ("-c", _SCRIPT.format(steps=script))
        made.append(Supervisor("test engine", lambda: Child(program, jobs.REPLY_BYTES_MAX), BOUNDS))
        return made[-1]

    yield supervise
    for supervisor in made:
        await supervisor.drop()


async def _drive(
    supervisor: Supervisor, order: jobs.Job | jobs.Blocks = ORDER, job: Manifest = JOB, *, copying_s: float = 0
) -> jobs.Done:
    async def show() -> None: ...

    pauses = isinstance(order, jobs.Job) and order.pauses
    async with supervisor.turn():
        return await supervisor.drive(job, order, [], show if pauses else None, copying_s=copying_s)


async def test_a_worker_serves_one_order_after_the_other(supervise: Supervise) -> None:
    supervisor = supervise(READY, "hear", STARTED, OK, "hear", STARTED, OK)
    done = [await _drive(supervisor)]
    worker = supervisor.worker_pid
    done.append(await _drive(supervisor))
    assert [d.status for d in done] == [JobStatus.OK, JobStatus.OK]
    assert supervisor.worker_pid == worker


async def test_what_the_worker_says_of_its_device_is_known(supervise: Supervise) -> None:
    supervisor = supervise(jobs.Ready(device=DEVICE))
    async with supervisor.turn():
        assert (await supervisor.ensure()).device == DEVICE
    assert supervisor.ready.device == DEVICE


@pytest.mark.parametrize(
    ("steps", "error", "reason"),
    [
        (["die"], SandboxError, "the test engine's worker .*: last words"),
        ([jobs.Ready("no jail here")], SandboxError, "no jail here"),
        ([jobs.Ready("no GPU here", is_device_fault=True)], DeviceError, "no GPU here"),
        ([STARTED], SandboxError, "broke its protocol"),
        ([b"\xc1"], SandboxError, "was killed by SIGKILL"),
        (["announce too much"], SandboxError, "was killed by SIGKILL"),
    ],
)
async def test_a_worker_that_is_not_ready_is_an_error_and_gone(
    supervise: Supervise, steps: list[Step], error: type[Exception], reason: str
) -> None:
    supervisor = supervise(*steps)
    with pytest.raises(error, match=reason):
        await _drive(supervisor)
    assert supervisor.worker_pid is None


async def test_a_worker_that_never_gets_ready_is_killed(
    supervise: Supervise, mock_clock: trio.testing.MockClock
) -> None:
    supervisor = supervise()

    async def drive() -> None:
        with pytest.raises(SandboxError, match="did not start within 60 s"):
            await _drive(supervisor)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drive)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(BOUNDS.start_s)
    assert supervisor.worker_pid is None


@pytest.mark.parametrize(
    ("order", "steps", "reason"),
    [
        (ORDER, ["die"], ": last words"),
        (ORDER, [STARTED, "die"], ": last words"),
        (ORDER, [STARTED, b"\xc1"], "broke its protocol"),
        (ORDER, [STARTED, "announce too much"], "the child announced 4294967295 bytes"),
        (ORDER, [READY], "said Ready twice"),
        (ORDER, [OK], "OK before it started"),
        (ORDER, [STARTED, BEAT], "beat unasked"),
        (ORDER, [STARTED, STEPPED], "Stepped once too often"),
        (ORDER, [STARTED, jobs.Done(JobStatus.OK, 0, "", answer_bytes=1)], "larger than the room"),
        (PAUSING, [STARTED, STARTED], "Started once too often"),
        (PAUSING, [STARTED, STEPPED, "hear", OK], "showed 1 states of 2"),
        (PAUSING, [STARTED, STEPPED, "hear", STEPPED, "hear", STEPPED], "Stepped once too often"),
    ],
)
async def test_a_worker_that_dies_or_breaks_the_protocol_is_a_crash(
    supervise: Supervise, order: jobs.Job, steps: list[Step], reason: str
) -> None:
    supervisor = supervise(READY, "hear", *steps)
    done = await _drive(supervisor, order)
    assert done.status is JobStatus.CRASHED
    assert reason in done.reason
    assert supervisor.worker_pid is None


async def test_a_killed_worker_is_a_crash(supervise: Supervise) -> None:
    supervisor = supervise(READY, "hear", STARTED)
    done: list[jobs.Done] = []

    async def drive() -> None:
        done.append(await _drive(supervisor))

    async with supervisor.turn():
        await supervisor.ensure()
    assert supervisor.worker_pid is not None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drive)
        await trio.testing.wait_all_tasks_blocked()
        os.kill(supervisor.worker_pid, signal.SIGKILL)
    assert (done[0].status, "SIGKILL" in done[0].reason) == (JobStatus.CRASHED, True)


async def test_a_poisoned_worker_is_replaced(supervise: Supervise) -> None:
    poisoned = jobs.Done(JobStatus.TRAP, 7, "illegal address", is_poisoned=True)
    supervisor = supervise(READY, "hear", STARTED, poisoned)
    assert (await _drive(supervisor)).status is JobStatus.TRAP
    assert supervisor.worker_pid is None


class _Stepping:
    """Drives a pausing order; `until_step` returns when the worker has shown its first state and is waited for."""

    def __init__(self, supervisor: Supervisor, copying_s: float = 0) -> None:
        self._supervisor, self._copying_s = supervisor, copying_s
        self._shown = trio.Event()
        self.done: list[jobs.Done] = []

    async def drive(self) -> None:
        async def show() -> None:
            self._shown.set()

        async with self._supervisor.turn():
            self.done.append(await self._supervisor.drive(JOB, PAUSING, [], show, copying_s=self._copying_s))

    async def until_step(self) -> None:
        await self._shown.wait()
        await trio.testing.wait_all_tasks_blocked()


async def test_a_silent_worker_that_answers_no_ping_is_killed(
    supervise: Supervise, mock_clock: trio.testing.MockClock
) -> None:
    supervisor = supervise(READY, "hear", STARTED, STEPPED)
    stepping = _Stepping(supervisor, copying_s=1000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stepping.drive)
        await stepping.until_step()
        mock_clock.jump(PING_S)
        await trio.testing.wait_all_tasks_blocked()
        assert stepping.done == []
        mock_clock.jump(SILENCE_S)
    assert stepping.done[0].status is JobStatus.CRASHED
    assert f"did not answer for {SILENCE_S:.0f} s" in stepping.done[0].reason
    assert supervisor.worker_pid is None


@pytest.mark.parametrize("words", [[BEAT, STEPPED, "hear", OK], [STEPPED, BEAT, "hear", OK]])
async def test_a_worker_that_answers_pings_may_take_its_time(
    supervise: Supervise, mock_clock: trio.testing.MockClock, words: list[Step]
) -> None:
    supervisor = supervise(READY, "hear", STARTED, STEPPED, "hear", "hear", *words)
    stepping = _Stepping(supervisor)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stepping.drive)
        await stepping.until_step()
        mock_clock.jump(PING_S)
    assert stepping.done[0].status is JobStatus.OK


async def test_a_worker_that_does_not_stop_is_killed(supervise: Supervise, mock_clock: trio.testing.MockClock) -> None:
    """Its time is the manifest's and that for copying."""
    supervisor = supervise(READY, "hear", STARTED, STEPPED)
    stepping = _Stepping(supervisor, copying_s=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stepping.drive)
        await stepping.until_step()
        mock_clock.jump(21.1)
        await trio.testing.wait_all_tasks_blocked()
        assert stepping.done == []
        mock_clock.jump(BOUNDS.grace_s)
    assert stepping.done[0] == jobs.Done(JobStatus.TIMEOUT, stepping.done[0].device_us, stepping.done[0].reason)
    assert stepping.done[0].reason == "the kernels ran longer than 20000 ms"
    assert supervisor.worker_pid is None


async def test_a_process_that_the_kernel_cannot_end_is_left_behind(
    supervise: Supervise, mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that waits inside a device driver."""
    supervisor = supervise(READY)
    async with supervisor.turn():
        await supervisor.ensure()
    stuck = supervisor._child
    assert stuck is not None
    endings: list[str] = []

    async def drop() -> None:
        endings.append(await supervisor.drop())

    with monkeypatch.context() as patch:
        patch.setattr(stuck._process, "kill", lambda: None)
        patch.setattr(stuck.channel, "close", lambda: None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drop)
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(30)
    assert endings == ["did not end within 30 s of SIGKILL"]
    assert supervisor.worker_pid is None
    stuck.channel.close()
    stuck._process.kill()
    stuck._process.wait()


async def test_a_cancelled_order_takes_the_worker_with_it(supervise: Supervise) -> None:
    supervisor = supervise(READY, "hear", STARTED)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_drive, supervisor)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert supervisor.worker_pid is None


@pytest.mark.parametrize(
    "answer",
    [
        jobs.Ready(device=jobs.Device("x" * 65, 90, 2, 1, 1, 1, "", False)),
        jobs.Ready(device=jobs.Device("\x1b[31m", 90, 2, 1, 1, 1, "", False)),
        jobs.Ready(device=jobs.Device("Fake", 90, 1, 2, 1, 1, "", False)),
        jobs.Ready(device=jobs.Device("Fake", -1, 2, 1, 1, 1, "", False)),
        jobs.Done(JobStatus.OK, 0, "", energy=jobs.Energy(-1, False)),
        jobs.Done(JobStatus.OK, 0, "", energy=jobs.Energy(jobs.ENERGY_MJ_MAX + 1, False)),
    ],
)
def test_what_no_device_can_be_is_malformed(answer: jobs.Answer) -> None:
    with pytest.raises(ValueError, match=r"device|may not claim"):
        jobs.decode_answer(jobs.encode(answer))
