"""What another library has done to the thread's floating-point environment changes no bit, and is there afterwards."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import numpy as np
import pytest

from tests.compute.ptx.running import body_kernel, run

LIBM = ctypes.CDLL(None)
MXCSR = slice(28, 32)
"""Of glibc's fenv_t on x86-64."""
UPWARD, DENORMALS_ARE_ZERO = 0x5F80, 0x9FC0
BODY = """ld.global.f32 %a, [%in0]; ld.global.f32 %b, [%in0+4]; add.f32 %c, %a, %b; st.global.f32 [%in1], %c;
ld.global.f32 %a, [%in0+8]; mul.f32 %c, %a, %b; st.global.f32 [%in1+4], %c;
ld.global.f32 %b, [%in0+12]; add.f32 %c, %a, %b; st.global.f32 [%in1+8], %c;"""


@pytest.fixture
def environment() -> Iterator[ctypes.Array[ctypes.c_char]]:
    """The thread's own, which is set again."""
    own = ctypes.create_string_buffer(64)
    LIBM.fegetenv(own)
    yield own
    LIBM.fesetenv(own)


@pytest.mark.parametrize("mxcsr", [UPWARD, DENORMALS_ARE_ZERO])
@pytest.mark.parametrize("threads", [1, 2])
def test_kernels_run_in_the_default_environment(
    environment: ctypes.Array[ctypes.c_char], mxcsr: int, threads: int
) -> None:
    numbers = np.array([1.0, 2.0**-30, 2.0**-126, 2.0**-149], np.float32)
    out = np.zeros(3, np.float32)
    compiled = body_kernel(BODY, 2, ".reg .f32 %a, %b, %c;")
    other = ctypes.create_string_buffer(environment.raw, 64)
    other[MXCSR] = mxcsr.to_bytes(4, "little")
    LIBM.fesetenv(other)
    run(compiled, (threads, 1, 1), numbers, out, threads=threads)
    LIBM.fegetenv(other)
    LIBM.fesetenv(environment)
    assert int.from_bytes(other[MXCSR], "little") & 0xFFC0 == mxcsr
    assert out.view(np.uint32).tolist() == [0x3F800000, 0, 0x00800001]
