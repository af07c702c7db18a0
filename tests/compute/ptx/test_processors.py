"""The same bits whatever vector instructions the machine has."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from p2pcompute.compute import ptx
from tests.compute.ptx import conformance
from tests.compute.ptx.running import module, run
from tests.compute.ptx.test_conformance import GROUPS, buffers, wrong

LEVELS = {"sse": ptx.Processor("x86-64-v2"), "avx2": ptx.Processor("x86-64-v3")}
"""AVX-512, where the machine has it, is what all other tests run on."""

DELICATE = (
    "fma.rn.f16",
    "fma.rn.f16x2",
    "fma.rz.f32",
    "cvt.rni.u8.f16",
    "cvt.rn.f16.u64",
    "cvt.rn.f16.f64",
    "div.rm.f64",
)
"""Halves without F16C, fused products without FMA, rounding without AVX-512's own modes, 64-bit conversions."""


def conforms(cases: list[conformance.Case], level: str) -> None:
    text = conformance.module_text(cases, uniform=False)
    compiled = ptx.compile_entry(ptx.parse(text), "k", (conformance.ROWS, 1, 1), processor=LEVELS[level])
    arrays = buffers(cases)
    run(compiled, (1, 1, 1), *arrays)
    assert wrong(cases, arrays[-1]) == []


@pytest.mark.parametrize("level", sorted(LEVELS))
@pytest.mark.parametrize("name", DELICATE)
def test_delicate_instructions(name: str, level: str) -> None:
    (case,) = (case for case in conformance.table() if case.name == name)
    conforms([case], level)


def mandelbrot(processor: ptx.Processor | None) -> np.ndarray:
    out, f = np.zeros((48, 64), np.int32), np.float32
    compiled = ptx.compile_entry(module("mandelbrot"), "mandelbrot", (16, 16, 1), processor=processor)
    scalars = [*map(np.int32, (64, 48)), f(-2), f(-1.2), f(0.05), f(0.05), np.int32(60)]
    run(compiled, (4, 3, 1), out, *scalars)
    return out


def montecarlo(processor: ptx.Processor | None) -> np.ndarray:
    hits = np.zeros(300, np.uint64)
    compiled = ptx.compile_entry(module("montecarlo"), "montecarlo", (128, 1, 1), processor=processor)
    run(compiled, (3, 1, 1), hits, np.uint32(99), np.int32(37), np.int32(300))
    return hits


def matmul(processor: ptx.Processor | None) -> np.ndarray:
    a, b = np.random.default_rng(5).random((2, 64, 64), np.float32)
    c = np.zeros((64, 64), np.float32)
    compiled = ptx.compile_entry(module("blockwise"), "matmul", (16, 16, 1), processor=processor)
    run(compiled, (4, 4, 1), a.copy(), b.copy(), c, np.int32(64))
    return c


def scan(processor: ptx.Processor | None) -> np.ndarray:
    values, out = np.arange(500, dtype=np.int32) % 7, np.zeros(500, np.int32)
    compiled = ptx.compile_entry(module("blockwise"), "scan", (128, 1, 1), processor=processor)
    run(compiled, (4, 1, 1), values, out, np.int32(500), shared=16)
    return out


@pytest.mark.parametrize("level", sorted(LEVELS))
@pytest.mark.parametrize("kernel", [mandelbrot, montecarlo, matmul, scan], ids=lambda kernel: kernel.__name__)
def test_kernels_give_the_bits_of_this_machine(
    kernel: Callable[[ptx.Processor | None], np.ndarray], level: str
) -> None:
    assert kernel(LEVELS[level]).tobytes() == kernel(None).tobytes()


@pytest.mark.nightly
@pytest.mark.parametrize("level", sorted(LEVELS))
@pytest.mark.parametrize("cases", GROUPS, ids=[f"{cases[0].name}+{len(cases) - 1}" for cases in GROUPS])
def test_every_instruction(cases: list[conformance.Case], level: str) -> None:
    conforms(cases, level)
