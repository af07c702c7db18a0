"""Outputs that cost more than their requester may owe leave in slices: rule K9 of docs/spec/market.md.

Outputs stand one after the other, in the manifest's order; what may be read is a beginning of them, in whole chunks:
what is paid, and as much more as credit is left, one chunk at least.
"""

from __future__ import annotations

from collections.abc import Sequence

from p2pcompute.wire.documents import AnyDocument
from p2pcompute.wire.limits import BLOB_CHUNK_BYTES as CHUNK_BYTES


def readable_bytes(sizes: Sequence[int], price: int, paid: int, credit_left: int) -> int:
    """How many bytes of outputs of these sizes may be read, when `paid` of the price is."""
    total = sum(sizes)
    if price <= paid + credit_left:
        return total
    return min(total, total * paid // price + max(CHUNK_BYTES, total * credit_left // price))


def whole_chunks(sizes: Sequence[int], readable: int) -> tuple[int, int]:
    """Outputs that fit into a beginning of so many bytes, and the chunks of the next one that do."""
    for i, size in enumerate(sizes):
        if size > readable:
            return i, readable // CHUNK_BYTES
        readable -= size
    return len(sizes), 0


def add_part(parts: list[AnyDocument], cheque: AnyDocument) -> None:
    """Keep a cheque for a part, with the last ones of earlier epochs: each says what all parts so far come to, and the
    sums of different epochs add up."""
    if parts and parts[-1].epoch == cheque.epoch:
        del parts[-1]
    parts.append(cheque)


def value_of(sizes: Sequence[int], price: int, held: int) -> int:
    """What is to be paid for so many bytes of the outputs; rounded up."""
    return -(-price * min(held, sum(sizes)) // max(1, sum(sizes)))
