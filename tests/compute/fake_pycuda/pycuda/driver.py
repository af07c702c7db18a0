"""`pycuda.driver` of the fake."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

from p2pcompute.errors import P2PComputeError
from pycuda import _arguments, _errors, _launch
from pycuda._device import DEVICE, Region, now_ms
from pycuda._enums import (
    ATTRIBUTES,
    compute_mode,
    ctx_flags,
    device_attribute,
    event_flags,
    func_cache,
    function_attribute,
    host_alloc_flags,
    jit_option,
    limit,
    mem_host_register_flags,
)
from pycuda._errors import Error, LaunchError, LogicError, MemoryError, RuntimeError
from pycuda._switches import SWITCHES

if not SWITCHES.libcuda:
    raise ImportError("libcuda.so.1: cannot open shared object file: No such file or directory")

__all__ = [
    "Context",
    "Device",
    "DeviceAllocation",
    "Error",
    "Event",
    "Function",
    "LaunchError",
    "LogicError",
    "MemoryError",
    "Module",
    "RuntimeError",
    "Stream",
    "compute_mode",
    "ctx_flags",
    "device_attribute",
    "event_flags",
    "from_device",
    "func_cache",
    "function_attribute",
    "get_driver_version",
    "get_version",
    "host_alloc_flags",
    "init",
    "jit_option",
    "limit",
    "mem_alloc",
    "mem_get_info",
    "mem_host_register_flags",
    "memcpy_dtod",
    "memcpy_dtod_async",
    "memcpy_dtoh",
    "memcpy_dtoh_async",
    "memcpy_htod",
    "memcpy_htod_async",
    "memset_d8",
    "memset_d8_async",
    "memset_d32",
    "memset_d32_async",
    "module_from_buffer",
    "pagelocked_empty",
    "pagelocked_zeros",
    "register_host_memory",
    "to_device",
]


def get_version() -> tuple[int, int, int]:
    """Of the headers that PyCUDA was built with."""
    return (12, 4, 0)


def get_driver_version() -> int:
    return SWITCHES.driver_version


def init(flags: int = 0) -> None:
    _errors.enter("cuInit")
    if _arguments.unsigned(flags):
        raise _errors.error("cuInit", _errors.INVALID_VALUE)
    if SWITCHES.devices == 0 or os.environ.get("CUDA_VISIBLE_DEVICES") in SWITCHES.missing:
        raise _errors.error("cuInit", _errors.NO_DEVICE)
    DEVICE.is_initialized = True


def _initialized(routine: str) -> None:
    _errors.enter(routine)
    if not DEVICE.is_initialized:
        raise _errors.error(routine, _errors.NOT_INITIALIZED)


class Device:
    def __init__(self, ordinal: int) -> None:
        _initialized("cuDeviceGet")
        if not 0 <= _arguments.signed(ordinal) < SWITCHES.devices:
            raise _errors.error("cuDeviceGet", _errors.INVALID_DEVICE)
        self._ordinal = ordinal

    @staticmethod
    def count() -> int:
        _initialized("cuDeviceGetCount")
        return SWITCHES.devices

    def name(self) -> str:
        return SWITCHES.name

    def pci_bus_id(self) -> str:
        return f"0000:{0x17 + self._ordinal:02X}:00.0"

    def compute_capability(self) -> tuple[int, int]:
        return SWITCHES.compute_capability

    def total_memory(self) -> int:
        return SWITCHES.total_bytes

    def get_attribute(self, attribute: device_attribute) -> int:
        _errors.enter("cuDeviceGetAttribute")
        name = device_attribute(_arguments.member(attribute, device_attribute)).name
        if name in SWITCHES.attributes:
            return SWITCHES.attributes[name]
        if name.startswith("COMPUTE_CAPABILITY_"):
            return SWITCHES.compute_capability[name.endswith("MINOR")]
        return ATTRIBUTES.get(name, 0)

    def get_attributes(self) -> dict[device_attribute, int]:
        return {attribute: self.get_attribute(attribute) for attribute in device_attribute}

    def __getattr__(self, name: str) -> int:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.get_attribute(getattr(device_attribute, name.upper()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self._ordinal == other._ordinal

    def __hash__(self) -> int:
        return self._ordinal

    def make_context(self, flags: int = 0) -> Context:
        """The new context is the current one of the calling thread."""
        _initialized("cuCtxCreate")
        _arguments.unsigned(flags)
        if DEVICE.sticky:
            raise _errors.error("cuCtxCreate", DEVICE.sticky)
        return Context(self, _is_made=True)


class Context:
    def __init__(self, device: Device, *, _is_made: bool = False) -> None:
        if not _is_made:
            raise TypeError("This class cannot be instantiated from Python")
        if SWITCHES.needs_file:
            Path(SWITCHES.needs_file).read_bytes()
        self._device = device
        self._is_valid = True
        self.handle = 0x5500_0000_0000 + id(self)
        DEVICE.start()
        DEVICE.contexts.append(self)
        DEVICE.owner = threading.get_ident()

    def push(self) -> None:
        _initialized("cuCtxPushCurrent")
        if not self._is_valid:
            raise _errors.error("context::push", _errors.INVALID_CONTEXT, "cannot push invalid context")
        DEVICE.contexts.append(self)
        DEVICE.owner = threading.get_ident()

    @staticmethod
    def pop() -> None:
        _errors.enter("cuCtxPopCurrent")
        if not DEVICE.contexts:
            raise _errors.error("context::pop", _errors.INVALID_CONTEXT, "cannot pop non-current context")
        DEVICE.contexts.pop()

    def detach(self) -> None:
        if not self._is_valid:
            raise _errors.error("context::detach", _errors.INVALID_CONTEXT, "cannot detach from invalid context")
        self._is_valid = False
        DEVICE.contexts[:] = [context for context in DEVICE.contexts if context is not self]

    @staticmethod
    def get_device() -> Device:
        DEVICE.check("cuCtxGetDevice")
        return DEVICE.contexts[-1]._device

    @staticmethod
    def get_current() -> Context | None:
        return DEVICE.contexts[-1] if DEVICE.contexts else None

    @staticmethod
    def synchronize() -> None:
        DEVICE.check("cuCtxSynchronize")
        DEVICE.drain("cuCtxSynchronize")

    @staticmethod
    def set_limit(which: limit, value: int) -> None:
        DEVICE.check("cuCtxSetLimit")
        _arguments.member(which, limit)
        _LIMITS[which] = _arguments.unsigned(value, 64)

    @staticmethod
    def get_limit(which: limit) -> int:
        DEVICE.check("cuCtxGetLimit")
        _arguments.member(which, limit)
        return _LIMITS[which]

    @staticmethod
    def set_cache_config(config: func_cache) -> None:
        DEVICE.check("cuCtxSetCacheConfig")
        _arguments.member(config, func_cache)


_LIMITS = {limit.STACK_SIZE: 1024, limit.PRINTF_FIFO_SIZE: 7340032, limit.MALLOC_HEAP_SIZE: 8388608}


class Stream:
    """All streams are one: what happens in order on all of them."""

    def __init__(self, flags: int = 0) -> None:
        DEVICE.check("cuStreamCreate")
        _arguments.unsigned(flags)
        self.handle = 0x5600_0000_0000 + id(self)

    def synchronize(self) -> None:
        DEVICE.check("cuStreamSynchronize")
        DEVICE.drain("cuStreamSynchronize")

    def is_done(self) -> bool:
        DEVICE.check("cuStreamQuery")
        return DEVICE.submit(lambda: None).wait(0.001)

    def wait_for_event(self, event: Event) -> None:
        DEVICE.check("cuStreamWaitEvent")
        _check_type(event, Event)


def _check_stream(stream: Any) -> None:
    if stream is not None:
        _check_type(stream, Stream)


def _check_type(value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"a {kind.__name__} is needed, not {type(value).__name__}")


class Event:
    def __init__(self, flags: int = 0) -> None:
        DEVICE.check("cuEventCreate")
        self._flags = _arguments.unsigned(flags)
        self._done: threading.Event | None = None
        self._at_ms = 0.0

    def record(self, stream: Stream | None = None) -> Event:
        DEVICE.check("cuEventRecord")
        _check_stream(stream)

        def mark() -> None:
            self._at_ms = now_ms()

        self._done = DEVICE.submit(mark)
        return self

    def synchronize(self) -> Event:
        DEVICE.check("cuEventSynchronize")
        if self._done is not None:
            self._done.wait()
            if DEVICE.sticky:
                raise _errors.error("cuEventSynchronize", DEVICE.sticky)
        return self

    def query(self) -> bool:
        DEVICE.check("cuEventQuery")
        return self._done is None or self._done.is_set()

    def time_since(self, start: Event) -> float:
        return start.time_till(self)

    def time_till(self, end: Event) -> float:
        """Milliseconds from this event to `end`."""
        DEVICE.check("cuEventElapsedTime")
        _check_type(end, Event)
        if self._done is None or end._done is None or (self._flags | end._flags) & event_flags.DISABLE_TIMING:
            raise _errors.error("cuEventElapsedTime", _errors.INVALID_HANDLE)
        if not (self._done.is_set() and end._done.is_set()):
            raise _errors.error("cuEventElapsedTime", _errors.NOT_READY)
        return end._at_ms - self._at_ms


class DeviceAllocation:
    def __init__(self, region: Region) -> None:
        self._region = region
        self._is_valid = True

    def __int__(self) -> int:
        return self._region.address

    __index__ = __int__

    def free(self) -> None:
        """Errors of the driver go to standard error, as in PyCUDA; freeing twice raises."""
        if not self._is_valid:
            raise _errors.error("device_allocation::free", _errors.INVALID_HANDLE)
        self._is_valid = False
        try:
            DEVICE.check("cuMemFree")
            DEVICE.drain("cuMemFree")
        except Error as error:
            _warn(str(error))
            return
        DEVICE.remove(self._region)
        if SWITCHES.needs_zeros and self._region.data.any():
            raise AssertionError("device memory was freed with a tenant's bytes in it")

    def __del__(self) -> None:
        if getattr(self, "_is_valid", False) and DEVICE.contexts:
            self.free()


def _warn(text: str) -> None:
    import sys

    print(f"PyCUDA WARNING: a clean-up operation failed (dead context maybe?)\n{text}", file=sys.stderr, flush=True)


def mem_alloc(size: int) -> DeviceAllocation:
    DEVICE.check("cuMemAlloc")
    size = _arguments.unsigned(size, 64)
    if size == 0:
        raise _errors.error("cuMemAlloc", _errors.INVALID_VALUE)
    if size > DEVICE.free_bytes:
        raise _errors.error("cuMemAlloc", _errors.OUT_OF_MEMORY)
    return DeviceAllocation(DEVICE.allocate(size))


def mem_get_info() -> tuple[int, int]:
    DEVICE.check("cuMemGetInfo")
    return DEVICE.free_bytes, SWITCHES.total_bytes


def _address(value: Any) -> int:
    """A device pointer: an allocation, even a freed one, or a plain integer."""
    if isinstance(value, DeviceAllocation):
        return int(value)
    return _arguments.unsigned(value, 64)


def memcpy_htod(dest: Any, src: Any) -> None:
    DEVICE.check("cuMemcpyHtoD")
    host = _arguments.host_bytes(src)
    DEVICE.drain("cuMemcpyHtoD")
    DEVICE.bytes_at("cuMemcpyHtoD", _address(dest), host.nbytes)[:] = host


def memcpy_dtoh(dest: Any, src: Any) -> None:
    DEVICE.check("cuMemcpyDtoH")
    host = _arguments.host_bytes(dest, writable=True)
    DEVICE.drain("cuMemcpyDtoH")
    host[:] = DEVICE.bytes_at("cuMemcpyDtoH", _address(src), host.nbytes)


def memcpy_dtod(dest: Any, src: Any, size: int) -> None:
    _dtod("cuMemcpyDtoD", dest, src, size, None)


def memcpy_htod_async(dest: Any, src: Any, stream: Stream | None = None) -> None:
    """The host's bytes are read when the device gets there: not before the caller waits for it, perhaps."""
    DEVICE.check("cuMemcpyHtoDAsync")
    host = _arguments.host_bytes(src)
    _check_stream(stream)
    _copy(DEVICE.bytes_at("cuMemcpyHtoDAsync", _address(dest), host.nbytes), host)


