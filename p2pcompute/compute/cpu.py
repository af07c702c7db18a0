"""The CPU engine, seen from the node: one jailed worker process under a supervisor.

engine = CpuEngine(threads=2, memory_bytes_max=4 << 30)
result = await engine.run(manifest, ptx_text, {"x": data})
"""

from __future__ import annotations

import os
from typing import ClassVar, Final

from p2pcompute.compute import blocks, jobs, running
from p2pcompute.compute.child import Child
from p2pcompute.compute.engine import EngineResult
from p2pcompute.compute.ptx.blocklist import BlockList
from p2pcompute.compute.shared import SharedMemory, State
from p2pcompute.compute.slot import Slot
from p2pcompute.compute.supervisor import Bounds
from p2pcompute.errors import UsageError
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire.manifest import Manifest, encode_manifest, manifest_fault
from p2pcompute.wire.steps import state_buffers

_WORKER_MODULE = "p2pcompute.compute.worker"
_BOUNDS: Final = Bounds(start_s=60.0, prepare_s=120.0, grace_s=2.0)
"""A worker imports numpy and LLVM and compiles one empty kernel: 0.5 s on an idle machine. Of all kernels of 1,341
public ones the largest took 2 s to parse and compile. A kernel looks at the abort flag on every loop, so it stops
within a millisecond."""


class CpuEngine(Slot):
    """A slot whose jobs run on up to `threads` cores. With `jail` off, a machine that lacks layers of the sandbox runs
    jobs too: `isolation` then says `none`.
    """

    name: ClassVar[str] = "cpu"
    numeric_class: ClassVar[str] = "cpu-1"
    compute_capability: ClassVar[int] = 75
    """Of the PTX it loads (.target sm_75), times ten."""

    def __init__(self, *, threads: int, memory_bytes_max: int, jail: bool = True) -> None:
        if threads < 1 or memory_bytes_max < 1:
            raise UsageError("an engine needs at least one thread and one byte of memory")
        numbers = (threads, memory_bytes_max, int(jail))
        super().__init__(
            "CPU engine",
            lambda: Child(("-m", _WORKER_MODULE), jobs.REPLY_BYTES_MAX, *numbers),
            _BOUNDS,
            memory_bytes_max,
        )

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
