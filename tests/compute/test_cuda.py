"""The CUDA engine, its worker and its jail, whole, on a fake driver whose device is the CPU engine.

Nothing here says anything about a GPU. What PyCUDA and the driver check, the fake checks (fake_pycuda/).
"""

from __future__ import annotations

import os
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
import trio.testing

import kernels_cu
from p2pcompute.compute import cuda, cuda_worker, jobs
from p2pcompute.compute.cpu import CpuEngine
from p2pcompute.compute.cuda import CudaEngine
from p2pcompute.compute.engine import Energy, EngineResult
from p2pcompute.errors import DeviceError, LocalError, UsageError
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire import limits
from p2pcompute.wire.manifest import Argument, Buffer, Launch, Role
from p2pcompute.wire.texture import Geometry, Texture
from tests.compute import fake_cuda
from tests.compute.conftest import Compiled
from tests.compute.manifests import buffer, launch, manifest, of_library

UUID = "GPU-6e2c0c3e-5d4e-4f6a-9b60-2c1d0e9f8a7b"
GIB = limits.GIB
OUT = buffer("out", "i32", 4, Role.OUT)

Made = Callable[..., CudaEngine]


@pytest.fixture
async def engine_on(tmp_path: Path) -> AsyncIterator[Made]:
    """`engine_on(jobs_per_worker=…, **switches)`: an engine whose worker finds the fake with these switches."""
    made: list[CudaEngine] = []

    def engine_on(*, jobs_per_worker: int | None = None, memory: int = 256 * limits.MIB, **switches: Any) -> CudaEngine:
        set_switches(tmp_path, **switches)
        program = tuple(fake_cuda.command(tmp_path, cuda_worker.__name__)[3:])
        kind = type("FakeCuda", (CudaEngine,), {"_PROGRAM": program})
        made.append(kind(UUID, memory_bytes_max=memory, jobs_per_worker=jobs_per_worker))
        return made[-1]

    yield engine_on
    for engine in made:
        await engine.aclose()


def set_switches(folder: Path, **switches: Any) -> None:
    fake_cuda.install(folder, **{"total_bytes": 16 * GIB, "needs_zeros": True, **switches})


@pytest.fixture
def cases(compiled: Compiled) -> bytes:
    return compiled("cases.cu").ptx.encode()


@pytest.fixture
def more_cases(compiled: Compiled) -> bytes:
    return compiled("cuda_cases.cu").ptx.encode()


async def _run(engine: CudaEngine, ptx: bytes, buffers: list[Buffer], *launches: Launch, **more: Any) -> EngineResult:
    return await engine.run(manifest(ptx, buffers, list(launches), **more), ptx, {})


def _ints(data: bytes) -> list[int]:
    return np.frombuffer(data, np.int32).tolist()


# Results -------------------------------------------------------------------------------------------------------------


async def test_the_library_gives_the_bits_of_the_cpu_engine(
    engine_on: Made, engine: CpuEngine, compiled: Compiled
) -> None:
    on_cuda = engine_on()
    for name in kernels_cu.names():
        spec = kernels_cu.load(name)
        work = spec.build(1)
        ptx = compiled(name).ptx.encode()
        inputs = {key: memoryview(array).cast("B") for key, array in work.inputs.items()}
        job = of_library(spec, work, ptx)
        result, expected = await on_cuda.run(job, ptx, inputs), await engine.run(job, ptx, inputs)
        assert (name, result.status, result.reason) == (name, JobStatus.OK, "")
        assert result.outputs == expected.outputs
        assert result.device_us > 0


async def test_an_engine_says_what_it_is(engine_on: Made) -> None:
    engine = engine_on()
    await engine.start()
    assert (engine.name, engine.numeric_class) == ("cuda", "cuda-90")


async def test_the_device_is_known_once_the_worker_runs(engine_on: Made) -> None:
    engine = engine_on()
    with pytest.raises(LocalError, match=r"after start\(\) only"):
        _ = engine.numeric_class
    await engine.start()
    device = engine.device
    assert (engine.compute_capability, device.name, device.pci) == (90, "Fake GPU (CPU engine)", "0000:17:00.0")
    assert (device.memory_bytes, device.driver, device.reaches_host) == (16 * GIB, 12040, False)


