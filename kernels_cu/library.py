"""The library's shelf: finds a kernel's `.cu`, `.toml` and `.py` by its name, and describes them.

`NAME.cu` is the kernel, `NAME.toml` what never changes about it (title, entry, parameters, determinism class), and
`NAME.py` how to make work of any size for it and how to tell whether the answer is right.
"""

from __future__ import annotations

import dataclasses
import importlib
import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
ROLES: Final = ("in", "out", "inout", "scalar")
DTYPES: Final = {
    "i32": np.int32, "u32": np.uint32, "i64": np.int64, "u64": np.uint64, "f32": np.float32, "f64": np.float64,
    "u8": np.uint8, "u16": np.uint16,
}  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Parameter:
    """One kernel parameter, in the kernel's order: a buffer (`in`, `out`, `inout`) or a `scalar`."""

    name: str
    role: str
    dtype: str


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """One launch: `inputs` has the arrays of `in` and `inout` parameters, `outputs` (dtype, shape) of `out` and `inout`
    ones, `scalars` numpy scalars; `grid` and `block` count blocks and threads in x, y, z."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, tuple[str, tuple[int, ...]]]
    scalars: Mapping[str, np.generic]
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int = 0


class Lesson(Protocol):
    """What `NAME.py` holds."""

    def build(self, scale: int) -> Work: ...
    def reference(self, work: Work) -> dict[str, Array]: ...
    def check(self, work: Work, outputs: Mapping[str, Array]) -> str: ...


@dataclasses.dataclass(frozen=True, slots=True)
class KernelSpec:
    """A kernel of the library. `exact`: every honest machine returns the same bits."""

    name: str
    title: str
    file_name: str
    source: str
    entry: str
    exact: bool
    parameters: tuple[Parameter, ...]
    lesson: Lesson

    def build(self, scale: int = 1) -> Work:
        """Work that grows with `scale` (>= 1) and is the same every time; 1 takes numpy well under a second."""
        if scale < 1:
            raise ValueError(f"scale must be at least 1, not {scale}")
        return self.lesson.build(scale)

    def reference(self, work: Work) -> dict[str, Array]:
        """What numpy makes of it: every output by name."""
        return self.lesson.reference(work)

    def check(self, work: Work, outputs: Mapping[str, Array]) -> str:
        """One sentence on what is wrong with `outputs`; empty when they are right."""
        for name, (dtype, shape) in work.outputs.items():
            got = outputs.get(name)
            if got is None or got.dtype != DTYPES[dtype] or got.shape != shape:
                return f"output {name} is missing, or is not {dtype}{list(shape)}"
        return self.lesson.check(work, outputs)


def names() -> tuple[str, ...]:
    """Every kernel of the library, sorted."""
    files = (entry.name for entry in resources.files("kernels_cu").iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml")))


def load(name: str) -> KernelSpec:
    """Raises KeyError for a name that is not in the library."""
    if name not in names():
        raise KeyError(f"no kernel {name!r} in the library; there are {', '.join(names())}")
    directory = resources.files("kernels_cu")
    manifest = tomllib.loads((directory / f"{name}.toml").read_text(encoding="utf-8"))
    parameters = tuple(Parameter(p["name"], p["role"], p["dtype"]) for p in manifest["parameters"])
    assert all(p.role in ROLES and p.dtype in DTYPES for p in parameters)
    return KernelSpec(
        name=name,
        title=manifest["title"],
        file_name=f"{name}.cu",
        source=(directory / f"{name}.cu").read_text(encoding="utf-8"),
        entry=manifest["entry"],
        exact=manifest["exact"],
        parameters=parameters,
        lesson=importlib.import_module(f"kernels_cu.{name}"),
    )


def differing(expected: Mapping[str, Array], outputs: Mapping[str, Array]) -> str:
    """One sentence on the first output whose bits differ from `expected`; empty when none does."""
    for name, want in expected.items():
        wrong = np.flatnonzero(want.view(np.uint8).reshape(-1) != outputs[name].view(np.uint8).reshape(-1))
        if wrong.size:
            index = int(wrong[0]) // want.itemsize
            return f"{name}[{index}] is {outputs[name].reshape(-1)[index]}, not {want.reshape(-1)[index]}"
    return ""
