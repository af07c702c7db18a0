"""The floating-point environment that kernels run in: to nearest, denormals kept, nothing trapped.

A host thread may have another one: a library built with -ffast-math switches denormals off for whoever loads it, and
threads inherit what their creator had.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Final

_FENV_BYTES: Final = 64
"""More than fenv_t has: 32 on x86-64, 8 on AArch64."""
_DEFAULT: Final = ctypes.c_void_p(-1)
"""FE_DFL_ENV of glibc and musl."""
_libm: Final = ctypes.CDLL(None)


def in_default(function: Callable[[int], int], argument: int) -> int:
    """`function(argument)` in the default environment; the thread's own is back when it returns."""
    own = ctypes.create_string_buffer(_FENV_BYTES)
    _libm.fegetenv(own)
    _libm.fesetenv(_DEFAULT)
    try:
        return function(argument)
    finally:
        _libm.fesetenv(own)
