"""The order book: every live offer this peer knows, newest of each provider.

A CRDT: for each signer the document with the greatest (issued_at, sequence, id) stands, whatever the order of arrival;
a Cancel is a tombstone in the same order. Of a key that promised a slot twice nothing stands.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from p2pcompute.errors import DecodeError, SignatureError
from p2pcompute.identity.delegation import Capability, Revocation
from p2pcompute.protocol import equivocation, matching
from p2pcompute.protocol.demands import Demands, Resting
from p2pcompute.protocol.ladder import Ladder
from p2pcompute.protocol.machine import Emit, Now, Ruling
from p2pcompute.protocol.matching import Listing, Needs, RankBy, RoundTrip
from p2pcompute.protocol.post import Post
from p2pcompute.protocol.ranges import RangeIndex
from p2pcompute.protocol.shards import WHOLE, Shard
from p2pcompute.wire import limits
from p2pcompute.wire.documents import AnyDocument, Cancel, Demand, EquivocationProof, Offer, UnknownDocumentError

EXPIRY_SLACK: Final = 1_024

Order = tuple[int, int, bytes]


def order_of(document: AnyDocument) -> Order:
    """The total order in which the documents of one signer replace each other."""
    return document.issued_at, document.sequence, document.id


def _classes(offer: Offer) -> tuple[tuple[str, str], ...]:
    """The resource classes an offer is found in: everything, its engine's, its model's."""
    names = (("", ""), (offer.engine, ""), ("", offer.model))
    return tuple(dict.fromkeys(names)) if not offer.engine or not offer.model else names


def _ladder(by: RankBy, engine: str, model: str) -> Ladder:
    return Ladder(*[c for c, label in (("engine", engine), ("model", model)) if label], by=by)


class Book:
    """Bounded by OFFERS_MAX in all and OFFERS_PER_OPERATOR_MAX for each operator; a full book IGNOREs newcomers.

    A tombstone is what stands when a signer has no listing: its order blocks everything earlier. It lasts as long as
    any earlier offer can, whatever it says of itself.
    """

    TOMBSTONES_MAX: Final = limits.OFFERS_MAX

    def __init__(self, post: Post) -> None:
        self._post = post
        self._listings: dict[bytes, Listing] = {}
        self._tombstones: dict[bytes, tuple[Order, int]] = {}
        self._per_operator: dict[bytes, int] = {}
        self._expiry: list[tuple[int, bytes]] = []
        """When somebody's offer ends, or ended before it was renewed."""
        self._ladders: dict[tuple[str, str], Ladder] = {}
        self._ladders_by_gflop: dict[tuple[str, str], Ladder] = {}
        """Of the classes that somebody asked for in this order."""
        self._raws: dict[bytes, AnyDocument] = {}
        self._standing: dict[bytes, tuple[bytes, bytes]] = {}
        """Id -> bytes of what others may want from us, and the key it is about: live offers, the cancels that end
        others, proofs."""
        self._cancels: dict[bytes, bytes] = {}
        self._proofs: dict[bytes, AnyDocument] = {}
        """Convicted key -> the proof against it."""
        self._indexes = {WHOLE: RangeIndex()}
        """Of the whole book, and of each shard that is kept in step with others."""
        self._counts = {WHOLE: 0}
        """Offers listed in each of these."""
        self.demands = Demands(self._rest, self._unrest)

    def index(self, shard: Shard = WHOLE) -> RangeIndex:
        """What stands in a shard. Raises KeyError for one that is not kept."""
        return self._indexes[shard]

    def keep(self, shards: Iterable[Shard]) -> None:
        """Have an index of each of these shards, and of no others but the whole."""
        kept = dict.fromkeys((WHOLE, *shards))
        self._indexes = {shard: self._indexes.get(shard) or self._indexed(shard) for shard in kept}
        self._counts = {shard: sum(map(shard.holds, self._listings)) for shard in kept}

    def _indexed(self, shard: Shard) -> RangeIndex:
        index = RangeIndex()
        for document_id, (_, key) in self._standing.items():
            if shard.holds(key):
                index.add(document_id)
        return index

    def count(self, shard: Shard) -> int:
        """Offers that are listed in a shard that is kept."""
        return self._counts[shard]

    def __len__(self) -> int:
        return len(self._listings)

    def judge(self, now: Now, raw: bytes) -> tuple[Ruling, AnyDocument | None, list[Emit]]:
        """Check a document against rules B1 to B11 of docs/spec/market.md and, when it is news, apply it."""
        if raw in self._raws:  # these very bytes stand in the book: verified once, never again
            return Ruling.IGNORE, self._raws[raw], []
        try:
            document = self._post.open(raw)
            body = document.body
            if isinstance(body, Revocation):
                return self._revoke(now, document)
            if isinstance(body, EquivocationProof):
                return self._convict(now, document)
            if document.expires_at - document.issued_at > limits.OFFER_LIFETIME_MS:
                return Ruling.REJECT, None, []
            operator: bytes | None = document.signer
            if isinstance(body, Demand):
                operator = self._post.operator_of(document.signer, body.delegation, Capability.REQUEST, now)
            elif isinstance(body, Offer):
                operator = self._post.operator_of(document.signer, body.delegation, Capability.PROVIDE, now)
            elif not isinstance(body, Cancel):
                return Ruling.REJECT, None, []
        except UnknownDocumentError:
            return Ruling.IGNORE, None, []
        except (DecodeError, SignatureError):
            return Ruling.REJECT, None, []
        if not document.alive(now.wall_ms) or document.signer in self._proofs:
            return Ruling.IGNORE, document, []
        if isinstance(body, Demand) or (isinstance(body, Cancel) and body.tag):
            return self._demand(document, operator)
        if not self._is_news(document):
            return Ruling.IGNORE, document, []
        return self._apply(document, operator)

    def _demand(self, document: AnyDocument, operator: bytes | None) -> tuple[Ruling, AnyDocument, list[Emit]]:
        if not self.demands.take(document, operator):
            return Ruling.IGNORE, document, []
        event = "demand.gone" if isinstance(document.body, Cancel) else "demand.new"
        return Ruling.ACCEPT, document, [Emit(event, {"peer": document.signer, "operator": operator})]

    def _rest(self, document: AnyDocument) -> None:
        self._raws[document.raw] = document
        self._stand(document, document.body.tag)

    def _unrest(self, document: AnyDocument) -> None:
        del self._raws[document.raw]
        self._fall(document.id)

    def _is_news(self, document: AnyDocument) -> bool:
        signer = document.signer
        listing = self._listings.get(signer)
        if listing is not None and order_of(document) <= order_of(listing.offer):
            return False
        return signer not in self._tombstones or order_of(document) > self._tombstones[signer][0]

    def _apply(self, document: AnyDocument, operator: bytes | None) -> tuple[Ruling, AnyDocument, list[Emit]]:
        signer = document.signer
        known = self._listings.get(signer)
        if operator is None or isinstance(document.body, Cancel):
            if known is None and signer not in self._tombstones and len(self._tombstones) >= self.TOMBSTONES_MAX:
                return Ruling.IGNORE, document, []
            self._bury(signer, order_of(document), document.issued_at)
            if operator is not None:
                self._cancels[signer] = document.id
                self._stand(document, signer)
            gone = [Emit("offer.gone", {"peer": signer})] if known is not None else []
            return (Ruling.IGNORE if operator is None else Ruling.ACCEPT), document, gone
        full = known is None and len(self._listings) >= limits.OFFERS_MAX
        joins = known is None or known.operator != operator
        if full or (joins and self._per_operator.get(operator, 0) >= limits.OFFERS_PER_OPERATOR_MAX):
            return Ruling.IGNORE, document, []
        if known is not None or signer in self._cancels:
            self._remove(signer)
        self._listings[signer] = Listing(document, operator)
        self._tally(signer, 1)
        self._raws[document.raw] = document
        self._stand(document, signer)
        self._per_operator[operator] = self._per_operator.get(operator, 0) + 1
        self._enter(self._listings[signer])
        event = "offer.changed" if known else "offer.new"
        return Ruling.ACCEPT, document, [Emit(event, {"peer": signer, "operator": operator})]

    def _revoke(self, now: Now, document: AnyDocument) -> tuple[Ruling, AnyDocument, list[Emit]]:
        if not document.alive(now.wall_ms):
            return Ruling.IGNORE, document, []
        subject = document.body.subject
        if not self._post.authority.revoke(document.signer, subject, document.issued_at):
            return Ruling.IGNORE, document, []
        listing = self._listings.get(subject)
        self.demands.void(subject, lambda x: self._may_demand(now, x))
        if listing is not None and not self._authorised(now, listing):
            self._bury(subject, order_of(listing.offer), listing.offer.issued_at)
        return Ruling.ACCEPT, document, [Emit("key.revoked", {"peer": subject, "operator": document.signer})]

    def _convict(self, now: Now, document: AnyDocument) -> tuple[Ruling, AnyDocument | None, list[Emit]]:
        """Rules B9 to B11. Raises DecodeError or SignatureError for a proof that proves nothing."""
        if document.expires_at - document.issued_at > limits.PROOF_LIFETIME_MS:
            return Ruling.REJECT, None, []
        offender = equivocation.offender_of(self._post, document.body)
        known, order = self._proofs.get(offender), (document.expires_at, document.id)
        if not document.alive(now.wall_ms) or (known is not None and order <= (known.expires_at, known.id)):
            return Ruling.IGNORE, document, []
        if known is not None:  # of several proofs all books keep the same one, and nobody needs to hear of it
            self._absolve(offender)
        elif len(self._proofs) >= limits.PROOFS_MAX:
            if offender not in self._listings:
                return Ruling.IGNORE, document, []
            self._absolve(next(iter(self._proofs)))
        listed = self._listings.get(offender)
        self._remove(offender)
        self.demands.forget(offender)
        self._proofs[offender] = self._raws[document.raw] = document
        self._stand(document, offender)
        if known is not None:
            return Ruling.IGNORE, document, []
        gone = [Emit("offer.gone", {"peer": offender})] if listed else []
        operator = listed.operator if listed is not None else None
        return Ruling.ACCEPT, document, [*gone, Emit("key.convicted", {"peer": offender, "operator": operator})]

    def _absolve(self, offender: bytes) -> None:
        proof = self._proofs.pop(offender)
        del self._raws[proof.raw]
        self._fall(proof.id)

    def convicted(self) -> Iterable[bytes]:
        """The keys against which a proof stands here."""
        return self._proofs

    def is_convicted(self, peer: bytes) -> bool:
        """Whether a proof stands here that this key stated two things of which one is not true."""
        return peer in self._proofs

    def _authorised(self, now: Now, listing: Listing) -> bool:
        delegation = listing.offer.body.delegation
        return self._post.operator_of(listing.peer, delegation, Capability.PROVIDE, now) is not None

    def _may_demand(self, now: Now, x: Resting) -> bool:
        document = x.document
        return self._post.operator_of(document.signer, document.body.delegation, Capability.REQUEST, now) is not None

    def _bury(self, signer: bytes, order: Order, issued_at: int) -> None:
        """Nothing of this signer up to this order stands any more."""
        self._remove(signer)
        self._tombstones[signer] = order, issued_at + limits.OFFER_LIFETIME_MS

    def _tally(self, signer: bytes, change: int) -> None:
        for shard in self._counts:
            if shard.holds(signer):
                self._counts[shard] += change

    def _stand(self, document: AnyDocument, key: bytes) -> None:
        self._standing[document.id] = document.raw, key
        for shard, index in self._indexes.items():
            if shard.holds(key):
                index.add(document.id)

    def _fall(self, document_id: bytes) -> None:
        _, key = self._standing.pop(document_id)
        for shard, index in self._indexes.items():
            if shard.holds(key):
                index.remove(document_id)

    def _remove(self, signer: bytes) -> None:
        if signer in self._cancels:
            self._fall(self._cancels.pop(signer))
        listing = self._listings.pop(signer, None)
        if listing is not None:
            self._tally(signer, -1)
            del self._raws[listing.offer.raw]
            self._fall(listing.offer.id)
            self._leave(listing)
            left = self._per_operator[listing.operator] - 1
            if left:
                self._per_operator[listing.operator] = left
            else:
                del self._per_operator[listing.operator]

    def _enter(self, listing: Listing) -> None:
        """Into the ladders of its classes and the row of those that will expire."""
        for name in _classes(listing.offer.body):
            if name not in self._ladders:
                self._ladders[name] = _ladder(RankBy.DEVICE_SECOND, *name)
            self._ladders[name].add(listing)
            if name in self._ladders_by_gflop:
                self._ladders_by_gflop[name].add(listing)
        heapq.heappush(self._expiry, (listing.offer.expires_at, listing.peer))
        if len(self._expiry) > 2 * len(self._listings) + EXPIRY_SLACK:  # renewals left too many behind
            self._expiry = [(x.offer.expires_at, x.peer) for x in self._listings.values()]
            heapq.heapify(self._expiry)

    def _leave(self, listing: Listing) -> None:
        for name in _classes(listing.offer.body):
            for ladders in (self._ladders, self._ladders_by_gflop):
                if name in ladders:
                    ladders[name].remove(listing)
                    if not ladders[name]:
                        del ladders[name]

    def ranked(
        self,
        needs: Needs,
        *,
        seed: bytes,
        demerits: Callable[[bytes], int],
        rtt: RoundTrip = matching.unmeasured,
        scan: int = limits.SCAN_MAX,
    ) -> Iterator[Listing]:
        """What `matching.rank` gives of all listings, as far as it is taken, and as a look at `scan` of them finds it.

        The book must not change while this is under way.
        """
        name = ("", needs.model) if needs.model else (needs.engine, "")
        ladder = self._ladders.get(name)
        if ladder is None:
            return iter(())
        if needs.rank_by is RankBy.GFLOP:
            ladder = self._by_gflop(name, ladder)
        return ladder.ranked(needs, seed=seed, demerits=demerits, rtt=rtt, scan=scan)

    def _by_gflop(self, name: tuple[str, str], by_price: Ladder) -> Ladder:
        """The other order of a class, made when it is first asked for."""
        if name not in self._ladders_by_gflop:
            ladder = self._ladders_by_gflop[name] = _ladder(RankBy.GFLOP, *name)
            for x in by_price.walk():
                ladder.add(x)
        return self._ladders_by_gflop[name]

    def expire(self, now: Now) -> list[Emit]:
        """Drop what is no longer in force."""
        gone: list[Emit] = []
        while self._expiry and self._expiry[0][0] <= now.wall_ms:
            _, signer = heapq.heappop(self._expiry)
            listing = self._listings.get(signer)
            if listing is not None and listing.offer.expires_at <= now.wall_ms:
                self._remove(signer)
                gone.append(Emit("offer.gone", {"peer": signer}))
        for signer in [s for s, (_, until) in self._tombstones.items() if until <= now.wall_ms]:
            del self._tombstones[signer]
            if signer in self._cancels:
                self._fall(self._cancels.pop(signer))
        self.demands.expire(now)
        for offender in [o for o, proof in self._proofs.items() if proof.expires_at <= now.wall_ms]:
            self._absolve(offender)
        return gone

    def listings(self) -> Iterable[Listing]:
        """All live listings, in order of arrival."""
        return self._listings.values()

    def get(self, peer: bytes) -> Listing | None:
        """A provider's listing, if it has one."""
        return self._listings.get(peer)

    def documents(self, short_ids: Iterable[bytes], size_bytes_max: int) -> list[bytes]:
        """The documents behind these short ids, as far as they are here, up to a size."""
        out, size = [], 0
        for short_id in short_ids:
            document_id = self._indexes[WHOLE].find(short_id)
            if document_id is None:
                continue
            raw, _ = self._standing[document_id]
            size += len(raw) + 5
            if size > size_bytes_max:
                break
            out.append(raw)
        return out
