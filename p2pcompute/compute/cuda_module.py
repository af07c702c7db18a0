"""Canonical PTX on a GPU: the driver's compiler, the loaded module, and what launches need of its functions."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any, Final

from blake3 import blake3

from p2pcompute.compute import cuda_errors, ptx
from p2pcompute.compute.artifact import find_entry, load_artifact
from p2pcompute.errors import PtxError, UsageError
from p2pcompute.wire import limits
from p2pcompute.wire.manifest import Launch

SHARED_BYTES_DEFAULT: Final = 48 * limits.KIB
"""More shared memory than this, static and dynamic, a kernel gets only when asked for (CUDA C++ Programming Guide)."""
_LOG_CHARACTERS_MAX: Final = 400


@dataclasses.dataclass(frozen=True, slots=True)
class Loaded:
    """A module in the context, and what the PTX says of it."""

    module: ptx.Module
    driver_module: Any


class Modules:
    """Keeps the module of one PTX at most, for a next job with the same (docs/spec/engines.md, 4.3). One with variables
    is compiled again for it, so that they are as declared; any other PTX unloads it first, so that no job meets the
    code of another."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._key = b""
        self._module: ptx.Module | None = None
        self._driver_module: Any = None

    def load(self, text: bytes) -> Loaded:
        """Raises PtxError for anything but canonical PTX that the driver compiles too."""
        key = blake3(text).digest()
        if key != self._key or self._module is None:
            self._module = self._driver_module = None
            self._module, self._key = load_artifact(text), key
        driver_module = self._driver_module if self._driver_module is not None else self._compiled(text)
        self._driver_module = None if _keeps_state(self._module) else driver_module
        return Loaded(self._module, driver_module)

    def _compiled(self, text: bytes) -> Any:
        """Python stands still meanwhile: PyCUDA keeps its lock."""
        errors: list[str] = []

        def hear(ok: bool, information: str, error: str) -> None:
            errors.append(error)

        try:
            return self._driver.module_from_buffer(text + b"\0", message_handler=hear)
        except self._driver.Error as error:
            words = " ".join(errors)[:_LOG_CHARACTERS_MAX]
            raise PtxError(f"the driver's compiler refuses the PTX: {cuda_errors.cause(error)} {words}") from error


def _keeps_state(module: ptx.Module) -> bool:
    """Whether a job can leave something in it for the next."""
    return any(variable.space in ("global", "const") for variable in module.variables.values())


def functions(driver: Any, loaded: Loaded, launches: Sequence[Launch], shared_bytes_max: int) -> list[Any]:
    """The driver's function of each launch, allowed the shared memory it needs. Raises PtxError for an unknown entry,
    UsageError, naming the launch, where the device has too little."""
    found: dict[str, Any] = {}
    dynamic: collections.Counter[str] = collections.Counter()
    for number, launch in enumerate(launches):
        find_entry(loaded.module, launch.entry)
        if launch.entry not in found:
            found[launch.entry] = loaded.driver_module.get_function(launch.entry)
        static = found[launch.entry].get_attribute(driver.function_attribute.SHARED_SIZE_BYTES)
        needed = static + launch.shared_bytes
        if needed > shared_bytes_max:
            raise UsageError(
                f"launch {number}: a block needs {needed} bytes of shared memory; this device gives {shared_bytes_max}"
            )
        if needed > SHARED_BYTES_DEFAULT:
            dynamic[launch.entry] = max(dynamic[launch.entry], launch.shared_bytes)
    for entry, size_bytes in dynamic.items():
        found[entry].set_attribute(driver.function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES, size_bytes)
    return [found[launch.entry] for launch in launches]
