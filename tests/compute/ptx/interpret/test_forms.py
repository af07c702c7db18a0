"""Every lane-wise form of the instruction table: engine and interpreter give the same bits, for edge values and at
random.
"""

from __future__ import annotations

import numpy as np
import pytest

from p2pcompute.compute import ptx
from tests.compute.ptx.interpret.checking import both
from tests.compute.ptx.interpret.forms import OPCODES, kernels

THREADS = 96
EDGES = [0, 1, 2, 31, 32, 63, 64, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
EDGES += [
    0x3C00,
    0x7C00,
    0xFC00,
    0x7E01,
    0x0001,
    0x3F800000,
    0xBF800000,
    0x7F800000,
    0xFF800000,
    0x7FC00001,
    0x00000001,
]
EDGES += [0x3FF0000000000000, 0x7FF0000000000000, 0x8000000000000000, 0x7FF8000000000001, 0x7FFFFFFFFFFFFFFF, 2**64 - 1]
EDGES += [0x4EFFFFFF, 0x4F000000, 0x5F000000, 0x00800000, 0x0010000000000000, 0x41DFFFFFFFC00000, 0x7F7FFFFF]


def words(seed: int) -> np.ndarray:
    """Edge values, random bits, and random small numbers, in an order of its own for each seed."""
    rng = np.random.default_rng(seed)
    wild = rng.integers(0, 2**64, THREADS, np.uint64)
    edge = rng.choice(np.array(EDGES, np.uint64), THREADS)
    near = rng.normal(0, 100, THREADS).astype(np.float32).view(np.uint32).astype(np.uint64)
    return np.choose(rng.integers(0, 3, THREADS), [wild, edge, near])


@pytest.mark.parametrize("opcode", OPCODES)
def test_engine_and_interpreter_agree(opcode: str) -> None:
    assert kernels(opcode), "nothing of this opcode is supported"
    for text, results, names in kernels(opcode):
        out = np.zeros((THREADS, results), np.uint64)
        try:
            both(ptx.parse(text), "k", (1, 1, 1), (THREADS, 1, 1), words(1), words(2), words(3), out)
        except AssertionError as error:
            raise AssertionError(f"one of {sorted(set(names))}") from error
