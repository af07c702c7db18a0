"""What a GPU uses, as NVML counts it: self-reported, so a figure for people, never a proof.

Source: NVML API reference, nvmlDeviceGetTotalEnergyConsumption (Volta and later: millijoules of the whole device since
the driver was loaded).
"""

from __future__ import annotations

import os
from typing import Any

from p2pcompute.compute.engine import Energy


def load_nvml() -> Any:
    """The NVML package, which a jailed process cannot import any more; None where it is not installed."""
    try:
        import pynvml
    except ImportError:
        return None
    return pynvml


class Meter:
    """Reads one device's counter. Where NVML or the counter is missing, it measures nothing."""

    def __init__(self, nvml: Any, pci: str, *, is_part: bool) -> None:
        """`nvml` is from `load_nvml`; `is_part`: a MIG instance, whose device others share."""
        self._is_part = is_part
        self._nvml: Any = None
        if nvml is None:
            return
        try:
            nvml.nvmlInit()
            self._device = nvml.nvmlDeviceGetHandleByPciBusId(pci.encode())
            nvml.nvmlDeviceGetTotalEnergyConsumption(self._device)
            self._nvml = nvml
        except nvml.NVMLError:
            return

    def read(self) -> tuple[int, bool] | None:
        """Millijoules so far, and whether another process has a context on the device; None where nothing tells."""
        if self._nvml is None:
            return None
        try:
            total_mj = int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._device))
            return total_mj, self._is_part or self._has_others()
        except self._nvml.NVMLError:
            return None

    def _has_others(self) -> bool:
        processes = [
            *self._nvml.nvmlDeviceGetComputeRunningProcesses(self._device),
            *self._nvml.nvmlDeviceGetGraphicsRunningProcesses(self._device),
        ]
        return any(process.pid != os.getpid() for process in processes)


def used(before: tuple[int, bool] | None, after: tuple[int, bool] | None) -> Energy | None:
    """Between two readings."""
    if before is None or after is None or after[0] < before[0]:
        return None
    return Energy(after[0] - before[0], before[1] or after[1])
