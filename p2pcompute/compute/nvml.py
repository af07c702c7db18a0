"""What NVIDIA's management library says of this machine's GPUs: which there are, what they do, heat, power, energy.

    with Nvml.open() as nvml:
        for gpu in nvml.gpus(): print(gpu.name, nvml.reading(gpu.uuid).celsius)

NVML needs no CUDA context and no toolkit, only the driver; its numbers are what the driver states, which is no proof.
Facts of the API: NVIDIA, NVML API Reference Guide.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final, TypeVar

from p2pcompute.errors import DeviceError

GPUS_MAX: Final = 64
"""Devices looked at; MIG instances count as devices."""
PROCESSES_MAX: Final = 4_096
DRIVER_MIN: Final = 550
"""The first that knows CUDA 12.4, whose PTX the engines load."""
INSTALL_DRIVER: Final = "sudo ubuntu-drivers install, then restart the machine (docs/gpu.md: other systems)"
INSTALL_PACKAGES: Final = f"{sys.executable} -m pip install 'p2pcompute[gpu]' (docs/gpu.md: what building PyCUDA needs)"
_MIG_ENABLED: Final = 1
_CELSIUS_SENSOR: Final = 0  # NVML_TEMPERATURE_GPU

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True, slots=True)
class Gpu:
    """One device that can be used on its own. `compute_capability` times ten; `whole` is the UUID of the GPU that a MIG
    instance is a part of, its own UUID otherwise."""

    uuid: str
    name: str
    memory_bytes: int
    compute_capability: int
    whole: str

    @property
    def is_part(self) -> bool:
        """Whether it is a MIG instance."""
        return self.uuid != self.whole


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """What a GPU does now. None where the driver does not say. `processes`: those with a compute context, by process
    id; `busy_percent`: of the last moments, how much of the time any kernel ran; `shares`: the same by process."""

    busy_percent: int | None
    processes: frozenset[int] | None
    shares: dict[int, int] | None
    celsius: int | None
    milliwatts: int | None


class Nvml:
    """An open library. Calls are quick (below a millisecond) and never raise for what one device does not support."""

    def __init__(self, library: ModuleType) -> None:
        self._library: Any = library

    @classmethod
    def open(cls) -> Nvml:
        """Raises DeviceError, whose text says what is missing and the command that mends it."""
        try:
            library = importlib.import_module("pynvml")
        except ImportError:
            raise DeviceError("the package nvidia-ml-py is missing", INSTALL_PACKAGES) from None
        try:
            library.nvmlInit()
        except library.NVMLError as error:
            raise _cannot_open(library, error) from None
        return cls(library)

    def __enter__(self) -> Nvml:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._ask(self._library.nvmlShutdown)

    def driver(self) -> str:
        """The driver's version, like `550.54.15`."""
        return self._ask(self._library.nvmlSystemGetDriverVersion) or "unknown"

    def gpus(self) -> list[Gpu]:
        """Every device, in NVML's order (that of the PCI bus): of a GPU that is split, its MIG instances. Raises
        DeviceError when there is none."""
        found: list[Gpu] = []
        for index in range(min(GPUS_MAX, self._ask(self._library.nvmlDeviceGetCount) or 0)):
            handle = self._ask(self._library.nvmlDeviceGetHandleByIndex, index)
            if handle is not None:
                found += self._devices_of(handle)
        if not found:
            raise DeviceError(
                "the driver sees no GPU that this process may use", "see nvidia-smi -L, ls -l /dev/nvidia*"
            )
        return found[:GPUS_MAX]

    def reading(self, uuid: str) -> Reading:
        """All None when the device is gone."""
        ask, library = self._ask, self._library
        handle = self._handle(uuid)
        if handle is None:
            return Reading(None, None, None, None, None)
        rates = ask(library.nvmlDeviceGetUtilizationRates, handle)
        running = ask(library.nvmlDeviceGetComputeRunningProcesses, handle)
        samples = ask(library.nvmlDeviceGetProcessUtilization, handle, 0)
        shares: dict[int, int] | None = None
        if samples is not None:
            newest: dict[int, tuple[int, int]] = {}
            for sample in samples[:PROCESSES_MAX]:
                newest[sample.pid] = max(newest.get(sample.pid, (0, 0)), (sample.timeStamp, sample.smUtil))
            shares = {pid: percent for pid, (_, percent) in newest.items()}
        return Reading(
            busy_percent=None if rates is None else int(rates.gpu),
            processes=None if running is None else frozenset(int(one.pid) for one in running[:PROCESSES_MAX]),
            shares=shares,
            celsius=ask(library.nvmlDeviceGetTemperature, handle, _CELSIUS_SENSOR),
            milliwatts=ask(library.nvmlDeviceGetPowerUsage, handle),
        )

    def energy_mj(self, uuid: str) -> int | None:
        """Millijoules that the whole device used since the driver was loaded; None before Volta, and for MIG
        instances, whose GPU is shared."""
        handle = self._handle(uuid)
        return None if handle is None else self._ask(self._library.nvmlDeviceGetTotalEnergyConsumption, handle)

    def free_bytes(self, uuid: str) -> int | None:
        """Device memory that nobody has."""
        handle = self._handle(uuid)
        memory = None if handle is None else self._ask(self._library.nvmlDeviceGetMemoryInfo, handle)
        return None if memory is None else int(memory.free)

    def power_limit_mw(self, uuid: str) -> int | None:
        """How much the GPU may draw, in milliwatts."""
        handle = self._handle(uuid)
        return None if handle is None else self._ask(self._library.nvmlDeviceGetEnforcedPowerLimit, handle)

    def limit_power(self, uuid: str, milliwatts: int) -> str:
        """Have the GPU draw no more than that, where its range allows; why not, or empty. Needs to be root."""
        handle = self._handle(uuid)
        if handle is None:
            return f"there is no GPU {uuid}"
        bounds = self._ask(self._library.nvmlDeviceGetPowerManagementLimitConstraints, handle)
        if bounds is None:
            return "the driver sets no power limit on this GPU"
        wanted = min(max(milliwatts, bounds[0]), bounds[1])
        try:
            self._library.nvmlDeviceSetPowerManagementLimit(handle, wanted)
        except self._library.NVMLError as error:
            return f"the driver refuses a power limit: {error}; as root: nvidia-smi -i {uuid} -pl {wanted // 1_000}"
        return ""

    def _handle(self, uuid: str) -> Any:
        return self._ask(self._library.nvmlDeviceGetHandleByUUID, uuid)

    def _devices_of(self, handle: object) -> list[Gpu]:
        library = self._library
        whole = self._device(handle, None)
        mode = self._ask(library.nvmlDeviceGetMigMode, handle)
        if whole is None or mode is None or mode[0] != _MIG_ENABLED:
            return [] if whole is None else [whole]
        parts = []
        for index in range(min(GPUS_MAX, self._ask(library.nvmlDeviceGetMaxMigDeviceCount, handle) or 0)):
            part = self._ask(library.nvmlDeviceGetMigDeviceHandleByIndex, handle, index)
            device = None if part is None else self._device(part, whole)
            if device is not None:
                parts.append(device)
        return parts

    def _device(self, handle: object, whole: Gpu | None) -> Gpu | None:
        library = self._library
        uuid, memory = self._ask(library.nvmlDeviceGetUUID, handle), self._ask(library.nvmlDeviceGetMemoryInfo, handle)
        capability = self._ask(library.nvmlDeviceGetCudaComputeCapability, handle)
        if uuid is None or memory is None or (capability is None and whole is None):
            return None
        name = self._ask(library.nvmlDeviceGetName, handle) or (whole.name if whole else "unknown")
        if capability is not None:
            level = 10 * capability[0] + capability[1]
        else:  # the driver tells it of whole GPUs only
            level = whole.compute_capability if whole else 0
        return Gpu(uuid, name[:64], int(memory.total), level, whole.uuid if whole else uuid)

    def _ask(self, call: Callable[..., Any], *arguments: object) -> Any:
        """What the library answers; None for whatever it cannot say."""
        try:
            return call(*arguments)
        except self._library.NVMLError:
            return None


def _cannot_open(library: Any, error: Exception) -> DeviceError:
    kinds = {
        library.NVML_ERROR_LIBRARY_NOT_FOUND: DeviceError(
            "NVIDIA's driver is not installed (no libnvidia-ml.so.1)", INSTALL_DRIVER
        ),
        library.NVML_ERROR_DRIVER_NOT_LOADED: DeviceError("NVIDIA's driver is not loaded", "sudo modprobe nvidia"),
        library.NVML_ERROR_LIB_RM_VERSION_MISMATCH: DeviceError(
            "NVIDIA's driver was updated and the old one still runs", "restart the machine"
        ),
        library.NVML_ERROR_NO_PERMISSION: DeviceError(
            "this user may not use the GPU (see ls -l /dev/nvidia*)",
            "sudo usermod -aG video,render $USER, then log in again",
        ),
    }
    unknown = DeviceError(f"NVIDIA's management library does not start: {error}", "nvidia-smi may tell more")
    return kinds.get(getattr(error, "value", None), unknown)
