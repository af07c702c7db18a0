"""The parent's side of a worker process: start it, give it one order at a time, end it when in doubt.

Every engine has one. The worker holds a stranger's code, so nothing it says is believed beyond its own job: frames are
bounded and typed, time is measured on this side too, and whatever breaks the protocol ends the process
(docs/spec/engines.md, 1).
"""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final

import msgspec
import trio

from p2pcompute.compute import jobs
from p2pcompute.compute.channel import ChannelClosedError
from p2pcompute.compute.child import Child
from p2pcompute.compute.stopwatch import Stopwatch
from p2pcompute.errors import DeviceError, SandboxError
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire.manifest import Manifest
from p2pcompute.wire.steps import step_count

PING_S: Final = 10.0
"""A worker that is silent for so long inside a job is asked whether it lives. Its listening thread answers, also while
a kernel runs (docs/spec/engines.md, 1.6)."""
SILENCE_S: Final = 30.0
"""From that question to SIGKILL. PyCUDA keeps Python's lock while it allocates or launches, for milliseconds; a machine
that swaps may take seconds."""

Show = Callable[[], Awaitable[None]]


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """How long a worker may take, in seconds: from exec to `Ready`, from an order to `Started`, and from the abort of a
    job to its end."""

    start_s: float
    prepare_s: float
    grace_s: float


class Turn:
    """What `Supervisor.turn` gives; an async context manager. Entering it waits while the worker is paused, and gives
    the reason of an eviction, after which nothing is to be started, or nothing."""

    def __init__(self, supervisor: Supervisor, lock: trio.Lock) -> None:
        self._supervisor, self._lock = supervisor, lock

    async def __aenter__(self) -> str:
        await self._lock.acquire()
        try:
            return await self._supervisor.leave_to_go()
        except BaseException:
            self._lock.release()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is not None:
                await self._supervisor.drop()
        finally:
            self._lock.release()


