"""Which blocks of a grid a launch runs: a list of linear numbers, checked once before the launch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from p2pcompute.errors import UsageError

BLOCK_LIST_MAX: Final = 1 << 22
"""32 MiB of numbers; a sample has tens or hundreds."""

BlockList = NDArray[np.uint64]
Blocks = Sequence[int] | NDArray[Any]


def block_list(blocks: Blocks, grid: tuple[int, int, int]) -> BlockList:
    """The numbers as the engine reads them, in the order given.

    A number is x + grid.x * (y + grid.y * z). Raises UsageError for numbers outside the grid, for one that stands twice
    (a block that runs twice may read what it wrote the first time) and for more than BLOCK_LIST_MAX.
    """
    if len(blocks) > BLOCK_LIST_MAX:
        raise UsageError(f"A list of {len(blocks)} blocks exceeds {BLOCK_LIST_MAX}.")
    try:
        given = np.asarray(blocks if len(blocks) else np.zeros(0, np.int64))
    except (OverflowError, ValueError):
        raise UsageError("A list of blocks holds whole numbers only.") from None
    if given.ndim != 1 or given.dtype.kind not in "iu":
        raise UsageError("A list of blocks holds whole numbers only.")
    total = math.prod(grid)
    if given.size and (int(given.min()) < 0 or int(given.max()) >= total):
        wrong = int(given[(given < 0) | (given >= total)][0])
        raise UsageError(f"There is no block {wrong}; the grid has {total}.")
    listed = np.ascontiguousarray(given, np.uint64)
    ordered = np.sort(listed)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if twice.size:
        raise UsageError(f"Block {int(twice[0])} stands twice in the list.")
    return listed
