"""The conformance table as files that any engine can run: `python -m tests.compute.ptx.vectors DIRECTORY`.

For each group of cases NAME.ptx, canonical, with one kernel `k` of one pointer per operand and one for the results;
and NAME.npz: `in0`, `in1`, ... the operands' raw bits, `expected` and `mask` (u64, a row per case) of the results,
and the cases' `names`. index.json lists the groups with block and grid. A result is right if (got ^ expected) & mask is
zero.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2pcompute.compute import ptx
from tests.compute.ptx import conformance
from tests.compute.ptx.conformance import ROWS, Case

Array = NDArray[Any]


@dataclass(frozen=True)
class Vector:
    """One group: `ptx_text` runs with one block of ROWS threads."""

    name: str
    ptx_text: str
    operands: tuple[Array, ...]
    expected: Array
    mask: Array
    cases: tuple[str, ...]


def vector(name: str, cases: list[Case]) -> Vector:
    rows = conformance.operands(cases[0].sources)
    kinds = [np.dtype(f"u{conformance.bits(source) // 8}") for source in cases[0].sources]
    operands = tuple(np.array([row[n] for row in rows], kind) for n, kind in enumerate(kinds))
    masks = [(1 << conformance.bits(case.result)) - 1 for case in cases]
    expected = [[case.expect(*row) & mask for row in rows] for case, mask in zip(cases, masks, strict=True)]
    text = ptx.canonicalise(ptx.parse(conformance.module_text(cases, uniform=False)))
    return Vector(
        name, text, operands, np.array(expected, np.uint64), np.array(masks, np.uint64), tuple(c.name for c in cases)
    )


def write(directory: Path, groups: list[list[Case]]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    index = []
    for number, cases in enumerate(groups):
        made = vector(f"{number:03}", cases)
        (directory / f"{made.name}.ptx").write_text(made.ptx_text, encoding="ascii")
        inputs = {f"in{n}": operand for n, operand in enumerate(made.operands)}
        arrays = {**inputs, "expected": made.expected, "mask": made.mask, "names": np.array(made.cases)}
        np.savez_compressed(directory / f"{made.name}.npz", allow_pickle=False, **arrays)
        index.append({"name": made.name, "entry": "k", "grid": [1, 1, 1], "block": [ROWS, 1, 1], "cases": made.cases})
    (directory / "index.json").write_text(json.dumps(index, indent=1), encoding="ascii")


if __name__ == "__main__":
    write(Path(sys.argv[1]), conformance.groups())
