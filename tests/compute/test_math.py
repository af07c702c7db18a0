"""p2pmath.h on the CPU engine, against mpmath.

The bounds are those of docs/spec/math.md, rounded up: a changed polynomial that is worse shows here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import numpy.typing as npt
import pytest

from p2pcompute.compute.cpu import CpuEngine
from p2pcompute.protocol.machine import JobStatus
from p2pcompute.wire.manifest import Role
from tests.compute.conftest import Compiled
from tests.compute.manifests import buffer, launch, manifest

COUNT = 512
Array = npt.NDArray[Any]
Function = Callable[[Any], Any]

# Of the float functions that go through double, one of each kind: the double ones are all here.
FLOATS: dict[str, tuple[Function, float, float, float]] = {
    "expf": (mpmath.exp, -103.0, 88.7, 0.95),
    "exp2f": (lambda x: mpmath.power(2, x), -149.0, 127.9, 0.95),
    "exp10f": (lambda x: mpmath.power(10, x), -44.0, 38.5, 0.51),
    "logf": (mpmath.log, 1e-40, 10.0, 1.0),
    "rsqrtf": (lambda x: 1 / mpmath.sqrt(x), 1e-30, 4.0, 1.5),
    "tanhf": (mpmath.tanh, -10.0, 10.0, 1.3),
    "tanf": (mpmath.tan, -50.0, 50.0, 0.51),
    "erff": (mpmath.erf, -4.0, 4.0, 1.3),
    "erfcf": (mpmath.erfc, -4.0, 9.0, 0.51),
    "cbrtf": (lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x)), -10.0, 10.0, 0.51),
}
DOUBLES: dict[str, tuple[Function, float, float, float]] = {
    "log": (mpmath.log, 1e-300, 10.0, 0.8),
    "log2": (lambda x: mpmath.log(x, 2), 1e-3, 10.0, 1.4),
    "log10": (mpmath.log10, 1e-3, 10.0, 1.7),
    "log1p": (mpmath.log1p, -0.9, 3.0, 2.2),
    "rsqrt": (lambda x: 1 / mpmath.sqrt(x), 1e-30, 4.0, 1.5),
    "atan": (mpmath.atan, -20.0, 20.0, 1.5),
    "asin": (mpmath.asin, -1.0, 1.0, 1.5),
    "acos": (mpmath.acos, -1.0, 1.0, 2.0),
    "sin": (mpmath.sin, -1e12, 1e12, 0.8),
    "cos": (mpmath.cos, -1e9, 1e9, 0.8),
    "tan": (mpmath.tan, -50.0, 50.0, 2.0),
    "cosh": (mpmath.cosh, -700.0, 700.0, 2.5),
    "tanh": (mpmath.tanh, -20.0, 20.0, 2.0),
    "asinh": (mpmath.asinh, -20.0, 20.0, 2.5),
    "acosh": (mpmath.acosh, 1.0, 20.0, 2.7),
    "atanh": (mpmath.atanh, -0.999, 0.999, 2.7),
    "cbrt": (lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x)), -10.0, 10.0, 1.0),
    "erf": (mpmath.erf, -6.0, 6.0, 1.0),
    "erfc": (mpmath.erfc, -6.0, 26.0, 3.3),
}


def _worst_ulp(function: Function, xs: Array, ys: Array, digits: int, smallest: int) -> float:
    """The largest error in units of the last place; 2^smallest is the least denormal."""
    worst = 0.0
    with mpmath.workprec(140):
        for x, y in zip(xs.tolist(), ys.tolist()):
            true = function(mpmath.mpf(x))
            unit = mpmath.ldexp(1, max(mpmath.frexp(true)[1] - digits, smallest))
            worst = max(worst, float(abs(mpmath.mpf(y) - true) / unit))
    return worst


async def _apply(engine: CpuEngine, ptx: bytes, entry: str, dtype: str, *arguments: Array) -> Array:
    names = [f"x{i}" for i in range(len(arguments))]
    buffers = [*(buffer(name, dtype, COUNT, Role.IN) for name in names), buffer("y", dtype, COUNT, Role.OUT)]
    job = manifest(ptx, buffers, [launch(entry, *names, "y", threads=128, blocks=COUNT // 128)])
    result = await engine.run(job, ptx, {name: x.tobytes() for name, x in zip(names, arguments)})
    assert (result.status, result.reason) == (JobStatus.OK, "")
    return np.frombuffer(result.outputs["y"], arguments[0].dtype)


@pytest.fixture
def floats(compiled: Compiled) -> bytes:
    return compiled("math_float.cu").ptx.encode()


@pytest.fixture
def doubles(compiled: Compiled) -> bytes:
    return compiled("math_double.cu").ptx.encode()


def test_no_replaced_function_is_approximate(floats: bytes, doubles: bytes) -> None:
    assert b".approx" not in floats + doubles


async def test_float_functions_keep_their_bounds(engine: CpuEngine, floats: bytes) -> None:
    worse = {}
    for name, (function, low, high, bound) in FLOATS.items():
        x = np.random.default_rng(2).uniform(low, high, COUNT).astype(np.float32)
        y = await _apply(engine, floats, f"f_{name}", "f32", x)
        error = _worst_ulp(function, x, y, 24, -149)
        if error > bound:
            worse[name] = error
    assert worse == {}


async def test_double_functions_keep_their_bounds(engine: CpuEngine, doubles: bytes) -> None:
    worse = {}
    for name, (function, low, high, bound) in DOUBLES.items():
        x = np.random.default_rng(2).uniform(low, high, COUNT)
        y = await _apply(engine, doubles, f"d_{name}", "f64", x)
        error = _worst_ulp(function, x, y, 53, -1074)
        if error > bound:
            worse[name] = error
    assert worse == {}


async def test_pow_keeps_its_bound_where_it_is_hardest(engine: CpuEngine, doubles: bytes) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.uniform(0.4, 2.5, COUNT), rng.uniform(-700, 700, COUNT)
    z = await _apply(engine, doubles, "d_pow", "f64", x, y)
    exponents = iter(y.tolist())
    assert _worst_ulp(lambda b: mpmath.power(b, mpmath.mpf(next(exponents))), x, z, 53, -1074) < 0.7


async def test_pow_has_the_special_cases_of_c(engine: CpuEngine, floats: bytes, doubles: bytes) -> None:
    values = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, 3.0, -3.0, np.inf, -np.inf, np.nan]
    x, y = (np.resize(a, COUNT) for a in (np.repeat(values, len(values)), values * len(values)))
    with np.errstate(all="ignore"):
        want = np.power(x, y)
    z32 = await _apply(engine, floats, "f_powf", "f32", x.astype(np.float32), y.astype(np.float32))
    z64 = await _apply(engine, doubles, "d_pow", "f64", x, y)
    for z, expected in ((z32, want.astype(np.float32)), (z64, want)):
        assert np.array_equal(z, expected, equal_nan=True)
        assert np.array_equal(np.signbit(z[~np.isnan(z)]), np.signbit(expected[~np.isnan(expected)]))


async def test_infinities_and_nan_pass_through(engine: CpuEngine, floats: bytes) -> None:
    x = np.resize(np.array([np.inf, np.nan, 0.0], np.float32), COUNT)
    for name, want in {"expf": [np.inf, np.nan, 1], "exp2f": [np.inf, np.nan, 1], "tanhf": [1, np.nan, 0]}.items():
        y = await _apply(engine, floats, f"f_{name}", "f32", x)
        assert np.array_equal(y[:3], want, equal_nan=True), name
