"""The least of OpenCL 1.2 that runs one kernel on PoCL, Debian's OpenCL for CPUs, through ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from ctypes import byref, c_char_p, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LIBRARY: Final = "libOpenCL.so.1"
PLATFORM: Final = b"Portable Computing Language"
FLAGS: Final = b"-cl-std=CL1.2 -cl-fp32-correctly-rounded-divide-sqrt"
PRELUDE: Final = b"#pragma OPENCL FP_CONTRACT OFF\n#pragma OPENCL EXTENSION cl_khr_fp64 : enable\n"
"""Every product and sum is rounded by itself, as in canonical PTX."""
NAME_BYTES_MAX: Final = 256
LOG_BYTES_MAX: Final = 1 << 16

# cl.h
DEVICE_TYPE_CPU: Final = 1 << 1
PLATFORM_NAME: Final = 0x0902
MEM_READ_WRITE: Final = 1 << 0
MEM_COPY_HOST_PTR: Final = 1 << 5
PROGRAM_BUILD_LOG: Final = 0x1183
TRUE: Final = 1
MADE: Final = {
    "clCreateContext": [c_void_p, c_uint32, c_void_p, c_void_p, c_void_p, c_void_p],
    "clCreateCommandQueue": [c_void_p, c_void_p, c_uint64, c_void_p],
    "clCreateProgramWithSource": [c_void_p, c_uint32, c_void_p, c_void_p, c_void_p],
    "clCreateKernel": [c_void_p, c_char_p, c_void_p],
    "clCreateBuffer": [c_void_p, c_uint64, c_size_t, c_void_p, c_void_p],
}
"""Functions that return a handle and write the error to their last argument."""
DONE: Final = {
    "clGetPlatformIDs": [c_uint32, c_void_p, c_void_p],
    "clGetPlatformInfo": [c_void_p, c_uint32, c_size_t, c_void_p, c_void_p],
    "clGetDeviceIDs": [c_void_p, c_uint64, c_uint32, c_void_p, c_void_p],
    "clBuildProgram": [c_void_p, c_uint32, c_void_p, c_char_p, c_void_p, c_void_p],
    "clGetProgramBuildInfo": [c_void_p, c_void_p, c_uint32, c_size_t, c_void_p, c_void_p],
    "clSetKernelArg": [c_void_p, c_uint32, c_size_t, c_void_p],
    "clEnqueueNDRangeKernel": [c_void_p, c_void_p, c_uint32, *[c_void_p] * 3, c_uint32, c_void_p, c_void_p],
    "clEnqueueReadBuffer": [c_void_p, c_void_p, c_uint32, c_size_t, c_size_t, c_void_p, c_uint32, c_void_p, c_void_p],
    "clFinish": [c_void_p],
}
"""Functions that return an error."""


class OpenClError(Exception):
    """A call failed, or there is no PoCL."""


class Pocl:
    """PoCL's CPU. Raises OpenClError where there is none."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise OpenClError(f"{LIBRARY} cannot be loaded") from error
        for name, types in (MADE | DONE).items():
            function = getattr(self._library, name)
            function.argtypes, function.restype = types, c_void_p if name in MADE else c_int32
        self._device = c_void_p()
        self._do("clGetDeviceIDs", self._platform(), DEVICE_TYPE_CPU, 1, byref(self._device), None)
        self._context = self._make("clCreateContext", None, 1, byref(self._device), None, None)
        self._queue = self._make("clCreateCommandQueue", self._context, self._device, 0)

    def kernel(
        self, source: bytes, name: str, grid: Sequence[int], block: Sequence[int], arguments: Sequence[Any]
    ) -> tuple[Callable[[], None], Callable[[int], NDArray[Any]]]:
        """A function that runs the kernel to its end, and one that gives what argument NUMBER holds now. Arrays are
        copied into buffers, once.
        """
        kernel = self._make("clCreateKernel", self._program(source), name.encode())
        buffers: dict[int, c_void_p] = {}
        for number, argument in enumerate(arguments):
            if isinstance(argument, np.ndarray):
                flags, where = MEM_READ_WRITE | MEM_COPY_HOST_PTR, argument.ctypes.data
                buffers[number] = self._make("clCreateBuffer", self._context, flags, argument.nbytes, where)
                self._do("clSetKernelArg", kernel, number, 8, byref(buffers[number]))
            else:
                value = argument.tobytes()
                self._do("clSetKernelArg", kernel, number, len(value), value)
        local = (c_size_t * len(block))(*block)
        whole = (c_size_t * len(block))(*(groups * items for groups, items in zip(grid, block, strict=True)))

        def run() -> None:
            self._do("clEnqueueNDRangeKernel", self._queue, kernel, len(block), None, whole, local, 0, None, None)
            self._do("clFinish", self._queue)

        def read(number: int) -> NDArray[Any]:
            out: NDArray[Any] = np.empty_like(arguments[number])
            where = out.ctypes.data
            self._do("clEnqueueReadBuffer", self._queue, buffers[number], TRUE, 0, out.nbytes, where, 0, None, None)
            return out

        return run, read

    def _platform(self) -> c_void_p:
        count = c_uint32()
        self._library.clGetPlatformIDs(0, None, byref(count))  # an error where there are none
        platforms = (c_void_p * count.value)()
        if count.value:
            self._do("clGetPlatformIDs", count, platforms, None)
        for platform in platforms:
            name = ctypes.create_string_buffer(NAME_BYTES_MAX)
            self._do("clGetPlatformInfo", platform, PLATFORM_NAME, NAME_BYTES_MAX, name, None)
            if name.value == PLATFORM:
                return c_void_p(platform)
        raise OpenClError("there is no PoCL among the OpenCL platforms")

    def _program(self, source: bytes) -> c_void_p:
        text = c_char_p(PRELUDE + source)
        program = self._make("clCreateProgramWithSource", self._context, 1, byref(text), None)
        if self._library.clBuildProgram(program, 1, byref(self._device), FLAGS, None, None):
            log = ctypes.create_string_buffer(LOG_BYTES_MAX)
            self._do("clGetProgramBuildInfo", program, self._device, PROGRAM_BUILD_LOG, LOG_BYTES_MAX, log, None)
            raise OpenClError(log.value.decode(errors="replace"))
        return program

    def _do(self, name: str, *arguments: Any) -> None:
        error = getattr(self._library, name)(*arguments)
        if error:
            raise OpenClError(f"{name} failed with {error}")

    def _make(self, name: str, *arguments: Any) -> c_void_p:
        error = c_int32()
        made = getattr(self._library, name)(*arguments, byref(error))
        if error.value:
            raise OpenClError(f"{name} failed with {error.value}")
        return c_void_p(made)
