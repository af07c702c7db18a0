"""Demands and Proposals: a requester that finds nobody states what it would pay, and providers answer it alone.

Rules C8 to C10 of docs/spec/market.md.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

import msgspec

from p2pcompute.errors import DecodeError, SignatureError
from p2pcompute.identity.delegation import Capability
from p2pcompute.protocol import matching
from p2pcompute.protocol.book import Book
from p2pcompute.protocol.demands import Resting
from p2pcompute.protocol.job import Job
from p2pcompute.protocol.machine import Effect, Emit, Now
from p2pcompute.protocol.matching import Listing
from p2pcompute.protocol.post import Post, Tag
from p2pcompute.wire import codec, limits
from p2pcompute.wire import documents as d
from p2pcompute.wire.documents import AnyDocument

Announce = Callable[[Now, AnyDocument], list[Effect]]
"""Takes a document of our own into the book and the mesh."""

DEMAND_ROUNDS: Final = 3
"""After so many fruitless rounds a job states its demand."""
RENEW_MS: Final = limits.OFFER_LIFETIME_MS // 2
ANSWERED_PER_MINUTE_MAX: Final = 30
ANSWERED_MAX: Final = 16_384
"""Demands remembered as answered; the oldest is forgotten first, when it is long over."""
REQUEST_MS: Final = 5_000
MINUTE_MS: Final = 60_000


class Bidder:
    """The requester's side: one demand for each job that nobody serves."""

    def __init__(self, post: Post, announce: Announce) -> None:
        self._post, self._announce = post, announce

    def demand(self, now: Now, job: Job, quantity: int) -> list[Effect]:
        """State what a job lacks, unless that was done not long ago."""
        if job.dry_rounds < DEMAND_ROUNDS or not job.addresses or quantity < 1:
            return []
        if job.demand is not None and now.wall_ms < job.demand.issued_at + RENEW_MS:
            return []
        lifetime_ms = min(limits.OFFER_LIFETIME_MS, job.deadline_wall_ms - now.wall_ms)
        if lifetime_ms <= 0:
            return []
        body = d.Demand(
            tag=job.id,
            delegation=self._post.delegation,
            addresses=job.addresses,
            needs=job.needs,
            quantity=min(quantity, limits.REPLICAS_MAX),
            traffic_bytes=job.traffic_bytes(),
            deadline=job.deadline_wall_ms,
        )
        job.demand = self._post.write(now, body, lifetime_ms=lifetime_ms)
        job.proposals.clear()
        return [Emit("job.demand", {"job": job.id, "task": job.manifest.name}), *self._announce(now, job.demand)]

    def withdraw(self, now: Now, job: Job) -> list[Effect]:
        """The job lacks nobody any more, or is over."""
        if job.demand is None:
            return []
        job.demand = None
        job.proposals.clear()
        cancel = self._post.write(now, d.Cancel(job.id), lifetime_ms=limits.OFFER_LIFETIME_MS)
        return self._announce(now, cancel)

    def take(self, now: Now, job: Job, proposal: AnyDocument) -> bool:
        """A provider proposes itself for a job's demand: one of each operator, on terms that fit."""
        offer: d.Offer = proposal.body.offer
        try:
            operator = self._post.operator_of(proposal.signer, offer.delegation, Capability.PROVIDE, now)
        except (DecodeError, SignatureError):
            return False
        if operator is None or len(job.proposals) >= limits.PROPOSALS_PER_DEMAND_MAX:
            return False
        document = codec.Document(
            int(d.Kind.OFFER), proposal.signer, proposal.epoch, proposal.sequence, proposal.issued_at,
            proposal.expires_at, offer, proposal.id, proposal.raw,
        )  # fmt: skip
        listing = Listing(document, operator)
        if any(x.operator == operator for x in job.proposals.values()):
            return False
        if matching.misfit(listing, matching.bind(job.needs)):
            return False
        job.proposals[proposal.signer] = listing
        return True


class Proposer:
    """The provider's side: answers demands that its public offer does not meet."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self.floor = 0
        """The least a device-second may cost in a proposal, in micro-credits; 0: no less than the public price."""
        self._answered: OrderedDict[bytes, tuple[bytes, AnyDocument]] = OrderedDict()
        """Demand -> whose it is, and the proposal."""
        self._recent: deque[int] = deque()

    def propose(self, now: Now, book: Book, terms: d.Offer | None) -> list[Effect]:
        """Answer demands that rest in the book, a bounded number a minute."""
        while self._recent and self._recent[0] <= now.mono_ms - MINUTE_MS:
            self._recent.popleft()
        out: list[Effect] = []
        for x in book.demands if terms is not None else ():
            if len(self._recent) >= ANSWERED_PER_MINUTE_MAX:
                break
            if x.document.id in self._answered or x.document.signer == self._post.env.me:
                continue
            assert terms is not None
            proposed = self._terms(book, terms, x)
            if proposed is not None:
                out += self._answer(now, x.document, proposed)
        return out

    def _terms(self, book: Book, terms: d.Offer, x: Resting) -> d.Offer | None:
        """What to propose: capacity that is not offered, or a price that is not. None where the public offer serves, or
        nothing of ours does."""
        needs: d.Needs = x.document.body.needs
        me = book.get(self._post.env.me)
        operator = me.operator if me is not None else self._operator(terms)
        at_public_price = self._misfit(terms, operator, needs)
        if not at_public_price:
            return terms if me is None else None
        cap = needs.price_per_device_s_max
        if at_public_price != "price" or not 0 < self.floor <= cap:
            return None
        return msgspec.structs.replace(terms, price_per_device_s=cap)

    def _operator(self, terms: d.Offer) -> bytes:
        if not terms.delegation:
            return self._post.env.me
        return d.open_delegation(self._post.network, terms.delegation, self._post.env.verify).operator

    def _misfit(self, terms: d.Offer, operator: bytes, needs: d.Needs) -> str:
        document = codec.Document(int(d.Kind.OFFER), self._post.env.me, b"", 0, 0, 0, terms, b"", b"")
        return matching.misfit(Listing(document, operator), matching.bind(needs))

    def _answer(self, now: Now, demand: AnyDocument, offer: d.Offer) -> list[Effect]:
        lifetime_ms = demand.expires_at - now.wall_ms
        proposal = self._post.write(now, d.Proposal(demand.id, offer), lifetime_ms=max(1, lifetime_ms))
        self._answered[demand.id] = demand.signer, proposal
        while len(self._answered) > ANSWERED_MAX:
            self._answered.popitem(last=False)
        self._recent.append(now.mono_ms)
        tag = Tag("provider", "propose", demand.id, demand.signer)
        addresses = demand.body.addresses
        return [self._post.ask(demand.signer, proposal.raw, tag, timeout_ms=REQUEST_MS, addresses=addresses)]

    def terms_for(self, now: Now, probe: AnyDocument) -> d.Offer | None:
        """The terms that were proposed to the one who probes, for the demand that it names."""
        asked, proposal = self._answered.get(probe.body.demand, (b"", None))
        if proposal is None or asked != probe.signer or not proposal.alive(now.wall_ms):
            return None
        offer: d.Offer = proposal.body.offer
        return offer
