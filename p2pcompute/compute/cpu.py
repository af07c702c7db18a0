"""The CPU engine, seen from the node: one jailed worker process under a supervisor.

engine = CpuEngine(threads=2, memory_bytes_max=4 << 30)
result = await engine.run(manifest, ptx_text, {"x": data})
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import ClassVar, Final

from p2pcompute.compute import blocks, jobs, running, sandbox
from p2pcompute.compute.child import Child
from p2pcompute.compute.engine import EngineResult, OnStep
from p2pcompute.compute.ptx.blocklist import BlockList
from p2pcompute.compute.shared import SharedMemory, State
from p2pcompute.compute.supervisor import Bounds, Supervisor
from p2pcompute.errors import UsageError
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire.manifest import Manifest, encode_manifest, manifest_fault
from p2pcompute.wire.steps import state_buffers

_WORKER_MODULE = "p2pcompute.compute.worker"
_BOUNDS: Final = Bounds(start_s=60.0, prepare_s=120.0, grace_s=2.0)
"""A worker imports numpy and LLVM and compiles one empty kernel: 0.5 s on an idle machine. Of all kernels of 1,341
public ones the largest took 2 s to parse and compile. A kernel looks at the abort flag on every loop, so it stops
within a millisecond."""


class CpuEngine:
    """One slot: runs one job at a time, each on up to `threads` cores and `memory_bytes_max` of buffers.

    The worker starts with the first job (or `start`), serves many, and is replaced after a crash. Close with `aclose`.
    With `jail` off, a machine that lacks layers of the sandbox runs jobs too: `isolation` then says `none`.
    """

    name: ClassVar[str] = "cpu"
    numeric_class: ClassVar[str] = "cpu-1"
    compute_capability: ClassVar[int] = 75
    """Of the PTX it loads (.target sm_75), times ten."""

    def __init__(self, *, threads: int, memory_bytes_max: int, jail: bool = True) -> None:
        if threads < 1 or memory_bytes_max < 1:
            raise UsageError("an engine needs at least one thread and one byte of memory")
        self.memory_bytes_max = memory_bytes_max
        self._worker = Supervisor(
            "CPU engine",
            lambda: Child(("-m", _WORKER_MODULE), jobs.REPLY_BYTES_MAX, threads, memory_bytes_max, int(jail)),
            _BOUNDS,
        )

    @property
    def isolation(self) -> str:
        """The isolation level for offers: `jail` or `none`."""
        return sandbox.available().level

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id; None when there is none now."""
        return self._worker.worker_pid

    async def start(self) -> None:
        """Have a jailed, warm worker. Raises SandboxError when this machine cannot jail it or it cannot start."""
        async with self._worker.turn() as evicted:
            if not evicted:
                await self._worker.ensure()

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

        Never raises for what a stranger could cause: bad PTX, sizes and crashes are statuses. Cancelling kills the
        worker before the cancellation goes on. Raises SandboxError when no worker can be jailed here.
        """
        fault = running.job_fault(manifest, ptx_text, inputs, self.memory_bytes_max)
        if fault:
            return EngineResult(JobStatus.REFUSED, reason=fault)
        async with self._worker.turn() as evicted:
            if evicted:
                return EngineResult(JobStatus.CRASHED, reason=jobs.sentence(evicted))
            return await running.run_job(self._worker, manifest, ptx_text, inputs, on_step)

    async def ask(
        self,
        manifest: Manifest,
        ptx_text: bytes,
        state: State,
        order: tuple[int, jobs.Question],
        numbers: BlockList,
        room_bytes: int,
    ) -> tuple[EngineResult, bytes]:
        """A question about single blocks of one launch; what stands in the room afterwards, for LOG also where blocks
        trapped or were stopped. Use it through `blocks`, which knows what that means. `outputs` has every buffer but
        pure inputs, for RUN only. Raises as `run` does.
        """
        fault = manifest_fault(manifest) or running.misfit(manifest, ptx_text, self.memory_bytes_max)
        given = (b for b in manifest.buffers if b.name in state)
        fault = fault or next((f for b in given if (f := running.size_fault(b, state))), "")
        if fault:
            return EngineResult(JobStatus.REFUSED, reason=fault), b""
        async with self._worker.turn() as evicted:
            if evicted:
                return EngineResult(JobStatus.CRASHED, reason=jobs.sentence(evicted)), b""
            return await self._ask(manifest, ptx_text, state, order, numbers, room_bytes)

    async def _ask(
        self,
        manifest: Manifest,
        ptx_text: bytes,
        state: State,
        order: tuple[int, jobs.Question],
        numbers: BlockList,
        room_bytes: int,
    ) -> tuple[EngineResult, bytes]:
        try:
            memory = SharedMemory(manifest, ptx_text, state, is_state=True)
            room, _ = blocks.room(numbers, room_bytes)
        except OSError as error:
            return EngineResult(JobStatus.REFUSED, reason=f"no memory for the job's buffers: {error}"), b""
        try:
            question = jobs.Blocks(encode_manifest(manifest), order[0], order[1], len(numbers), room_bytes)
            done = await self._worker.drive(manifest, question, [memory.descriptor, room])
            answer = os.pread(room, done.answer_bytes, numbers.nbytes) if done.answer_bytes else b""
            outputs: dict[str, bytes] = {}
            if order[1] is jobs.Question.RUN and done.status is JobStatus.OK:
                wanted = [manifest.buffers[number] for number in state_buffers(manifest)]
                outputs = await running.read(memory, manifest, wanted)
            return running.result(done, outputs), answer
        finally:
            os.close(room)
            memory.close()
