"""The fake PyCUDA is as strict as the real one: what it lets through has to be right, and what it refuses, wrong."""

from __future__ import annotations

import importlib
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.compute import fake_cuda

PTX = """.version 8.4
.target sm_75
.address_size 64
.visible .global .align 4 .b8 total[4];
.visible .entry set(.param .u64 set_param_0, .param .u32 set_param_1)
{
.reg .b32 %r<3>;
.reg .b64 %rd<4>;
ld.param.u64 %rd1, [set_param_0];
ld.param.u32 %r1, [set_param_1];
mov.u32 %r2, %tid.x;
mul.wide.u32 %rd2, %r2, 4;
add.s64 %rd3, %rd1, %rd2;
st.global.u32 [%rd3], %r1;
atom.global.add.u32 %r2, [total], 1;
ret;
}
"""
Make = Callable[..., Any]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """`make(**switches)` gives a driver module of its own."""

    def forget() -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "pycuda"]:
            del sys.modules[name]

    def made(**switches: Any) -> Any:
        monkeypatch.syspath_prepend(str(fake_cuda.install(tmp_path, **switches)))
        return importlib.import_module("pycuda.driver")

    forget()
    yield made
    forget()


@pytest.fixture
def driver(make: Make) -> Any:
    """With a current context."""
    found = make()
    found.init()
    found.Device(0).make_context()
    return found


def launch(driver: Any, address: int, value: int, threads: int = 32) -> None:
    module = driver.module_from_buffer(PTX.encode() + b"\0")
    function = module.get_function("set")
    function._launch_kernel((1, 1, 1), (threads, 1, 1), struct.pack("<QI", address, value), 0, None)


def read(driver: Any, address: int, words: int) -> list[int]:
    found = np.empty(words, np.uint32)
    driver.memcpy_dtoh(found, address)
    return found.tolist()


def test_memory_starts_as_garbage_and_a_launch_writes_where_its_argument_points(driver: Any) -> None:
    memory = driver.mem_alloc(256)
    launch(driver, int(memory) + 128, 7)
    assert read(driver, int(memory), 64) == [0xABABABAB] * 32 + [7] * 32


def test_variables_of_a_module_live_as_long_as_it_does(driver: Any) -> None:
    memory = driver.mem_alloc(128)
    module = driver.module_from_buffer(PTX.encode() + b"\0")
    address, size = module.get_global("total")
    for _ in range(2):
        parameters = struct.pack("<QI", int(memory), 1)
        module.get_function("set")._launch_kernel((1, 1, 1), (32, 1, 1), parameters, 0, None)
    assert (read(driver, address, 1), size) == ([64], 4)


def test_work_waits_for_what_was_asked_before_it(driver: Any) -> None:
    """A copy that goes on by itself reads the host's memory late, and the caller has to wait for it."""
    memory, host = driver.mem_alloc(4), np.array([1], np.uint32)
    driver.memset_d8_async(int(memory), 0, 4)
    driver.memcpy_htod_async(memory, host)
    driver.Context.synchronize()
    assert read(driver, int(memory), 1) == [1]


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        (lambda d, m: d.mem_alloc(0), "LogicError", "cuMemAlloc failed: invalid argument"),
        (lambda d, m: d.mem_alloc(1 << 40), "MemoryError", "cuMemAlloc failed: out of memory"),
        (lambda d, m: d.memcpy_htod(m, bytes(257)), "LogicError", "cuMemcpyHtoD failed: invalid argument"),
        (lambda d, m: d.memset_d8(int(m) + 1, 0, 256), "LogicError", "cuMemsetD8 failed: invalid argument"),
        (lambda d, m: launch(d, int(m), 1, threads=1025), "LogicError", "cuLaunchKernel failed: invalid argument"),
        (lambda d, m: d.Device(1), "LogicError", "cuDeviceGet failed: invalid device ordinal"),
        (lambda d, m: d.module_from_buffer(b"junk\0"), "LogicError", "a PTX JIT compilation failed"),
        (lambda d, m: (m.free(), m.free()), "LogicError", "free failed: invalid resource handle"),
        (lambda d, m: (m.free(), d.memset_d8(int(m), 0, 1)), "LogicError", "invalid argument"),
        (lambda d, m: (d.Context.pop(), d.mem_get_info()), "LogicError", "invalid device context"),
        (lambda d, m: d.Event().time_till(d.Event()), "LogicError", "invalid resource handle"),
    ],
)
def test_what_the_driver_refuses_has_its_error_and_its_words(
    driver: Any, wrong: Callable[[Any, Any], object], error: str, text: str
) -> None:
    memory = driver.mem_alloc(256)
    with pytest.raises(getattr(driver, error)) as caught:
        wrong(driver, memory)
    assert text in str(caught.value)
    assert isinstance(caught.value, driver.Error)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda d, m: d.mem_alloc(np.int64(4)),
        lambda d, m: d.memset_d8(m, 0.0, 4),
        lambda d, m: d.memcpy_htod(m, 5),
        lambda d, m: d.Device(0).get_attribute(10),
        lambda d, m: (
            d.module_from_buffer(PTX.encode() + b"\0").get_function("set")._launch_kernel([1], (1,), b"", 0, 0)
        ),
    ],
)
def test_what_boost_python_does_not_convert_is_a_type_error(driver: Any, wrong: Callable[[Any, Any], object]) -> None:
    memory = driver.mem_alloc(256)
    with pytest.raises(TypeError):
        wrong(driver, memory)


def test_a_store_out_of_bounds_is_told_by_whoever_waits_and_stays(driver: Any, capfd: Any) -> None:
    memory = driver.mem_alloc(128)
    launch(driver, int(memory) + 4, 1)
    for call in (driver.Context.synchronize, driver.mem_get_info, lambda: driver.mem_alloc(1)):
        with pytest.raises(driver.LogicError, match="an illegal memory access was encountered"):
            call()
    memory.free()
    assert "a clean-up operation failed" in capfd.readouterr().err


def test_a_device_that_is_not_there_is_said_by_init(make: Make) -> None:
    driver = make(devices=0)
    with pytest.raises(driver.RuntimeError, match="cuInit failed: no CUDA-capable device is detected"):
        driver.init()


def test_without_the_drivers_library_the_import_fails(make: Make) -> None:
    with pytest.raises(ImportError, match=r"libcuda\.so\.1"):
        make(libcuda=False)


def test_held_memory_is_not_free(make: Make) -> None:
    driver = make(total_bytes=1000, held_bytes=400)
    driver.init()
    driver.Device(0).make_context()
    memory = driver.mem_alloc(500)
    assert driver.mem_get_info() == (100, 1000)
    memory.free()
    assert driver.mem_get_info() == (600, 1000)


def test_freed_memory_must_be_zero_where_that_is_asked(make: Make) -> None:
    driver = make(needs_zeros=True)
    driver.init()
    driver.Device(0).make_context()
    clean, used = driver.mem_alloc(16), driver.mem_alloc(16)
    driver.memset_d8(clean, 0, 16)
    clean.free()
    with pytest.raises(AssertionError, match="a tenant's bytes"):
        used.free()


def test_a_routine_fails_as_asked(make: Make) -> None:
    driver = make(faults={"cuCtxCreate": 2})
    driver.init()
    with pytest.raises(driver.MemoryError, match="cuCtxCreate failed: out of memory"):
        driver.Device(0).make_context()
