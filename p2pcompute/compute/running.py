"""One manifest on a supervised worker: inputs into the shared memory, states and outputs out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

import trio

from p2pcompute.compute import jobs
from p2pcompute.compute.engine import EngineResult, OnStep
from p2pcompute.compute.shared import SharedMemory, State, content_fault
from p2pcompute.compute.supervisor import Show, Supervisor
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire.manifest import Buffer, Manifest, encode_manifest, manifest_fault
from p2pcompute.wire.steps import state_buffers

_COPY_BYTES_MAX: Final = 1 << 20
"""0.2 ms of copying: less than it takes to hand the work to a thread and back."""

_T = TypeVar("_T")


def job_fault(
    manifest: Manifest, ptx_text: bytes, inputs: Mapping[str, bytes | memoryview], memory_bytes_max: int
) -> str:
    """Why an engine of so much memory cannot run this, as a sentence; empty when it can."""
    fault = manifest_fault(manifest) or misfit(manifest, ptx_text, memory_bytes_max)
    if fault:
        return fault
    for buffer in manifest.inputs:
        if buffer.name not in inputs:
            return f"input {buffer.name} is missing"
        fault = size_fault(buffer, inputs)
        if fault:
            return fault
    return ""


def misfit(manifest: Manifest, ptx_text: bytes, memory_bytes_max: int) -> str:
    """What of a manifest does not fit the engine, or its PTX."""
    if manifest.memory_bytes_max > memory_bytes_max:
        return f"the job asks for {manifest.memory_bytes_max} bytes; this engine has {memory_bytes_max}"
    if len(ptx_text) != manifest.ptx_size_bytes:
        return f"the PTX has {len(ptx_text)} bytes; the manifest says {manifest.ptx_size_bytes}"
    return ""


def size_fault(buffer: Buffer, given: State) -> str:
    fault = content_fault(given[buffer.name], buffer.size_bytes)
    return f"input {buffer.name} {fault}" if fault else ""


async def run_job(
    worker: Supervisor,
    manifest: Manifest,
    ptx_text: bytes,
    inputs: Mapping[str, bytes | memoryview],
    on_step: OnStep | None,
    *,
    copying_s: float = 0.0,
) -> EngineResult:
    """All launches of a manifest without fault. Within a turn of the worker. Raises as `Supervisor.drive` does."""
    in_bytes = sum(buffer.size_bytes for buffer in manifest.inputs)
    try:
        memory = await _off_the_loop(in_bytes, lambda: SharedMemory(manifest, ptx_text, inputs))
    except OSError as error:
        return EngineResult(JobStatus.REFUSED, reason=f"no memory for the job's buffers: {error}")
    try:
        order = jobs.Job(encode_manifest(manifest), pauses=on_step is not None)
        show = _shown(manifest, memory, on_step)
        done = await worker.drive(manifest, order, [memory.descriptor], show, copying_s=copying_s)
        outputs: dict[str, bytes] = {}
        if done.status is JobStatus.OK and on_step is None:
            outputs = await read(memory, manifest, manifest.outputs)
        return result(done, outputs)
    finally:
        memory.close()


def result(done: jobs.Done, outputs: Mapping[str, bytes]) -> EngineResult:
    reason = "" if done.status is JobStatus.OK else jobs.sentence(done.reason)
    return EngineResult(done.status, outputs, done.device_us, reason, done.log, done.energy)


async def read(memory: SharedMemory, manifest: Manifest, wanted: Sequence[Buffer]) -> dict[str, bytes]:
    """Copies of these buffers, by name."""
    size_bytes = sum(buffer.size_bytes for buffer in wanted)
    return await _off_the_loop(size_bytes, lambda: {b.name: memory.read(manifest.buffers.index(b)) for b in wanted})


def _shown(manifest: Manifest, memory: SharedMemory, on_step: OnStep | None) -> Show | None:
    """Shows the state that lies in the memory now."""
    if on_step is None:
        return None
    take = on_step

    async def show() -> None:
        await take(await read(memory, manifest, [manifest.buffers[number] for number in state_buffers(manifest)]))

    return show


async def _off_the_loop(size_bytes: int, function: Callable[[], _T]) -> _T:
    """Copy small things at once, and large ones on a thread, so that the node's other tasks go on."""
    if size_bytes <= _COPY_BYTES_MAX:
        return function()
    return await trio.to_thread.run_sync(function)
