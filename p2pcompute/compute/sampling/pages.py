"""A buffer of which only some leaves are known: what single blocks need of it, and what they left in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from p2pcompute.compute.shared import Extents
from p2pcompute.wire.limits import BLOB_LEAF_BYTES

LEAF: Final = BLOB_LEAF_BYTES
Spans = NDArray[np.int64]
"""Intervals of bytes, shape (n, 2): first byte, byte behind the last."""


def leaves_under(spans: Spans) -> list[int]:
    """The leaves that these bytes lie in, ascending, no two alike."""
    if not len(spans):
        return []
    first = spans[:, 0] // LEAF
    counts = (spans[:, 1] - 1) // LEAF - first + 1
    within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    return [int(number) for number in np.unique(np.repeat(first, counts) + within)]


class Pages:
    """`size_bytes` of a buffer. All of it is known with `whole`; with `is_zero` too: it holds nothing but zeros."""

    def __init__(self, size_bytes: int, *, whole: memoryview | None = None, is_zero: bool = False) -> None:
        self.size_bytes = size_bytes
        self._whole, self._is_zero = whole, is_zero
        self._leaves: dict[int, bytes] = {}

    def missing(self, spans: Spans) -> list[int]:
        """Leaves under these bytes that are not known."""
        if self._whole is not None or self._is_zero:
            return []
        return [leaf for leaf in leaves_under(spans) if leaf not in self._leaves]

    def add(self, leaves: Mapping[int, bytes]) -> None:
        """These are known now."""
        self._leaves.update(leaves)

    def read(self, start: int, end: int) -> bytes:
        """Bytes that are known. Raises KeyError where they are not."""
        if self._whole is not None:
            return bytes(self._whole[start:end])
        if self._is_zero:
            return bytes(end - start)
        first = start // LEAF
        joined = b"".join(self._leaves[number] for number in range(first, (end - 1) // LEAF + 1))
        return joined[start - first * LEAF : end - first * LEAF]

    def extents(self) -> Extents:
        """All that is known."""
        if self._whole is not None:
            return Extents([(0, self._whole)])
        runs: list[tuple[int, list[bytes]]] = []
        for number in sorted(self._leaves):
            if runs and runs[-1][0] + len(runs[-1][1]) == number:
                runs[-1][1].append(self._leaves[number])
            else:
                runs.append((number, [self._leaves[number]]))
        return Extents([(number * LEAF, b"".join(leaves)) for number, leaves in runs])


def first_difference(spans: Spans, left: bytes, pages: Pages) -> int | None:
    """The first byte of these at which `pages` holds another than was left there; None when it holds the same."""
    place = 0
    for start, end in spans.tolist():
        mine, theirs = left[place : place + end - start], pages.read(start, end)
        if mine != theirs:
            differs = np.frombuffer(mine, np.uint8) != np.frombuffer(theirs, np.uint8)
            return int(start + np.flatnonzero(differs)[0])
        place += end - start
    return None
