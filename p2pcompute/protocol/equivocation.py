"""Who promises one slot twice: how a requester sees it, and the proof that anybody can check.

The reservations of a slot are a chain (reservation.py). Two of one signer and epoch contradict each other when both are
the n-th of a slot, or when one follows the other and names another one as its forerunner. An honest provider signs no
such pair, whatever crashes: a reservation is in its journal before it leaves, and a restored home has a new epoch.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from p2pcompute.errors import DecodeError
from p2pcompute.protocol.post import Post
from p2pcompute.wire.codec import open_envelope
from p2pcompute.wire.documents import AnyDocument, EquivocationProof, Reservation, body_of

SEEN_MAX: Final = 16_384
"""Reservations remembered, the newest ones; some 600 bytes each."""


def contradict(a: AnyDocument, b: AnyDocument) -> bool:
    """Whether no honest provider signs both of these reservations."""
    one, other = body_of(a, Reservation), body_of(b, Reservation)
    if (a.signer, a.epoch, one.slot) != (b.signer, b.epoch, other.slot) or a.id == b.id:
        return False
    if one.n > other.n:
        a, one, other = b, other, one
    return other.n == one.n or (other.n == one.n + 1 and other.previous != a.id)


def prove(a: AnyDocument, b: AnyDocument) -> EquivocationProof:
    """The proof that two contradicting reservations make."""
    first, second = sorted((a, b), key=lambda x: x.id)
    return EquivocationProof(first.raw, second.raw)


def offender_of(post: Post, proof: EquivocationProof) -> bytes:
    """The key that a proof convicts. Raises DecodeError or SignatureError when it proves nothing."""
    first, second = post.open(proof.first), post.open(proof.second)
    if first.id >= second.id:
        raise DecodeError("the reservations of a proof stand in the order of their ids")
    if not contradict(first, second):
        raise DecodeError("these reservations do not contradict each other")
    return first.signer


def offender_named(proof: EquivocationProof) -> bytes:
    """The key that a proof which holds convicts."""
    return open_envelope(proof.first).signer


class Witness:
    """The reservations this peer was given, by their places in the chains."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[bytes, bytes, int, int], AnyDocument] = OrderedDict()

    def see(self, reservation: AnyDocument) -> EquivocationProof | None:
        """Remember a reservation; the proof against its signer when it contradicts one seen before."""
        body = body_of(reservation, Reservation)
        signer, epoch, slot, n = reservation.signer, reservation.epoch, body.slot, body.n
        for place in (n, n - 1, n + 1):
            other = self._seen.get((signer, epoch, slot, place))
            if other is not None and contradict(other, reservation):
                return prove(other, reservation)
        self._seen[signer, epoch, slot, n] = reservation
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)
        return None
