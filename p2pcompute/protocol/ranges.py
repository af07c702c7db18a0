"""A set of 32-byte ids with fingerprints of its ranges, kept as the set changes."""

from __future__ import annotations

import struct
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
        self._leaves: dict[int, list[bytes]] = {}
        """Number of the finest range -> its ids; empty ranges are not kept."""
        self._sums: list[int] = []
        """The sums of all ranges of one size, once somebody asked; they follow what is added and removed."""
        self._shift = BITS_MAX
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, document_id: bytes) -> None:
        """Take an id in; it must not be there."""
        leaf = _leaf(document_id)
        ids = self._leaves.get(leaf)
        if ids is None:
            self._leaves[leaf] = [document_id]
        else:
            ids.append(document_id)
        self._count += 1
        if self._sums:
            self._sums[leaf >> self._shift] += _weight(document_id)

    def remove(self, document_id: bytes) -> None:
        """Take an id out; it must be there."""
        leaf = _leaf(document_id)
        ids = self._leaves[leaf]
        ids.remove(document_id)
        if not ids:
            del self._leaves[leaf]
        self._count -= 1
        if self._sums:
            self._sums[leaf >> self._shift] -= _weight(document_id)

    def fingerprints(self, bits: int) -> bytes:
        """8 bytes for each of the 2**bits equal ranges: the sum of their ids' weights."""
        shift = BITS_MAX - bits
        if self._sums and shift >= self._shift:
            step = 1 << (shift - self._shift)
            sums = self._sums if step == 1 else [sum(self._sums[i : i + step]) for i in range(0, len(self._sums), step)]
        else:
            sums = [0] * (1 << bits)
            for leaf, ids in self._leaves.items():
                sums[leaf >> shift] += sum(map(_weight, ids))
            if 1 << bits <= self._count:  # not what a peer with a far larger book asks for
                self._sums, self._shift = sums, shift
        return struct.pack(f">{len(sums)}Q", *[value % _MODULUS for value in sums])

    def short_ids(self, bits: int, number: int) -> dict[bytes, None]:
        """The short ids of everything in one of the 2**bits ranges."""
        shift = BITS_MAX - bits
        if len(self._leaves) < 1 << shift:  # a small book has far fewer leaves than there could be
            found = [ids for leaf, ids in self._leaves.items() if leaf >> shift == number]
        else:
            found = [self._leaves.get(leaf, []) for leaf in range(number << shift, (number + 1) << shift)]
        return {i[:SHORT_ID_BYTES]: None for ids in found for i in ids}

    def find(self, short_id: bytes) -> bytes | None:
        """An id behind a short one."""
        return next((i for i in self._leaves.get(_leaf(short_id), ()) if i.startswith(short_id)), None)


def _leaf(document_id: bytes) -> int:
    return (document_id[0] << 8 | document_id[1]) >> (16 - BITS_MAX)


def _weight(document_id: bytes) -> int:
    return int.from_bytes(document_id[8:16], "big")
