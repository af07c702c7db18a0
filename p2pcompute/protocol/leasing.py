"""A provider's leases: quoted, reserved, prolonged, given back, run out. The table is in lease.py and
docs/spec/provider.md; what is done on a lease is an engagement, see provider.py.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from p2pcompute.errors import DecodeError, SignatureError
from p2pcompute.identity.delegation import Capability
from p2pcompute.protocol import pricing, records
from p2pcompute.protocol.bidding import Proposer
from p2pcompute.protocol.book import Book
from p2pcompute.protocol.lease import Caps, Lease
from p2pcompute.protocol.ledger import Ledger
from p2pcompute.protocol.machine import Effect, Emit, Now
from p2pcompute.protocol.post import Post
from p2pcompute.protocol.records import persist
from p2pcompute.protocol.reservation import NONE, Slots
from p2pcompute.wire import documents as d
from p2pcompute.wire import limits
from p2pcompute.wire.documents import AnyDocument

LETTER_MS: Final = 600_000
"""How long statements that have no shorter life of their own stay in force."""
LEASE_MS_MAX: Final = 30_000
"""A reservation holds a slot without work no longer than this, whatever the requester asks for."""
QUOTES_MAX: Final = 4_096
ANSWERS_MAX: Final = 65_536
"""Requests for which the Reservation that answered them is remembered; the oldest is forgotten first."""

Answered = tuple[list[Effect], AnyDocument | None, list[Effect]]
"""Effects before the answer, the answer (None acknowledges), effects after it."""
Refusal = tuple[d.DeclineCode, str]


class Leasing:
    """Who holds which slot. A lease that ended is forgotten: what it leaves is the chain of its slot."""

    def __init__(self, post: Post, ledger: Ledger, caps: Caps) -> None:
        self._post, self._ledger, self._caps = post, ledger, caps
        self.terms: d.Offer | None = None
        self.proposer = Proposer(post)
        self.draining = self.paused = False
        self.slots = Slots(0)
        self._quotes: OrderedDict[bytes, tuple[AnyDocument, bytes, int]] = OrderedDict()
        """Quote, who asked, and the most that a task as asked for may cost."""
        self._leases: dict[bytes, Lease] = {}
        self._answers: OrderedDict[bytes, AnyDocument] = OrderedDict()

    @property
    def closed(self) -> bool:
        """Whether it takes no new work: for good, or for a while."""
        return self.draining or self.paused

    # -- life --------------------------------------------------------------------------------------------------------

    def open(self, terms: d.Offer) -> None:
        """From now on, quote and reserve on these terms."""
        self.terms = terms
        while len(self.slots) < terms.slots:
            self.slots.add()

    def replay(self, record: records.Reserved | records.Released) -> None:
        """Rebuild from one journal record."""
        match record:
            case records.Reserved():
                reservation = self._post.open(record.reservation)
                if record.renews:
                    self._prolong(self._leases[record.renews], reservation)
                    return
                rates = record.price_per_device_s, record.price_per_gb, record.price_minimum, record.price_ceiling
                displaced = self.slots.holder(reservation.body.slot)
                if displaced:  # nobody journals that a lease runs out
                    self._drop(displaced, "expire", NONE)
                self._hold(Lease(record.requester, reservation, *rates, record.assignments))
            case records.Released():
                self._drop(record.reservation, "release", self._post.open(record.by).id)

    def propose(self, now: Now, book: Book) -> list[Effect]:
        """Answer demands, while there is a slot for them."""
        idle = not self.closed and self.slots.free() is not None
        return self.proposer.propose(now, book, self.terms) if idle else []

    def expire(self, now: Now) -> None:
        """Drop the leases that ran out."""
        for reservation in self.slots.expired(now):
            self._drop(reservation, "expire", NONE)

    def requesters(self) -> set[bytes]:
        """Those who hold a slot here."""
        return {lease.requester for lease in self._leases.values()}

    def _hold(self, lease: Lease) -> None:
        reservation = lease.reservation
        self.slots.hold(reservation.body.slot, reservation.id, lease.requester, reservation.expires_at)
        self._leases[reservation.id] = lease
        self._answer(reservation)

    def _prolong(self, lease: Lease, reservation: AnyDocument) -> None:
        """The next link of the slot's chain carries the lease on."""
        del self._leases[lease.reservation.id]
        lease.step("renew")
        lease.renewals += 1
        lease.reservation = reservation
        self._leases[reservation.id] = lease
        self.slots.hold(reservation.body.slot, reservation.id, lease.requester, reservation.expires_at)
        if lease.state == "working":
            self.slots.assign(reservation.id)
        self._answer(reservation)

    def _answer(self, reservation: AnyDocument) -> None:
        self._answers[reservation.body.request] = reservation
        while len(self._answers) > ANSWERS_MAX:
            self._answers.popitem(last=False)

    def _drop(self, reservation: bytes, event: str, by: bytes) -> None:
        self._leases.pop(reservation).step(event)
        self.slots.close(reservation, by)

    # -- probes and reservations -------------------------------------------------------------------------------------

    def decline(self, now: Now, document: AnyDocument, code: d.DeclineCode, reason: str) -> AnyDocument:
        """A signed no."""
        return self._post.write(now, d.Decline(document.id, code, reason), lifetime_ms=LETTER_MS)

    def on_probe(self, now: Now, probe: AnyDocument) -> Answered:
        """Would we, and at what price."""
        terms = self.proposer.terms_for(now, probe) or self.terms
        fault = self._probe_fault(now, probe, terms)
        if fault is not None:
            return [], self.decline(now, probe, *fault), []
        body: d.Probe = probe.body
        assert terms is not None
        ceiling = pricing.price_ceiling(terms, body.device_ms_max, body.traffic_bytes)
        offered = d.Quote(probe.id, terms.price_per_device_s, terms.price_per_gb, terms.price_minimum)
        quote = self._post.write(now, offered, lifetime_ms=limits.QUOTE_LIFETIME_MS)
        self._quotes[quote.id] = quote, probe.signer, ceiling
        while len(self._quotes) > QUOTES_MAX:
            self._quotes.popitem(last=False)
        said = Emit("provider.quoted", {"requester": probe.signer, "device_ms_max": body.device_ms_max})
        return [], quote, [said]

    def _probe_fault(self, now: Now, probe: AnyDocument, terms: d.Offer | None) -> Refusal | None:
        body: d.Probe = probe.body
        if terms is None or self.closed:
            return d.DeclineCode.DRAINING, "takes no new work"
        try:
            operator = self._post.operator_of(probe.signer, body.delegation, Capability.REQUEST, now)
        except (DecodeError, SignatureError):
            operator = None
        if operator is None:
            return d.DeclineCode.NOT_AUTHORISED, "the delegation does not cover this key"
        if body.memory_bytes_max > terms.memory_bytes_max or body.device_ms_max > terms.device_ms_max:
            return d.DeclineCode.UNSUITABLE, "larger than the offer allows"
        if body.engine and body.engine != terms.engine:
            return d.DeclineCode.UNSUITABLE, f"this is a {terms.engine} engine"
        ceiling = pricing.price_ceiling(terms, body.device_ms_max, body.traffic_bytes)
        return self.credit_fault(now, probe.signer, ceiling) or self._slot_fault(probe.signer)

    def credit_fault(self, now: Now, requester: bytes, ceiling: int, of: Lease | None = None) -> Refusal | None:
        """Why no task of this price is taken on from this requester; on the lease `of`, if it has one already."""
        at_work = {requester: 0}
        for lease in self._leases.values():
            if lease is not of:
                at_work[lease.requester] = at_work.get(lease.requester, 0) + lease.price_ceiling
        mine = at_work.pop(requester)
        others = sum(self._ledger.beyond_at_work(other, sum_) for other, sum_ in at_work.items())
        text = self._ledger.refusal(requester, ceiling, mine, others, now.wall_ms)
        return (d.DeclineCode.NO_CREDIT, text) if text else None

    def at_work(self, requester: bytes) -> int:
        """What the tasks that this requester has slots for may cost."""
        return sum(lease.price_ceiling for lease in self._leases.values() if lease.requester == requester)

    def _slot_fault(self, requester: bytes) -> Refusal | None:
        """Why this requester cannot have a slot now."""
        if self.slots.free() is None:
            return d.DeclineCode.BUSY, "all slots are taken"
        idle = self.slots.unassigned()
        if idle.count(requester) >= self._caps.per_requester:
            return d.DeclineCode.IDLE_LEASES, "you hold as many slots without work as one may"
        if not self._ledger.has_paid(requester):
            strangers = sum(not self._ledger.has_paid(other) for other in idle)
            if strangers >= self._caps.strangers:
                return (
                    d.DeclineCode.STRANGERS_LEASES,
                    "those who never paid here hold as many slots as may",
                )
        return None

    def on_reservation_request(self, now: Now, request: AnyDocument) -> Answered:
        """A slot, for who was quoted a price for it."""
        known = self._answers.get(request.id)
        if known is not None:
            return [], known, []
        body: d.ReservationRequest = request.body
        quote, asker, ceiling = self._quotes.get(body.quote, (None, b"", 0))
        if quote is None or asker != request.signer or not quote.alive(now.wall_ms):
            return [], self.decline(now, request, d.DeclineCode.UNKNOWN_QUOTE, "no such quote, or it ran out"), []
        if self.closed:
            return [], self.decline(now, request, d.DeclineCode.DRAINING, "takes no new work"), []
        fault = self.credit_fault(now, request.signer, ceiling) or self._slot_fault(request.signer)
        slot = self.slots.free()
        if fault is not None or slot is None:
            return [], self.decline(now, request, *(fault or (d.DeclineCode.BUSY, "all slots are taken"))), []
        del self._quotes[quote.id]
        reservation = self._write(now, request, slot, self.slots.link(slot), body.lease_ms)
        rates = quote.body.price_per_device_s, quote.body.price_per_gb, quote.body.price_minimum, ceiling
        self._hold(Lease(request.signer, reservation, *rates, body.assignments))
        record = records.Reserved(request.signer, *rates, body.assignments, b"", reservation.raw)
        return [persist(record)], reservation, [Emit("provider.reserved", {"requester": request.signer})]

    def _write(
        self, now: Now, request: AnyDocument, slot: int, link: tuple[int, bytes, bytes], lease_ms: int
    ) -> AnyDocument:
        body = d.Reservation(request.id, slot, *link)
        return self._post.write(now, body, lifetime_ms=min(lease_ms, LEASE_MS_MAX))

    # -- renewals and ends -------------------------------------------------------------------------------------------

    def on_renew(self, now: Now, renew: AnyDocument) -> Answered:
        """The slot for longer: a reservation that follows the one it replaces."""
        known = self._answers.get(renew.id)
        if known is not None:
            return [], known, []
        lease = self.of(renew.body.reservation, renew.signer)
        if lease is None:
            return [], self.decline(now, renew, d.DeclineCode.UNKNOWN_RESERVATION, "no such reservation"), []
        if self.closed:
            return [], self.decline(now, renew, d.DeclineCode.DRAINING, "takes no new work"), []
        if lease.renewals >= self._caps.renewals:
            text = f"renewed {lease.renewals} times without work"
            return [], self.decline(now, renew, d.DeclineCode.RENEWED_TOO_OFTEN, text), []
        old = lease.reservation
        n, previous, _ = self.slots.link(old.body.slot)
        reservation = self._write(now, renew, old.body.slot, (n, previous, renew.id), renew.body.lease_ms)
        self._prolong(lease, reservation)
        rates = lease.price_per_device_s, lease.price_per_gb, lease.price_minimum, lease.price_ceiling
        record = records.Reserved(lease.requester, *rates, lease.assignments, old.id, reservation.raw)
        return [persist(record)], reservation, [Emit("provider.renewed", {"requester": lease.requester})]

    def on_release(self, now: Now, release: AnyDocument) -> Answered:
        """The requester needs the slot no more."""
        lease = self.of(release.body.reservation, release.signer)
        if lease is None or lease.state != "held":
            return [], None, []
        self._drop(lease.reservation.id, "release", release.id)
        return [persist(records.Released(lease.reservation.id, release.raw))], None, []

    # -- work --------------------------------------------------------------------------------------------------------

    def of(self, reservation: bytes, requester: bytes) -> Lease | None:
        """The lease that this requester holds by its newest reservation."""
        lease = self._leases.get(reservation)
        return lease if lease is not None and lease.requester == requester else None

    def at(self, reservation: bytes) -> Lease:
        """The lease that the journal says there is."""
        return self._leases[reservation]

    def begin(self, lease: Lease, price_ceiling: int) -> None:
        """A task of at most this price is at work on the slot: the lease does not run out, and may be renewed as often
        as before."""
        lease.step("assign")
        lease.price_ceiling = max(lease.price_ceiling, price_ceiling)
        lease.assignments -= 1
        lease.renewals = 0
        self.slots.assign(lease.reservation.id)

    def end(self, lease: Lease, by: bytes) -> None:
        """The task on the slot ended by this document: the slot is held for the next one, as long as the lease lasts,
        or free."""
        if lease.assignments:
            lease.step("next")
            self.slots.idle(lease.reservation.id, lease.reservation.expires_at)
        else:
            self._drop(lease.reservation.id, "last", by)
