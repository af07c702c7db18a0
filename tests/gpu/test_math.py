"""CUDA's mathematical functions as the math header has them: the GPU's bits are the CPU engine's, over all magnitudes,
NaN and infinities.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pytest

from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire.manifest import Role
from tests.gpu import compiling, tasks
from tests.gpu.client import Place, Worker
from tests.gpu.conftest import Note
from tests.gpu.tasks import Array, Task

FUNCTIONS: Final = {
    1: "acos acosh asin asinh atan atanh cbrt ceil cos cosh cospi cyl_bessel_i0 cyl_bessel_i1 erf erfc erfcinv erfcx "
    "erfinv exp exp10 exp2 expm1 fabs floor j0 j1 lgamma log log10 log1p log2 logb nearbyint normcdf normcdfinv rcbrt "
    "rint round rsqrt sin sinh sinpi sqrt tan tanh tgamma trunc y0 y1",
    2: "atan2 copysign fdim fmax fmin fmod hypot nextafter pow remainder rhypot",
    3: "fma norm3d rnorm3d",
}
"""By the number of their arguments; with an `f` behind, those of float. CUDA Math API 12.4."""
TYPES: Final = {"float": (np.dtype(np.float32), "f"), "double": (np.dtype(np.float64), "")}
THREADS: Final = 256
COUNT, FAKE_COUNT = 1 << 17, 1 << 12
FAKE_EVERY = 12
"""On a fake device only every so many-th function: what it shows is that the test works."""


def source(function: str, kind: str, arity: int) -> str:
    letters = "xyz"[:arity]
    parameters = "".join(f"const {kind} *{letter}, " for letter in letters)
    arguments = ", ".join(f"{letter}[i]" for letter in letters)
    return (
        f'extern "C" __global__ void apply({parameters}{kind} *out) {{\n'
        f"  int i = blockIdx.x * blockDim.x + threadIdx.x;\n  out[i] = {function}({arguments});\n}}\n"
    )


def numbers(kind: np.dtype[np.floating], count: int, seed: int) -> Array:
    """A third any bits at all, a third of middling size, a third small, and what is special."""
    rng = np.random.default_rng(seed)
    found = rng.integers(0, 1 << (8 * kind.itemsize), count, np.uint64, endpoint=False).astype(f"u{kind.itemsize}")
    found = found.view(kind)
    found[count // 3 : 2 * count // 3] = rng.uniform(-800, 800, 2 * count // 3 - count // 3)
    found[2 * count // 3 :] = rng.uniform(-2, 2, count - 2 * count // 3)
    special = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, np.finfo(kind).smallest_subnormal], kind)
    found[:64] = np.repeat(special, 8) if seed % 2 else np.tile(special, 8)
    return found


def task_of(function: str, kind: str, arity: int, count: int) -> Task:
    dtype, _ = TYPES[kind]
    given: dict[str, Array] = {letter: numbers(dtype, count, seed) for seed, letter in enumerate("xyz"[:arity])}
    roles = {**dict.fromkeys(given, Role.IN), "out": Role.OUT}
    text = compiling.canonical(f"{function}.cu", source(function, kind, arity))
    grid = (count // THREADS, 1, 1)
    return Task(function, text, "apply", grid, (THREADS, 1, 1), {**given, "out": np.zeros(count, dtype)}, roles)


@pytest.mark.parametrize("kind", TYPES)
def test_mathematical_functions_give_the_same_bits(worker: Worker, place: Place, note: Note, kind: str) -> None:
    suffix = TYPES[kind][1]
    names = [(f"{name}{suffix}", arity) for arity, line in FUNCTIONS.items() for name in line.split()]
    count = COUNT if place.is_real else FAKE_COUNT
    differing: dict[str, str] = {}
    asked = names if place.is_real else names[::FAKE_EVERY]
    for function, arity in asked:
        task = task_of(function, kind, arity, count)
        result = worker.run(task)
        assert (result.status, result.reason) == (JobStatus.OK, ""), function
        difference = task.difference(task.shaped(result.outputs), tasks.on_cpu(task))
        if difference:
            differing[function] = difference
    note(f"math_{kind}", {"functions": len(asked), "numbers": count, "differing": differing})
    assert differing == {}
