"""One job on a GPU: buffers, launches in order on one stream, device time by events, states and outputs back."""

from __future__ import annotations

import collections
import os
import sys
import time
from typing import Any, Final, NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray

from p2pcompute.compute import binding, cuda_errors, energy, jobs, shared
from p2pcompute.compute.cuda_device import Gpu
from p2pcompute.compute.cuda_memory import DeviceMemory
from p2pcompute.compute.cuda_module import Loaded, functions
from p2pcompute.compute.cuda_output import Printed
from p2pcompute.compute.serving import Serving
from p2pcompute.errors import UsageError
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire.manifest import Launch, Manifest
from p2pcompute.wire.steps import state_buffers

WINDOW: Final = 64
WINDOWS_MAX: Final = 4
"""No more launches than about WINDOW * WINDOWS_MAX wait on the device: the driver's queue holds 1,024, and a launch
that waits for room there would hold Python's lock, and with it the thread that answers pings."""
_LAUNCH_TIMEOUT: Final = "the launch timed out and was terminated"
"""The driver's own limit, on devices that also drive a display."""

Bytes = NDArray[np.uint8]


class Abort:
    """Set by the thread that listens, read by the one that launches."""

    def __init__(self) -> None:
        self.is_set = False

    def set(self) -> None:
        self.is_set = True


class _Stopped(Exception):
    """The job's time was up between two launches."""


