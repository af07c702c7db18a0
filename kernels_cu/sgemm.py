"""Work and reference for sgemm.cu."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from kernels_cu.library import Array, Work

_TILE: Final = 128
_THREADS: Final = 256
_ROWS_CHECKED_MAX: Final = 256
"""A reference of all rows of a large product would take numpy minutes."""


def build(scale: int) -> Work:
    """(200 scale) x (72 scale) times (72 scale) x (260 scale): blocks that are whole and blocks at both edges."""
    return product(200 * scale, 260 * scale, 72 * scale)


def product(m: int, n: int, k: int) -> Work:
    """Work of any shape: an m x k matrix times a k x n one, added to half of what is there."""
    rng = np.random.default_rng(3)
    return Work(
        inputs={
            "a": rng.standard_normal((m, k), np.float32),
            "b": rng.standard_normal((k, n), np.float32),
            "c": rng.standard_normal((m, n), np.float32),
        },
        outputs={"c": ("f32", (m, n))},
        scalars={
            "m": np.int32(m),
            "n": np.int32(n),
            "k": np.int32(k),
            "alpha": np.float32(1.25),
            "beta": np.float32(0.5),
        },
        grid=(-(-n // _TILE), -(-m // _TILE), 1),
        block=(_THREADS, 1, 1),
    )


def reference(work: Work) -> dict[str, Array]:
    return {"c": _rows(work, np.arange(int(work.scalars["m"])))}


def check(work: Work, outputs: Mapping[str, Array]) -> str:
    """Bit for bit, on all rows or on 256 of them, evenly spread."""
    m = int(work.scalars["m"])
    rows = np.unique(np.linspace(0, m - 1, min(m, _ROWS_CHECKED_MAX)).astype(np.int64))
    want, got = _rows(work, rows), outputs["c"][rows]
    wrong = np.argwhere(want.view(np.uint32) != got.view(np.uint32))
    if not len(wrong):
        return ""
    at, column = wrong[0]
    return f"c[{rows[at] * want.shape[1] + column}] is {got[at, column]}, not {want[at, column]}"


def _rows(work: Work, rows: Array) -> Array:
    """The kernel's operations in the kernel's order, on some rows of c."""
    a, b, c = (work.inputs[name] for name in "abc")
    sums = np.zeros((len(rows), b.shape[1]), np.float32)
    for i in range(a.shape[1]):
        sums = _fused(a[rows, i, np.newaxis], b[i], sums)
    alpha, beta = (np.float32(work.scalars[name]) for name in ("alpha", "beta"))
    return alpha * sums + beta * c[rows]


def _fused(x: Array, y: Array, z: Array) -> Array:
    """x * y + z of float, rounded once. The product is exact in double; its sum with z is rounded to odd, after which
    rounding to float is as from the exact sum (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums",
    2008, theorem 2: 53 >= 24 + 2)."""
    product, addend = x.astype(np.float64) * y.astype(np.float64), z.astype(np.float64)
    total = product + addend
    part = total - product
    rest = (product - (total - part)) + (addend - part)
    bits = total.view(np.int64)
    away = np.where((rest > 0) == (total > 0), 1, -1)
    odd = np.where((rest != 0) & (bits & 1 == 0), bits + away, bits)
    return odd.view(np.float64).astype(np.float32)