async def test_launches_run_in_order_with_their_repeats(engine_on: Made, cases: bytes) -> None:
    calls = [launch("append_digit", "out", 1, threads=4, repeats=2), launch("append_digit", "out", 2)]
    result = await _run(engine_on(), cases, [OUT], *calls)
    assert _ints(result.outputs["out"]) == [112, 11, 11, 11]


async def test_more_launches_run_than_the_drivers_queue_holds(engine_on: Made, more_cases: bytes) -> None:
    result = await _run(engine_on(), more_cases, [OUT], launch("count", "out", threads=4, repeats=1500))
    assert _ints(result.outputs["out"]) == [1500] * 4


async def test_nothing_carries_over_between_jobs(engine_on: Made, cases: bytes) -> None:
    engine = engine_on()
    buffers = [OUT, buffer("temp", "i32", 4, Role.TEMP)]
    read = launch("copy", "out", "temp", threads=4)
    first = await _run(engine, cases, buffers, launch("store", "temp", 2, 9), read)
    second = await _run(engine, cases, buffers, read)
    assert (_ints(first.outputs["out"]), _ints(second.outputs["out"])) == ([0, 0, 9, 0], [0, 0, 0, 0])


async def test_module_variables_start_as_declared_in_every_job(engine_on: Made, more_cases: bytes) -> None:
    engine = engine_on()
    call = launch("bump_global", "out", repeats=2)
    results = [await _run(engine, more_cases, [OUT], call) for _ in range(2)]
    assert [_ints(r.outputs["out"])[0] for r in results] == [42, 42]


async def test_jobs_with_other_ptx_in_between_change_nothing(engine_on: Made, cases: bytes, more_cases: bytes) -> None:
    engine = engine_on()
    for ptx, call in [(cases, launch("store", "out", 0, 1)), (more_cases, launch("bump_global", "out"))] * 2:
        result = await _run(engine, ptx, [OUT], call)
        assert _ints(result.outputs["out"])[0] == (1 if ptx is cases else 41)


