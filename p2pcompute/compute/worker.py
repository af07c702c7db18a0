"""The CPU engine's worker: one jailed process that compiles and runs a stranger's kernels.

Run as `python -m p2pcompute.compute.worker DESCRIPTOR PARENT_PID THREADS MEMORY_BYTES JAIL` by cpu.py. The main thread
runs jobs; a second one listens, so that an abort arrives while a kernel runs and the process ends when its parent does.
"""

from __future__ import annotations

import collections
import os
import queue
import sys
import threading
import time
from typing import Final

import msgspec
import numpy as np
from blake3 import blake3

from p2pcompute.compute import binding, blockwork, jobs, ptx, sandbox, shared
from p2pcompute.compute.channel import ChannelClosedError, ChildChannel
from p2pcompute.compute.ptx.launch import canonical_form
from p2pcompute.errors import P2PComputeError, PtxError, SandboxError, UsageError
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire import limits
from p2pcompute.wire.manifest import Launch, Manifest, decode_manifest

_JIT_BYTES: Final = 2 * limits.GIB
"""Address space for LLVM and Python on top of the job's memory."""
_THREAD_BYTES: Final = 160 * limits.MIB
"""Address space of one more thread: 8 MiB of stack and the 128 MiB that malloc reserves for its arena, barely used."""
_PROGRAMS_MAX: Final = 16
"""Compiled programs kept for the next job with the same PTX."""
_WARM_PTX: Final = """.version 8.4
.target sm_75
.address_size 64
.visible .entry warm()
{
ret;
}
"""


class Program:
    """One PTX text: parsed once, its kernels compiled once for each block shape."""

    def __init__(self, text: str) -> None:
        """Raises PtxError unless `text` is canonical PTX."""
        self.module = ptx.parse(text)
        if canonical_form(self.module)[0] != text:
            raise PtxError("the PTX is not in canonical form; engines load nothing else")
        self._kernels: dict[tuple[str, tuple[int, int, int], bool], ptx.CompiledKernel] = {}

    def kernel(self, launch: Launch, *, is_logged: bool = False) -> ptx.CompiledKernel:
        """Raises PtxError for an unknown entry or an instruction the engine lacks."""
        key = (launch.entry, launch.block, is_logged)
        if key not in self._kernels:
            if launch.entry not in self.module.entries:
                known = ", ".join(sorted(self.module.entries)[:8])
                raise PtxError(f"the PTX has no entry {launch.entry[:64]!r}; it has {known}")
            self._kernels[key] = ptx.compile_entry(self.module, launch.entry, launch.block, is_logged=is_logged)
        return self._kernels[key]


