"""The CPU engine's worker: one jailed process that compiles and runs a stranger's kernels.

Run as `python -m p2pcompute.compute.worker DESCRIPTOR PARENT_PID THREADS MEMORY_BYTES JAIL` by cpu.py.
"""

from __future__ import annotations

import collections
import os
import sys
import time
from typing import Final

import msgspec
import numpy as np
from blake3 import blake3

from p2pcompute.compute import binding, blockwork, jobs, ptx, sandbox, shared
from p2pcompute.compute.artifact import find_entry, load_artifact, warm_text
from p2pcompute.compute.channel import ChildChannel
from p2pcompute.compute.serving import Serving
from p2pcompute.errors import SandboxError, UsageError
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire import limits
from p2pcompute.wire.manifest import Launch, Manifest

_JIT_BYTES: Final = 2 * limits.GIB
"""Address space for LLVM and Python on top of the job's memory."""
_THREAD_BYTES: Final = 160 * limits.MIB
"""Address space of one more thread: 8 MiB of stack and the 128 MiB that malloc reserves for its arena, barely used."""
_PROGRAMS_MAX: Final = 16
"""Compiled programs kept for the next job with the same PTX."""


class Program:
    """One PTX text: parsed once, its kernels compiled once for each block shape."""

    def __init__(self, text: bytes) -> None:
        """Raises PtxError unless `text` is canonical PTX."""
        self.module = load_artifact(text)
        self._kernels: dict[tuple[str, tuple[int, int, int], bool], ptx.CompiledKernel] = {}

    def kernel(self, launch: Launch, *, is_logged: bool = False) -> ptx.CompiledKernel:
        """Raises PtxError for an unknown entry or an instruction the engine lacks."""
        key = (launch.entry, launch.block, is_logged)
        if key not in self._kernels:
            find_entry(self.module, launch.entry)
            self._kernels[key] = ptx.compile_entry(self.module, launch.entry, launch.block, is_logged=is_logged)
        return self._kernels[key]


class Worker:
    """Runs one job after the other."""

    def __init__(self, channel: ChildChannel, threads: int) -> None:
        self.serving = Serving(channel, ptx.Abort)
        self._threads = threads
        self._programs: collections.OrderedDict[bytes, Program] = collections.OrderedDict()

    def work(self, order: jobs.Job | jobs.Blocks, manifest: Manifest, descriptors: list[int]) -> jobs.Done:
        """Raises P2PComputeError when the order cannot be carried out at all."""
        if isinstance(order, jobs.Blocks):
            return self._answer(order, manifest, descriptors)
        return self._run(order, manifest, descriptors[0])

    def _answer(self, order: jobs.Blocks, manifest: Manifest, descriptors: list[int]) -> jobs.Done:
        """Raises P2PComputeError when the question cannot be asked of this launch."""
        memory_map = shared.attach(descriptors[0], manifest)
        place = shared.layout(manifest)
        program = self._program(memory_map[: place.ptx_size_bytes])
        everything = np.frombuffer(memory_map, np.uint8)
        memory = ptx.Memory([everything[offset : offset + size] for offset, size in place.buffers])
        room = blockwork.Room(descriptors[1], order)
        if manifest.constants:
            raise UsageError("the task sets variables, which are no part of a state")
        work = blockwork.Work(manifest, program.module, memory, order.launch, self._threads, self.serving.abort)
        prepared = work.prepare(order.question, program.kernel)
        self.serving.say_started()
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
        binding.set_constants(manifest, program.module, memory)
        kernels = [program.kernel(launch) for launch in manifest.launches]
        prepared = list(zip(kernels, binding.parameter_blocks(manifest, program.module, memory), strict=True))
        self.serving.say_started()
        return self._launch(job, manifest, prepared, memory)

    def _launch(
        self, job: jobs.Job, manifest: Manifest, prepared: list[tuple[ptx.CompiledKernel, bytes]], memory: ptx.Memory
    ) -> jobs.Done:
        """A pause while the parent reads a state counts as no device time."""
        start_ns = time.perf_counter_ns()
        threads, abort, log = self._threads, self.serving.abort, ""
        names = [buffer.name for buffer in manifest.buffers]
        for number, (launch, (kernel, parameters)) in enumerate(zip(manifest.launches, prepared)):
            flag = memory.array(names.index(launch.until)) if launch.until else None
            for repeat in range(launch.repeats):
                if flag is not None:
                    flag[:] = 0
                result = kernel.launch(
                    memory, parameters, launch.grid, launch.shared_bytes, threads=threads, abort=abort
                )
                if len(log) < jobs.LOG_BYTES_MAX:
                    log += result.log
                if result.status is not ptx.Status.OK:
                    device_us = (time.perf_counter_ns() - start_ns) // 1000
                    return msgspec.structs.replace(
                        _stopped(result, launch, number, repeat, device_us), log=jobs.printable(log)
                    )
                if flag is not None and not flag.any():
                    break
                if job.pauses:
                    start_ns += self.serving.pause()
        device_us = (time.perf_counter_ns() - start_ns) // 1000
        return jobs.Done(JobStatus.OK, device_us, "", jobs.printable(log))

    def _program(self, text: bytes) -> Program:
        key = blake3(text).digest()
        if key not in self._programs:
            self._programs[key] = Program(text)
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
    module = load_artifact(warm_text())
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
    worker = Worker(channel, threads)
    worker.serving.serve(worker.work)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:6]))