async def test_inputs_larger_than_the_pinned_pieces_arrive_whole(engine_on: Made, more_cases: bytes) -> None:
    count = (9 * limits.MIB + 4) // 4
    data = np.random.default_rng(1).integers(-(2**31), 2**31, count, np.int32)
    buffers = [buffer("from", "i32", count, Role.IN), buffer("to", "i32", count, Role.OUT)]
    copy = launch("copy_wide", "to", "from", threads=256, blocks=count // 256)
    job = manifest(more_cases, buffers, [copy], memory=64 * limits.MIB)
    result = await engine_on().run(job, more_cases, {"from": data.tobytes()})
    assert result.status is JobStatus.OK
    found = np.frombuffer(result.outputs["to"], np.int32)
    copied = count // 256 * 256
    assert (found[:copied] == data[:copied]).all()
    assert not found[copied:].any()


async def test_buffers_that_no_launch_names_come_back_as_they_were(engine_on: Made, cases: bytes) -> None:
    buffers = [OUT, buffer("kept", "i32", 2, Role.INOUT), buffer("none", "i32", 0, Role.OUT)]
    job = manifest(cases, buffers, [launch("store", "out", 0, 5)])
    result = await engine_on().run(job, cases, {"kept": np.array([7, 8], np.int32).tobytes()})
    assert {name: _ints(data) for name, data in result.outputs.items()} == {
        "out": [5, 0, 0, 0],
        "kept": [7, 8],
        "none": [],
    }


async def test_arguments_lie_where_the_ptx_says(engine_on: Made, more_cases: bytes) -> None:
    step = struct.pack("<dixxxx", 2.5, 4)
    values = (struct.pack("b", 1), step, struct.pack("<h", 100), "out", bytes(8))
    arguments = tuple(Argument(buffer=v) if isinstance(v, str) else Argument(value=v) for v in values)
    result = await _run(engine_on(), more_cases, [OUT], Launch("with_struct", (1, 1, 1), (1, 1, 1), arguments))
    assert _ints(result.outputs["out"]) == [112, 0, 0, 0]


async def test_every_state_is_shown_while_the_kernels_wait(engine_on: Made, cases: bytes) -> None:
    buffers = [buffer("from", "i32", 4, Role.IN), OUT, buffer("temp", "i32", 4, Role.TEMP)]
    calls = [launch("copy", "temp", "from", threads=4), launch("append_digit", "out", 7, threads=4, repeats=2)]
    states: list[dict[str, list[int]]] = []

    async def show(state: Mapping[str, bytes]) -> None:
        await trio.testing.wait_all_tasks_blocked()
        states.append({name: _ints(value) for name, value in state.items()})

    data = {"from": np.arange(4, dtype=np.int32).tobytes()}
    result = await engine_on().run(manifest(cases, buffers, calls), cases, data, on_step=show)
    assert (result.status, result.outputs) == (JobStatus.OK, {})
    assert states == [{"out": [n] * 4, "temp": [0, 1, 2, 3]} for n in (0, 7, 77)]


async def test_what_kernels_print_comes_back_without_control_characters(engine_on: Made, cases: bytes) -> None:
    result = await _run(engine_on(), cases, [OUT], *[launch("speak", "out", word, threads=32) for word in (1, 2)])
    assert (result.status, result.log) == (JobStatus.OK, "word 1?[31m\nword 2?[31m\n")


async def test_a_block_may_have_more_than_48_kib_of_shared_memory(engine_on: Made, more_cases: bytes) -> None:
    engine = engine_on()
    calls = []
    for size in (96 * limits.KIB, 1024):
        arguments = (Argument(buffer="out"), Argument(value=size.to_bytes(4, "little")))
        calls.append(Launch("dynamic_shared", (1, 1, 1), (4, 1, 1), arguments, size))
    result = await _run(engine, more_cases, [OUT], *calls)
    assert (result.status, result.reason) == (JobStatus.OK, "")
    assert _ints(result.outputs["out"]) == [256, 257, 258, 259]


_NVML = """
import os
class NVMLError(Exception): ...
class Process:
    def __init__(self, pid): self.pid = pid
total_mj = 5_000
def nvmlInit(): ...
def nvmlDeviceGetHandleByPciBusId(pci):
    assert pci == b"0000:17:00.0"
    return "device"
def nvmlDeviceGetTotalEnergyConsumption(device):
    global total_mj
    total_mj += 40
    {fault}
    return total_mj
def nvmlDeviceGetComputeRunningProcesses(device): return [Process(os.getpid()), *map(Process, {others})]
def nvmlDeviceGetGraphicsRunningProcesses(device): return []
"""


@pytest.mark.parametrize(
    ("fault", "others", "energy"),
    [("", [], Energy(40, False)), ("", [1], Energy(40, True)), ("raise NVMLError", [], None)],
)
async def test_a_job_says_what_the_device_used(
    engine_on: Made, cases: bytes, tmp_path: Path, fault: str, others: list[int], energy: Energy | None
) -> None:
    engine = engine_on()
    (tmp_path / "pynvml.py").write_text(_NVML.format(fault=fault, others=others))
    result = await _run(engine, cases, [OUT], launch("store", "out", 0, 5))
    assert (result.status, result.energy) == (JobStatus.OK, energy)


# Refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ptx", "reason"), [(b"\xff\xfe", "not ASCII text"), (b"garbage", "PTX line 1: "), (b"", "not in canonical form")]
)
async def test_only_canonical_ptx_is_loaded(engine_on: Made, cases: bytes, ptx: bytes, reason: str) -> None:
    result = await _run(engine_on(), ptx or cases + b"// comment\n", [OUT], launch("store", "out", 0, 5))
    assert result.status is JobStatus.REFUSED
    assert reason in result.reason


@pytest.mark.parametrize("arguments", [("out", 0), ("out", 0, 1, 2), (0, 0, 1)])
async def test_arguments_that_do_not_fit_are_refused(
    engine_on: Made, cases: bytes, arguments: tuple[str | int, ...]
) -> None:
    result = await _run(engine_on(), cases, [OUT], launch("store", *arguments))
    assert (result.status, result.reason[:10]) == (JobStatus.REFUSED, "launch 0: ")


async def test_an_unknown_entry_is_refused(engine_on: Made, cases: bytes) -> None:
    result = await _run(engine_on(), cases, [OUT], launch("missing", "out"))
    assert (result.status, "no entry 'missing'" in result.reason) == (JobStatus.REFUSED, True)


