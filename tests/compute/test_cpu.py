from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping

import msgspec
import numpy as np
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

import kernels_cu
from p2pcompute.compute import jobs, worker
from p2pcompute.compute.child import ENVIRONMENT
from p2pcompute.compute.cpu import CpuEngine
from p2pcompute.compute.engine import EngineResult
from p2pcompute.compute.shared import SharedMemory
from p2pcompute.errors import SandboxError
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire import limits
from p2pcompute.wire.manifest import Buffer, Launch, Manifest, Role, encode_manifest
from tests.compute.conftest import Compiled
from tests.compute.manifests import buffer, launch, manifest, of_library

OUT = buffer("out", "i32", 4, Role.OUT)


@pytest.fixture
def cases(compiled: Compiled) -> bytes:
    return compiled("cases.cu").ptx.encode()


async def _run(engine: CpuEngine, ptx: bytes, buffers: list[Buffer], *launches: Launch) -> EngineResult:
    return await engine.run(manifest(ptx, buffers, list(launches)), ptx, {})


def _ints(data: bytes) -> list[int]:
    return np.frombuffer(data, np.int32).tolist()


async def test_what_kernels_print_comes_back_without_control_characters(engine: CpuEngine, cases: bytes) -> None:
    calls = [launch("speak", "out", word, threads=32) for word in (1, 2)]
    result = await engine.run(manifest(cases, [OUT], calls), cases, {})
    assert (result.status, result.reason, result.log) == (JobStatus.OK, "", "word 1?[31m\nword 2?[31m\n")


@pytest.mark.parametrize("name", kernels_cu.names())
async def test_library_kernels_agree_with_numpy(engine: CpuEngine, compiled: Compiled, name: str) -> None:
    spec = kernels_cu.load(name)
    work = spec.build(1)
    ptx = compiled(name).ptx.encode()
    inputs = {key: memoryview(array).cast("B") for key, array in work.inputs.items()}
    result = await engine.run(of_library(spec, work, ptx), ptx, inputs)
    assert (result.status, result.reason) == (JobStatus.OK, "")
    outputs = {
        key: np.frombuffer(result.outputs[key], kernels_cu.library.DTYPES[dtype]).reshape(shape)
        for key, (dtype, shape) in work.outputs.items()
    }
    assert spec.check(work, outputs) == ""
    assert result.device_us > 0


async def test_an_engine_says_what_it_is(engine: CpuEngine) -> None:
    assert (engine.name, engine.numeric_class) == ("cpu", "cpu-1")


async def test_launches_run_in_order_with_their_repeats(engine: CpuEngine, cases: bytes) -> None:
    result = await _run(
        engine, cases, [OUT], launch("append_digit", "out", 1, threads=4, repeats=2), launch("append_digit", "out", 2)
    )
    assert _ints(result.outputs["out"]) == [112, 11, 11, 11]


async def test_temporaries_carry_over_between_launches_but_not_between_jobs(engine: CpuEngine, cases: bytes) -> None:
    buffers = [OUT, buffer("temp", "i32", 4, Role.TEMP)]
    read = launch("copy", "out", "temp", threads=4)
    first = await _run(engine, cases, buffers, launch("store", "temp", 2, 9), read)
    second = await _run(engine, cases, buffers, read)
    assert (_ints(first.outputs["out"]), _ints(second.outputs["out"])) == ([0, 0, 9, 0], [0, 0, 0, 0])


async def test_only_results_come_back(engine: CpuEngine, cases: bytes) -> None:
    buffers = [
        buffer("from", "i32", 4, Role.IN),
        buffer("to", "i32", 4, Role.INOUT),
        buffer("temp", "i32", 4, Role.TEMP),
    ]
    job = manifest(cases, buffers, [launch("copy", "to", "from", threads=2)])
    data = {"from": np.arange(4, dtype=np.int32).tobytes(), "to": np.full(4, 7, np.int32).tobytes()}
    result = await engine.run(job, cases, data)
    assert {name: _ints(value) for name, value in result.outputs.items()} == {"to": [0, 1, 7, 7]}


async def test_every_state_is_shown_while_the_kernels_wait(engine: CpuEngine, cases: bytes) -> None:
    buffers = [
        buffer("from", "i32", 4, Role.IN),
        OUT,
        buffer("temp", "i32", 4, Role.TEMP),
    ]
    calls = [launch("copy", "temp", "from", threads=4), launch("append_digit", "out", 7, threads=4, repeats=2)]
    data = {"from": np.arange(4, dtype=np.int32).tobytes()}
    states: list[dict[str, list[int]]] = []

    async def show(state: Mapping[str, bytes]) -> None:
        await trio.testing.wait_all_tasks_blocked()
        states.append({name: _ints(value) for name, value in state.items()})

    result = await engine.run(manifest(cases, buffers, calls), cases, data, on_step=show)
    assert (result.status, result.outputs) == (JobStatus.OK, {})
    copied = [0, 1, 2, 3]
    assert states == [{"out": [n] * 4, "temp": copied} for n in (0, 7, 77)]


