"""What the engine makes of address arithmetic, against the interpreter, which knows no lines and no patterns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from p2pcompute.compute.ptx import ranges
from tests.compute.ptx.formulas import RESULTS, SLOTS, Formula, Step, formulas, text
from tests.compute.ptx.interpret import checking

BLOCKS = [(32, 1, 1), (20, 1, 1), (16, 2, 1), (8, 4, 1)]
"""One warp: what its lanes store to one word has an order."""


def agree(formula: Formula, block: tuple[int, int, int]) -> None:
    body, registers, extra = text(formula)
    module = checking.body(body, 2, registers, extra)
    table = np.arange(SLOTS, dtype=np.uint32) * 77 + 5
    out = np.zeros((2 * block[0] * block[1], RESULTS), np.uint32)
    grid = (1, 1, 1)  # blocks would race for the table
    checking.both(module, "k", grid, block, table, out)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
@settings(max_examples=25, deadline=None)
@given(formula=formulas)
def test_formulas_give_the_interpreters_numbers(block: tuple[int, int, int], formula: Formula) -> None:
    agree(formula, block)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
@pytest.mark.parametrize("operation", ["mad.lo.s32", "mad.hi.u32"])
def test_a_line_times_an_unknown_number_is_no_line(operation: str, block: tuple[int, int, int]) -> None:
    """tid * u + tid.y, tid.y * u + tid, tid * u + u, where u was loaded."""
    for left, right in ((0, 3), (1, 3), (3, 0)):
        agree(Formula((Step(operation, left, right, None),), 4, 4, 0, 64, False, False), block)


@pytest.mark.parametrize("block", BLOCKS[:2], ids=str)
def test_formulas_without_assumptions(block: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "hold", lambda *_: False)

    @settings(max_examples=15, deadline=None)
    @given(formula=formulas)
    def agrees(formula: Formula) -> None:
        agree(formula, block)

    agrees()


@pytest.mark.nightly
@pytest.mark.parametrize("block", BLOCKS, ids=str)
@settings(max_examples=3_000, deadline=None)
@given(formula=formulas)
def test_very_many_formulas(block: tuple[int, int, int], formula: Formula) -> None:
    agree(formula, block)
