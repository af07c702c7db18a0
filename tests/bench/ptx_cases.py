"""The frozen kernels of the benchmark `ptx`: their data, their PTX, and their C++ twins built with g++."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from p2pcompute.compute import ptx

HERE: Final = Path(__file__).parent
FLAGS: Final = ("-O3", "-march=native", "-ffp-contract=off", "-fPIC", "-shared", "-w")
DTYPES: Final = {"u8": np.uint8, "i32": np.int32, "u32": np.uint32, "f32": np.float32, "f64": np.float64}
CLOSE: Final = 2e-4
MARGIN_BYTES: Final = 1 << 18
"""More than any kernel of the list reaches beyond: a plane of 128 x 128 floats."""
Array = NDArray[Any]
Outputs = Sequence[Any] | Mapping[int, Any]
"""Arrays by the number of their argument."""


@dataclass(slots=True)
class Case:
    """One row of the list. `arguments` hold arrays for buffers and numpy scalars."""

    name: str
    block: tuple[int, int, int]
    grid: tuple[int, int, int]
    compare: str
    arguments: list[Any]
    shared_bytes: int = 0
    outputs: list[int] = field(default_factory=list)

    def fresh(self) -> list[Any]:
        """The arguments with buffers of their own."""
        return [_aligned(a) if isinstance(a, np.ndarray) else a for a in self.arguments]


def names() -> list[str]:
    """The kernels of the list, in its order."""
    return [row["name"] for row in _rows()]


def read(names: Sequence[str] | None = None) -> list[Case]:
    """The list, or these kernels of it."""
    return [_case(row) for row in _rows() if names is None or row["name"] in names]


def _rows() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = tomllib.loads((HERE / "ptx_kernels.toml").read_text())["kernel"]
    return rows


def _case(row: Mapping[str, Any]) -> Case:
    rng = np.random.default_rng(7)
    words = [argument.split() for argument in row["arguments"]]
    return Case(
        row["name"],
        tuple(row["block"]),
        tuple(row["grid"]),
        row["compare"],
        [_argument(w, rng) for w in words],
        row.get("shared_bytes", 0),
        [number for number, w in enumerate(words) if w[0] in ("out", "inout")],
    )


def _argument(words: list[str], rng: np.random.Generator) -> Any:
    match words:
        case ["out", kind, count]:
            return np.zeros(int(count), DTYPES[kind])
        case ["circle", count]:
            angle = -np.pi * np.arange(int(count)) / int(count)
            return np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32).ravel()
        case [role, kind, count, low, high]:
            values = rng.uniform(float(low), float(high), int(count)).astype(DTYPES[kind])
            return np.sort(values) if role == "sorted" else values
        case [kind, value]:
            return DTYPES[kind](value)
    raise ValueError(f"no argument: {' '.join(words)}")


def _aligned(array: Array) -> Array:
    """A copy that begins a cache line, with readable memory on both sides: without range tests, lanes that are switched
    off may be loaded from beside it.
    """
    whole = np.zeros(array.nbytes + 2 * MARGIN_BYTES, np.uint8)
    start = MARGIN_BYTES - whole.ctypes.data % 64
    mine = whole[start : start + array.nbytes].view(array.dtype)
    mine[:] = array
    return mine


async def ptx_texts(cases: Sequence[Case]) -> dict[str, str]:
    """The canonical PTX of each kernel, through the project's own compiler."""
    from p2pcompute.compute import compiler  # brings trio, which a machine lent for its GPU may lack

    async with compiler.Compiler(jail=False) as nvrtc:
        texts = {}
        for case in cases:
            source = (HERE / "ptx_kernels" / f"{case.name}.cu").read_text()
            compiled = await nvrtc.compile({"k.cu": source}, "k.cu")
            texts[case.name] = compiled.ptx
        return texts


def build_twins(cases: Sequence[Case], directory: Path) -> ctypes.CDLL:
    """One library of all twins. Raises FileNotFoundError without g++."""
    gxx = shutil.which("g++")
    if gxx is None:
        raise FileNotFoundError("the benchmark 'ptx' needs g++: apt-get install g++")
    library = directory / "twins.so"
    sources = [str(HERE / "ptx_twins" / f"{case.name}.cpp") for case in cases]
    subprocess.run([gxx, *FLAGS, "-o", str(library), *sources], check=True)
    return ctypes.CDLL(str(library))


def twin_call(library: ctypes.CDLL, case: Case, arguments: Sequence[Any]) -> Any:
    """A function without arguments that runs the twin."""
    function = getattr(library, case.name)
    function.restype = None
    passed = [
        ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else np.ctypeslib.as_ctypes_type(a.dtype)(a.item())
        for a in arguments
    ]
    return lambda: function(*passed)


def kernel_call(kernel: ptx.CompiledKernel, case: Case, arguments: Sequence[Any], threads: int) -> Any:
    """A function without arguments that launches the kernel."""
    buffers = [a for a in arguments if isinstance(a, np.ndarray)]
    memory = ptx.Memory(buffers)
    numbers = {id(a): number for number, a in enumerate(buffers)}
    values = [
        np.uint64(memory.address(numbers[id(a)])).tobytes() if isinstance(a, np.ndarray) else a.tobytes()
        for a in arguments
    ]
    parameters = ptx.pack_parameters(kernel.entry, values)
    abort = ptx.Abort()

    def call() -> None:
        result = kernel.launch(memory, parameters, case.grid, case.shared_bytes, threads=threads, abort=abort)
        assert result.status is ptx.Status.OK, f"{case.name}: {result.trap}"

    return call


def differing(case: Case, mine: Outputs, twins: Outputs) -> list[int]:
    """Outputs that do not agree, by the number of their argument."""
    return [number for number in case.outputs if not _agree(case.compare, mine[number], twins[number])]


def _agree(compare: str, mine: Array, twin: Array) -> bool:
    if compare == "bits":
        return mine.tobytes() == twin.tobytes()
    if compare == "sum":
        mine, twin = (np.array([a.sum(dtype=np.float64)]) for a in (mine, twin))
        return bool(np.allclose(mine, twin, rtol=0.05))
    return bool(np.max(np.abs(mine - twin)) <= CLOSE * np.max(np.abs(twin)))