async def test_no_deadline_runs_while_a_state_is_read(
    engine: CpuEngine, cases: bytes, mock_clock: trio.testing.MockClock
) -> None:
    job = manifest(cases, [OUT], [launch("append_digit", "out", 1, threads=4, repeats=3)], device_ms_max=1_000)

    async def show(state: Mapping[str, bytes]) -> None:
        mock_clock.jump(30)

    result = await engine.run(job, cases, {}, on_step=show)
    assert result.status is JobStatus.OK


def test_a_pause_is_no_device_time(cases: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    clock_ns = [0]
    monkeypatch.setattr("p2pcompute.compute.worker.time.perf_counter_ns", lambda: clock_ns[0])

    class Parent:
        def send(self, frame: bytes) -> None:
            if isinstance(jobs.decode_answer(frame), jobs.Stepped):
                clock_ns[0] += 10**9
                run.serving.hear(jobs.encode(jobs.Proceed()), [])

    run = worker.Worker(Parent(), 1)  # type: ignore[arg-type]
    job = manifest(cases, [OUT], [launch("append_digit", "out", 1, threads=4, repeats=3)])
    memory = SharedMemory(job, cases, {})
    done = run._run(jobs.Job(encode_manifest(job), pauses=True), job, memory.descriptor)
    assert (done.status, done.device_us, clock_ns[0]) == (JobStatus.OK, 0, 3 * 10**9)


async def test_a_job_that_runs_out_of_time_between_states_is_late(engine: CpuEngine, cases: bytes) -> None:
    slow = launch("append_digit", "out", 1, threads=4, blocks=1 << 20, repeats=60)
    shown: list[Mapping[str, bytes]] = []

    async def show(state: Mapping[str, bytes]) -> None:
        shown.append(state)

    result = await engine.run(manifest(cases, [OUT], [slow], device_ms_max=1), cases, {}, on_step=show)
    assert (result.status, result.outputs) == (JobStatus.TIMEOUT, {})
    assert len(shown) < 60


async def test_a_store_past_the_end_is_a_trap_that_names_the_thread(engine: CpuEngine, cases: bytes) -> None:
    buffers = [buffer("out", "f32", 64, Role.OUT)]
    result = await _run(engine, cases, buffers, launch("past_the_end", "out", threads=32, blocks=4))
    assert result.status is JobStatus.TRAP
    assert result.reason.startswith("launch 0 (past_the_end): out of bounds")
    assert result.reason.endswith("block (3, 0, 0), thread (7, 0, 0)")
    assert result.outputs == {}


async def test_an_endless_kernel_is_stopped_and_the_worker_lives_on(engine: CpuEngine, cases: bytes) -> None:
    job = manifest(cases, [OUT], [launch("endless", "out")], device_ms_max=50)
    await engine.start()
    worker = engine.worker_pid
    result = await engine.run(job, cases, {})
    assert (result.status, result.outputs) == (JobStatus.TIMEOUT, {})
    assert (await _run(engine, cases, [OUT], launch("store", "out", 0, 5))).status is JobStatus.OK
    assert engine.worker_pid == worker


async def test_a_killed_worker_is_a_crash_and_the_next_job_gets_a_new_one(engine: CpuEngine, cases: bytes) -> None:
    await engine.start()
    worker = engine.worker_pid
    assert worker is not None
    results = []

    async def run() -> None:
        results.append(await engine.run(manifest(cases, [OUT], [launch("endless", "out")]), cases, {}))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        os.kill(worker, signal.SIGKILL)
    assert results[0].status is JobStatus.CRASHED
    assert "SIGKILL" in results[0].reason
    assert (await _run(engine, cases, [OUT], launch("store", "out", 0, 5))).status is JobStatus.OK


async def test_a_worker_that_died_between_jobs_is_replaced(engine: CpuEngine, cases: bytes) -> None:
    await engine.start()
    assert engine.worker_pid is not None
    descriptor = os.pidfd_open(engine.worker_pid)
    os.kill(engine.worker_pid, signal.SIGKILL)
    select.select([descriptor], [], [])
    os.close(descriptor)
    assert (await _run(engine, cases, [OUT], launch("store", "out", 0, 5))).status is JobStatus.OK


async def test_cancelling_leaves_no_process_behind(engine: CpuEngine, cases: bytes) -> None:
    await engine.start()
    worker = engine.worker_pid
    assert worker is not None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.run, manifest(cases, [OUT], [launch("endless", "out")]), cases, {})
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
    assert engine.worker_pid is None


