"""The demands that rest in a book: bids of requesters that no offer met. The same CRDT as the offers, rules B12 to B14
of docs/spec/market.md; what a bound drops is the least in a total order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from p2pcompute.protocol.machine import Now
from p2pcompute.wire import limits
from p2pcompute.wire.documents import AnyDocument, Cancel

Order = tuple[int, int, bytes]
Place = tuple[bytes, bytes]
"""Signer and tag: what demands replace each other in."""
TOMBSTONES_MAX: Final = limits.DEMANDS_MAX


class Resting(NamedTuple):
    """A demand as the book holds it: with the operator its delegation leads to."""

    document: AnyDocument
    operator: bytes


def order_of(document: AnyDocument) -> Order:
    """The total order in which documents of one place replace each other, and in which the least goes first."""
    return document.issued_at, document.sequence, document.id


class Demands:
    """Live demands, the cancels that ended others, and tombstones."""

    def __init__(self, stand: Callable[[AnyDocument], None], fall: Callable[[AnyDocument], None]) -> None:
        """`stand` and `fall`: a document is, or is no longer, what others may want from us."""
        self._stand, self._fall = stand, fall
        self._resting: dict[Place, Resting] = {}
        self._tombstones: dict[Place, tuple[Order, int]] = {}
        self._cancels: dict[Place, AnyDocument] = {}
        self._per_operator: dict[bytes, dict[Place, None]] = {}

    def __len__(self) -> int:
        return len(self._resting)

    def __iter__(self) -> Iterator[Resting]:
        return iter(list(self._resting.values()))

    def get(self, demand_id: bytes) -> Resting | None:
        """The demand of this id, while it rests."""
        return next((x for x in self._resting.values() if x.document.id == demand_id), None)

    def take(self, document: AnyDocument, operator: bytes | None) -> bool:
        """A Demand, or the Cancel of one, that is in force: whether it is news. Without an operator it lists nothing,
        and nothing earlier stands."""
        place = document.signer, document.body.tag
        order, known = order_of(document), self._resting.get(place)
        if known is not None and order <= order_of(known.document):
            return False
        if place in self._tombstones and order <= self._tombstones[place][0]:
            return False
        if operator is None or isinstance(document.body, Cancel):
            return self._bury(place, document, told=operator is not None)
        self._remove(place)
        self._resting[place] = Resting(document, operator)
        self._per_operator.setdefault(operator, {})[place] = None
        self._stand(document)
        return self._make_room(operator) != place

    def _bury(self, place: Place, document: AnyDocument, *, told: bool) -> bool:
        if place not in self._resting and place not in self._tombstones and len(self._tombstones) >= TOMBSTONES_MAX:
            return False
        self._remove(place)
        self._tombstones[place] = order_of(document), document.issued_at + limits.OFFER_LIFETIME_MS
        if told:
            self._cancels[place] = document
            self._stand(document)
        return told

    def _make_room(self, operator: bytes) -> Place | None:
        """Where there is one too many, the least goes: of this operator, or of the one that has most."""
        mine = self._per_operator[operator]
        if len(mine) > limits.DEMANDS_PER_OPERATOR_MAX:
            return self._drop_least(mine)
        if len(self._resting) > limits.DEMANDS_MAX:
            return self._drop_least(max(self._per_operator.items(), key=lambda row: (len(row[1]), row[0]))[1])
        return None

    def _drop_least(self, places: dict[Place, None]) -> Place:
        least = min(places, key=lambda place: order_of(self._resting[place].document))
        document = self._resting[least].document
        self._remove(least)
        self._tombstones[least] = order_of(document), document.issued_at + limits.OFFER_LIFETIME_MS
        return least

    def _remove(self, place: Place) -> None:
        if place in self._cancels:
            self._fall(self._cancels.pop(place))
        known = self._resting.pop(place, None)
        if known is not None:
            self._fall(known.document)
            places = self._per_operator[known.operator]
            del places[place]
            if not places:
                del self._per_operator[known.operator]

    def void(self, signer: bytes, holds: Callable[[Resting], bool]) -> None:
        """The demands of this signer that do not hold any more become tombstones."""
        for place, resting in list(self._resting.items()):
            if place[0] == signer and not holds(resting):
                self._bury(place, resting.document, told=False)

    def forget(self, signer: bytes) -> None:
        """Nothing of a convicted key stands."""
        for place in [p for p in (*self._resting, *self._cancels) if p[0] == signer]:
            self._remove(place)

    def expire(self, now: Now) -> None:
        """Drop what is no longer in force."""
        for place in [p for p, x in self._resting.items() if x.document.expires_at <= now.wall_ms]:
            self._remove(place)
        for place in [p for p, (_, until) in self._tombstones.items() if until <= now.wall_ms]:
            del self._tombstones[place]
            if place in self._cancels:
                self._fall(self._cancels.pop(place))
