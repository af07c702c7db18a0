"""Who states two things of which only one can be true: how a peer sees it, and the proof that anybody can check.

Three kinds of statements have places that hold one each: a reservation is the n-th of its slot, a receipt the n-th of
its chain, a commitment the one for its assignment; all within an epoch. The first two name their forerunner. Two
statements of one signer contradict each other when they share a place, or when one follows the other and names another
forerunner. Nobody honest signs such a pair, whatever crashes: each is in its journal before it leaves, and a restored
home has a new epoch.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from p2pcompute.errors import DecodeError
from p2pcompute.protocol.post import Post
from p2pcompute.wire.codec import open_envelope
from p2pcompute.wire.documents import AnyDocument, Commitment, EquivocationProof, Receipt, Reservation

SEEN_MAX: Final = 16_384
"""Reservations and receipts remembered, the newest ones; some 600 bytes each."""
OFFENCES: Final[dict[type[object], str]] = {
    Reservation: "promised one slot twice",
    Receipt: "forked its chain of receipts",
    Commitment: "made two commitments for one assignment",
}


class Place(NamedTuple):
    """Where a statement stands: the n-th of a chain, of which its signer has one in each epoch."""

    signer: bytes
    epoch: bytes
    chain: tuple[type[object], int | bytes]
    n: int


def place_of(document: AnyDocument) -> Place | None:
    """The place that a statement takes; None for one of another kind."""
    body = document.body
    chain: int | bytes
    if isinstance(body, Reservation):
        chain, n = body.slot, body.n
    elif isinstance(body, Receipt):
        chain, n = 0, body.n
    elif isinstance(body, Commitment):
        chain, n = body.assignment, 0
    else:
        return None
    return Place(document.signer, document.epoch, (type(body), chain), n)


def contradict(a: AnyDocument, b: AnyDocument) -> bool:
    """Whether nobody honest signs both of these."""
    one, other = place_of(a), place_of(b)
    if one is None or other is None or one[:-1] != other[:-1] or a.id == b.id:
        return False
    if one.n > other.n:
        a, one, b, other = b, other, a, one
    return other.n == one.n or (other.n == one.n + 1 and b.body.previous != a.id)


def contradictions(documents: Iterable[AnyDocument]) -> Iterator[tuple[AnyDocument, AnyDocument]]:
    """Pairs of documents that nobody honest signs both of."""
    places: dict[Place, AnyDocument] = {}
    for document in documents:
        place = place_of(document)
        if place is None:
            continue
        first = places.setdefault(place, document)
        for other in (first, *(x for n in (-1, 1) if (x := places.get(place._replace(n=place.n + n))))):
            if contradict(other, document):
                yield other, document


def prove(a: AnyDocument, b: AnyDocument) -> EquivocationProof:
    """The proof that two contradicting statements make."""
    first, second = sorted((a, b), key=lambda x: x.id)
    return EquivocationProof(first.raw, second.raw)


def offender_of(post: Post, proof: EquivocationProof) -> bytes:
    """The key that a proof convicts. Raises DecodeError or SignatureError when it proves nothing."""
    first, second = post.open(proof.first), post.open(proof.second)
    if first.id >= second.id:
        raise DecodeError("the statements of a proof stand in the order of their ids")
    if not contradict(first, second):
        raise DecodeError("these statements do not contradict each other")
    return first.signer


def offender_named(proof: EquivocationProof) -> bytes:
    """The key that a proof which holds convicts."""
    return open_envelope(proof.first).signer


class Witness:
    """The reservations and receipts that this peer was given, by their places."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Place, AnyDocument] = OrderedDict()

    def see(self, document: AnyDocument) -> EquivocationProof | None:
        """Remember a statement; the proof against its signer when it contradicts one seen before."""
        place = place_of(document)
        if place is None:
            return None
        for n in (place.n, place.n - 1, place.n + 1):
            other = self._seen.get(place._replace(n=n))
            if other is not None and contradict(other, document):
                return prove(other, document)
        self._seen[place] = document
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)
        return None