def test_a_killed_node_leaves_no_worker() -> None:
    script = (
        "import trio\n"
        "from p2pcompute.compute.cpu import CpuEngine\n"
        "async def main():\n"
        "    engine = CpuEngine(threads=1, memory_bytes_max=1 << 20)\n"
        "    await engine.start()\n"
        "    print(engine.worker_pid, flush=True)\n"
        "    await trio.sleep_forever()\n"
        "trio.run(main)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as node:
        assert node.stdout is not None
        descriptor = os.pidfd_open(int(node.stdout.readline()))
        node.kill()
    assert select.select([descriptor], [], [], 30)[0]
    os.close(descriptor)


@pytest.mark.parametrize(("ptx", "reason"), [(b"\xff\xfe", "not ASCII text"), (b"garbage", "PTX line 1: ")])
async def test_bad_ptx_is_refused(engine: CpuEngine, ptx: bytes, reason: str) -> None:
    result = await _run(engine, ptx, [OUT], launch("store", "out", 0, 5))
    assert result.status is JobStatus.REFUSED
    assert reason in result.reason


async def test_ptx_that_is_not_canonical_is_refused(engine: CpuEngine, cases: bytes) -> None:
    result = await _run(engine, cases + b"// comment\n", [OUT], launch("store", "out", 0, 5))
    assert result.status is JobStatus.REFUSED
    assert "not in canonical form" in result.reason


async def test_an_empty_buffer_is_no_place_to_store(engine: CpuEngine, cases: bytes) -> None:
    buffers = [OUT, buffer("none", "i32", 0, Role.OUT)]
    assert (await _run(engine, cases, buffers, launch("store", "none", 0, 5))).status is JobStatus.TRAP
    assert (await _run(engine, cases, buffers, launch("store", "out", 0, 5))).outputs["none"] == b""


async def test_an_unknown_entry_is_refused(engine: CpuEngine, cases: bytes) -> None:
    result = await _run(engine, cases, [OUT], launch("missing", "out"))
    assert result.status is JobStatus.REFUSED
    assert "no entry 'missing'" in result.reason


@pytest.mark.parametrize("arguments", [("out", 0), ("out", 0, 1, 2), (0, 0, 1)])
async def test_arguments_that_do_not_fit_are_refused(
    engine: CpuEngine, cases: bytes, arguments: tuple[str | int, ...]
) -> None:
    result = await _run(engine, cases, [OUT], launch("store", *arguments))
    assert result.status is JobStatus.REFUSED
    assert result.reason.startswith("launch 0: ")


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [({}, "input x is missing"), ({"x": b"1234"}, "input x has 4 bytes; the manifest says 16")],
)
async def test_inputs_that_do_not_fit_are_refused(
    engine: CpuEngine, cases: bytes, inputs: dict[str, bytes], reason: str
) -> None:
    job = manifest(cases, [OUT, buffer("x", "i32", 4, Role.IN)], [launch("copy", "out", "x")])
    assert await engine.run(job, cases, inputs) == EngineResult(JobStatus.REFUSED, reason=reason)


async def test_a_job_larger_than_the_engine_is_refused(engine: CpuEngine, cases: bytes) -> None:
    job: Manifest = manifest(cases, [OUT], [launch("store", "out", 0, 1)], memory=limits.GIB)
    assert (await engine.run(job, cases, {})).status is JobStatus.REFUSED


async def test_a_worker_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pcompute.compute.cpu._WORKER_MODULE", "no_such_module")
    engine = CpuEngine(threads=1, memory_bytes_max=1)
    with pytest.raises(SandboxError, match="No module named no_such_module"):
        await engine.start()
    assert engine.worker_pid is None


def test_without_a_jail_the_worker_says_why_and_ends() -> None:
    script = (
        "import os, sys\n"
        "from p2pcompute.compute import landlock, worker\n"
        "landlock.abi_version = lambda: 0\n"
        "worker.main(int(sys.argv[1]), os.getppid(), 1, 1, 1)\n"
    )
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-c", script, str(theirs.fileno())]
        subprocess.run(command, env=ENVIRONMENT, pass_fds=(theirs.fileno(),), timeout=60, check=True)
        answer = jobs.decode_answer(ours.recv(4096)[4:])
    assert isinstance(answer, jobs.Ready)
    assert "no Landlock" in answer.fault


@pytest.mark.parametrize(
    "answer",
    [
        jobs.Done(JobStatus.CRASHED, 0, ""),
        jobs.Done(JobStatus.CANCELLED, 0, ""),
        jobs.Done(JobStatus.OK, -1, ""),
    ],
)
def test_a_worker_cannot_claim_what_is_not_its_to_say(answer: jobs.Done) -> None:
    with pytest.raises(ValueError, match="may not claim"):
        jobs.decode_answer(jobs.encode(answer))


@pytest.mark.parametrize(
    ("text", "shown"),
    [("two\nlines ", "two lines"), ("\x1b[31mred", "?[31mred"), ("ä" * 400, "ä" * 256), ("\ud800", "?")],
)
def test_a_reason_is_one_short_printable_line(text: str, shown: str) -> None:
    assert jobs.sentence(text) == shown


@given(st.binary(max_size=64))
def test_any_bytes_from_a_worker_are_an_answer_or_a_clean_error(frame: bytes) -> None:
    try:
        answer = jobs.decode_answer(frame)
    except msgspec.MsgspecError:
        return
    assert isinstance(answer, jobs.Answer)