class Supervisor:
    """One worker at most, started at need and replaced after a crash. `what` names it in errors; `spawn` starts its
    process, on trio's thread. Close with `aclose`."""

    def __init__(self, what: str, spawn: Callable[[], Child], bounds: Bounds) -> None:
        self._what = what
        self._spawn = spawn
        self._bounds = bounds
        self._lock = trio.Lock()
        self._child: Child | None = None
        self._pings = 0
        self._clock = Stopwatch()
        self._going = trio.Event()
        self._going.set()
        self._evicted = ""
        self.ready = jobs.Ready()
        """What the present worker said of itself, or the last one."""

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id; None when there is none now."""
        return self._child.pid if self._child else None

    @property
    def is_running(self) -> bool:
        return self._child is not None and self._child.is_alive

    def pause(self) -> None:
        """Stop the worker's process at once, and the time of its job; orders wait until `resume`. A kernel that runs on
        a device runs on to its end. Does nothing when paused."""
        if not self._clock.is_stopped:
            self._clock.stop()
            self._going, self._evicted = trio.Event(), ""
            if self._child:
                self._child.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on where `pause` stopped. Does nothing when not paused."""
        if self._clock.is_stopped:
            if self._child:
                self._child.signal(signal.SIGCONT)
            self._clock.go()
            self._evicted = ""
            self._going.set()

    async def evict(self, why: str) -> None:
        """While paused: end the worker, which gives its memory back; the order it has, and each that comes until
        `resume`, is CRASHED for that reason."""
        if self._clock.is_stopped:
            self._evicted = why
            self._going.set()
            await self.drop()

    async def leave_to_go(self) -> str:
        """Wait while paused; why the worker was evicted, or nothing."""
        if not self._going.is_set():
            await self._going.wait()
        return self._evicted

    def turn(self) -> Turn:
        """One user at a time; one that leaves by an exception, a cancellation too, takes the worker with it."""
        return Turn(self, self._lock)

    async def drop(self) -> str:
        """Kill the worker, if there is one, and wait until it is gone: one sentence on how it had ended."""
        child, self._child = self._child, None
        return await child.aclose() if child else "was closed"

    async def ensure(self) -> jobs.Ready:
        """Have a jailed, warm worker. Within a turn. Raises SandboxError when this machine cannot jail it or it cannot
        start, DeviceError when it lacks the device."""
        if self._child is not None and self._child.is_alive:
            return self.ready
        await self.drop()
        self._child, self._pings = self._spawn(), 0
        with trio.move_on_after(self._bounds.start_s) as starting:
            try:
                answer = jobs.decode_answer(await self._child.channel.receive())
            except (ChannelClosedError, msgspec.MsgspecError):
                raise SandboxError(f"the {self._what}'s worker {await self.drop()}") from None
            if not isinstance(answer, jobs.Ready):
                raise SandboxError(f"the {self._what}'s worker broke its protocol")
            if answer.fault:
                raise (DeviceError if answer.is_device_fault else SandboxError)(jobs.sentence(answer.fault))
            self.ready = answer
        if starting.cancelled_caught:
            raise SandboxError(f"the {self._what}'s worker did not start within {self._bounds.start_s:.0f} s")
        return self.ready

    async def drive(
        self,
        manifest: Manifest,
        order: jobs.Job | jobs.Blocks,
        descriptors: list[int],
        show: Show | None = None,
        *,
        copying_s: float = 0.0,
    ) -> jobs.Done:
        """Have the worker carry out one order; it pauses after each step for `show`. Its time is the manifest's and
        `copying_s`. Within a turn. A worker that dies or breaks the protocol is dropped, and the order CRASHED. Raises
        as `ensure` does."""
        await self.ensure()
        child = self._child
        assert child is not None
        try:
            done = await self._drive(child, manifest, order, descriptors, show, copying_s)
        except ChannelClosedError as error:
            reason = self._evicted or f"the worker {await self.drop()} ({error})"
            return jobs.Done(JobStatus.CRASHED, 0, jobs.sentence(reason))
        if done.is_poisoned:
            await self.drop()
        return done

    async def _drive(
        self,
        child: Child,
        manifest: Manifest,
        order: jobs.Job | jobs.Blocks,
        descriptors: list[int],
        show: Show | None,
        copying_s: float,
    ) -> jobs.Done:
        """Raises ChannelClosedError when the worker dies or breaks the protocol."""
        with self._clock.limit(self._bounds.prepare_s) as preparing:
            await child.channel.send(jobs.encode(order), descriptors)
            answer = await self._answer(child)
        if preparing.cancelled_caught:
            return await self._give_up(f"preparing the kernels took longer than {self._bounds.prepare_s:.0f} s", 0)
        if isinstance(answer, jobs.Done):
            if answer.status is not JobStatus.REFUSED:
                raise ChannelClosedError(f"broke its protocol: {answer.status.name} before it started")
            return jobs.Done(answer.status, 0, answer.reason, is_poisoned=answer.is_poisoned)
        elapsed_us, shown, steps = 0, 0, step_count(manifest) if show is not None else 0
        time_s = manifest.device_ms_max / 1000 + copying_s
        while True:
            began_s = self._clock.now_s()
            word = await self._until_pause(child, time_s - elapsed_us / 1e6)
            elapsed_us += int(1e6 * (self._clock.now_s() - began_s))
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
        if not 0 <= word.answer_bytes <= (order.room_bytes if isinstance(order, jobs.Blocks) else 0):
            raise ChannelClosedError("broke its protocol: its answer is larger than the room")
        return msgspec.structs.replace(word, device_us=min(word.device_us, elapsed_us))

    async def _until_pause(self, child: Child, time_s: float) -> jobs.Started | jobs.Stepped | jobs.Done | None:
        """The worker's next word; once its time is up, only `Done` or, when it does not stop, None."""
        answer: jobs.Started | jobs.Stepped | jobs.Done | None = None
        end_s = self._clock.now_s() + time_s
        while answer is None:
            left_s = end_s - self._clock.now_s()
            if left_s <= 0:
                return await self._until_stopped(child)
            with self._clock.limit(min(left_s, PING_S)) as quiet:
                answer = await self._answer(child)
            if quiet.cancelled_caught and left_s > PING_S:
                answer = await self._sign_of_life(child, end_s)
        return answer

    async def _until_stopped(self, child: Child) -> jobs.Started | jobs.Stepped | jobs.Done | None:
        is_late = False
        with self._clock.limit(self._bounds.grace_s) as stopping:
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

    async def _sign_of_life(self, child: Child, end_s: float) -> jobs.Started | jobs.Stepped | jobs.Done | None:
        """None when the worker beats, or its job's time is up. Raises ChannelClosedError when it does neither."""
        word: jobs.Started | jobs.Stepped | jobs.Done | jobs.Beat = jobs.Beat()
        left_s = end_s - self._clock.now_s()
        with self._clock.limit(min(left_s, SILENCE_S)) as silent:
            self._pings += 1
            await child.channel.send(jobs.encode(jobs.Ping()))
            word = await self._word(child)
        if silent.cancelled_caught and left_s > SILENCE_S:
            raise ChannelClosedError(f"did not answer for {SILENCE_S:.0f} s")
        return None if isinstance(word, jobs.Beat) else word

    async def _answer(self, child: Child) -> jobs.Started | jobs.Stepped | jobs.Done:
        """The worker's next word but beats, which may come late."""
        while True:
            answer = await self._word(child)
            if not isinstance(answer, jobs.Beat):
                return answer

    async def _word(self, child: Child) -> jobs.Started | jobs.Stepped | jobs.Done | jobs.Beat:
        """Raises ChannelClosedError for anything but a well-formed answer."""
        try:
            answer = jobs.decode_answer(await child.channel.receive())
        except msgspec.MsgspecError as error:
            raise ChannelClosedError(f"broke its protocol: {error}") from error
        if isinstance(answer, jobs.Ready):
            raise ChannelClosedError("broke its protocol: it said Ready twice")
        if isinstance(answer, jobs.Beat):
            self._pings -= 1
            if self._pings < 0:
                raise ChannelClosedError("broke its protocol: it beat unasked")
        return answer

    async def _give_up(self, reason: str, device_us: int) -> jobs.Done:
        await self.drop()
        return jobs.Done(JobStatus.TIMEOUT, device_us, reason)
