"""What every worker does around its jobs: listen, take one order after the other, answer pings, pause, end.

The main thread runs jobs; a second one listens, so that an abort or a ping arrives while a kernel runs and the process
ends when its parent does.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Final, Generic, NoReturn, Protocol, TypeVar

from p2pcompute.compute import jobs
from p2pcompute.compute.channel import ChannelClosedError, ChildChannel
from p2pcompute.errors import P2PComputeError
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire.manifest import Manifest, decode_manifest


class Settable(Protocol):
    def set(self) -> None: ...


_A = TypeVar("_A", bound=Settable)
Work = Callable[[jobs.Job | jobs.Blocks, Manifest, list[int]], jobs.Done]
"""Carries out an order, given its manifest and the descriptors that came along, which it closes. May raise
P2PComputeError where nothing can be run."""

_TOO_LARGE: Final = "the job needs more memory than the engine may use"


class Serving(Generic[_A]):
    """`abort` is of the present order; each order gets a fresh one."""

    def __init__(self, channel: ChildChannel, make_abort: Callable[[], _A]) -> None:
        self._channel = channel
        self._make_abort = make_abort
        self.abort = make_abort()
        self._proceed = threading.Semaphore(0)
        self._inbox: queue.SimpleQueue[tuple[jobs.Job | jobs.Blocks, list[int]]] = queue.SimpleQueue()

    def serve(self, work: Work) -> NoReturn:
        """The process ends with the channel."""
        threading.Thread(target=self._listen, daemon=True).start()
        while True:
            order, descriptors = self._inbox.get()
            try:
                done = work(order, decode_manifest(order.manifest), descriptors)
            except P2PComputeError as error:
                done = jobs.Done(JobStatus.REFUSED, 0, jobs.sentence(str(error)))
            except MemoryError:
                done = jobs.Done(JobStatus.REFUSED, 0, _TOO_LARGE)
            self._channel.send(jobs.encode(done))

    def say_started(self) -> None:
        self._channel.send(jobs.encode(jobs.Started()))

    def pause(self) -> int:
        """Let the parent read the state; how long that took, in nanoseconds."""
        begin_ns = time.perf_counter_ns()
        self._channel.send(jobs.encode(jobs.Stepped()))
        self._proceed.acquire()
        return time.perf_counter_ns() - begin_ns

    def hear(self, frame: bytes, descriptors: list[int]) -> None:
        """One message of the parent's. Raises msgspec.MsgspecError."""
        order = jobs.decode_order(frame)
        if isinstance(order, jobs.Job | jobs.Blocks):
            self.abort = self._make_abort()
            self._inbox.put((order, descriptors))
        elif isinstance(order, jobs.Proceed):
            self._proceed.release()
        elif isinstance(order, jobs.Ping):
            self._channel.send(jobs.encode(jobs.Beat()))
        else:
            self.abort.set()

    def _listen(self) -> None:
        try:
            while True:
                self.hear(*self._channel.receive())
        except ChannelClosedError:
            os._exit(0)
        finally:
            os._exit(1)
