"""Where do two blobs of one length differ? Found by few leaves of each: rule V26 of docs/spec/verification.md.

A leaf's proof holds the nodes beside its way to the top. Where such a node differs between the two trees, so does some
leaf under it; the lowest of these nodes leads on. Every leaf that is asked for so lies under a lower node than the one
before: of a tree with n levels at most n leaves are.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping

from p2pcompute.wire import merkle
from p2pcompute.wire.fraud import LEAF, Piece

Pair = tuple[Piece, Piece]


def first_difference(left: bytes, right: bytes) -> int | None:
    """The first byte in which two leaves of one length differ; None where none does."""
    return next((place for place, (one, other) in enumerate(zip(left, right, strict=True)) if one != other), None)


def bisect(size_bytes: int) -> Generator[int, Pair, int]:
    """Yields the number of a leaf, and is sent that leaf of both blobs, each proven; returns a byte in which they
    differ. Raises ValueError for blobs that do not."""
    leaf = 0
    while True:
        left, right = yield leaf
        offset = first_difference(left.data, right.data)
        if offset is not None:
            return leaf * LEAF + offset
        mine, others = (_beside(piece, size_bytes) for piece in (left, right))
        differing = [(level, place) for (level, place), node in mine.items() if others[level, place] != node]
        if not differing:
            raise ValueError("the blobs do not differ")
        level, place = min(differing)
        leaf = place << level


def _beside(piece: Piece, size_bytes: int) -> Mapping[tuple[int, int], bytes]:
    """(level, place) -> node, of those beside a leaf's way to the top."""
    return dict(zip(merkle.proof_places(merkle.leaf_count(size_bytes), piece.leaves), piece.proof, strict=True))
