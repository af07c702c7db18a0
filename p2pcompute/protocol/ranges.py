"""A set of 32-byte ids with fingerprints of its ranges, kept as the set changes."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

BITS_MAX: Final = 12
"""4,096 ranges at the finest: a comparison of 32 KiB, for books of 64 k documents and more."""
SHORT_ID_BYTES: Final = 8
"""Enough to tell a book's documents apart; the whole id and the signature are checked when a document comes."""
_MODULUS: Final = 1 << 64


class RangeIndex:
    """Ids must be hashes: their first bits decide the range, others the short id and the fingerprint. Two ids with one
    short id (someone would have to search 2**32 documents of their own for them) share an answer and harm nobody."""

    def __init__(self) -> None:
        self._leaves: defaultdict[int, dict[bytes, None]] = defaultdict(dict)
        """Number of the finest range -> its ids; empty ranges are not kept."""
        self._sums: defaultdict[int, int] = defaultdict(int)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, document_id: bytes) -> None:
        """Take an id in; it must not be there."""
        leaf = _leaf(document_id)
        self._leaves[leaf][document_id] = None
        self._sums[leaf] += _weight(document_id)
        self._count += 1

    def remove(self, document_id: bytes) -> None:
        """Take an id out; it must be there."""
        leaf = _leaf(document_id)
        del self._leaves[leaf][document_id]
        self._sums[leaf] -= _weight(document_id)
        self._count -= 1
        if not self._leaves[leaf]:
            del self._leaves[leaf], self._sums[leaf]

    def fingerprints(self, bits: int) -> bytes:
        """8 bytes for each of the 2**bits equal ranges: the sum of their ids' weights."""
        sums = [0] * (1 << bits)
        for leaf, value in self._sums.items():
            sums[leaf >> (BITS_MAX - bits)] += value
        return b"".join((value % _MODULUS).to_bytes(8, "big") for value in sums)

    def short_ids(self, bits: int, number: int) -> dict[bytes, None]:
        """The short ids of everything in one of the 2**bits ranges."""
        width = 1 << (BITS_MAX - bits)
        numbers = range(number * width, (number + 1) * width)
        return {i[:SHORT_ID_BYTES]: None for leaf in numbers for i in self._leaves.get(leaf, ())}

    def find(self, short_id: bytes) -> bytes | None:
        """An id behind a short one."""
        return next((i for i in self._leaves.get(_leaf(short_id), ()) if i.startswith(short_id)), None)


def _leaf(document_id: bytes) -> int:
    return (document_id[0] << 8 | document_id[1]) >> (16 - BITS_MAX)


def _weight(document_id: bytes) -> int:
    return int.from_bytes(document_id[8:16], "big")
