"""The CUDA engine's worker, driven by blocking calls: what compute/cuda.py does with trio, for machines without it."""

from __future__ import annotations

import dataclasses
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from p2pcompute.compute import jobs, sandbox
from p2pcompute.compute.channel import LENGTH
from p2pcompute.compute.shared import SharedMemory
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire import limits
from p2pcompute.wire.manifest import Manifest, encode_manifest
from p2pcompute.wire.steps import state_buffers
from tests.gpu.tasks import Task

START_S: Final = 60.0
PREPARE_S: Final = 60.0
GRACE_S: Final = 2.0
DEVICE: Final = "0"
CUDA_ENVIRONMENT: Final = {
    "CUDA_VISIBLE_DEVICES": DEVICE,
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    "CUDA_CACHE_DISABLE": "1",
    "CUDA_MODULE_LOADING": "EAGER",
}
ENVIRONMENT: Final = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    **CUDA_ENVIRONMENT,
}
"""What the CUDA engine gives its worker; a test in tests/compute holds the two together."""
_START: Final = """import ctypes, runpy, sys
sys.path[:0] = {paths!r}
for library in {libraries!r}:
    ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
if not {jailed!r}:
    from p2pcompute.compute import sandbox
    sandbox.confine_files = sandbox.confine_calls = lambda *given, **named: None
runpy.run_module("p2pcompute.compute.cuda_worker", run_name="__main__", alter_sys=True)
"""


NODES: Final = ("/dev/nvidiactl", "/dev/dxg")
"""What the driver makes on Linux, and under Windows' subsystem for Linux."""


