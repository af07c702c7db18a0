"""The special functions of p2pspecial.h keep their bounds and their limits."""

from __future__ import annotations

import math

import numpy as np
import pytest

from p2pcompute.compute import ptx
from p2pcompute.compute.compiler import compile_cuda
from tests.compute import math_accuracy

COUNT = 8
"""Of arguments for each range; the command measures more."""
OF_FIVE = range(0, len(math_accuracy.RANGES), 5)
"""For a quick look: each function is compiled, some are large."""

LIMITS = {
    "tgamma": {0.0: math.inf, 1.0: 1.0, 5.0: 24.0, 172.0: math.inf, -3.0: math.nan, -200.5: 0.0},
    "lgamma": {1.0: 0.0, 2.0: 0.0, 0.0: math.inf, -2.0: math.inf, math.inf: math.inf, -math.inf: math.inf},
    "erfinv": {0.0: 0.0, 1.0: math.inf, -1.0: -math.inf, 1.5: math.nan},
    "erfcinv": {1.0: 0.0, 0.0: math.inf, 2.0: -math.inf, -0.5: math.nan},
    "normcdfinv": {0.5: 0.0, 0.0: -math.inf, 1.0: math.inf, 2.0: math.nan},
    "erfcx": {0.0: 1.0, math.inf: 0.0, -30.0: math.inf},
    "j0": {0.0: 1.0, math.inf: 0.0},
    "j1": {0.0: 0.0, math.inf: 0.0},
    "y0": {0.0: -math.inf, -1.0: math.nan, math.inf: 0.0},
    "y1": {0.0: -math.inf, -1.0: math.nan, math.inf: 0.0},
    "cyl_bessel_i0": {0.0: 1.0, math.inf: math.inf},
    "cyl_bessel_i1": {0.0: 0.0, math.inf: math.inf, -math.inf: -math.inf},
}


@pytest.mark.parametrize(
    "ranges",
    [OF_FIVE, pytest.param(range(len(math_accuracy.RANGES)), marks=pytest.mark.nightly)],
    ids=["one of five", "all"],
)
def test_errors_stay_within_their_bounds(ranges: range) -> None:
    worse = {
        f"{item.name} from {item.low}": (ulp, absolute)
        for item, ulp, absolute in math_accuracy.measured(COUNT, ranges)
        if ulp > item.ulp_max and absolute > item.absolute_max
    }
    assert worse == {}


async def test_limits_zeros_and_poles() -> None:
    source = "".join(
        f'extern "C" __global__ void {name}(double *x) {{ x[threadIdx.x] = ::{name}(x[threadIdx.x]); }}\n'.replace(
            f"void {name}", f"void test_{name}"
        )
        for name in LIMITS
    )
    module = ptx.parse((await compile_cuda({"limits.cu": source}, "limits.cu")).ptx)
    wrong = {}
    for name, cases in LIMITS.items():
        x = np.full(32, 0.5)
        x[: len(cases)] = list(cases)
        memory = ptx.Memory([x])
        (entry,) = (entry for entry in module.entries if entry.endswith(f"test_{name}"))
        compiled = ptx.compile_entry(module, entry, (32, 1, 1))
        packed = ptx.pack_parameters(compiled.entry, [memory.address(0).to_bytes(8, "little")])
        compiled.launch(memory, packed, (1, 1, 1), threads=1, abort=ptx.Abort())
        if not np.array_equal(x[: len(cases)], list(cases.values()), equal_nan=True):
            wrong[name] = x[: len(cases)].tolist()
    assert wrong == {}


async def test_no_special_function_is_approximate() -> None:
    """In double; the float forms compute in double, but for three of them."""
    calls = {
        **dict.fromkeys((*LIMITS, "normf", "rnormf"), "x[0]"),
        "rhypot": "x[0], x[1]",
        "norm3d": "x[0], x[1], x[2]",
        "rnorm4d": "x[0], x[1], x[2], x[3]",
        "norm": "9, x",
        "rnorm": "9, x",
        "normf": "9, (float *)x",
        "rnormf": "9, (float *)x",
        "jn": "5, x[0]",
        "yn": "5, x[0]",
        "remquof": "x[0], x[1], (int *)(x + 2)",
    }
    body = "".join(f"__global__ void test_{name}(double *x) {{ x[0] = {name}({a}); }}\n" for name, a in calls.items())
    assert ".approx" not in (await compile_cuda({"all.cu": body}, "all.cu")).ptx
