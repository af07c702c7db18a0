"""The one device of a CUDA worker: opened, described, warmed, and whether its context still lives."""

from __future__ import annotations

import functools
from typing import Any, Final

from p2pcompute.compute import cuda_errors, jobs
from p2pcompute.compute.artifact import warm_text
from p2pcompute.compute.cuda_memory import Stage
from p2pcompute.compute.cuda_module import Modules
from p2pcompute.errors import DeviceError, PtxError
from p2pcompute.wire import limits

CAPABILITY_MIN: Final = 75
DRIVER_MIN: Final = 12040
"""Canonical PTX is `.version 8.4` and `.target sm_75`: CUDA 12.4, drivers from 550 on."""


def load_driver() -> Any:
    """pycuda.driver. Raises DeviceError where PyCUDA or the driver's library is missing."""
    try:
        import pycuda.driver
    except ImportError as error:
        raise DeviceError(
            f"PyCUDA cannot be loaded ({error}); it needs NVIDIA's driver and: pip install 'p2pcompute[gpu]'"
        ) from error
    return pycuda.driver


class Gpu:
    """`driver` is pycuda.driver. All of it belongs to the thread that made it."""

    def __init__(self, driver: Any) -> None:
        """Raises DeviceError when the device is missing, too old, or gives no context."""
        self.driver = driver
        try:
            driver.init()
            count = driver.Device.count()
            if count != 1:
                raise DeviceError(f"the driver shows {count} devices where it should show one; is its UUID right?")
            self._device = driver.Device(0)
            major, minor = self._device.compute_capability()
            self.capability = 10 * major + minor
            self._check()
            self._context = self._device.make_context(driver.ctx_flags.SCHED_BLOCKING_SYNC)
            self.modules = Modules(driver)
            self.stage = Stage(driver)
            self.stream = driver.Stream()
        except driver.Error as error:
            raise DeviceError(f"the GPU cannot be used: {cuda_errors.cause(error)}") from error

    def _check(self) -> None:
        known = self.driver.get_driver_version()
        if known < DRIVER_MIN:
            text = f"{known // 1000}.{known % 1000 // 10}"
            raise DeviceError(f"the driver knows CUDA {text}; canonical PTX needs 12.4, which drivers from 550 on know")
        if self.capability < CAPABILITY_MIN:
            raise DeviceError(f"the GPU has compute capability {self.capability / 10}; canonical PTX needs 7.5")

    def warm(self) -> jobs.Device:
        """Load what the driver loads at first use, and describe the device as it is then. Raises DeviceError."""
        try:
            function = self.modules.load(warm_text()).driver_module.get_function("warm")
            function._launch_kernel((1, 1, 1), (1, 1, 1), b"", 0, self.stream)
            self.stream.synchronize()
            free_bytes, memory_bytes = self.driver.mem_get_info()
            attributes = self.driver.device_attribute
            return jobs.Device(
                name=jobs.sentence(self._device.name()).encode()[: limits.LABEL_BYTES_MAX].decode(errors="ignore"),
                capability=self.capability,
                memory_bytes=memory_bytes,
                free_bytes=free_bytes,
                multiprocessors=self._device.get_attribute(attributes.MULTIPROCESSOR_COUNT),
                driver=self.driver.get_driver_version(),
                pci=self._device.pci_bus_id(),
                reaches_host=bool(self._device.get_attribute(attributes.PAGEABLE_MEMORY_ACCESS)),
            )
        except (self.driver.Error, PtxError) as error:
            raise DeviceError(f"the GPU runs no kernel: {error}") from error

    @functools.cached_property
    def shared_bytes_max(self) -> int:
        """Of one block, static and dynamic."""
        return int(self._device.get_attribute(self.driver.device_attribute.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN))

    def is_lost(self) -> bool:
        """Whether the context can do nothing any more: such errors stay."""
        try:
            self.driver.Context.synchronize()
        except self.driver.Error:
            return True
        return False