def memcpy_dtoh_async(dest: Any, src: Any, stream: Stream | None = None) -> None:
    DEVICE.check("cuMemcpyDtoHAsync")
    host = _arguments.host_bytes(dest, writable=True)
    _check_stream(stream)
    _copy(host, DEVICE.bytes_at("cuMemcpyDtoHAsync", _address(src), host.nbytes))


def memcpy_dtod_async(dest: Any, src: Any, size: int, stream: Stream | None = None) -> None:
    _dtod("cuMemcpyDtoDAsync", dest, src, size, stream)


def _dtod(routine: str, dest: Any, src: Any, size: int, stream: Stream | None) -> None:
    DEVICE.check(routine)
    size = _arguments.unsigned(size, 64)
    _check_stream(stream)
    target = DEVICE.bytes_at(routine, _address(dest), size)
    _copy(target, DEVICE.bytes_at(routine, _address(src), size))


def _copy(target: np.ndarray, source: np.ndarray) -> None:
    def copy() -> None:
        target[:] = source

    DEVICE.submit(copy)


def memset_d8(dest: Any, data: int, size: int) -> None:
    _memset("cuMemsetD8", np.dtype(np.uint8), dest, data, size, None)


def memset_d8_async(dest: Any, data: int, size: int, stream: Stream | None = None) -> None:
    _memset("cuMemsetD8Async", np.dtype(np.uint8), dest, data, size, stream)


