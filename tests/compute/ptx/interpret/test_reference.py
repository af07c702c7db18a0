"""Engine and interpreter, written apart from each other, give the same bits: NVRTC's kernels and random programs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from tests.compute.ptx.interpret.checking import body as kernel_of
from tests.compute.ptx.interpret.checking import both, nvrtc
from tests.compute.ptx.programs import REGISTERS, Statement, programs, text

rng = np.random.default_rng(11)


def floats(*shape: int) -> Any:
    return rng.random(shape, np.float32).copy()


def ints(low: int, high: int, *shape: int) -> Any:
    return rng.integers(low, high, shape, np.int32)


def pair() -> bytes:
    made = np.zeros(1, np.dtype([("scale", "f4"), ("shift", "f8"), ("tag", "i2")], align=True))
    made["scale"], made["shift"], made["tag"] = 1.5, 2.25, -3
    return made.tobytes()


i32, f32 = np.int32, np.float32
CASES: list[tuple[str, str, int, int, int, list[Any]]] = [
    ("saxpy", "saxpy", 3, 64, 0, [f32(1.7), floats(150), floats(150), i32(150)]),
    ("mandelbrot", "mandelbrot", 2, 32, 0, [np.zeros(60, i32), i32(60), i32(1), *map(f32, (-1, 0, 0.1, 1)), i32(9)]),
    ("montecarlo", "montecarlo", 2, 32, 0, [np.zeros(50, np.uint64), np.uint32(99), i32(7), i32(50)]),
    ("blockwise", "scan", 3, 96, 12, [ints(-99, 99, 250), np.zeros(250, i32), i32(250)]),
    ("blockwise", "reverse", 2, 48, 192, [ints(0, 99, 96), i32(96)]),
    ("blockwise", "votes", 1, 96, 0, [ints(-100, 100, 96), np.zeros((8, 96), i32)]),
    ("control", "collatz", 2, 32, 0, [rng.integers(1, 999, 60, np.uint32), np.zeros(60, i32), i32(60)]),
    ("control", "nested", 1, 64, 0, [ints(0, 1000, 64), np.zeros(64, i32), i32(12)]),
    ("control", "shifted", 1, 32, 0, [floats(40), np.zeros(40, f32), np.uint32(40)]),
    ("spaces", "locals", 1, 64, 0, [ints(0, 30, 64), np.zeros(64, i32)]),
    ("spaces", "structs", 1, 32, 0, [pair(), np.zeros(32)]),
    ("spaces", "vectors", 1, 48, 0, [floats(48, 4), np.zeros((48, 2), f32)]),
    ("spaces", "histogram", 2, 64, 0, [rng.integers(0, 256, 500, np.uint8), np.zeros(256, np.uint32), i32(500)]),
    ("spaces", "globals", 2, 32, 0, [np.zeros(32, i32)]),
    ("spaces", "constants", 1, 32, 0, [np.zeros(32, f32)]),
    ("calls", "calls", 1, 64, 0, [ints(0, 60, 64), np.zeros(64, f32), np.zeros(64, i32)]),
    ("calls", "library", 1, 32, 0, [rng.random(32) * 9, np.zeros(32)]),
    ("math", "exact", 1, 64, 0, [floats(64) * f32(50), np.zeros(64, f32), np.zeros(64)]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case[1] for case in CASES])
def test_compiled_kernels(case: tuple[str, str, int, int, int, list[Any]]) -> None:
    file, entry, grid, block, shared, arguments = case
    both(nvrtc(file), entry, (grid, 1, 1), (block, 1, 1), *arguments, shared=shared)


def test_tiles_in_shared_memory() -> None:
    a, b = floats(32, 32), floats(32, 32)
    result = both(nvrtc("blockwise"), "matmul", (2, 2, 1), (16, 16, 1), a, b, np.zeros_like(a), i32(32))
    assert result.findings == ()


@pytest.mark.parametrize("block", [(7, 3, 2), (1, 5, 3)])
def test_three_dimensional_indices(block: tuple[int, int, int]) -> None:
    out = np.full((2, 2, 3, *block[::-1]), -1, i32)
    both(nvrtc("control"), "indices", (3, 2, 2), block, out)


@pytest.mark.parametrize("block", [32, 40, 8])
@settings(max_examples=20, deadline=None)
@given(program=programs)
def test_random_programs(block: int, program: tuple[Statement, ...]) -> None:
    lines, registers = text(program)
    slots = np.arange(2 * block, dtype=np.uint32) * 5 + 1
    out = np.zeros((2 * block, REGISTERS), np.uint32)
    result = both(kernel_of(lines, 2, registers), "k", (2, 1, 1), (block, 1, 1), slots, out)
    assert result.findings == ()
