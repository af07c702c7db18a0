"""Work and reference for saxpy.cu."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from kernels_cu.library import Array, Work, differing

_THREADS: Final = 256


def build(scale: int) -> Work:
    """Vectors of 100,003 * scale floats: not a multiple of the block, so that the bounds check is exercised."""
    n = 100_003 * scale
    rng = np.random.default_rng(1)
    return Work(
        inputs={"x": rng.standard_normal(n, np.float32), "y": rng.standard_normal(n, np.float32)},
        outputs={"y": ("f32", (n,))},
        scalars={"n": np.int32(n), "a": np.float32(2.5)},
        grid=(-(-n // _THREADS), 1, 1),
        block=(_THREADS, 1, 1),
    )


def reference(work: Work) -> dict[str, Array]:
    return {"y": work.scalars["a"] * work.inputs["x"] + work.inputs["y"]}


def check(work: Work, outputs: Mapping[str, Array]) -> str:
    """Bit for bit: one rounded product and one rounded sum per element."""
    return differing(reference(work), outputs)