async def test_textures_are_refused_by_name(engine_on: Made, cases: bytes) -> None:
    view = Texture(Geometry.LINE, (4, 1, 1))
    call = Launch("copy", (1, 1, 1), (1, 1, 1), (Argument(buffer="out"), Argument(buffer="in", texture=view)))
    job = manifest(cases, [OUT, buffer("in", "i32", 4, Role.IN)], [call])
    result = await engine_on().run(job, cases, {"in": bytes(16)})
    assert result.status is JobStatus.REFUSED
    assert "buffer in is read through a texture, which only the CPU engine offers" in result.reason


async def test_a_block_that_needs_too_much_shared_memory_is_refused(engine_on: Made, cases: bytes) -> None:
    engine = engine_on(attributes={"MAX_SHARED_MEMORY_PER_BLOCK_OPTIN": 65536})
    call = Launch("store", (1, 1, 1), (1, 1, 1), launch("store", "out", 0, 5).arguments, 65537)
    result = await _run(engine, cases, [OUT], call)
    assert (result.status, result.reason) == (
        JobStatus.REFUSED,
        "launch 0: a block needs 65537 bytes of shared memory; this device gives 65536",
    )


async def test_a_job_gets_no_more_memory_than_the_engine_and_the_device_have(engine_on: Made, cases: bytes) -> None:
    engine = engine_on(memory=64 * limits.MIB, total_bytes=16 * limits.MIB)
    call = launch("store", "out", 0, 5)
    over = await _run(engine, cases, [OUT], call, memory=65 * limits.MIB)
    assert (over.status, "this engine has" in over.reason) == (JobStatus.REFUSED, True)
    buffers = [OUT, buffer("large", "u8", 17 * limits.MIB, Role.TEMP)]
    full = await _run(engine, cases, buffers, call, memory=64 * limits.MIB)
    assert (full.status, full.reason) == (
        JobStatus.REFUSED,
        "the device has no memory for the 17825792 bytes of buffer large",
    )
    worker = engine.worker_pid
    assert (await _run(engine, cases, [OUT], call)).status is JobStatus.OK
    assert engine.worker_pid == worker


@pytest.mark.parametrize("device", ["", "GPU", "GPU-1;rm", "GPU-" + "a" * 200, -1, 64])
def test_a_device_is_a_uuid_or_a_number(device: str | int) -> None:
    with pytest.raises(UsageError):
        CudaEngine(device, memory_bytes_max=1)


@pytest.mark.parametrize(
    ("switches", "reason"),
    [
        ({"libcuda": False}, "PyCUDA cannot be loaded"),
        ({"devices": 0}, "no CUDA-capable device is detected"),
        ({"devices": 2}, "shows 2 devices where it should show one"),
        ({"driver_version": 12020}, "knows CUDA 12.2; canonical PTX needs 12.4"),
        ({"compute_capability": [7, 0]}, "compute capability 7.0"),
        ({"faults": {"cuCtxCreate": 46}}, "busy or unavailable"),
        ({"faults": {"cuModuleLoadDataEx": 222}}, "unsupported toolchain"),
    ],
)
async def test_a_device_that_cannot_be_used_is_an_error_with_its_cause(
    engine_on: Made, cases: bytes, switches: dict[str, Any], reason: str
) -> None:
    engine = engine_on(**switches)
    with pytest.raises(DeviceError) as error:
        await engine.start()
    assert reason in str(error.value)
    result = await _run(engine, cases, [OUT], launch("store", "out", 0, 5))
    assert (result.status, reason in result.reason) == (JobStatus.REFUSED, True)
    assert engine.worker_pid is None


# Faults --------------------------------------------------------------------------------------------------------------


async def test_a_kernels_fault_is_a_trap_and_the_worker_is_replaced(engine_on: Made, cases: bytes) -> None:
    engine = engine_on()
    await engine.start()
    worker = engine.worker_pid
    call = launch("past_the_end", "out", threads=32, blocks=4)
    result = await _run(engine, cases, [buffer("out", "f32", 64, Role.OUT)], call)
    assert (result.status, result.outputs) == (JobStatus.TRAP, {})
    assert result.reason == "launch 0 (past_the_end): an illegal memory access was encountered"
    assert engine.worker_pid is None
    assert (await _run(engine, cases, [OUT], launch("store", "out", 0, 5))).status is JobStatus.OK
    assert engine.worker_pid not in (None, worker)


