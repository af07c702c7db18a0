"""The CPU engine, seen from the node: a supervisor for one jailed worker process.

    engine = CpuEngine(threads=2, memory_bytes_max=4 << 30)
    result = await engine.run(manifest, ptx_text, {"x": data})

The worker holds a stranger's code, so nothing it says is believed beyond its own job: frames are bounded and typed,
outputs have the sizes the manifest gives them, and time is measured on this side too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import ClassVar, Final, TypeVar

import msgspec
import trio

from p2pcompute.compute import blocks, jobs, sandbox
from p2pcompute.compute.channel import ChannelClosedError
from p2pcompute.compute.child import Child
from p2pcompute.compute.engine import EngineResult, OnStep
from p2pcompute.compute.ptx.blocklist import BlockList
from p2pcompute.compute.shared import SharedMemory, State, content_fault
from p2pcompute.errors import SandboxError, UsageError
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire.manifest import Buffer, Manifest, encode_manifest, manifest_fault
from p2pcompute.wire.steps import state_buffers, step_count

_WORKER_MODULE = "p2pcompute.compute.worker"
_START_S: Final = 60.0
"""A worker imports numpy and LLVM and compiles one empty kernel: 0.5 s on an idle machine."""
_PREPARE_S: Final = 120.0
"""For parsing and compiling all kernels of a job; the largest of 1,341 public ones took 2 s."""
_GRACE_S: Final = 2.0
"""From the abort to SIGKILL. A kernel looks at the abort flag on every loop, so it stops within a millisecond."""
_COPY_BYTES_MAX: Final = 1 << 20
"""0.2 ms of copying: less than it takes to hand the work to a thread and back."""

_T = TypeVar("_T")


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
        self._threads = threads
        self._memory_bytes_max = memory_bytes_max
        self._jail = jail
        self._turn = trio.Lock()
        self._child: Child | None = None

    @property
    def isolation(self) -> str:
        """The isolation level for offers: `jail` or `none`."""
        return sandbox.available().level

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id; None when there is none now."""
        return self._child.pid if self._child else None

    async def start(self) -> None:
        """Have a jailed, warm worker. Raises SandboxError when this machine cannot jail it or it cannot start."""
        async with self._turn:
            try:
                await self._ready_child()
            except BaseException:
                await self._drop()
                raise

    async def aclose(self) -> None:
        """Kill the worker and wait until it is gone. The engine may be used again afterwards."""
        await self._drop()

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
        fault = manifest_fault(manifest) or self._fault(manifest, ptx_text, inputs)
        if fault:
            return EngineResult(JobStatus.REFUSED, reason=fault)
        async with self._turn:
            try:
                child = await self._ready_child()
                return await self._run_on(child, manifest, ptx_text, inputs, on_step)
            except ChannelClosedError as error:
                reason = f"the worker {await self._drop()} ({error})"
                return EngineResult(JobStatus.CRASHED, reason=jobs.sentence(reason))
            except BaseException:
                await self._drop()
                raise

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
        fault = manifest_fault(manifest) or self._misfit(manifest, ptx_text)
        fault = fault or next((f for b in manifest.buffers if b.name in state and (f := _size_fault(b, state))), "")
        if fault:
            return EngineResult(JobStatus.REFUSED, reason=fault), b""
        async with self._turn:
            try:
                child = await self._ready_child()
                return await self._ask_child(child, manifest, ptx_text, state, order, numbers, room_bytes)
            except ChannelClosedError as error:
                reason = f"the worker {await self._drop()} ({error})"
                return EngineResult(JobStatus.CRASHED, reason=jobs.sentence(reason)), b""
            except BaseException:
                await self._drop()
                raise

    async def _ask_child(
        self,
        child: Child,
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
            done = await self._drive(child, manifest, question, [memory.descriptor, room])
            if not 0 <= done.answer_bytes <= room_bytes:
                raise ChannelClosedError("broke its protocol: its answer is larger than the room")
            answer = os.pread(room, done.answer_bytes, numbers.nbytes) if done.answer_bytes else b""
            outputs: dict[str, bytes] = {}
            if order[1] is jobs.Question.RUN and done.status is JobStatus.OK:
                wanted = [manifest.buffers[number] for number in state_buffers(manifest)]
                outputs = await _read(memory, manifest, wanted)
            return EngineResult(done.status, outputs, done.device_us, jobs.sentence(done.reason), done.log), answer
        finally:
            os.close(room)
            memory.close()

    def _fault(self, manifest: Manifest, ptx_text: bytes, inputs: Mapping[str, bytes | memoryview]) -> str:
        misfit = self._misfit(manifest, ptx_text)
        if misfit:
            return misfit
        for buffer in manifest.inputs:
            if buffer.name not in inputs:
                return f"input {buffer.name} is missing"
            fault = _size_fault(buffer, inputs)
            if fault:
                return fault
        return ""

    def _misfit(self, manifest: Manifest, ptx_text: bytes) -> str:
        if manifest.memory_bytes_max > self._memory_bytes_max:
            return f"the job asks for {manifest.memory_bytes_max} bytes; this engine has {self._memory_bytes_max}"
        if len(ptx_text) != manifest.ptx_size_bytes:
            return f"the PTX has {len(ptx_text)} bytes; the manifest says {manifest.ptx_size_bytes}"
        return ""

    async def _run_on(
        self,
        child: Child,
        manifest: Manifest,
        ptx_text: bytes,
        inputs: Mapping[str, bytes | memoryview],
        on_step: OnStep | None,
    ) -> EngineResult:
        in_bytes = sum(buffer.size_bytes for buffer in manifest.inputs)
        try:
            memory = await _off_the_loop(in_bytes, lambda: SharedMemory(manifest, ptx_text, inputs))
        except OSError as error:
            return EngineResult(JobStatus.REFUSED, reason=f"no memory for the job's buffers: {error}")
        try:
            order = jobs.Job(encode_manifest(manifest), pauses=on_step is not None)
            done = await self._drive(child, manifest, order, [memory.descriptor], _shown(manifest, memory, on_step))
            if done.status is not JobStatus.OK:
                return EngineResult(done.status, {}, done.device_us, jobs.sentence(done.reason), done.log)
            outputs = await _read(memory, manifest, [] if on_step else manifest.outputs)
            return EngineResult(JobStatus.OK, outputs, done.device_us, log=done.log)
        finally:
            memory.close()

    async def _ready_child(self) -> Child:
        if self._child is not None and self._child.is_alive:
            return self._child
        await self._drop()
        self._child = Child(
            _WORKER_MODULE, jobs.REPLY_BYTES_MAX, self._threads, self._memory_bytes_max, int(self._jail)
        )
        with trio.move_on_after(_START_S) as starting:
            try:
                answer = jobs.decode_answer(await self._child.channel.receive())
            except (ChannelClosedError, msgspec.MsgspecError):
                raise SandboxError(f"the CPU engine's worker {await self._drop()}") from None
            if not isinstance(answer, jobs.Ready) or answer.fault:
                raise SandboxError(answer.fault if isinstance(answer, jobs.Ready) else "the worker broke its protocol")
        if starting.cancelled_caught:
            raise SandboxError(f"the CPU engine's worker did not start within {_START_S:.0f} s")
        return self._child

    async def _drive(
        self,
        child: Child,
        manifest: Manifest,
        order: jobs.Job | jobs.Blocks,
        descriptors: list[int],
        show: Callable[[], Awaitable[None]] | None = None,
    ) -> jobs.Done:
        """One job on a ready worker, which pauses after each step for `show`. Raises ChannelClosedError when it dies or
        breaks the protocol."""
        with trio.move_on_after(_PREPARE_S) as preparing:
            await child.channel.send(jobs.encode(order), descriptors)
            answer = await self._answer(child)
        if preparing.cancelled_caught:
            return await self._give_up(f"preparing the kernels took longer than {_PREPARE_S:.0f} s", 0)
        if isinstance(answer, jobs.Done):
            if answer.status is not JobStatus.REFUSED:
                raise ChannelClosedError(f"broke its protocol: {answer.status.name} before it started")
            return jobs.Done(answer.status, 0, answer.reason)
        elapsed_us, shown, steps = 0, 0, step_count(manifest) if show is not None else 0
        while True:
            began_ns = time.perf_counter_ns()
            word = await self._until_pause(child, manifest.device_ms_max / 1000 - elapsed_us / 1e6)
            elapsed_us += (time.perf_counter_ns() - began_ns) // 1000
            if word is None:
                return await self._give_up(f"the kernels ran longer than {manifest.device_ms_max} ms", elapsed_us)
            if isinstance(word, jobs.Done):
                break
            if show is None or shown == steps or isinstance(word, jobs.Started):
                raise ChannelClosedError(f"broke its protocol: it said {type(word).__name__} once too often")
            shown += 1
            await show()
            await child.channel.send(jobs.encode(jobs.Proceed()))
        if word.status is JobStatus.OK and shown != steps:
            raise ChannelClosedError(f"broke its protocol: it showed {shown} states of {steps}")
        return msgspec.structs.replace(word, device_us=min(word.device_us, elapsed_us))

    async def _until_pause(self, child: Child, time_s: float) -> jobs.Started | jobs.Stepped | jobs.Done | None:
        """The worker's next word; once its time is up, only `Done` or, when it does not stop, None."""
        with trio.move_on_after(time_s) as running:
            answer = await self._answer(child)
        if not running.cancelled_caught:
            return answer
        is_late = False
        with trio.move_on_after(_GRACE_S) as stopping:
            await child.channel.send(jobs.encode(jobs.Abort()))
            answer = await self._answer(child)
            while isinstance(answer, jobs.Stepped):  # it looks at the abort within a launch only
                is_late = True
                await child.channel.send(jobs.encode(jobs.Proceed()))
                answer = await self._answer(child)
        if stopping.cancelled_caught:
            return None
        if is_late and isinstance(answer, jobs.Done) and answer.status is JobStatus.OK:
            return jobs.Done(JobStatus.TIMEOUT, answer.device_us, "stopped when the job's time was up", answer.log)
        return answer

    async def _answer(self, child: Child) -> jobs.Started | jobs.Stepped | jobs.Done:
        """The worker's next word. Raises ChannelClosedError for anything but a well-formed one."""
        try:
            answer = jobs.decode_answer(await child.channel.receive())
        except msgspec.MsgspecError as error:
            raise ChannelClosedError(f"broke its protocol: {error}") from error
        if isinstance(answer, jobs.Ready):
            raise ChannelClosedError("broke its protocol: it said Ready twice")
        return answer

    async def _give_up(self, reason: str, device_us: int) -> jobs.Done:
        await self._drop()
        return jobs.Done(JobStatus.TIMEOUT, device_us, reason)

    async def _drop(self) -> str:
        child, self._child = self._child, None
        return await child.aclose() if child else "was closed"


def _shown(manifest: Manifest, memory: SharedMemory, on_step: OnStep | None) -> Callable[[], Awaitable[None]] | None:
    """Shows the state that lies in the memory now."""
    if on_step is None:
        return None
    take = on_step

    async def show() -> None:
        await take(await _read(memory, manifest, [manifest.buffers[number] for number in state_buffers(manifest)]))

    return show


async def _read(memory: SharedMemory, manifest: Manifest, wanted: Sequence[Buffer]) -> dict[str, bytes]:
    size_bytes = sum(buffer.size_bytes for buffer in wanted)
    return await _off_the_loop(size_bytes, lambda: {b.name: memory.read(manifest.buffers.index(b)) for b in wanted})


def _size_fault(buffer: Buffer, given: State) -> str:
    fault = content_fault(given[buffer.name], buffer.size_bytes)
    return f"input {buffer.name} {fault}" if fault else ""


async def _off_the_loop(size_bytes: int, function: Callable[[], _T]) -> _T:
    """Copy small things at once, and large ones on a thread, so that the node's other tasks go on."""
    if size_bytes <= _COPY_BYTES_MAX:
        return function()
    return await trio.to_thread.run_sync(function)
