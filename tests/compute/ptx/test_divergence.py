"""Warps that diverge in every way give what threads running alone would give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compute.ptx.programs import REGISTERS, Statement, Thread, programs, text
from tests.compute.ptx.running import body_kernel, run


def compare(block: int, program: tuple[Statement, ...]) -> None:
    blocks = 2
    slots = np.arange(blocks * block, dtype=np.uint32) * 5 + 1
    threads = [Thread(t % block, t // block, int(slots[t])) for t in range(blocks * block)]
    for thread in threads:
        thread.run(program)
    out = np.zeros((blocks * block, REGISTERS), np.uint32)
    body, registers = text(program)
    run(body_kernel(body, 2, registers, block), (blocks, 1, 1), slots, out)
    assert out.tolist() == [thread.registers for thread in threads]
    assert slots.tolist() == [thread.slot for thread in threads]


@settings(max_examples=20, deadline=None)
@given(block=st.sampled_from([32, 40, 8]), program=programs)
def test_random_programs_match_an_interpreter(block: int, program: tuple[Statement, ...]) -> None:
    compare(block, program)


@pytest.mark.nightly
@pytest.mark.parametrize("block", [32, 40, 8])
@settings(max_examples=400, deadline=None)
@given(program=programs)
def test_many_random_programs_match_an_interpreter(block: int, program: tuple[Statement, ...]) -> None:
    compare(block, program)
