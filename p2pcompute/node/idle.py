"""Sells this machine while its owner lets it: looks twice a second, and lets go within a second.

When the owner comes back the engines stop, in the middle of a job too, and the offer is withdrawn. What was at work
goes on if they leave again soon; after `patience_s` it is given up, and its memory is the owner's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

import trio

from p2pcompute.compute.nvml import Gpu, Nvml, Reading
from p2pcompute.errors import DeviceError, SandboxError
from p2pcompute.node.fleet import Fleet
from p2pcompute.node.sharing import Sample, Sharer
from p2pcompute.node.usage import Inputs, Processors

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # libp2p brings type stubs that hide trio.TaskStatus

LOOK_S: Final = 0.5
TEND_S: Final = 15.0
"""Between looks at devices in quarantine."""


class Pausable(Protocol):
    """What runs jobs and can be stopped: an engine. `quarantine`: why its device cannot be used; empty when it can."""

    @property
    def quarantine(self) -> str: ...
    async def start(self) -> None: ...

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    async def evict(self, why: str) -> None: ...


class Shop(Protocol):
    """Where the machine is sold. `close` is said again and again, with the reason of the moment."""

    def open(self) -> None: ...
    def close(self, why: str) -> None: ...


class Gauges:
    """What the machine does, for the sharer."""

    def __init__(self, fleet: Fleet, processors: Processors, inputs: Inputs, nvml: Nvml | None) -> None:
        self._fleet, self._processors, self._inputs, self._nvml = fleet, processors, inputs, nvml

    async def look(self) -> Sample:
        """In a thread: a driver that hangs must not hang the node."""
        return await trio.to_thread.run_sync(self._look, abandon_on_cancel=True)  # type: ignore[call-arg]  # old stubs

    def _look(self) -> Sample:
        workers, wall_s = self._fleet.workers, time.time()
        local = time.localtime(wall_s)
        readings = [] if self._nvml is None else [_reading(self._nvml, gpu) for gpu in self._fleet.gpus]
        return Sample(
            mono_ms=time.monotonic_ns() // 1_000_000,
            minute=60 * local.tm_hour + local.tm_min,
            cpu_percent=self._processors.others_percent(workers),
            gpu_percent=_most(others_percent(reading, workers) for reading in readings),
            strangers=_most(_strangers(reading, workers) for reading in readings),
            input_s=self._inputs.idle_s(wall_s),
            celsius=_most(reading.celsius for reading in readings),
            watts=_most(None if x.milliwatts is None else x.milliwatts // 1_000 for x in readings),
        )


def _reading(nvml: Nvml, gpu: Gpu) -> Reading:
    """Of a MIG instance, heat and power are those of the GPU that it is a part of."""
    own = nvml.reading(gpu.uuid)
    if not gpu.is_part:
        return own
    whole = nvml.reading(gpu.whole)
    return dataclasses.replace(own, celsius=whole.celsius, milliwatts=whole.milliwatts)


def others_percent(reading: Reading, own: Sequence[int]) -> int | None:
    """How much of a GPU processes other than these use. Where the driver does not tell them apart, and one of ours is
    there, nobody knows."""
    if reading.shares is not None:
        return sum(percent for pid, percent in reading.shares.items() if pid not in own)
    if reading.processes is not None and not reading.processes.isdisjoint(own):
        return None
    return reading.busy_percent


def _strangers(reading: Reading, own: Sequence[int]) -> int | None:
    return None if reading.processes is None else len(reading.processes.difference(own))


def _most(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


async def share(
    look: Callable[[], Awaitable[Sample]],
    sharer: Sharer,
    engines: Sequence[Pausable],
    shop: Shop,
    patience_s: float,
    *,
    task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Until cancelled; started once the first look decided. The engines are paused from the first moment on that they
    are not to run. A device that cannot be used closes the shop, if it is the last, and is tried again meanwhile."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_tend, engines)
        await nursery.start(lambda task_status: _share(look, sharer, engines, shop, patience_s, task_status))
        task_status.started()


async def _tend(engines: Sequence[Pausable]) -> None:
    """Try devices again; each says itself when it is time."""
    while True:
        await trio.sleep(TEND_S)
        for engine in engines:
            if engine.quarantine:
                with contextlib.suppress(DeviceError, SandboxError):
                    await engine.start()


async def _share(
    look: Callable[[], Awaitable[Sample]],
    sharer: Sharer,
    engines: Sequence[Pausable],
    shop: Shop,
    patience_s: float,
    task_status: TaskStatus[None],
) -> None:
    runs, is_open, is_told, evicted_at = False, False, False, trio.current_time() + patience_s
    for engine in engines:
        engine.pause()
    while True:
        word = sharer.look(await look())
        if word.share and not runs:
            for engine in engines:
                engine.resume()
        elif runs and not word.share:
            for engine in engines:
                engine.pause()
            evicted_at = trio.current_time() + patience_s
        runs = word.share
        if not runs and trio.current_time() >= evicted_at:
            for engine in engines:
                await engine.evict(f"the machine's owner uses it: {word.why}")
            evicted_at = float("inf")
        faults = [engine.quarantine for engine in engines]
        why = word.why or ("" if "" in faults else faults[0])
        if why:
            shop.close(why)
        elif not is_open:
            shop.open()
        is_open = not why
        if not is_told:
            task_status.started()
            is_told = True
        await trio.sleep(LOOK_S)