class Runner:
    """Runs jobs, one after the other, on a device."""

    def __init__(
        self, gpu: Gpu, serving: Serving[Abort], printed: Printed, meter: energy.Meter, memory_bytes_max: int
    ) -> None:
        self._gpu = gpu
        self._serving = serving
        self._printed = printed
        self._meter = meter
        self._memory_bytes_max = memory_bytes_max

    def work(self, order: jobs.Job | jobs.Blocks, manifest: Manifest, descriptors: list[int]) -> jobs.Done:
        """Raises P2PComputeError when the order cannot be carried out at all."""
        if isinstance(order, jobs.Blocks):
            for descriptor in descriptors:
                os.close(descriptor)
            raise UsageError("the CUDA engine recomputes no single blocks; the CPU engine does")
        everything = np.frombuffer(shared.attach(descriptors[0], manifest), np.uint8)  # unmapped with its last user
        try:
            return self._run(manifest, everything, pauses=order.pauses)
        except self._gpu.driver.Error as error:
            return self._failed(error, "the job", 0)

    def _run(self, manifest: Manifest, everything: Bytes, *, pauses: bool) -> jobs.Done:
        gpu, place = self._gpu, shared.layout(manifest)
        loaded = gpu.modules.load(everything[: place.ptx_size_bytes].tobytes())
        called = functions(gpu.driver, loaded, manifest.launches, gpu.shared_bytes_max)
        memory = DeviceMemory(gpu.driver, gpu.stage, manifest)
        try:
            memory.allocate(min(manifest.memory_bytes_max, self._memory_bytes_max))
            parameters = binding.parameter_blocks(manifest, loaded.module, memory)
            run = _Run(gpu, self._serving, manifest, memory, everything, pauses=pauses)
            run.set_constants(loaded)
            return self._launch(run, list(zip(manifest.launches, called, parameters, strict=True)))
        finally:
            self._give_back(memory)

    def _launch(self, run: _Run, prepared: list[tuple[Launch, Any, bytes]]) -> jobs.Done:
        run.need(prepared[0][0])
        self._printed.take()  # what an earlier job left
        before = self._meter.read()
        self._serving.say_started()
        start_ns = time.perf_counter_ns()
        try:
            run.launch(prepared)
            used = energy.used(before, self._meter.read())
            run.bring_back()
        except _Stopped:
            done = jobs.Done(JobStatus.TIMEOUT, run.device_us, f"{run.where}: stopped when the job's time was up")
        except self._gpu.driver.Error as error:
            done = self._failed(error, run.where, (time.perf_counter_ns() - start_ns) // 1000)
        else:
            done = jobs.Done(JobStatus.OK, run.device_us, "", energy=used)
        return msgspec.structs.replace(done, log=jobs.printable(self._printed.take()))

    def _failed(self, error: Exception, where: str, device_us: int) -> jobs.Done:
        """What the job came to; events of a lost context tell no time. A device that is lost for another reason than
        its kernels ends the process: the parent calls that a crash."""
        cause = cuda_errors.cause(error)
        reason = jobs.sentence(f"{where}: {cause}")
        if cuda_errors.is_kernel_fault(error):
            return jobs.Done(JobStatus.TRAP, device_us, reason, is_poisoned=True)
        if cause == _LAUNCH_TIMEOUT:
            return jobs.Done(JobStatus.TIMEOUT, device_us, reason, is_poisoned=True)
        if self._gpu.is_lost():
            _end(error)
        return jobs.Done(JobStatus.REFUSED, device_us, reason)

    def _give_back(self, memory: DeviceMemory) -> None:
        """Zeroed, or lost with the context; memory that could be neither ends with the process."""
        if self._gpu.is_lost():
            memory.abandon()
            return
        self._gpu.stage.wipe()
        try:
            memory.close()
        except self._gpu.driver.Error as error:
            _end(error)


class _Run:
    """The launches of one job, and what is known of them."""

    def __init__(
        self,
        gpu: Gpu,
        serving: Serving[Abort],
        manifest: Manifest,
        memory: DeviceMemory,
        everything: Bytes,
        *,
        pauses: bool,
    ) -> None:
        self._gpu = gpu
        self._serving = serving
        self._manifest = manifest
        self._memory = memory
        self._everything = everything
        self._place = shared.layout(manifest)
        self._pauses = pauses
        self._abort = serving.abort
        self._numbers = {buffer.name: number for number, buffer in enumerate(manifest.buffers)}
        self._spans: list[tuple[Any, Any]] = []
        self._windows: collections.deque[Any] = collections.deque()
        self._in_window = 0
        self._first = 0
        self._last = 0
        self.device_us = 0

    @property
    def where(self) -> str:
        """The launches that are not known to have ended: a GPU tells of a fault when something waits for it."""
        name = self._manifest.launches[self._last].entry[:64]
        if self._first == self._last:
            return f"launch {self._last} ({name})"
        return f"launches {self._first} to {self._last} ({name})"

    def need(self, launch: Launch) -> None:
        """Have all buffers that a launch names on their way, and the launch wait for them."""
        names = dict.fromkeys(argument.buffer for argument in launch.arguments if argument.buffer)
        self._memory.bring(self._everything, self._place, self._gpu.stream, [self._numbers[name] for name in names])

    def set_constants(self, loaded: Loaded) -> None:
        """Variables that hold buffers from the first launch on. Raises UsageError for one that does not fit."""
        driver, stream = self._gpu.driver, self._gpu.stream
        for name, number, size_bytes in binding.constants(self._manifest, loaded.module):
            self._memory.bring(self._everything, self._place, stream, [number])
            pointer, _ = loaded.driver_module.get_global(name)
            if size_bytes:
                driver.memcpy_dtod_async(int(pointer), self._memory.address(number), size_bytes, stream)

    def launch(self, prepared: list[tuple[Launch, Any, bytes]]) -> None:
        """All of them, in order; returns when the last has ended. Raises _Stopped when the parent says so."""
        for number, (launch, function, parameters) in enumerate(prepared):
            self._last = number
            self.need(launch)
            if launch.until:
                self._until(launch, function, parameters)
                continue
            if not self._pauses:
                self._timed(launch, function, parameters, launch.repeats)
                continue
            for _ in range(launch.repeats):
                self._timed(launch, function, parameters, 1)
                self._settle()
                self._fetch(state_buffers(self._manifest))
                self._serving.pause()
        self._settle()

    def _until(self, launch: Launch, function: Any, parameters: bytes) -> None:
        """Again and again, each time with the flag fetched."""
        number = self._numbers[launch.until]
        offset, size = self._place.buffers[number]
        self._memory.bring(self._everything, self._place, self._gpu.stream, [number])
        for _ in range(launch.repeats):
            self._gpu.driver.memset_d8_async(self._memory.address(number), 0, size, self._gpu.stream)
            self._timed(launch, function, parameters, 1)
            self._settle()
            self._fetch((number,))
            if not self._everything[offset : offset + size].any():
                return

    def _timed(self, launch: Launch, function: Any, parameters: bytes, repeats: int) -> None:
        stream, make_event = self._gpu.stream, self._gpu.driver.Event
        begin = make_event().record(stream)
        is_stopped = False
        for _ in range(repeats):
            is_stopped = self._abort.is_set
            if is_stopped:
                break
            function._launch_kernel(launch.grid, launch.block, parameters, launch.shared_bytes, stream)
            self._limit_queue()
        self._spans.append((begin, make_event().record(stream)))
        if is_stopped:
            self._settle()
            raise _Stopped

    def bring_back(self) -> None:
        """Outputs into the shared memory; a job that pauses has shown them."""
        if not self._pauses:
            self._fetch(tuple(self._numbers[buffer.name] for buffer in self._manifest.outputs))

    def _fetch(self, numbers: tuple[int, ...]) -> None:
        self._memory.bring(self._everything, self._place, self._gpu.stream, numbers)
        self._memory.fetch(self._everything, self._place, numbers)

    def _settle(self) -> None:
        """Wait for all launches, without Python's lock, and count their time."""
        self._gpu.stream.synchronize()
        self._windows.clear()
        self._first = self._last
        for begin, end in self._spans:
            self.device_us += round(end.time_since(begin) * 1000)
        self._spans.clear()

    def _limit_queue(self) -> None:
        self._in_window += 1
        if self._in_window < WINDOW:
            return
        self._in_window = 0
        flags = self._gpu.driver.event_flags
        event = self._gpu.driver.Event(int(flags.BLOCKING_SYNC) | int(flags.DISABLE_TIMING))
        self._windows.append(event.record(self._gpu.stream))
        if len(self._windows) > WINDOWS_MAX:
            self._windows.popleft().synchronize()


def _end(error: Exception) -> NoReturn:
    print(f"the device is lost: {error}", file=sys.stderr, flush=True)
    os._exit(1)
