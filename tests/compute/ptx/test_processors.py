"""The same bits whatever vector instructions the machine has."""

from __future__ import annotations

import pytest

from p2pcompute.compute import ptx
from tests.compute.ptx import conformance
from tests.compute.ptx.running import run
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
    module = ptx.parse(conformance.module_text(cases, uniform=False))
    compiled = ptx.compile_entry(module, "k", (conformance.ROWS, 1, 1), processor=LEVELS[level])
    arrays = buffers(cases)
    run(compiled, (1, 1, 1), *arrays)
    assert wrong(cases, arrays[-1]) == []


@pytest.mark.parametrize("level", sorted(LEVELS))
@pytest.mark.parametrize("name", DELICATE)
def test_delicate_instructions(name: str, level: str) -> None:
    (case,) = (case for case in conformance.table() if case.name == name)
    conforms([case], level)


@pytest.mark.nightly
@pytest.mark.parametrize("level", sorted(LEVELS))
@pytest.mark.parametrize("cases", GROUPS, ids=[f"{cases[0].name}+{len(cases) - 1}" for cases in GROUPS])
def test_every_instruction(cases: list[conformance.Case], level: str) -> None:
    conforms(cases, level)
