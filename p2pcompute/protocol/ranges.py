"""A set of 32-byte ids with fingerprints of its ranges, kept as the set changes."""

from __future__ import annotations

import struct
from typing import Final

BITS_MAX: Final = 12
"""4,096 ranges at the finest: a comparison of 32 KiB, for books of 64 k documents and more."""
SHORT_ID_BYTES: Final = 8
"""Enough to tell a book's documents apart; the whole id and the signature are checked when a document comes."""
LEAF: Final = 8
"""Ids in the finest range that is kept, on average and at most: half of what a comparison aims at, so that a peer whose
book is a little larger asks for nothing finer. Ranges are quartered beyond it, and joined below a sixteenth of it."""
_MODULUS: Final = 1 << 64


class RangeIndex:
    """Ids must be hashes: their first bits decide the range, others the short id and the fingerprint. Two ids with one
    short id (someone would have to search 2**32 documents of their own for them) share an answer and harm nobody."""

    def __init__(self) -> None:
        self._bits = 0
        self._leaves: list[dict[bytes, None]] = [{}]
        """The ids of each of the 2**_bits finest ranges; cut finer before they hold more than LEAF on average."""
        self._sums = [0]
        """The sum of the weights of each, modulo 2**64 when it is told."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, document_id: bytes) -> None:
        """Take an id in; it must not be there."""
        leaf = _range(document_id, self._bits)
        self._leaves[leaf][document_id] = None
        self._sums[leaf] += _weight(document_id)
        self._count += 1
        if self._count > LEAF << self._bits and self._bits < BITS_MAX:
            self._cut(self._bits + 2)

    def remove(self, document_id: bytes) -> None:
        """Take an id out; it must be there."""
        leaf = _range(document_id, self._bits)
        del self._leaves[leaf][document_id]
        self._sums[leaf] -= _weight(document_id)
        self._count -= 1
        if self._bits and 16 * self._count < LEAF << self._bits:
            self._cut(self._bits - 2)

    def _cut(self, bits: int) -> None:
        """The same ids in ranges of another size; it comes so seldom that it costs each id little."""
        ids = [i for leaf in self._leaves for i in leaf]
        self._bits = bits
        self._leaves = [{} for _ in range(1 << bits)]
        for i in ids:
            self._leaves[_range(i, bits)][i] = None
        self._sums = [sum(map(_weight, leaf)) for leaf in self._leaves]

    def fingerprints(self, bits: int) -> bytes:
        """8 bytes for each of the 2**bits equal ranges: the sum of their ids' weights."""
        if bits <= self._bits:
            step = 1 << self._bits - bits
            sums = self._sums if step == 1 else [sum(self._sums[i : i + step]) for i in range(0, len(self._sums), step)]
        else:  # asked by a peer with more ids
            sums = [0] * (1 << bits)
            for leaf in self._leaves:
                for i in leaf:
                    sums[_range(i, bits)] += _weight(i)
        return struct.pack(f">{len(sums)}Q", *[value % _MODULUS for value in sums])

    def short_ids(self, bits: int, number: int) -> dict[bytes, None]:
        """The short ids of everything in one of the 2**bits ranges."""
        if bits > self._bits:
            leaf = self._leaves[number >> bits - self._bits]
            return {i[:SHORT_ID_BYTES]: None for i in leaf if _range(i, bits) == number}
        width = 1 << self._bits - bits
        leaves = self._leaves[number * width : (number + 1) * width]
        return {i[:SHORT_ID_BYTES]: None for leaf in leaves for i in leaf}

    def find(self, short_id: bytes) -> bytes | None:
        """An id behind a short one."""
        return next((i for i in self._leaves[_range(short_id, self._bits)] if i.startswith(short_id)), None)


def _range(document_id: bytes, bits: int) -> int:
    return (document_id[0] << 8 | document_id[1]) >> (16 - bits)


def _weight(document_id: bytes) -> int:
    return int.from_bytes(document_id[8:16], "big")
