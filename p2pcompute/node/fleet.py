"""Which devices of this machine a node sells: one class of them, each with an engine.

A node sells one class, since everything in an offer holds for each of its slots. Unlike GPUs, or GPUs and processors,
are sold by one node each, on homes of their own.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Sequence
from typing import Final

from p2pcompute.compute.cpu import CpuEngine
from p2pcompute.compute.cuda import CudaEngine
from p2pcompute.compute.cuda_device import CAPABILITY_MIN
from p2pcompute.compute.nvml import INSTALL_PACKAGES, Gpu, Nvml
from p2pcompute.errors import DeviceError
from p2pcompute.node.config import Config

AUTO: Final = "auto"
HEADROOM: Final = 16
"""One part in so many of a GPU's memory is for its context and what kernels keep in local memory."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fleet:
    """`engines` run jobs; `gpus` are their devices, in the same order, none for processors. `passed` says what is not
    sold, and why."""

    engines: tuple[CpuEngine | CudaEngine, ...]
    gpus: tuple[Gpu, ...] = ()
    passed: tuple[str, ...] = ()

    @property
    def workers(self) -> list[int]:
        """Process ids of those that run."""
        return [engine.worker_pid for engine in self.engines if engine.worker_pid is not None]


def muster(config: Config, nvml: Nvml | None, missing: DeviceError | None = None) -> Fleet:
    """The engines that the configuration asks for. `nvml` is None where it cannot be opened, for the reason `missing`.
    Raises DeviceError when GPUs are asked for and there are none to use."""
    if config.engine == CpuEngine.name:
        return _processors(config)
    try:
        if nvml is None:
            raise missing or DeviceError("there is no NVML")
        if importlib.util.find_spec("pycuda") is None:
            raise DeviceError("the package pycuda is missing", INSTALL_PACKAGES)
        gpus, passed = choose(nvml.gpus(), config.gpus)
    except DeviceError as error:
        if config.engine == AUTO and not config.gpus:
            return dataclasses.replace(_processors(config), passed=(f"no GPU: {error}",))
        raise
    engines = [
        CudaEngine(gpu.uuid, memory_bytes_max=min(config.memory_bytes, gpu.memory_bytes - gpu.memory_bytes // HEADROOM))
        for gpu in gpus
    ]
    return Fleet(tuple(engines), gpus, passed)


def choose(found: Sequence[Gpu], wanted: Sequence[str]) -> tuple[tuple[Gpu, ...], tuple[str, ...]]:
    """The largest class of like GPUs (of equals, the one with the most memory), and a sentence for each other one.
    `wanted`: UUIDs to choose among; empty: all. Raises DeviceError when none can be used, and for one that is wanted
    and is not there, cannot be used, or is unlike the others."""
    known = {gpu.uuid: gpu for gpu in found}
    for uuid in wanted:
        if uuid not in known:
            raise DeviceError(f"there is no GPU {uuid[:96]}; nvidia-smi -L shows which there are")
    named = [known[uuid] for uuid in dict.fromkeys(wanted)] or list(found)
    old = {gpu.uuid: _too_old(gpu) for gpu in named if gpu.compute_capability < CAPABILITY_MIN}
    if old and (wanted or len(old) == len(named)):
        raise DeviceError("; ".join(old.values()))
    classes: dict[tuple[str, int, int], list[Gpu]] = {}
    for gpu in named:
        if gpu.uuid not in old:
            classes.setdefault((gpu.name, gpu.compute_capability, gpu.memory_bytes), []).append(gpu)
    if wanted and len(classes) > 1:
        raise DeviceError("the GPUs that are named are unlike; a node sells one class, run one for each")
    best = max(classes.values(), key=lambda gpus: (len(gpus), gpus[0].memory_bytes))
    unlike = {gpu.uuid: f"{gpu.name} {gpu.uuid}: unlike" for gpu in named if gpu not in best}
    return tuple(best), tuple((unlike | old).values())


def _too_old(gpu: Gpu) -> str:
    level, least = gpu.compute_capability / 10, CAPABILITY_MIN / 10
    return f"{gpu.name} {gpu.uuid}: compute capability {level}, and {least} is needed"


def _processors(config: Config) -> Fleet:
    threads = max(1, config.threads // config.slots)
    return Fleet(tuple(CpuEngine(threads=threads, memory_bytes_max=config.memory_bytes) for _ in range(config.slots)))
