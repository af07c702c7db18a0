"""What the CUDA engine is compared with: the same kernels in a plain program of the driver interface, in this process.

No worker, no jail, no manifest, no canonical PTX: NVRTC's machine code for this very device, device memory by hand,
launches in a row, time by events.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import dataclasses
import glob
import os
import struct
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from p2pcompute.compute import ptx, source
from p2pcompute.compute.nvrtc import OPTIONS
from p2pcompute.wire.manifest import Role
from tests.gpu import compiling, tasks
from tests.gpu.client import CUDA_ENVIRONMENT, Place
from tests.gpu.tasks import Array, Task

SAME_FLAGS: Final = (*(o for o in OPTIONS if "architecture" not in o), f"--pre-include={source.MATH_HEADER}")
DEFAULT_FLAGS: Final = ("--std=c++17", "-default-device")
"""The compiler's own: contraction, and NVIDIA's mathematical functions."""
_CUBLAS: Final = (
    "libcublas.so.13",
    "libcublas.so.12",
    "libcublas.so.11",
    "/usr/local/cuda*/lib64/libcublas.so.*",
    "/usr/local/cuda*/targets/*/lib/libcublas.so.*",
    "/usr/lib/*/libcublas.so.*",
    *(f"{folder}/nvidia/*/lib/libcublas.so.*" for folder in sys.path if folder),
)


class Program:
    """The context of this process. Close it with `close`."""

    def __init__(self, place: Place) -> None:
        for path in reversed(place.paths):
            if path not in sys.path:
                sys.path.insert(0, path)
        os.environ |= CUDA_ENVIRONMENT
        import pycuda.driver

        self.driver: Any = pycuda.driver
        self._has_machine_code = place.is_real
        self.driver.init()
        self.device = self.driver.Device(0)
        self._context = self.device.make_context()

    def close(self) -> None:
        self._context.pop()
        self._context.detach()

    def image(self, name: str, text: str, flags: tuple[str, ...]) -> bytes:
        """Machine code of this device's architecture; on a fake device NVRTC's PTX, as that runs nothing else."""
        if self._has_machine_code:
            major, minor = self.device.compute_capability()
            return compiling.machine_code(name, text, (f"--gpu-architecture=sm_{major}{minor}", *flags))
        return self.ptx_image(name, text, flags)

    def ptx_image(self, name: str, text: str, flags: tuple[str, ...]) -> bytes:
        """NVRTC's PTX as it is, for the driver's own compiler."""
        return compiling.plain_ptx(name, text, ("--gpu-architecture=compute_75", *flags)).encode() + b"\0"

    @contextmanager
    def loaded(self, task: Task, image: bytes) -> Iterator[Loaded]:
        """The task's buffers on the device and its kernel."""
        module = self.driver.module_from_buffer(image)
        allocations = {name: self.driver.mem_alloc(max(1, a.nbytes)) for name, a in task.buffers.items()}
        loaded = Loaded(self.driver, task, module, module.get_function(task.entry), allocations)
        if task.shared_bytes > 48 << 10:
            limit = self.driver.function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES
            loaded.function.set_attribute(limit, task.shared_bytes)
        try:
            yield loaded
        finally:
            for allocation in allocations.values():
                allocation.free()

    def copy_seconds(self, size_bytes: int, repeats: int) -> float:
        """Of one copy of so many bytes within the device."""
        one, other = (self.driver.mem_alloc(size_bytes) for _ in range(2))
        try:
            self.driver.memset_d8(int(one), 1, size_bytes)
            return self._seconds(lambda: self.driver.memcpy_dtod_async(other, one, size_bytes), repeats)
        finally:
            one.free()
            other.free()

    def sgemm_seconds(self, cublas: Cublas, n: int, repeats: int) -> float:
        """Of one product of n x n matrices by cuBLAS. Their numbers are random: equal ones take less power, and the
        clock rises."""
        numbers = np.random.default_rng(3).standard_normal((n, n), np.float32)
        matrices = [self.driver.mem_alloc(4 * n * n) for _ in range(3)]
        try:
            for matrix in matrices:
                self.driver.memcpy_htod(matrix, numbers)
            return self._seconds(lambda: cublas.sgemm(n, *map(int, matrices)), repeats)
        finally:
            for matrix in matrices:
                matrix.free()

    def _seconds(self, work: Any, repeats: int) -> float:
        return timed(self.driver, work, repeats)