def memset_d32(dest: Any, data: int, size: int) -> None:
    _memset("cuMemsetD32", np.dtype("<u4"), dest, data, size, None)


def memset_d32_async(dest: Any, data: int, size: int, stream: Stream | None = None) -> None:
    """`size` counts words of 32 bits."""
    _memset("cuMemsetD32Async", np.dtype("<u4"), dest, data, size, stream)


def _memset(routine: str, dtype: np.dtype, dest: Any, data: int, size: int, stream: Stream | None) -> None:
    DEVICE.check(routine)
    value = _arguments.unsigned(data, 8 * dtype.itemsize)
    size = _arguments.unsigned(size, 64)
    _check_stream(stream)
    address = _address(dest)
    if address % dtype.itemsize:
        raise _errors.error(routine, _errors.INVALID_VALUE)
    target = DEVICE.bytes_at(routine, address, size * dtype.itemsize).view(dtype)

    def fill() -> None:
        target[:] = value

    DEVICE.submit(fill)


def pagelocked_empty(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> np.ndarray:
    DEVICE.check("cuMemHostAlloc")
    _arguments.unsigned(mem_flags)
    if order != "C":
        raise NotImplementedError("the fake has page-locked arrays in C order only")
    size_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.full(size_bytes, 0xAB, np.uint8).view(dtype).reshape(shape)


def pagelocked_zeros(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> np.ndarray:
    array = pagelocked_empty(shape, dtype, order, mem_flags)
    array.fill(0)
    return array


def register_host_memory(ary: np.ndarray, flags: int = 0) -> np.ndarray:
    """The real one crashes the process with numpy 2: it sets the new array's base twice and returns with an error."""
    raise AssertionError("register_host_memory of PyCUDA 2026.1 does not survive numpy 2")


def to_device(bf_obj: Any) -> DeviceAllocation:
    data = memoryview(bf_obj).tobytes()
    result = mem_alloc(len(data))
    memcpy_htod(result, data)
    return result


def from_device(devptr: Any, shape: Any, dtype: Any, order: str = "C") -> np.ndarray:
    result = np.empty(shape, dtype, order)
    memcpy_dtoh(result, devptr)
    return result


def module_from_buffer(buffer: Any, options: Any = (), message_handler: Any = None) -> Module:
    """PTX text that ends in NUL. Reading on without one is what the driver does, so the fake is stricter."""
    DEVICE.check("cuModuleLoadDataEx")
    data = _arguments.host_bytes(buffer).tobytes()
    for key, value in options:
        _arguments.member(key, jit_option)
        _arguments.unsigned(value, 63)
    if b"\0" not in data:
        raise AssertionError("the PTX given to module_from_buffer does not end in a NUL byte")
    try:
        image = _launch.Image(data[: data.index(b"\0")].decode("ascii"))
    except (P2PComputeError, UnicodeDecodeError) as error:
        log = f"ptxas fatal   : {error}"
        if message_handler is not None:
            message_handler(False, "", log)
        raise _errors.error("cuModuleLoadDataEx", _errors.INVALID_PTX, log) from None
    if message_handler is not None:
        message_handler(True, "", "")
    return Module(image)


class Module:
    def __init__(self, image: _launch.Image) -> None:
        self._image = image

    def get_function(self, name: str) -> Function:
        DEVICE.check("cuModuleGetFunction")
        _check_type(name, str)
        if name not in self._image.module.entries:
            raise _errors.error("cuModuleGetFunction", _errors.NOT_FOUND)
        return Function(self, name)

    def get_global(self, name: str) -> tuple[int, int]:
        """Address and size of a `.global` or `.const` variable."""
        DEVICE.check("cuModuleGetGlobal")
        _check_type(name, str)
        variable = self._image.module.variables.get(name)
        if variable is None or variable.space not in self._image.spaces:
            raise _errors.error("cuModuleGetGlobal", _errors.NOT_FOUND)
        return self._image.spaces[variable.space].address + variable.offset_bytes, variable.size_bytes

    def __del__(self) -> None:
        if DEVICE.contexts and not DEVICE.sticky:
            DEVICE.submit(lambda: None).wait()
            self._image.unload()


class Function:
    def __init__(self, module: Module, name: str) -> None:
        self._module = module
        self._name = name
        self._entry = module._image.module.entries[name]
        self._dynamic_max = 49152 - self._entry.shared_bytes

    def get_attribute(self, attribute: function_attribute) -> int:
        DEVICE.check("cuFuncGetAttribute")
        _arguments.member(attribute, function_attribute)
        return {
            function_attribute.MAX_THREADS_PER_BLOCK: self._threads_max(),
            function_attribute.SHARED_SIZE_BYTES: self._entry.shared_bytes,
            function_attribute.LOCAL_SIZE_BYTES: self._entry.local_bytes,
            function_attribute.NUM_REGS: 32,
            function_attribute.PTX_VERSION: 75,
            function_attribute.BINARY_VERSION: 10 * SWITCHES.compute_capability[0] + SWITCHES.compute_capability[1],
            function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES: self._dynamic_max,
        }.get(attribute, 0)

    def set_attribute(self, attribute: function_attribute, value: int) -> None:
        DEVICE.check("cuFuncSetAttribute")
        _arguments.member(attribute, function_attribute)
        value = _arguments.signed(value)
        if attribute is function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES:
            if not 0 <= value <= ATTRIBUTES["MAX_SHARED_MEMORY_PER_BLOCK_OPTIN"] - self._entry.shared_bytes:
                raise _errors.error("cuFuncSetAttribute", _errors.INVALID_VALUE)
            self._dynamic_max = value
        elif attribute is not function_attribute.PREFERRED_SHARED_MEMORY_CARVEOUT:
            raise _errors.error("cuFuncSetAttribute", _errors.INVALID_VALUE)

    def __getattr__(self, name: str) -> int:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.get_attribute(getattr(function_attribute, name.upper()))

    def _threads_max(self) -> int:
        threads = 1
        for size in self._entry.tuning.get("maxntid", ()):
            threads *= size
        return min(1024, threads) if "maxntid" in self._entry.tuning else 1024

    def _launch_kernel(
        self, grid: tuple[int, ...], block: tuple[int, ...], parameters: Any, shared: int, stream: Stream | None
    ) -> None:
        """Put a launch in line. `parameters` holds the arguments as the kernel's `.param` space lays them out."""
        DEVICE.check("cuLaunchKernel")
        grid, block = _arguments.shape(grid), _arguments.shape(block)
        shared = _arguments.unsigned(shared)
        _check_stream(stream)
        packed = _arguments.host_bytes(parameters).tobytes()
        if not self._fits(grid, block) or shared > self._dynamic_max or len(packed) != self._entry.parameter_bytes:
            raise _errors.error("cuLaunchKernel", _errors.INVALID_VALUE)
        image, name = self._module._image, self._name
        DEVICE.submit(lambda: _launch.run(image, name, grid, block, packed, shared))

    def _fits(self, grid: tuple[int, int, int], block: tuple[int, int, int]) -> bool:
        sizes = all(1 <= size <= ATTRIBUTES[f"MAX_GRID_DIM_{axis}"] for size, axis in zip(grid, "XYZ"))
        sizes = sizes and all(1 <= size <= ATTRIBUTES[f"MAX_BLOCK_DIM_{axis}"] for size, axis in zip(block, "XYZ"))
        return sizes and block[0] * block[1] * block[2] <= self._threads_max()
