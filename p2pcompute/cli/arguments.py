"""What is typed for a kernel's arguments: NAME=FILE.npy, NAME=DTYPE:SHAPE, NAME=VALUE[:DTYPE]."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from p2pcompute.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from p2pcompute.client.arguments import Array, InOut, Out, ScalarArgument, Value
    from p2pcompute.client.textures import TextureArgument

NULL: Final = "null"
"""A pointer to nothing, among scalars."""
INCLUDE_FOLDERS_MAX: Final = 16
"""Folders that are looked through for headers; each #include tries all of them."""


def named_arguments(
    inputs: Iterable[str],
    inouts: Iterable[str],
    outputs: Iterable[str],
    scalars: Iterable[str],
    textures: Iterable[str] = (),
    structs: Iterable[str] = (),
) -> dict[str, Value]:
    """All arguments by the parameter's name. Raises UsageError for one that is malformed or given twice."""
    from p2pcompute.client.arguments import In, InOut, Out

    values: dict[str, Value] = {}

    def add(name: str, value: Value) -> None:
        if name in values:
            raise UsageError(f"argument {name} is given twice")
        values[name] = value

    for text in inputs:
        name, file = _split(text, "--in", "x=x.npy")
        add(name, In(_load(Path(file), "r")))
    for text in inouts:
        name, file = _split(text, "--inout", "y=y.npy")
        add(name, InOut(_load(Path(file), "c")))
    for text in outputs:
        name, what = _split(text, "--out", "z=f32:1000,10")
        add(name, Out(_empty(name, what)))
    for text in scalars:
        name, number = _split(text, "--scalar", "n=1000:i32")
        add(name, None if number == NULL else parse_scalar(name, number))
    for text in textures:
        name, what = _split(text, "--texture", "t=image.npy:2d,linear,normalized,wrap")
        add(name, _texture(name, what))
    for text in structs:
        name, file = _split(text, "--struct", "camera=camera.npy")
        add(name, _structure(Path(file)))
    return values


def constants(texts: Iterable[str]) -> dict[str, Array]:
    """Arrays for variables of the source, NAME=FILE.npy. Raises UsageError."""
    found: dict[str, Array] = {}
    for text in texts:
        name, file = _split(text, "--constant", "weights=w.npy")
        if name in found:
            raise UsageError(f"variable {name} is given twice")
        found[name] = _load(Path(file), "r")
    return found


def flag(values: dict[str, Value], name: str) -> InOut | Out | None:
    """The output that is to become zero. Raises UsageError."""
    from p2pcompute.client.arguments import InOut, Out

    if not name:
        return None
    value = values.get(name)
    if not isinstance(value, Out | InOut):
        raise UsageError(f"--until {name[:64]}: that is no output")
    return value


def with_tolerances(values: dict[str, Value], texts: Iterable[str]) -> dict[str, Value]:
    """Outputs that need only be close: NAME=ulp:4 or NAME=rtol:1e-6, or both. Raises UsageError."""
    from p2pcompute.client.arguments import InOut, Out

    for text in texts:
        name, what = _split(text, "--tolerance", "y=ulp:4")
        value = values.get(name)
        if not isinstance(value, Out | InOut):
            raise UsageError(f"--tolerance {text}: {name} is no output")
        kind, _, number = what.partition(":")
        try:
            if kind == "ulp":
                values[name] = dataclasses.replace(value, ulp=int(number))
            elif kind == "rtol":
                values[name] = dataclasses.replace(value, rtol=float(number))
            else:
                raise ValueError
        except ValueError:
            raise UsageError(f"--tolerance {text}: write it like y=ulp:4 or y=rtol:1e-6") from None
    return values


def folders(texts: Iterable[str]) -> tuple[Path, ...]:
    """Folders for headers. Raises UsageError for too many, and for what is none."""
    found = tuple(Path(text) for text in texts)
    if len(found) > INCLUDE_FOLDERS_MAX:
        raise UsageError(f"--include is given {len(found)} times; the limit is {INCLUDE_FOLDERS_MAX}")
    for folder in found:
        if not folder.is_dir():
            raise UsageError(f"--include {folder} is no folder")
    return found


def defines(texts: Iterable[str]) -> dict[str, str]:
    """A=B, or A alone for an empty macro."""
    pairs = (text.partition("=") for text in texts)
    return {name: value for name, _, value in pairs}