def timed(driver: Any, work: Any, repeats: int) -> float:
    """Seconds of one of `repeats` in a row, by events, after one that does not count."""
    work()
    begin, end = driver.Event(), driver.Event()
    begin.record()
    for _ in range(repeats):
        work()
    end.record()
    end.synchronize()
    return float(begin.time_till(end)) / 1e3 / repeats


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A kernel, its function and its buffers. `module` must outlive the function."""

    driver: Any
    task: Task
    module: Any
    function: Any
    allocations: Mapping[str, Any]

    def fill(self) -> None:
        """Buffers as a job finds them."""
        for name, array in self.task.buffers.items():
            if array.nbytes == 0:
                continue
            if self.task.roles[name] in (Role.IN, Role.INOUT):
                self.driver.memcpy_htod(self.allocations[name], np.ascontiguousarray(array))
            else:
                self.driver.memset_d8(int(self.allocations[name]), 0, array.nbytes)

    def seconds(self, repeats: int) -> float:
        """Device time of one launch of `repeats`; the buffers are filled first."""
        self.fill()
        parameters = self.parameters()
        begin, end = self.driver.Event(), self.driver.Event()
        begin.record()
        for _ in range(repeats):
            self.function._launch_kernel(self.task.grid, self.task.block, parameters, self.task.shared_bytes, None)
        end.record()
        end.synchronize()
        return float(begin.time_till(end)) / 1e3 / repeats

    def parameters(self) -> bytes:
        """Laid out as the canonical PTX of the same kernel says."""
        entry = ptx.parse(self.task.ptx_text).entries[self.task.entry]
        values = [
            struct.pack("<Q", int(self.allocations[name])) if isinstance(value, np.ndarray) else value.tobytes()
            for name, value in self.task.given.items()
        ]
        return ptx.pack_parameters(entry, values)

    def outputs(self) -> dict[str, Array]:
        found = {}
        for name, role in self.task.roles.items():
            if role in (Role.OUT, Role.INOUT):
                found[name] = np.empty_like(self.task.given[name])
                self.driver.memcpy_dtoh(found[name], self.allocations[name])
        return found


class Cublas:
    """cuBLAS of this machine, if it has one. Its handle belongs to the context that is current."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._handle = ctypes.c_void_p()
        self._must(library.cublasCreate_v2(ctypes.byref(self._handle)))
        self._one = ctypes.c_float(1.0)

    def sgemm(self, n: int, a: int, b: int, c: int) -> None:
        """c = a b, by columns as cuBLAS has it; in full single precision."""
        one, pointers = ctypes.byref(self._one), [ctypes.c_void_p(p) for p in (a, b, c)]
        a_, b_, c_ = pointers
        self._must(self._library.cublasSgemm_v2(self._handle, 0, 0, n, n, n, one, a_, n, b_, n, one, c_, n))

    @staticmethod
    def _must(status: int) -> None:
        if status:
            raise RuntimeError(f"cuBLAS fails with status {status}")


def find_cublas() -> ctypes.CDLL | None:
    """The library, loaded, or None where the machine has none."""
    for pattern in _CUBLAS:
        for path in sorted(glob.glob(pattern), key=lambda p: len(Path(p).name)) if "/" in pattern else [pattern]:
            try:
                return ctypes.CDLL(path)
            except OSError:
                continue
    return None


def main(names: list[str]) -> None:
    """The canonical PTX of these kernels, each launched once on its data: something for NVIDIA's tools to look at."""
    program = Program(Place("gpu"))
    for name in names:
        task = tasks.load(name)
        with program.loaded(task, task.ptx_text.encode() + b"\0") as loaded:
            loaded.seconds(1)
            difference = task.difference(loaded.outputs(), tasks.on_cpu(task))
            assert not difference, f"{name}: {difference}"
    program.close()


if __name__ == "__main__":
    main(sys.argv[1:])