async def test_an_endless_kernel_is_killed_at_its_deadline(
    engine_on: Made, cases: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "COPIES_S", 0.0)
    engine = engine_on()
    await engine.start()
    worker = engine.worker_pid
    assert worker is not None
    engine._worker._bounds = cuda.Bounds(60, 60, 0.1)
    result = await _run(engine, cases, [OUT], launch("endless", "out"), device_ms_max=50)
    assert (result.status, result.outputs) == (JobStatus.TIMEOUT, {})
    assert result.reason == "the kernels ran longer than 50 ms"
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
    assert (await _run(engine, cases, [OUT], launch("store", "out", 0, 5))).status is JobStatus.OK


async def test_a_job_whose_time_is_up_between_launches_keeps_the_worker(
    engine_on: Made, more_cases: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "COPIES_S", 0.0)
    engine = engine_on()
    await engine.start()
    worker = engine.worker_pid
    call = launch("count", "out", threads=4, repeats=1_000_000)
    result = await _run(engine, more_cases, [OUT], call, device_ms_max=50)
    assert (result.status, result.outputs) == (JobStatus.TIMEOUT, {})
    assert "stopped when the job's time was up" in result.reason
    assert engine.worker_pid == worker


async def test_more_device_time_than_allowed_is_late(engine_on: Made, more_cases: bytes) -> None:
    call = launch("count", "out", threads=4, blocks=1 << 16, repeats=20)
    result = await _run(engine_on(), more_cases, [OUT], call, device_ms_max=1)
    assert (result.status, result.reason) == (JobStatus.TIMEOUT, "the kernels ran longer than 1 ms")
    assert result.device_us > 1000


async def test_a_device_that_fails_is_a_crash_not_the_kernels_fault(engine_on: Made, cases: bytes) -> None:
    engine = engine_on(context_lost_after=1)
    result = await _run(engine, cases, [OUT], launch("store", "out", 0, 5))
    assert result.status is JobStatus.CRASHED
    assert "the device is lost" in result.reason
    assert "uncorrectable ECC error" in result.reason


async def test_a_launch_that_the_device_refuses_is_no_fault(engine_on: Made, more_cases: bytes) -> None:
    engine = engine_on()
    await engine.start()
    worker = engine.worker_pid
    calls = [launch("count", "out", threads=4), launch("narrow", "out", threads=64)]
    result = await _run(engine, more_cases, [OUT], *calls)
    assert (result.status, result.reason) == (JobStatus.REFUSED, "launches 0 to 1 (narrow): invalid argument")
    assert engine.worker_pid == worker
    assert (await _run(engine, more_cases, [OUT], calls[0])).status is JobStatus.OK


async def test_memory_that_cannot_be_zeroed_ends_the_process(engine_on: Made, cases: bytes) -> None:
    """Else it would be freed with a tenant's bytes in it."""
    engine = engine_on(faults={"cuMemsetD8Async": 1})
    result = await _run(engine, cases, [OUT], launch("store", "out", 0, 5))
    assert (result.status, engine.worker_pid) == (JobStatus.CRASHED, None)
    assert "cuMemsetD8Async failed: invalid argument" in result.reason


async def test_a_driver_that_hangs_before_the_launch_is_killed(engine_on: Made, cases: bytes) -> None:
    engine = engine_on(hangs=["cuMemAlloc"])
    await engine.start()
    engine._worker._bounds = cuda.Bounds(60, 0.1, 0.1)
    result = await _run(engine, cases, [OUT], launch("store", "out", 0, 5))
    assert (result.status, engine.worker_pid) == (JobStatus.TIMEOUT, None)
    assert "preparing the kernels took longer" in result.reason


async def test_a_worker_serves_as_many_jobs_as_it_may(engine_on: Made, cases: bytes) -> None:
    engine = engine_on(jobs_per_worker=2)
    call = launch("store", "out", 0, 5)
    workers = []
    for _ in range(2):
        await engine.start()
        workers.append(engine.worker_pid)
        assert (await _run(engine, cases, [OUT], call)).status is JobStatus.OK
    assert (workers[0] == workers[1], engine.worker_pid) == (True, None)


async def test_where_kernels_reach_the_workers_memory_it_serves_one_job(engine_on: Made, cases: bytes) -> None:
    engine = engine_on(attributes={"PAGEABLE_MEMORY_ACCESS": 1})
    assert (await _run(engine, cases, [OUT], launch("store", "out", 0, 5))).status is JobStatus.OK
    assert (engine.device.reaches_host, engine.worker_pid) == (True, None)


