"""What the engines have in common: one slot, which is one worker process under a supervisor."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from p2pcompute.compute import jobs, running, sandbox
from p2pcompute.compute.child import Child
from p2pcompute.compute.engine import EngineResult, OnStep
from p2pcompute.compute.supervisor import Bounds, Supervisor
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire.manifest import Manifest
from p2pcompute.wire.steps import snapshot_fault


class Slot:
    """Runs one job at a time, each in up to `memory_bytes_max` of buffers. The worker starts with the first job (or
    `start`), serves many, and is replaced after a crash. Close with `aclose`.
    """

    def __init__(self, what: str, spawn: Callable[[], Child], bounds: Bounds, memory_bytes_max: int) -> None:
        """`what` names the worker's engine in errors; `spawn` starts its process."""
        self.memory_bytes_max = memory_bytes_max
        self._worker = Supervisor(what, spawn, bounds)

    @property
    def isolation(self) -> str:
        """The isolation level for offers: `jail` or `none`."""
        return sandbox.available().level

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id; None when there is none now."""
        return self._worker.worker_pid

    @property
    def quarantine(self) -> str:
        """Why nothing runs on the device at present, as a sentence; empty when all is well."""
        return ""

    async def start(self) -> None:
        """Have a jailed, warm worker. Raises SandboxError when this machine cannot jail it or it cannot start,
        DeviceError when its device is missing, too old or in quarantine."""
        async with self._worker.turn() as evicted:
            if not evicted:
                await self._ensure()

    def pause(self) -> None:
        """Stop at once, a job in the middle, whose time stands still; jobs that come wait. Until `resume`."""
        self._worker.pause()

    def resume(self) -> None:
        """Go on where `pause` stopped."""
        self._worker.resume()

    async def evict(self, why: str) -> None:
        """While paused: give all memory back; a job in the middle is CRASHED, and so is each that comes."""
        await self._worker.evict(why)

    async def aclose(self) -> None:
        """Kill the worker and wait until it is gone. The engine may be used again afterwards."""
        await self._worker.drop()

    async def run(
        self,
        manifest: Manifest,
        ptx_text: bytes,
        inputs: Mapping[str, bytes | memoryview],
        *,
        on_step: OnStep | None = None,
    ) -> EngineResult:
        """Run the manifest's launches in order. `inputs` has the bytes of every IN and INOUT buffer. With `on_step`
        every state is shown to it, which counts as no device time, and `outputs` stays empty.

        Never raises for what a stranger could cause: bad PTX, sizes and crashes are statuses, and so is a device that
        cannot be used. Cancelling kills the worker before the cancellation goes on. Raises SandboxError when no worker
        can be jailed here.
        """
        fault = snapshot_fault(manifest) if on_step is not None else ""
        fault = fault or running.job_fault(manifest, ptx_text, inputs, self.memory_bytes_max)
        if fault:
            return EngineResult(JobStatus.REFUSED, reason=fault)
        async with self._worker.turn() as evicted:
            if evicted:
                return EngineResult(JobStatus.CRASHED, reason=jobs.sentence(evicted))
            return await self._run(manifest, ptx_text, inputs, on_step)

    async def _ensure(self) -> None:
        """Within a turn. Raises as `start` does."""
        await self._worker.ensure()

    async def _run(
        self,
        manifest: Manifest,
        ptx_text: bytes,
        inputs: Mapping[str, bytes | memoryview],
        on_step: OnStep | None,
    ) -> EngineResult:
        """A manifest without fault, within a turn."""
        return await running.run_job(self._worker, manifest, ptx_text, inputs, on_step)
