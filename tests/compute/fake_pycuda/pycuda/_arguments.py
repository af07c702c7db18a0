"""Arguments as Boost.Python takes them: what it would not convert is a TypeError here too."""

from __future__ import annotations

from typing import Any

import numpy as np


def unsigned(value: Any, bits: int = 32) -> int:
    """A Python integer (no numpy scalar) that fits."""
    if not isinstance(value, int):
        raise TypeError(f"an unsigned integer of {bits} bits is needed, not {type(value).__name__}")
    if not 0 <= value < 1 << bits:
        raise OverflowError(f"{value} does not fit into an unsigned integer of {bits} bits")
    return int(value)


def signed(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError(f"an integer is needed, not {type(value).__name__}")
    if not -(1 << 31) <= value < 1 << 31:
        raise OverflowError(f"{value} does not fit into an integer of 32 bits")
    return int(value)


def member(value: Any, enumeration: Any) -> int:
    if not isinstance(value, enumeration):
        raise TypeError(f"a {enumeration.__name__} is needed, not {type(value).__name__}")
    return int(value)


def shape(value: Any) -> tuple[int, int, int]:
    """A tuple of up to three sizes."""
    if not isinstance(value, tuple):
        raise TypeError(f"a tuple is needed, not {type(value).__name__}")
    sizes = [unsigned(size) for size in value]
    if len(sizes) > 3:
        raise TypeError("too many dimensions in kernel launch")
    x, y, z = (*sizes, 1, 1, 1)[:3]
    return x, y, z


def host_bytes(value: Any, *, writable: bool = False) -> np.ndarray:
    """A window on the bytes of a contiguous buffer; the buffer stays exported as long as the window lives."""
    view = memoryview(value)
    if writable and view.readonly:
        raise BufferError("Object is not writable.")
    if not view.contiguous:
        raise (
            ValueError("ndarray is not contiguous")
            if isinstance(value, np.ndarray)
            else BufferError("memoryview: underlying buffer is not contiguous")
        )
    if view.nbytes == 0:
        return np.empty(0, np.uint8)
    if not view.c_contiguous:
        view = memoryview(np.asarray(value).T)
    return np.frombuffer(view.cast("B"), np.uint8)
