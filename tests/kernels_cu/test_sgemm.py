"""The library's sgemm: its reference rounds as the kernel does, and the kernel is right for shapes of all kinds."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import kernels_cu
from kernels_cu import sgemm
from tests.gpu import tasks


def test_the_references_multiply_and_add_rounds_once() -> None:
    rng = np.random.default_rng(5)
    x, y, z = ((rng.standard_normal(2000) * 2.0 ** rng.integers(-20, 20, 2000)).astype(np.float32) for _ in range(3))
    z[::2] = -(x * y)[::2]  # cancels all but the last bits
    for a, b, c, got in zip(x, y, z, sgemm._fused(x, y, z), strict=True):
        exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
        nearby = (got, np.nextafter(got, np.float32(np.inf)), np.nextafter(got, np.float32(-np.inf)))
        distances = [abs(Fraction(float(value)) - exact) for value in nearby]
        assert distances[0] == min(distances)


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (128, 128, 8), (130, 260, 9), (256, 128, 80), (129, 3, 257)], ids=lambda shape: str(shape)
)
def test_the_kernel_has_numpys_bits_for_every_shape(shape: tuple[int, int, int]) -> None:
    """Blocks that are whole, blocks at both edges, depths that are no multiple of a step."""
    work = sgemm.product(*shape)
    assert kernels_cu.load("sgemm").check(work, tasks.on_cpu(tasks.of_library("sgemm", work))) == ""


def test_a_wrong_element_of_a_large_product_is_named() -> None:
    """Only some rows are checked; what is named is the place in the whole matrix."""
    work = sgemm.product(300, 5, 2)
    outputs = sgemm.reference(work)
    outputs["c"][299, 4] += 1
    assert kernels_cu.load("sgemm").check(work, outputs).startswith(f"c[{299 * 5 + 4}] is ")
