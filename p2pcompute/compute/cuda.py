"""The CUDA engine, seen from the node: one jailed worker process with a context on one device.

    engine = CudaEngine("GPU-6e2c…", memory_bytes_max=8 << 30)
    await engine.start()
    result = await engine.run(manifest, ptx_text, {"x": data})

A device has one slot; several devices, or MIG instances, are several engines. Not yet run on a GPU: what the tests show
holds for a fake driver whose device is the CPU engine (docs/spec/engines.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, Final

import trio

from p2pcompute.compute import child, jobs, running
from p2pcompute.compute.child import Child
from p2pcompute.compute.engine import EngineResult, OnStep
from p2pcompute.compute.slot import Slot
from p2pcompute.compute.supervisor import Bounds
from p2pcompute.errors import DeviceError, LocalError, SandboxError, UsageError
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire import limits
from p2pcompute.wire.manifest import Manifest
from p2pcompute.wire.steps import state_buffers, step_count

_BOUNDS: Final = Bounds(start_s=90.0, prepare_s=120.0, grace_s=2.0)
"""A first context on a machine with many GPUs takes some ten seconds. Preparing is compiling, and copying inputs. A
running kernel cannot be stopped: what does not end in the grace is killed."""
COPIES_BYTES_PER_S: Final = 1 << 30
"""What a device's copies may count on beside the job's own time: the slowest link in use (PCI Express 3.0 x1)."""
COPIES_S: Final = 2.0

RECOVERY_S: Final = 30.0
"""How long after a worker was killed its device may take until a new process sees the memory free again
(docs/spec/engines.md, 4.6)."""
RECOVERY_SLACK_BYTES: Final = 256 * limits.MIB
"""What may be missing then: other programs come and go."""
_RECOVERY_PAUSE_S: Final = 0.5
QUARANTINE_S: Final = (60.0, 3600.0)
"""A device that does not recover is tried again after the first, then twice as long each time, up to the second."""

_UUID: Final = re.compile(r"(GPU|MIG)-[0-9A-Za-z/-]{1,88}", re.ASCII)
_INDEX_MAX: Final = 63


class CudaEngine(Slot):
    """A slot whose jobs run on one device.

    `device` is the UUID as nvidia-smi -L shows it, of a GPU or a MIG instance, or a number in the order of PCI. The
    worker serves `jobs_per_worker` jobs and is replaced then: without the parameter as many as come, or only one where
    kernels can reach the worker's own memory (docs/spec/engines.md, 4.5). It is replaced, too, after a crash, a missed
    deadline and a kernel's fault; the next one runs nothing until it sees the device's memory free again.
    """

    name: ClassVar[str] = "cuda"
    _PROGRAM: ClassVar[tuple[str, ...]] = ("-m", "p2pcompute.compute.cuda_worker")

    def __init__(
        self, device: str | int, *, memory_bytes_max: int, jail: bool = True, jobs_per_worker: int | None = None
    ) -> None:
        if isinstance(device, str) and not _UUID.fullmatch(device):
            raise UsageError(f"{device[:96]!r} is no UUID of a device; nvidia-smi -L shows them")
        if isinstance(device, int) and not 0 <= device <= _INDEX_MAX:
            raise UsageError(f"there is no device {device}; they are numbered from 0")
        if memory_bytes_max < 1 or (jobs_per_worker is not None and jobs_per_worker < 1):
            raise UsageError("an engine needs at least one byte of memory, and a worker at least one job")
        self.device_id = str(device)
        super().__init__("CUDA engine", self._spawn, _BOUNDS, memory_bytes_max)
        self._jail = jail
        self._jobs_per_worker = jobs_per_worker
        self._served = 0
        self._free_bytes: int | None = None
        self._fault = ""
        self._retry_at = 0.0
        self._pause_s = QUARANTINE_S[0]

    @property
    def device(self) -> jobs.Device:
        """What the worker sees of the device. Raises LocalError before the first start."""
        if self._worker.ready.device is None:
            raise LocalError("the CUDA engine knows its device after start() only")
        return self._worker.ready.device

    @property
    def numeric_class(self) -> str:
        """One class per compute capability. Raises LocalError before the first start."""
        return f"cuda-{self.device.capability}"

    @property
    def compute_capability(self) -> int:
        """Times ten. Raises LocalError before the first start."""
        return self.device.capability

    @property
    def quarantine(self) -> str:
        """Why nothing runs on the device at present, as a sentence; empty when all is well."""
        return self._fault

    async def aclose(self) -> None:
        """Kill the worker and wait until it is gone. The engine may be used again afterwards."""
        await super().aclose()
        self._free_bytes = None

    async def _run(
        self,
        manifest: Manifest,
        ptx_text: bytes,
        inputs: Mapping[str, bytes | memoryview],
        on_step: OnStep | None,
    ) -> EngineResult:
        """A device that cannot be used is REFUSED, with the reason."""
        try:
            await self._ensure()
        except DeviceError as error:
            await self._worker.drop()
            return EngineResult(JobStatus.REFUSED, reason=jobs.sentence(str(error)))
        copying_s = _copying_s(manifest, pauses=on_step is not None)
        result = await running.run_job(self._worker, manifest, ptx_text, inputs, on_step, copying_s=copying_s)
        await self._count()
        if result.status is JobStatus.OK and result.device_us > manifest.device_ms_max * 1000:
            reason = f"the kernels ran longer than {manifest.device_ms_max} ms"
            return EngineResult(JobStatus.TIMEOUT, device_us=result.device_us, reason=reason, log=result.log)
        return result

    def _spawn(self) -> Child:
        self._served = 0
        environment = {
            **child.ENVIRONMENT,
            "CUDA_VISIBLE_DEVICES": self.device_id,
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "CUDA_CACHE_DISABLE": "1",  # it would write into a home
            "CUDA_MODULE_LOADING": "EAGER",  # compile before the job's time begins
        }
        numbers = (self.memory_bytes_max, int(self._jail))
        return Child(self._PROGRAM, jobs.REPLY_BYTES_MAX, *numbers, environment=environment)

    async def _count(self) -> None:
        """Replace a worker that has served its number of jobs."""
        self._served += 1
        allowed = self._jobs_per_worker
        if allowed is None and self.device.reaches_host:
            allowed = 1
        if allowed is not None and self._served >= allowed:
            await self._worker.drop()

    async def _ensure(self) -> None:
        """Have a worker that sees the device's memory free. Raises as `start` does."""
        if self._worker.is_running:
            return
        if self._fault and trio.current_time() < self._retry_at:
            raise DeviceError(self._fault)
        if self._free_bytes is None and not self._fault:
            await self._first()
            return
        missing = await self._recover()
        if missing:
            self._shut(missing)
            raise DeviceError(self._fault)
        self._fault, self._pause_s = "", QUARANTINE_S[0]

    async def _first(self) -> None:
        """The first worker since the engine was made or closed sees how much is free."""
        try:
            await self._worker.ensure()
        except DeviceError as error:
            self._shut(str(error))
            raise
        self._free_bytes = self.device.free_bytes

    def _shut(self, why: str) -> None:
        """Into quarantine."""
        self._fault = f"device {self.device_id} is out of service: {why}; it is tried again in a while"
        self._retry_at = trio.current_time() + self._pause_s
        self._pause_s = min(2 * self._pause_s, QUARANTINE_S[1])

    async def _recover(self) -> str:
        """Start processes until one sees the memory that was free before. Why none did, as a part of a sentence."""
        missing = f"no worker started within {RECOVERY_S:.0f} s"
        with trio.move_on_after(RECOVERY_S) as recovering:
            while missing:
                try:
                    await self._worker.ensure()
                    missing = self._missing()
                except (DeviceError, SandboxError) as error:
                    missing = str(error)
                if missing:
                    await self._worker.drop()
                    await trio.sleep(_RECOVERY_PAUSE_S)
        if recovering.cancelled_caught:
            await self._worker.drop()
        return missing

    def _missing(self) -> str:
        """What the new worker misses of the memory that was free before; empty, when it is there."""
        before, free_bytes = self._free_bytes or 0, self.device.free_bytes
        if free_bytes < before - RECOVERY_SLACK_BYTES:
            return f"{free_bytes >> 20} MiB are free, and {before >> 20} MiB were before a worker was killed"
        self._free_bytes = max(before, free_bytes)
        return ""


def _copying_s(manifest: Manifest, *, pauses: bool) -> float:
    """Time for what is copied and zeroed besides running kernels, in seconds."""
    state_bytes = sum(manifest.buffers[number].size_bytes for number in state_buffers(manifest))
    all_bytes = sum(buffer.size_bytes for buffer in manifest.buffers)
    copied = all_bytes + state_bytes * (step_count(manifest) if pauses else 1)
    return COPIES_S + copied / COPIES_BYTES_PER_S
