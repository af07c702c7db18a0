"""Whether two machines' numbers are the same within a tolerance: rule V21 of docs/spec/verification.md.

Buffers are looked at a piece at a time, so that gigabytes need no memory of their own.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from p2pcompute.wire.manifest import DTYPES, Buffer, Comparison

PIECE_ELEMENTS: Final = 1 << 20
_PPB: Final = 10**9
_FLOATS: Final[dict[str, np.dtype[Any]]] = {"f16": np.dtype("<f2"), "f32": np.dtype("<f4"), "f64": np.dtype("<f8")}
_SIGNED: Final[dict[int, np.dtype[Any]]] = {2: np.dtype("<i2"), 4: np.dtype("<i4"), 8: np.dtype("<i8")}
_INTEGERS: Final[dict[str, np.dtype[Any]]] = {
    f"{kind}{8 * size}": np.dtype(f"<{kind}{size}") for kind in "iu" for size in (1, 2, 4, 8)
}


def are_close(buffer: Buffer, left: memoryview, right: memoryview) -> bool:
    """Whether two copies of an output agree by the buffer's comparison. Both have its size."""
    if left == right:
        return True
    if buffer.comparison is Comparison.EXACT:
        return False
    step = PIECE_ELEMENTS * DTYPES[buffer.dtype]
    return all(
        _pieces_are_close(buffer, left[start : start + step], right[start : start + step])
        for start in range(0, buffer.size_bytes, step)
    )


def _pieces_are_close(buffer: Buffer, left: memoryview, right: memoryview) -> bool:
    if buffer.dtype in _INTEGERS:
        return _integers_are_close(buffer, left, right)
    a, b = _floats(buffer.dtype, left), _floats(buffer.dtype, right)
    bits_a, bits_b = _ordered(buffer.dtype, left), _ordered(buffer.dtype, right)
    nan_a, nan_b = np.isnan(a), np.isnan(b)
    same = (nan_a & nan_b) | (bits_a == bits_b)
    finite = np.isfinite(a) & np.isfinite(b)
    distance = np.where(bits_a > bits_b, bits_a - bits_b, bits_b - bits_a)
    near = distance <= np.uint64(buffer.ulp_max)
    if buffer.rtol_ppb:
        with np.errstate(over="ignore", invalid="ignore"):
            wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
            largest = np.maximum(np.abs(wide_a), np.abs(wide_b))
            near |= np.abs(wide_a - wide_b) <= largest * (buffer.rtol_ppb / _PPB)
    return bool((same | (finite & near)).all())


def _integers_are_close(buffer: Buffer, left: memoryview, right: memoryview) -> bool:
    """By their difference, at most `ulp_max`, or as a share of the larger one."""
    dtype = _INTEGERS[buffer.dtype]
    a, b = np.frombuffer(left, dtype), np.frombuffer(right, dtype)
    high, low = np.maximum(a, b), np.minimum(a, b)
    distance = high.astype(np.uint64) - low.astype(np.uint64)  # modulo 2**64, so right for both kinds
    near = distance <= np.uint64(buffer.ulp_max)
    if buffer.rtol_ppb:
        largest = np.maximum(np.abs(high.astype(np.float64)), np.abs(low.astype(np.float64)))
        near |= distance.astype(np.float64) <= largest * (buffer.rtol_ppb / _PPB)
    return bool(near.all())


def _floats(dtype: str, data: memoryview) -> NDArray[Any]:
    if dtype == "bf16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, _FLOATS[dtype])


def _ordered(dtype: str, data: memoryview) -> NDArray[np.uint64]:
    """The bits of floats as numbers in the order of the floats: neighbours differ by one, and both zeros are one."""
    size = 2 if dtype == "bf16" else _FLOATS[dtype].itemsize
    bits = np.frombuffer(data, _SIGNED[size]).astype(np.int64)
    magnitude = bits & ((1 << (8 * size - 1)) - 1)
    signed: NDArray[np.int64] = np.where(bits < 0, -magnitude, magnitude)
    return signed.view(np.uint64) + np.uint64(1 << 63)
