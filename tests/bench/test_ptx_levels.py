"""The frozen list of kernels: the same bits from every kind of machine code that can be made of them."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import trio

from p2pcompute.compute import ptx
from p2pcompute.compute.ptx import ranges
from tests.bench import ptx_cases
from tests.bench.ptx_cases import Case

EVERY = [case.name for case in ptx_cases.read()]
SHUFFLING = ["fft", "scan"]
"""Patterns, pairs, barriers, shuffles."""
LEVELS = {"sse": ptx.Processor("x86-64-v2"), "avx2": ptx.Processor("x86-64-v3")}


@cache
def text(name: str) -> str:
    return trio.run(ptx_cases.ptx_texts, ptx_cases.read([name]))[name]


def outputs(case: Case, processor: ptx.Processor | None = None) -> list[bytes]:
    compiled = ptx.compile_entry(ptx.parse(text(case.name)), case.name, case.block, processor=processor)
    arguments = case.fresh()
    ptx_cases.kernel_call(compiled, case, arguments, 1)()
    return [np.asarray(arguments[number]).tobytes() for number in case.outputs]


def agrees(name: str, level: str) -> None:
    (case,) = ptx_cases.read([name])
    assert outputs(case, LEVELS[level]) == outputs(case)


@pytest.mark.parametrize("level", sorted(LEVELS))
@pytest.mark.parametrize("name", SHUFFLING)
def test_kernels_that_shuffle_give_the_bits_of_this_machine(name: str, level: str) -> None:
    agrees(name, level)


@pytest.mark.nightly
@pytest.mark.parametrize("level", sorted(LEVELS))
@pytest.mark.parametrize("name", sorted(set(EVERY) - set(SHUFFLING)))
def test_every_kernel_gives_the_bits_of_this_machine(name: str, level: str) -> None:
    agrees(name, level)


@pytest.mark.parametrize(
    "name", [name if name in ("sgemm", "scan") else pytest.param(name, marks=pytest.mark.nightly) for name in EVERY]
)
def test_code_that_assumes_nothing_gives_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (case,) = ptx_cases.read([name])
    wanted = outputs(case)
    monkeypatch.setattr(ranges, "hold", lambda *_: False)
    assert outputs(case) == wanted