class Worker:
    """Runs one job after the other."""

    def __init__(self, channel: ChildChannel, threads: int) -> None:
        self._channel = channel
        self._threads = threads
        self._abort = ptx.Abort()
        self._proceed = threading.Semaphore(0)
        self._programs: collections.OrderedDict[bytes, Program] = collections.OrderedDict()
        self._inbox: queue.SimpleQueue[tuple[jobs.Job | jobs.Blocks, list[int]]] = queue.SimpleQueue()

    def serve(self) -> None:
        """Never returns: the process ends with the channel."""
        threading.Thread(target=self._listen, daemon=True).start()
        while True:
            job, descriptors = self._inbox.get()
            try:
                manifest = decode_manifest(job.manifest)
                if isinstance(job, jobs.Blocks):
                    done = self._answer(job, manifest, descriptors)
                else:
                    done = self._run(job, manifest, descriptors[0])
            except P2PComputeError as error:
                done = jobs.Done(JobStatus.REFUSED, 0, jobs.sentence(str(error)))
            except MemoryError:
                done = jobs.Done(JobStatus.REFUSED, 0, "the job needs more memory than the engine may use")
            self._channel.send(jobs.encode(done))

    def _listen(self) -> None:
        try:
            while True:
                frame, descriptors = self._channel.receive()
                order = jobs.decode_order(frame)
                if isinstance(order, jobs.Job | jobs.Blocks):
                    self._abort = ptx.Abort()
                    self._inbox.put((order, descriptors))
                elif isinstance(order, jobs.Proceed):
                    self._proceed.release()
                else:
                    self._abort.set()
        except ChannelClosedError:
            os._exit(0)
        finally:
            os._exit(1)

    def _answer(self, order: jobs.Blocks, manifest: Manifest, descriptors: list[int]) -> jobs.Done:
        """Raises P2PComputeError when the question cannot be asked of this launch."""
        memory_map = shared.attach(descriptors[0], manifest)
        place = shared.layout(manifest)
        program = self._program(memory_map[: place.ptx_size_bytes])
        everything = np.frombuffer(memory_map, np.uint8)
        memory = ptx.Memory([everything[offset : offset + size] for offset, size in place.buffers])
        room = blockwork.Room(descriptors[1], order)
        work = blockwork.Work(manifest, program.module, memory, order.launch, self._threads, self._abort)
        prepared = work.prepare(order.question, program.kernel)
        self._channel.send(jobs.encode(jobs.Started()))
        start_ns = time.perf_counter_ns()
        result, answer = work.answer(order.question, prepared, room.blocks)
        size = room.fill(answer)
        device_us = (time.perf_counter_ns() - start_ns) // 1000
        log = jobs.printable(result.log)
        if result.status is ptx.Status.OK:
            return jobs.Done(JobStatus.OK, device_us, "", log, size)
        stopped = _stopped(result, manifest.launches[order.launch], order.launch, 0, device_us)
        return msgspec.structs.replace(stopped, log=log, answer_bytes=size)

    def _run(self, job: jobs.Job, manifest: Manifest, descriptor: int) -> jobs.Done:
        """Raises P2PComputeError when the job cannot be run at all."""
        memory_map = shared.attach(descriptor, manifest)
        place = shared.layout(manifest)
        program = self._program(memory_map[: place.ptx_size_bytes])
        everything = np.frombuffer(memory_map, np.uint8)
        arrays = [everything[offset : offset + size] for offset, size in place.buffers]
        memory = ptx.Memory(arrays)
        prepared = []
        for number, launch in enumerate(manifest.launches):
            kernel = program.kernel(launch)
            try:
                values = binding.parameter_values(manifest, launch, memory)
                prepared.append((kernel, ptx.pack_parameters(program.module.entries[launch.entry], values)))
            except (PtxError, UsageError) as error:
                raise UsageError(f"launch {number}: {error}") from error
        self._channel.send(jobs.encode(jobs.Started()))
        return self._launch(job, manifest, prepared, memory)

    def _launch(
        self, job: jobs.Job, manifest: Manifest, prepared: list[tuple[ptx.CompiledKernel, bytes]], memory: ptx.Memory
    ) -> jobs.Done:
        """A pause while the parent reads a state counts as no device time."""
        start_ns = time.perf_counter_ns()
        log = ""
        for number, (launch, (kernel, parameters)) in enumerate(zip(manifest.launches, prepared)):
            for repeat in range(launch.repeats):
                result = kernel.launch(
                    memory, parameters, launch.grid, launch.shared_bytes, threads=self._threads, abort=self._abort
                )
                if len(log) < jobs.LOG_BYTES_MAX:
                    log += result.log
                if result.status is not ptx.Status.OK:
                    device_us = (time.perf_counter_ns() - start_ns) // 1000
                    return msgspec.structs.replace(
                        _stopped(result, launch, number, repeat, device_us), log=jobs.printable(log)
                    )
                if job.pauses:
                    start_ns += self._pause()
        device_us = (time.perf_counter_ns() - start_ns) // 1000
        return jobs.Done(JobStatus.OK, device_us, "", jobs.printable(log))

    def _pause(self) -> int:
        """Let the parent read the state; how long that took, in nanoseconds."""
        begin_ns = time.perf_counter_ns()
        self._channel.send(jobs.encode(jobs.Stepped()))
        self._proceed.acquire()
        return time.perf_counter_ns() - begin_ns

    def _program(self, text: bytes) -> Program:
        key = blake3(text).digest()
        if key not in self._programs:
            try:
                self._programs[key] = Program(text.decode("ascii"))
            except UnicodeDecodeError as error:
                raise PtxError("the PTX is not ASCII text") from error
            if len(self._programs) > _PROGRAMS_MAX:
                self._programs.popitem(last=False)
        self._programs.move_to_end(key)
        return self._programs[key]


def _stopped(result: ptx.LaunchResult, launch: Launch, number: int, repeat: int, device_us: int) -> jobs.Done:
    where = f"launch {number} ({launch.entry[:64]})" + (f", repeat {repeat}" if launch.repeats > 1 else "")
    if result.status is ptx.Status.ABORTED:
        return jobs.Done(JobStatus.TIMEOUT, device_us, f"{where}: stopped when the job's time was up")
    return jobs.Done(JobStatus.TRAP, device_us, jobs.sentence(f"{where}: {result.trap}"))


def _address_space_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _warm() -> None:
    """Load whatever the engine loads on first use, while files can still be opened."""
    text = ptx.canonicalise(ptx.parse(_WARM_PTX))
    module = ptx.parse(text)
    kernel = ptx.compile_entry(module, "warm", (1, 1, 1))
    parameters = ptx.pack_parameters(module.entries["warm"], [])
    kernel.launch(ptx.Memory([]), parameters, (1, 1, 1), 0, threads=1, abort=ptx.Abort())


def main(descriptor: int, parent_pid: int, threads: int, memory_bytes: int, jail: int) -> None:
    """Jail this process, then serve. `jail` 0: what the kernel lacks is left out."""
    sandbox.die_with_parent(parent_pid)
    channel = ChildChannel(descriptor, jobs.JOB_BYTES_MAX)
    _warm()
    try:
        space = _address_space_bytes() + _JIT_BYTES + threads * _THREAD_BYTES + memory_bytes
        sandbox.apply(sandbox.worker_profile(memory_bytes=space), required=bool(jail))
    except SandboxError as error:
        channel.send(jobs.encode(jobs.Ready(jobs.sentence(str(error)))))
        return
    channel.send(jobs.encode(jobs.Ready()))
    Worker(channel, threads).serve()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:6]))
