"""Every case of the conformance table on the engine: lanes that differ, and whole warps that agree."""

from __future__ import annotations

import numpy as np
import pytest

from p2pcompute.compute import ptx
from tests.compute.ptx import conformance
from tests.compute.ptx.conformance import ROWS, Case
from tests.compute.ptx.running import run

GROUPS = conformance.groups()


def buffers(cases: list[Case]) -> list[np.ndarray]:
    rows = conformance.operands(cases[0].sources)
    arrays = []
    for column, name in enumerate(cases[0].sources):
        kind = np.dtype(f"u{conformance.bits(name) // 8}")
        arrays.append(np.array([row[column] for row in rows], kind))
    return [*arrays, np.zeros(ROWS * len(cases), np.uint64)]


def wrong(cases: list[Case], results: np.ndarray) -> list[str]:
    """One line per case that differs, with the first row."""
    lines = []
    for number, case in enumerate(cases):
        mask = (1 << conformance.bits(case.result)) - 1
        for row, got in zip(conformance.operands(case.sources), results[number * ROWS :].tolist(), strict=False):
            want = case.expect(*row)
            if got & mask != want:
                lines.append(f"{case.name} {[hex(v) for v in row]}: {got & mask:#x}, not {want:#x}")
                break
    return lines


@pytest.mark.parametrize("uniform", [False, True], ids=["lanes", "uniform"])
@pytest.mark.parametrize("cases", GROUPS, ids=[f"{cases[0].name}+{len(cases) - 1}" for cases in GROUPS])
def test_results_are_bit_for_bit_as_specified(cases: list[Case], uniform: bool) -> None:
    module = ptx.parse(conformance.module_text(cases, uniform=uniform))
    arrays = buffers(cases)
    if uniform:
        run(ptx.compile_entry(module, "k", (32, 1, 1)), (ROWS, 1, 1), *arrays)
    else:
        run(ptx.compile_entry(module, "k", (ROWS, 1, 1)), (1, 1, 1), *arrays)
    assert wrong(cases, arrays[-1]) == []


def test_spellings_are_in_canonical_order() -> None:
    """What the table calls an instruction is what canonical text has, so it is also what a GPU's assembler reads."""
    for cases in GROUPS:
        text = ptx.canonicalise(ptx.parse(conformance.module_text(cases, uniform=False)))
        for case in cases:
            assert f"\t{case.code.split()[0].strip('{')} " in text or case.code.startswith("{"), case.name
