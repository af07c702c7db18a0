"""What a provider does beside running jobs: its devices are measured and offered, while its owner lets them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypedDict

import trio

from p2pcompute.compute.cpu import CpuEngine
from p2pcompute.compute.cuda import CudaEngine
from p2pcompute.compute.measure import GPU, PROCESSORS, Speed, measure
from p2pcompute.compute.nvml import Nvml
from p2pcompute.compute.ptx import CANONICAL_VERSION
from p2pcompute.compute.source import toolchain_id
from p2pcompute.errors import DeviceError
from p2pcompute.node.fleet import Fleet
from p2pcompute.node.idle import Gauges, share
from p2pcompute.node.peer import Peer
from p2pcompute.node.sharing import Bounds, Sharer, parse_when
from p2pcompute.node.usage import Inputs, Processors

if TYPE_CHECKING:
    from trio_typing import TaskStatus  # libp2p brings type stubs that hide trio.TaskStatus


class Terms(TypedDict):
    """What Peer.offer takes beside the configuration."""

    engine: str
    numeric_class: str
    isolation: str
    model: str
    mflops: int
    mflops_f64: int
    copy_mb_s: int
    compute_capability: int
    toolchain: str
    memory_bytes: int
    slots: int


@contextlib.contextmanager
def open_nvml() -> Iterator[tuple[Nvml | None, DeviceError | None]]:
    """NVML, or None and why it cannot be had."""
    try:
        nvml = Nvml.open()
    except DeviceError as error:
        yield None, error
        return
    with nvml:
        yield nvml, None


async def appraise(fleet: Fleet) -> tuple[Terms, tuple[str, ...]]:
    """Start the devices and measure them, one after the other: the slowest counts, since an offer holds for each of its
    slots. A sentence for each GPU that does not start, which gives no slot. Raises DeviceError when none starts,
    SandboxError, KernelError."""
    if not fleet.gpus:
        return _terms(fleet.engines[0], await measure(fleet.engines[0], PROCESSORS), "", 0, len(fleet.engines)), ()
    started, speeds, passed = [], [], []
    for engine, gpu in zip(fleet.engines, fleet.gpus, strict=True):
        try:
            await engine.start()
        except DeviceError as error:
            passed.append(f"{gpu.name} {gpu.uuid}: {error}")
            continue
        started.append(engine)
        speeds.append(await measure(engine, GPU))
    if not started:
        raise DeviceError("; ".join(passed), "p2pcompute doctor tells more")
    memory_bytes = min(engine.memory_bytes_max for engine in started)
    return _terms(started[0], _slowest(speeds), fleet.gpus[0].name, memory_bytes, len(started)), tuple(passed)


def _slowest(speeds: list[Speed]) -> Speed:
    return Speed(
        min(speed.mflops_f32 for speed in speeds),
        min(speed.mflops_f64 for speed in speeds),
        min(speed.mbytes_per_s for speed in speeds),
    )


def _terms(engine: CpuEngine | CudaEngine, speed: Speed, model: str, memory_bytes: int, slots: int) -> Terms:
    return {
        "engine": engine.name,
        "numeric_class": engine.numeric_class,
        "isolation": engine.isolation,
        "model": model,
        "mflops": speed.mflops_f32,
        "mflops_f64": speed.mflops_f64,
        "copy_mb_s": speed.mbytes_per_s,
        "compute_capability": engine.compute_capability,
        "toolchain": toolchain_id(CANONICAL_VERSION),
        "memory_bytes": memory_bytes,
        "slots": slots,
    }


class Shop:
    """idle.Shop: the node's offer."""

    def __init__(self, peer: Peer, terms: Terms) -> None:
        self._peer, self._terms = peer, terms

    def open(self) -> None:
        """Publish the offer, at first or again."""
        if self._peer.core.provider.terms is None:
            self._peer.offer(**self._terms)
        self._peer.resume()

    def close(self, why: str) -> None:
        """Take it back, or leave it so, for this reason."""
        self._peer.pause(why)


async def sell(
    peer: Peer,
    fleet: Fleet,
    terms: Terms,
    nvml: Nvml | None,
    *,
    task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Offer what there is whenever the configuration says so, until cancelled; started once it is offered, or is not to
    be at present."""
    config = peer.config
    uuids = [gpu.uuid for gpu in fleet.gpus]
    with _limited_power(peer, nvml, uuids) as watts_max, contextlib.closing(Inputs()) as inputs:
        bounds = Bounds(
            cpu_percent=config.cpu_percent_max,
            gpu_percent=config.gpu_percent_max,
            idle_s=config.idle_s,
            resume_s=config.resume_s,
            celsius_max=config.celsius_max,
            watts_max=watts_max,
        )
        gauges = Gauges(fleet, Processors(), inputs, nvml)
        sharer = Sharer(parse_when(config.when), bounds)
        shop, patience_s = Shop(peer, terms), config.patience_s
        await share(gauges.look, sharer, fleet.engines, shop, patience_s, task_status=task_status)


@contextlib.contextmanager
def _limited_power(peer: Peer, nvml: Nvml | None, uuids: list[str]) -> Iterator[int]:
    """Have the driver keep GPUs to the watts configured, as before afterwards. Where it does not, the watts that are to
    be watched instead; else 0."""
    watts = peer.config.watts_max
    before = {uuid: nvml.power_limit_mw(uuid) for uuid in uuids} if nvml is not None and watts else {}
    refusals = [why for uuid in before if nvml is not None and (why := nvml.limit_power(uuid, 1_000 * watts))]
    peer.remarks += refusals
    try:
        yield 0 if before and not refusals else watts
    finally:
        for uuid, limit_mw in before.items():
            if nvml is not None and limit_mw:
                nvml.limit_power(uuid, limit_mw)
