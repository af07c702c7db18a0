"""How far the special functions of p2pspecial.h are from the truth: `python -m tests.compute.math_accuracy [COUNT]`.

Prints, per function and range, the largest error in units of the last place of the true value, and the largest absolute
error. docs/spec/math.md has the result for COUNT = 128; mpmath takes a second for a few arguments.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
import trio
from numpy.typing import NDArray

from p2pcompute.compute import ptx
from p2pcompute.compute.compiler import compile_cuda

Function = Callable[[Any], Any]


def _inverse_erfc(x: Any) -> Any:
    """mpmath has only erfinv, which loses the small arguments."""
    if x > 0.5:
        return mpmath.erfinv(1 - x)
    guess = mpmath.sqrt(-mpmath.log(x))
    return mpmath.findroot(lambda y: mpmath.log(mpmath.erfc(y)) - mpmath.log(x), guess)


@dataclass(frozen=True)
class Range:
    """A function on [low, high]; `spread` takes the arguments evenly over their logarithms. Errors are allowed up to
    `ulp_max`, or where the function has zeros up to `absolute_max`.
    """

    name: str
    truth: Function
    low: float
    high: float
    ulp_max: float
    absolute_max: float = 0.0
    spread: bool = False


RANGES = [
    Range("erfcx", lambda x: mpmath.exp(x * x) * mpmath.erfc(x), -5, 0.5, 6),
    Range("erfcx", lambda x: mpmath.exp(x * x) * mpmath.erfc(x), 0.5, 100, 6),
    Range("erfinv", mpmath.erfinv, -0.5, 0.5, 4),
    Range("erfinv", mpmath.erfinv, 0.5, 0.999999, 5),
    Range("erfcinv", _inverse_erfc, 1e-300, 0.5, 5, spread=True),
    Range("erfcinv", _inverse_erfc, 0.5, 1.5, 5, 1e-16),
    Range("normcdfinv", lambda x: -mpmath.sqrt(2) * _inverse_erfc(2 * x), 1e-300, 0.25, 6, spread=True),
    Range("tgamma", mpmath.gamma, 0.01, 20, 10),
    Range("tgamma", mpmath.gamma, 20, 171, 10),
    Range("tgamma", mpmath.gamma, -20.3, -0.01, 14),
    Range("lgamma", mpmath.loggamma, 1e-10, 3, 5, spread=True),
    Range("lgamma", mpmath.loggamma, 3, 1000, 5),
    Range("j0", lambda x: mpmath.besselj(0, x), 0, 8, 0, 5e-15),
    Range("j0", lambda x: mpmath.besselj(0, x), 8, 1000, 0, 5e-16),
    Range("j1", lambda x: mpmath.besselj(1, x), 0, 8, 0, 5e-15),
    Range("j1", lambda x: mpmath.besselj(1, x), 8, 1000, 0, 5e-16),
    Range("y0", lambda x: mpmath.bessely(0, x), 0.01, 8, 0, 5e-15),
    Range("y0", lambda x: mpmath.bessely(0, x), 8, 1000, 0, 5e-16),
    Range("y1", lambda x: mpmath.bessely(1, x), 0.5, 8, 0, 5e-15),
    Range("y1", lambda x: mpmath.bessely(1, x), 8, 1000, 0, 5e-16),
    Range("jn(5, x)", lambda x: mpmath.besselj(5, x), 0, 50, 0, 5e-15),
    Range("yn(5, x)", lambda x: mpmath.bessely(5, x), 5, 50, 0, 2e-14),
    Range("cyl_bessel_i0", lambda x: mpmath.besseli(0, x), 0, 8, 4),
    Range("cyl_bessel_i0", lambda x: mpmath.besseli(0, x), 8, 700, 6),
    Range("cyl_bessel_i1", lambda x: mpmath.besseli(1, x), 0, 8, 4),
    Range("cyl_bessel_i1", lambda x: mpmath.besseli(1, x), 8, 700, 6),
    Range("rhypot(x, 3.0)", lambda x: 1 / mpmath.sqrt(x * x + 9), -100, 100, 2.5),
    Range("norm3d(x, 3.0, 4.0)", lambda x: mpmath.sqrt(x * x + 25), -100, 100, 2),
    Range("norm4d(x, 3.0, 4.0, 0.5)", lambda x: mpmath.sqrt(x * x + 25.25), -100, 100, 2),
    Range("rnorm3d(x, 3.0, 4.0)", lambda x: 1 / mpmath.sqrt(x * x + 25), -100, 100, 2.5),
    Range("rnorm4d(x, 3.0, 4.0, 0.5)", lambda x: 1 / mpmath.sqrt(x * x + 25.25), -100, 100, 2.5),
]
"""The float forms compute in double and round once."""


def source() -> str:
    """One kernel `k0`, `k1`, ... for each range."""
    lines = []
    for number, item in enumerate(RANGES):
        call = item.name if "(" in item.name else f"{item.name}(x)"
        lines.append(
            f'extern "C" __global__ void k{number}(const double *in, double *out) {{\n'
            "  int i = blockIdx.x * blockDim.x + threadIdx.x;\n  double x = in[i];\n"
            f"  out[i] = {call};\n}}"
        )
    return "\n".join(lines)


def values(module: ptx.Module, number: int, arguments: NDArray[np.float64]) -> NDArray[np.float64]:
    """The range's function on the CPU engine; as many arguments as fill blocks of 64."""
    memory = ptx.Memory([arguments, np.zeros_like(arguments)])
    compiled = ptx.compile_entry(module, f"k{number}", (64, 1, 1))
    parameters = ptx.pack_parameters(compiled.entry, [memory.address(n).to_bytes(8, "little") for n in (0, 1)])
    result = compiled.launch(memory, parameters, (len(arguments) // 64, 1, 1), threads=1, abort=ptx.Abort())
    assert result.status is ptx.Status.OK, result
    return memory.array(1)


def arguments_of(item: Range, count: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(4)
    if item.spread:
        return np.exp(rng.uniform(np.log(item.low), np.log(item.high), count))
    return rng.uniform(item.low, item.high, count)


def errors(item: Range, arguments: NDArray[np.float64], results: NDArray[np.float64]) -> tuple[float, float]:
    """The largest error in ulp, and absolutely."""
    ulp = absolute = 0.0
    with mpmath.workprec(200):
        for x, y in zip(arguments.tolist(), results.tolist(), strict=True):
            true = item.truth(mpmath.mpf(x))
            error = abs(mpmath.mpf(y) - true)
            unit = mpmath.ldexp(1, max(mpmath.frexp(true)[1] - 53, -1074))
            ulp, absolute = max(ulp, float(error / unit)), max(absolute, float(error))
    return ulp, absolute


def measured(count: int, ranges: range = range(len(RANGES))) -> Iterator[tuple[Range, float, float]]:
    """Ranges (by number) with their errors at `count` arguments."""
    compiled = trio.run(lambda: compile_cuda({"special.cu": source()}, "special.cu"))
    module = ptx.parse(compiled.ptx)
    assert ".approx" not in compiled.ptx
    for number in ranges:
        item = RANGES[number]
        arguments = arguments_of(item, -(-count // 64) * 64)
        results = values(module, number, arguments.copy())
        yield item, *errors(item, arguments[:count], results[:count])


if __name__ == "__main__":
    for item, ulp, absolute in measured(int(sys.argv[1]) if len(sys.argv) > 1 else 128):
        print(f"{item.name:26} {item.low:8g} to {item.high:8g}  {ulp:12.2f} ulp  {absolute:10.2g}")
