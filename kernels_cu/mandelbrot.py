"""Work and reference for mandelbrot.cu."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from kernels_cu.library import Array, Work, differing

_BLOCK: Final = (32, 8, 1)
_STEPS_MAX: Final = 200


def build(scale: int) -> Work:
    """The whole set on 150 scale x 100 scale pixels."""
    width, height = 150 * scale, 100 * scale
    return Work(
        inputs={},
        outputs={"steps": ("i32", (height, width))},
        scalars={
            "width": np.int32(width),
            "height": np.int32(height),
            "left": np.float32(-2.0),
            "top": np.float32(1.0),
            "step": np.float32(3.0 / width),
            "steps_max": np.int32(_STEPS_MAX),
        },
        grid=(-(-width // _BLOCK[0]), -(-height // _BLOCK[1]), 1),
        block=_BLOCK,
    )


def reference(work: Work) -> dict[str, Array]:
    """The kernel's operations in the kernel's order, on all pixels that are still inside at once."""
    width, height = int(work.scalars["width"]), int(work.scalars["height"])
    left, top, step = (np.float32(work.scalars[name]) for name in ("left", "top", "step"))
    cx = np.tile(left + np.arange(width, dtype=np.float32) * step, height)
    cy = np.repeat(top - np.arange(height, dtype=np.float32) * step, width)
    steps = np.zeros(width * height, np.int32)
    inside = np.arange(width * height)
    x, y = np.zeros_like(cx), np.zeros_like(cy)
    for _ in range(int(work.scalars["steps_max"])):
        xx, yy = x * x, y * y
        stays = xx + yy <= np.float32(4.0)
        inside = inside[stays]
        x, y, xx, yy, cx, cy = (a[stays] for a in (x, y, xx, yy, cx, cy))
        y = np.float32(2.0) * x * y + cy
        x = xx - yy + cx
        steps[inside] += 1
    return {"steps": steps.reshape(height, width)}


def check(work: Work, outputs: Mapping[str, Array]) -> str:
    """Bit for bit: only rounded additions, subtractions and products of float."""
    return differing(reference(work), outputs)