def parse_dims(text: str, what: str) -> tuple[int, ...]:
    """3907, 64,64 or 8x8x8. Raises UsageError."""
    if not re.fullmatch(r"[0-9]{1,12}([,x][0-9]{1,12}){0,2}", text):
        raise UsageError(f"{what} must be one to three numbers like 3907 or 64,64, not {text[:64]!r}")
    return tuple(int(part) for part in re.split("[,x]", text))


def parse_scalar(name: str, text: str) -> ScalarArgument:
    """A number; with a type behind a colon, exactly of that type. Raises UsageError."""
    import numpy as np

    from p2pcompute.client.arguments import NUMPY_OF

    number, _, dtype = text.partition(":")
    value: int | float | None = None
    with contextlib.suppress(ValueError):
        value = float(number)
    with contextlib.suppress(ValueError):
        value = int(number, 0)
    if value is None:
        raise UsageError(f"--scalar {name}={number[:64]} is no number; write it like n=1000:i32 or a=2.5:f32")
    if not dtype:
        return value
    if dtype not in NUMPY_OF:
        raise UsageError(f"--scalar {name} has type {dtype[:16]!r}; there are {', '.join(NUMPY_OF)}")
    kind = NUMPY_OF[dtype]
    if isinstance(value, float) and kind.kind != "f":
        raise UsageError(f"--scalar {name} = {number} is no whole number, which {dtype} needs")
    try:
        with np.errstate(over="ignore"):
            scalar: np.generic = kind.type(value)
    except OverflowError:
        raise UsageError(f"--scalar {name} = {number} does not fit {dtype}") from None
    return scalar


def _split(text: str, option: str, example: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name.isidentifier() or not value:
        raise UsageError(f"{option} {text[:64]!r} is not understood; write it like {option} {example}")
    return name, value


def _structure(path: Path) -> np.void:
    """The one element of a structured array. Raises UsageError."""
    array = _load(path, "r")
    if array.dtype.names is None or array.size != 1:
        raise UsageError(f"{path} holds no single structure; save one with numpy's structured types")
    found: np.void = array.reshape(1)[0]
    return found


def _texture(name: str, text: str) -> TextureArgument:
    """FILE.npy:WORD,WORD..."""
    from p2pcompute.client.textures import Texture1D, Texture2D, Texture3D

    file, _, listed = text.rpartition(":")
    words = listed.split(",")
    kinds = {"1d": Texture1D, "2d": Texture2D, "3d": Texture3D}
    axes = [word for word in words if word in kinds]
    modes = [word for word in words if word in ("clamp", "border", "wrap", "mirror")]
    flags = {word for word in words if word in ("linear", "normalized", "as_float", "layered")}
    if not file or len(axes) != 1 or len(modes) > 1 or len(axes) + len(modes) + len(flags) != len(words):
        raise UsageError(
            f"--texture {name}={text[:64]} is not understood; write it like {name}=image.npy:2d,linear: one of "
            "1d 2d 3d, then any of clamp border wrap mirror, linear normalized as_float layered"
        )
    mode = modes[0] if modes else "clamp"
    return kinds[axes[0]](_load(Path(file), "r"), addressing=mode, **dict.fromkeys(flags, True))  # type: ignore[arg-type]


def _load(path: Path, mode: Literal["r", "c"]) -> Array:
    """A .npy file, mapped: `r` read-only, `c` a private copy of what is written. Raises UsageError."""
    import numpy as np

    try:
        array = np.load(path, mmap_mode=mode, allow_pickle=False)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise UsageError(f"{path} is no .npy file with plain numbers; numpy.save makes one") from error
    if not isinstance(array, np.ndarray):
        raise UsageError(f"{path} holds several arrays; save each in an .npy file of its own")
    return array


def _empty(name: str, text: str) -> Array:
    import numpy as np

    from p2pcompute.client.arguments import NUMPY_OF
    from p2pcompute.wire import limits

    dtype, _, shape = text.partition(":")
    if dtype not in NUMPY_OF or not re.fullmatch(r"[0-9]{1,12}([,x][0-9]{1,12}){0,7}", shape):
        raise UsageError(f"--out {name}={text[:64]} is not understood; write it like --out {name}=f32:1000,10")
    dims = tuple(int(part) for part in re.split("[,x]", shape))
    size = NUMPY_OF[dtype].itemsize
    for n in dims:
        size *= n
    if size > limits.BUFFER_BYTES_MAX:
        raise UsageError(f"--out {name} would have {size} bytes; a buffer may have {limits.BUFFER_BYTES_MAX}")
    return np.empty(dims, NUMPY_OF[dtype])
