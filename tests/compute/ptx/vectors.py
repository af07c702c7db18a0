"""Conformance vectors as files that any engine can run: `python -m tests.compute.ptx.vectors DIRECTORY`.

For each vector NAME.ptx, canonical, whose kernel `k` takes a pointer per buffer, and NAME.npz with the bytes of each
buffer: `before0`, `after0`, `mask0`, `before1`, … index.json lists the vectors with grid, block, number of buffers and
the instructions each is about. A buffer is right after a launch if (got ^ after) & mask is zero.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from tests.compute.ptx import atomic_vectors, conformance, memory_vectors, warp_vectors
from tests.compute.ptx.conformance import ROWS, Case
from tests.compute.ptx.vector import Vector, vector, write


def arithmetic(name: str, cases: list[Case]) -> Vector:
    """A group of the conformance table: a buffer per operand, ROWS rows each, and one of the results, u64."""
    rows = conformance.operands(cases[0].sources)
    kinds = [np.dtype(f"u{conformance.bits(source) // 8}") for source in cases[0].sources]
    operands = [np.array([row[n] for row in rows], kind) for n, kind in enumerate(kinds)]
    masks = [(1 << conformance.bits(case.result)) - 1 for case in cases]
    expected = [[case.expect(*row) & mask for row in rows] for case, mask in zip(cases, masks, strict=True)]
    results = np.array(expected, np.uint64)
    buffers = [*((operand, operand) for operand in operands), (np.zeros_like(results), results)]
    mask = np.repeat(np.array(masks, np.uint64), ROWS)
    text = conformance.module_text(cases, uniform=False)
    return vector(name, text, buffers, [case.name for case in cases], block=(ROWS, 1, 1), mask=mask)


def arithmetic_vectors() -> Iterator[Vector]:
    for number, cases in enumerate(conformance.groups()):
        yield arithmetic(f"arithmetic-{number:03}", cases)


def other_vectors() -> Iterator[Vector]:
    """What is no row of operands: memory, atomics, warps and blocks."""
    yield from chain(memory_vectors.vectors(), atomic_vectors.vectors(), warp_vectors.vectors())


if __name__ == "__main__":
    count = write(Path(sys.argv[1]), chain(arithmetic_vectors(), other_vectors()))
    print(f"{count} instructions")