def has_device() -> bool:
    """Whether this machine shows an NVIDIA device."""
    return any(Path(node).exists() for node in NODES)


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where workers find their modules: `paths` come first on their sys.path, `libraries` are loaded before all else.
    `name` says whose device it is: `gpu`, `fake` or `stub`. Without `jailed` nothing confines them."""

    name: str
    paths: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    jailed: bool = True

    @property
    def is_real(self) -> bool:
        return self.name == "gpu"


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """As EngineResult; `wall_s` from the order to the answer. `energy_mj` is None where nothing measures it."""

    status: JobStatus
    reason: str
    outputs: Mapping[str, bytes]
    device_us: int
    log: str
    energy_mj: int | None
    wall_s: float
    is_poisoned: bool


class WorkerGoneError(Exception):
    """The worker ended, or broke its protocol; the text says how."""


class Worker:
    """One worker process. Use it as a context manager; `run` starts another process when the last one is lost. Where
    this machine lacks a layer of the sandbox, the worker does too."""

    def __init__(self, place: Place, *, memory_bytes: int = limits.MEMORY_BYTES_MAX) -> None:
        self._place = place
        self._arguments = (memory_bytes, int(place.jailed and sandbox.available().is_full))
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._job: tuple[Manifest, SharedMemory] | None = None
        self.ready = jobs.Ready()
        self.starts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> jobs.Ready:
        """What the worker says of its device. Raises WorkerGoneError when it has none."""
        if self._process is not None and self._process.poll() is None:
            return self.ready
        self.kill()
        ours, theirs = socket.socketpair()
        paths = [*self._place.paths, *(p for p in sys.path if p and os.path.isdir(p)), os.getcwd()]
        program = _START.format(paths=paths, libraries=list(self._place.libraries), jailed=self._place.jailed)
        numbers = [str(n) for n in (theirs.fileno(), os.getpid(), *self._arguments)]
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-E", "-P", "-c", program, *numbers],
                env=ENVIRONMENT,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self._socket = ours
        self.starts += 1
        answer = self._receive(START_S)
        if answer is None:
            raise WorkerGoneError(f"the worker did not start within {START_S:.0f} s")
        assert isinstance(answer, jobs.Ready), answer
        if answer.fault:
            raise WorkerGoneError(answer.fault)
        self.ready = answer
        return answer

    def kill(self) -> str:
        """SIGKILL; the last words on its standard error."""
        process, self._process = self._process, None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._forget_job()
        if process is None:
            return ""
        process.kill()
        _, words = process.communicate()
        return words.decode(errors="replace").strip()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def run(self, task: Task) -> Outcome:
        """One task. A worker that is over its time is killed, and one that is poisoned too."""
        self._order(task)
        return self.finish()

    def states(self, task: Task) -> tuple[list[dict[str, bytes]], Outcome]:
        """One task, and every state that its worker shows on the way: the buffers but pure inputs."""
        self._order(task, pauses=True)
        assert self._job is not None
        manifest, memory = self._job
        shown = []
        answer = self._answer(PREPARE_S)
        while isinstance(answer, jobs.Started | jobs.Stepped):
            if isinstance(answer, jobs.Stepped):
                numbers = state_buffers(manifest)
                shown.append({manifest.buffers[number].name: memory.read(number) for number in numbers})
                self._send(jobs.Proceed())
            answer = self._answer(PREPARE_S)
        assert isinstance(answer, jobs.Done), answer
        return shown, self._outcome(answer, time.perf_counter())

    def begin(self, task: Task) -> None:
        """Start a task: it runs when this returns. Then `finish`, or `kill`."""
        self._order(task)
        answer = self._answer(PREPARE_S)
        assert isinstance(answer, jobs.Started), answer

    def finish(self) -> Outcome:
        """How the task ended that was ordered last."""
        assert self._job is not None
        begin = time.perf_counter()
        return self._outcome(self._wait(self._job[0]), begin)

    def _outcome(self, done: jobs.Done, begin: float) -> Outcome:
        outputs: dict[str, bytes] = {}
        if done.status is JobStatus.OK:
            assert self._job is not None
            manifest, memory = self._job
            outputs = {b.name: memory.read(manifest.buffers.index(b)) for b in manifest.outputs}
        self._forget_job()
        if done.is_poisoned:
            self.kill()
        energy = None if done.energy is None else done.energy.millijoules
        wall_s = time.perf_counter() - begin
        return Outcome(done.status, done.reason, outputs, done.device_us, done.log, energy, wall_s, done.is_poisoned)

    def _order(self, task: Task, *, pauses: bool = False) -> None:
        self.start()
        self._forget_job()
        manifest = task.manifest()
        memory = SharedMemory(manifest, task.ptx_text.encode(), task.inputs())
        self._job = manifest, memory
        self._send(jobs.Job(encode_manifest(manifest), pauses), [memory.descriptor])

    def _forget_job(self) -> None:
        if self._job is not None:
            self._job[1].close()
            self._job = None

    def is_alive(self) -> bool:
        """Whether it answers a ping, whatever it does."""
        self._send(jobs.Ping())
        return isinstance(self._receive(GRACE_S), jobs.Beat)

    def _wait(self, manifest: Manifest) -> jobs.Done:
        """Until `Done`. The time of the kernels counts from `Started`, which comes first unless nothing can start."""
        timeout_s = PREPARE_S + manifest.device_ms_max / 1000
        answer = self._answer(timeout_s)
        if isinstance(answer, jobs.Started):
            answer = self._answer(manifest.device_ms_max / 1000)
        if answer is None:
            self._send(jobs.Abort())
            answer = self._answer(GRACE_S)
        if answer is None:
            self.kill()
            return jobs.Done(JobStatus.TIMEOUT, manifest.device_ms_max * 1000, "killed when the job's time was up")
        assert isinstance(answer, jobs.Done), answer
        return answer

    def _answer(self, timeout_s: float) -> jobs.Answer | None:
        answer = self._receive(timeout_s)
        while isinstance(answer, jobs.Beat):
            answer = self._receive(timeout_s)
        return answer

    def _send(self, order: jobs.Order, descriptors: list[int] | None = None) -> None:
        assert self._socket is not None
        frame = jobs.encode(order)
        data = LENGTH.pack(len(frame)) + frame
        try:
            sent = socket.send_fds(self._socket, [data], descriptors or [])
            self._socket.sendall(data[sent:])
        except OSError:
            self._lost()

    def _receive(self, timeout_s: float) -> jobs.Answer | None:
        """None when nothing has come in time."""
        deadline = time.monotonic() + timeout_s
        head = self._exactly(LENGTH.size, deadline)
        if head is None:
            return None
        (length,) = LENGTH.unpack(head)
        assert length <= jobs.REPLY_BYTES_MAX
        body = self._exactly(length, deadline)
        return None if body is None else jobs.decode_answer(body)

    def _exactly(self, count: int, deadline: float) -> bytes | None:
        assert self._socket is not None
        data = b""
        while len(data) < count:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                return None
            piece = self._socket.recv(count - len(data))
            if not piece:
                self._lost()
            data += piece
        return data

    def _lost(self) -> None:
        assert self._process is not None
        try:
            status = self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            status = 0
        raise WorkerGoneError(f"the worker ended with status {status}: {self.kill()[-2000:]}")