async def test_two_devices_work_at_once(engine_on: Made, cases: bytes) -> None:
    results: list[EngineResult] = []

    async def run(engine: CudaEngine, value: int) -> None:
        results.append(await _run(engine, cases, [OUT], launch("store", "out", 0, value)))

    async with trio.open_nursery() as nursery:
        for value in (1, 2):
            nursery.start_soon(run, engine_on(), value)
    assert sorted(_ints(result.outputs["out"])[0] for result in results) == [1, 2]


# Quarantine ----------------------------------------------------------------------------------------------------------


async def test_a_device_whose_memory_does_not_come_back_is_in_quarantine(
    engine_on: Made, cases: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock
) -> None:
    engine = engine_on()
    await engine.start()
    monkeypatch.setattr(cuda, "_RECOVERY_PAUSE_S", cuda.RECOVERY_S)
    set_switches(tmp_path, held_bytes=GIB)
    call = launch("store", "out", 0, 5)
    trap = launch("past_the_end", "out", threads=32, blocks=4)
    assert (await _run(engine, cases, [OUT], trap)).status is JobStatus.TRAP
    refused = await _while_it_recovers(mock_clock, engine, cases, call)
    assert refused.status is JobStatus.REFUSED
    assert "is out of service: 15360 MiB are free, and 16384 MiB were" in refused.reason
    assert engine.quarantine == refused.reason
    set_switches(tmp_path)
    assert (await _run(engine, cases, [OUT], call)).reason == refused.reason  # not tried before its time
    mock_clock.jump(cuda.QUARANTINE_S[0])
    assert (await _run(engine, cases, [OUT], call)).status is JobStatus.OK
    assert engine.quarantine == ""


async def test_a_device_that_is_gone_after_a_fault_is_in_quarantine(
    engine_on: Made, cases: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock
) -> None:
    engine = engine_on()
    await engine.start()
    monkeypatch.setattr(cuda, "_RECOVERY_PAUSE_S", cuda.RECOVERY_S)
    set_switches(tmp_path, devices=0)
    trap = launch("past_the_end", "out", threads=32, blocks=4)
    assert (await _run(engine, cases, [OUT], trap)).status is JobStatus.TRAP
    refused = await _while_it_recovers(mock_clock, engine, cases, trap)
    assert (refused.status, "no CUDA-capable device" in refused.reason) == (JobStatus.REFUSED, True)
    with pytest.raises(DeviceError, match="out of service"):
        await engine.start()


async def _while_it_recovers(
    clock: trio.testing.MockClock, engine: CudaEngine, ptx: bytes, call: Launch
) -> EngineResult:
    """What a job comes to when its time to recover ends after one look at the device."""
    looked, ensure = trio.Event(), engine._worker.ensure
    results: list[EngineResult] = []

    async def look() -> jobs.Ready:
        try:
            return await ensure()
        finally:
            looked.set()

    async def run() -> None:
        results.append(await _run(engine, ptx, [OUT], call))

    engine._worker.ensure = look  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await looked.wait()
        await trio.testing.wait_all_tasks_blocked(0.2)
        clock.jump(cuda.RECOVERY_S)
    engine._worker.ensure = ensure  # type: ignore[method-assign]
    return results[0]


# The worker ----------------------------------------------------------------------------------------------------------


async def test_the_worker_owns_nothing_worth_having(engine_on: Made, cases: bytes) -> None:
    engine = engine_on()
    assert (await _run(engine, cases, [OUT], launch("store", "out", 0, 5))).status is JobStatus.OK
    process = Path(f"/proc/{engine.worker_pid}")
    environment = dict(entry.split("=", 1) for entry in (process / "environ").read_text().split("\0") if entry)
    assert environment.pop("CUDA_VISIBLE_DEVICES") == UUID
    assert {name.split("_")[0] for name in environment} == {"CUDA", "OPENBLAS", "OMP", "MKL"}
    targets = [os.readlink(link) for link in (process / "fd").iterdir()]
    assert sorted({target.split(":")[0] for target in targets}) == ["/dev/null", "pipe", "socket"]
    assert sum(target.startswith("socket") for target in targets) == 1
    assert "p2pcompute-job" not in (process / "maps").read_text()
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    for thread in (process / "task").iterdir():
        assert "Seccomp:\t2" in (thread / "status").read_text()
