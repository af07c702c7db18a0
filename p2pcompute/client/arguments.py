"""What a kernel is called with: arrays that travel in, out or both ways, and scalars."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from p2pcompute.client.textures import TextureArgument
from p2pcompute.errors import UsageError
from p2pcompute.wire.manifest import DTYPES

Array = npt.NDArray[Any]

NUMPY_OF: Final[dict[str, np.dtype[Any]]] = {
    "i8": np.dtype(np.int8), "u8": np.dtype(np.uint8), "i16": np.dtype(np.int16), "u16": np.dtype(np.uint16),
    "f16": np.dtype(np.float16), "i32": np.dtype(np.int32), "u32": np.dtype(np.uint32), "f32": np.dtype(np.float32),
    "i64": np.dtype(np.int64), "u64": np.dtype(np.uint64), "f64": np.dtype(np.float64),
}  # fmt: skip
"""The wire's element types that numpy has; bf16 travels as u16."""
_NAME_OF: Final = {dtype: name for name, dtype in NUMPY_OF.items()}
assert set(NUMPY_OF) < set(DTYPES)


def dtype_name(dtype: np.dtype[Any], what: str) -> str:
    """The wire's name of a numpy dtype. Raises UsageError for one that kernels have no type for."""
    if dtype == np.bool_:
        return "u8"
    name = _NAME_OF.get(dtype.newbyteorder("="))
    if name is None or dtype.byteorder == ">":
        raise UsageError(f"{what} has dtype {dtype}; kernels take {', '.join(NUMPY_OF)} in little-endian order")
    return name


@dataclasses.dataclass(frozen=True)
class In:
    """An array the kernel reads: any shape, C order (copied when it is not)."""

    array: Array


@dataclasses.dataclass(frozen=True)
class InOut:
    """An array the kernel reads and writes. The result comes back by name and, as in PyCUDA, into the array itself.
    `ulp` and `rtol` as in Out."""

    array: Array
    ulp: int = 0
    rtol: float = 0.0


@dataclasses.dataclass(frozen=True)
class Out:
    """An array the kernel fills, starting from zeros; give the array, or a shape and dtype with `Out.of`.

    Replicas must state the same bits. For a kernel whose bits depend on the order of its sums (`kernel check` says
    so) allow them to differ by `ulp` units in the last place (integers: by `ulp`), or by the share `rtol` of the larger
    number (down to 1e-9)."""

    array: Array
    ulp: int = 0
    rtol: float = 0.0

    @classmethod
    def of(cls, shape: int | tuple[int, ...], dtype: npt.DTypeLike, *, ulp: int = 0, rtol: float = 0.0) -> Out:
        """An output without an array of one's own."""
        return cls(np.empty(shape, dtype), ulp, rtol)


@dataclasses.dataclass(frozen=True)
class Temp:
    """Memory for the launches of one task alone: zeros at first, and gone afterwards."""

    shape: int | tuple[int, ...]
    dtype: npt.DTypeLike

    @classmethod
    def like(cls, array: Array) -> Temp:
        """As large as an array, and of its type."""
        return cls(array.shape, array.dtype)

    @property
    def array(self) -> Array:
        """Something of this shape and type, without memory of its own. Raises UsageError."""
        try:
            return np.broadcast_to(np.zeros((), self.dtype), self.shape)
        except (TypeError, ValueError) as error:
            raise UsageError(f"there is no memory of shape {self.shape} and type {self.dtype}: {error}") from error


ScalarArgument = np.generic | int | float | bool
Value = In | Out | InOut | Temp | TextureArgument | ScalarArgument | bytes | None
"""`bytes` and numpy's structured scalars are structures, laid out as in C; None is a null pointer."""


def _unpadded(value: np.void) -> Array:
    """The same with zeros between its fields, where numpy leaves whatever lay in memory."""
    clean = np.zeros((), value.dtype)
    for name in value.dtype.names or ():
        field = value[name]
        clean[name] = _unpadded(field) if isinstance(field, np.void) else field
    return clean


def structure_bytes(value: bytes | np.void, size_bytes: int, what: str) -> bytes:
    """A structure's bytes. Raises UsageError when it has not that size."""
    data = value if isinstance(value, bytes) else _unpadded(value).tobytes()
    if len(data) != size_bytes:
        raise UsageError(
            f"{what} has {len(data)} bytes; the kernel's structure takes {size_bytes} (numpy pads as C does "
            "with np.dtype(…, align=True))"
        )
    return data


def scalar_bytes(value: ScalarArgument, dtype: str, what: str) -> bytes:
    """The little-endian bytes of a scalar as `dtype`. Raises UsageError when the value does not fit it exactly.

    numpy scalars must have that dtype already; Python numbers are converted when nothing is lost but the rounding of a
    float.
    """
    target = NUMPY_OF[dtype]
    if isinstance(value, np.generic):
        if value.dtype != target:
            raise UsageError(f"{what} is {value.dtype}; the kernel wants {dtype}")
        return value.tobytes()
    if isinstance(value, float) and target.kind != "f":
        raise UsageError(f"{what} = {value} is a float; the kernel wants {dtype}")
    try:
        converted = np.array(value).astype(target) if target.kind == "f" else np.array(int(value), target)
    except OverflowError:
        raise UsageError(f"{what} = {value} does not fit {dtype}") from None
    return converted.tobytes()
