"""The provider's side: quote, reserve, run, commit, reveal, be paid.

One `Engagement` per reservation; its transitions are the table in engagement.py and docs/spec/provider.md. What the
requester sends is answered at once; only the run itself takes time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from p2pcompute.errors import DecodeError, SignatureError
from p2pcompute.identity.delegation import Capability
from p2pcompute.protocol import pricing, records, verification
from p2pcompute.protocol.engagement import TRANSITIONS, Engagement
from p2pcompute.protocol.ledger import Ledger
from p2pcompute.protocol.machine import (
    CancelJob,
    Effect,
    Emit,
    Fetch,
    Grant,
    JobOutcome,
    JobStatus,
    Now,
    Ok,
    Outcome,
    Persist,
    Reply,
    RunJob,
    SetTimer,
)
from p2pcompute.protocol.post import Post, Tag
from p2pcompute.protocol.receipts import Chain
from p2pcompute.protocol.reservation import NONE, Slots
from p2pcompute.wire import documents as d
from p2pcompute.wire import limits
from p2pcompute.wire.documents import AnyDocument
from p2pcompute.wire.manifest import decode_manifest, manifest_id
from p2pcompute.wire.policy import Scheme, policy_fault

LETTER_MS: Final = 600_000
"""How long statements that have no shorter life of their own stay in force."""
RETRY_MS: Final = 2_000
REQUEST_MS: Final = 5_000
FETCH_MS: Final = 120_000
DELIVERY_MS: Final = 3_600_000
"""How long outputs stay readable by their requester after the verdict."""
LEASE_MS_MAX: Final = 30_000
"""An unassigned reservation holds a slot no longer than this, whatever the requester asks for."""
QUOTES_MAX: Final = 4_096
ENGAGEMENTS_MAX: Final = 65_536
"""Reservations remembered; when none of them is closed, no new one is made."""

Answered = tuple[list[Effect], AnyDocument | None, list[Effect]]
"""Effects before the answer, the answer (None acknowledges), effects after it."""


def _event(name: str, requester: bytes, **fields: object) -> Emit:
    return Emit(name, {"requester": requester, **fields})


def _persist(record: records.AnyRecord) -> Persist:
    return Persist(records.encode_record(record))


def _short(reason: str) -> str:
    return reason.encode()[: limits.REASON_BYTES_MAX].decode(errors="ignore")


class Provider:
    """Sells slots. Inactive until `open_for_business` gives it terms."""

    def __init__(self, post: Post, ledger: Ledger) -> None:
        self._post, self._ledger = post, ledger
        self.terms: d.Offer | None = None
        self.draining = False
        self._slots = Slots(0)
        self.chain = Chain()
        self._quotes: OrderedDict[bytes, tuple[AnyDocument, bytes]] = OrderedDict()
        self._engagements: OrderedDict[bytes, Engagement] = OrderedDict()
        self._by_request: dict[bytes, Engagement] = {}
        self._by_assignment: dict[bytes, Engagement] = {}
        self._by_commitment: dict[bytes, Engagement] = {}
        self.handlers: Final[dict[type[object], Callable[[Now, AnyDocument], Answered]]] = {
            d.Probe: self._on_probe,
            d.ReservationRequest: self._on_reservation_request,
            d.Release: self._on_release,
            d.Assignment: self._on_assignment,
            d.Abort: self._on_abort,
            d.RevealRequest: self._on_reveal_request,
            d.Verdict: self._on_verdict,
            d.Delivery: self._on_delivery,
            d.Cheque: self._on_cheque,
        }

    # -- life ------------------------------------------------------------------------------------------------------

    def open_for_business(self, terms: d.Offer) -> None:
        """From now on, quote and reserve on these terms."""
        self.terms = terms
        while len(self._slots) < terms.slots:
            self._slots.add()

    def replay(self, record: records.AnyRecord) -> None:
        """Rebuild from one journal record."""
        match record:
            case records.Reserved():
                document = self._post.open(record.reservation)
                rates = record.price_per_device_s, record.price_per_gb, record.price_minimum
                e = Engagement(record.requester, document, *rates)
                displaced = self._slots.hold(document.body.slot, document.id, record.requester, document.expires_at)
                if displaced in self._engagements:
                    self._engagements[displaced].step("expire")
                self._remember(e)
            case records.Accepted():
                document = self._post.open(record.assignment)
                e = self._engagements[document.body.reservation]
                self._accept(e, document)
            case records.Ended():
                e = self._engagements[record.reservation]
                self._slots.close(record.reservation, self._post.open(record.by).id if record.by else NONE)
                self._replay_end(e, record.by)
            case records.Committed():
                document = self._post.open(record.commitment)
                self._commit(self._by_assignment[record.assignment], document, record.opening, record.moved_bytes)
            case records.Issued():
                verdict, receipt = self._post.open(record.verdict), self._post.open(record.receipt)
                self._issue(self._by_commitment[verdict.body.commitment], verdict, receipt)
            case records.Covered():
                cheque = self._post.open(record.cheque)
                covered = self.chain.get(cheque.body.receipt)
                assert covered is not None, "the journal names a receipt it does not hold"
                self._cover(cheque, covered.body.price)
            case _:
                pass

    def _replay_end(self, e: Engagement, by: bytes) -> None:
        document = self._post.open(by) if by else None
        if document is not None and isinstance(document.body, d.Failure):
            e.failure = document
            e.state = "failed"
        else:
            e.state = "closed"

    def resume(self, now: Now) -> list[Effect]:
        """After replay: take up every engagement where the journal left it."""
        out: list[Effect] = []
        for e in self._engagements.values():
            if e.state == "fetching":
                out += self._fetch_manifest(now, e)
            elif e.state in ("committed", "failed"):
                out.append(SetTimer(f"provider.tell:{e.token}", now.mono_ms))
            elif e.state == "awaiting verdict":
                out += self._grant_pieces(e)
            elif e.state == "unpaid":
                out += self._grant_outputs(e)
        return out

    @property
    def busy_slots(self) -> int:
        return self._slots.busy

    @property
    def running(self) -> int:
        """Engagements that keep a drain waiting."""
        return sum(1 for e in self._engagements.values() if e.state in ("fetching", "running", "committed"))

    def partners(self) -> set[bytes]:
        """Requesters with open business here."""
        return {e.requester for e in self._engagements.values() if e.state != "closed"}

    def evidence(self) -> list[bytes]:
        """Every signed document of the engagements that brought a receipt, for an auditor."""
        out: list[bytes] = []
        for e in self._engagements.values():
            if e.receipt is not None:
                documents = (e.assignment, e.commitment, e.verdict, e.receipt, self.chain.cheque(e.receipt.id))
                out += [x.raw for x in documents if x is not None]
        return out

    # -- requests --------------------------------------------------------------------------------------------------

    def on_request(self, now: Now, peer: bytes, request_id: int, document: AnyDocument) -> list[Effect]:
        """A signed request from a connected peer, its signer. The answer is one document or an empty frame."""
        self._expire(now)
        before, answer, after = self.handlers[type(document.body)](now, document)
        return [*before, Reply(request_id, answer.raw if answer is not None else b""), *after]

    def _decline(self, now: Now, document: AnyDocument, code: d.DeclineCode, reason: str) -> AnyDocument:
        return self._post.write(now, d.Decline(document.id, code, reason), lifetime_ms=LETTER_MS)

    def _on_probe(self, now: Now, probe: AnyDocument) -> Answered:
        body: d.Probe = probe.body
        fault = self._probe_fault(now, probe)
        if fault is not None:
            return [], self._decline(now, probe, *fault), []
        assert self.terms is not None
        terms = self.terms
        offered = d.Quote(probe.id, terms.price_per_device_s, terms.price_per_gb, terms.price_minimum)
        quote = self._post.write(now, offered, lifetime_ms=limits.QUOTE_LIFETIME_MS)
        self._quotes[quote.id] = quote, probe.signer
        while len(self._quotes) > QUOTES_MAX:
            self._quotes.popitem(last=False)
        return [], quote, [Emit("provider.quoted", {"requester": probe.signer, "device_ms_max": body.device_ms_max})]

    def _probe_fault(self, now: Now, probe: AnyDocument) -> tuple[d.DeclineCode, str] | None:
        body: d.Probe = probe.body
        terms = self.terms
        if terms is None or self.draining:
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
        if not self._ledger.trusts(probe.signer, ceiling):
            return d.DeclineCode.NO_CREDIT, "earlier receipts are unpaid"
        if self._slots.free(probe.signer) is None:
            return d.DeclineCode.BUSY, "all slots are taken"
        return None

    def _on_reservation_request(self, now: Now, request: AnyDocument) -> Answered:
        known = self._by_request.get(request.id)
        if known is not None:
            return [], known.reservation, []
        quote, asker = self._quotes.get(request.body.quote, (None, b""))
        if quote is None or asker != request.signer or not quote.alive(now.wall_ms):
            return [], self._decline(now, request, d.DeclineCode.UNKNOWN_QUOTE, "no such quote, or it ran out"), []
        if not self._ledger.trusts(request.signer, quote.body.price_minimum):
            return [], self._decline(now, request, d.DeclineCode.NO_CREDIT, "earlier receipts are unpaid"), []
        slot = None if self.draining or self._is_full() else self._slots.free(request.signer)
        if slot is None:
            return [], self._decline(now, request, d.DeclineCode.BUSY, "all slots are taken"), []
        del self._quotes[quote.id]
        n, previous, closes = self._slots.link(slot)
        reservation = self._post.write(
            now,
            d.Reservation(request.id, slot, n, previous, closes),
            lifetime_ms=min(request.body.lease_ms, LEASE_MS_MAX),
        )
        self._slots.hold(slot, reservation.id, request.signer, reservation.expires_at)
        rates = quote.body.price_per_device_s, quote.body.price_per_gb, quote.body.price_minimum
        self._remember(Engagement(request.signer, reservation, *rates))
        record = records.Reserved(request.signer, *rates, reservation.raw)
        return [_persist(record)], reservation, [_event("provider.reserved", request.signer)]

    def _remember(self, e: Engagement) -> None:
        self._engagements[e.reservation.id] = e
        self._by_request[e.reservation.body.request] = e
        if len(self._engagements) > ENGAGEMENTS_MAX:
            oldest = next((x for x in self._engagements.values() if x.state == "closed"), None)
            if oldest is not None:
                self._forget(oldest)

    def _is_full(self) -> bool:
        return len(self._engagements) >= ENGAGEMENTS_MAX and all(
            e.state != "closed" for e in self._engagements.values()
        )

    def _forget(self, e: Engagement) -> None:
        del self._engagements[e.reservation.id]
        self._by_request.pop(e.reservation.body.request, None)
        if e.assignment is not None:
            self._by_assignment.pop(e.assignment.id, None)
        if e.commitment is not None:
            self._by_commitment.pop(e.commitment.id, None)

    def _on_release(self, now: Now, release: AnyDocument) -> Answered:
        e = self._engagements.get(release.body.reservation)
        if e is None or e.requester != release.signer or e.state != "reserved":
            return [], None, []
        e.step("release")
        self._slots.close(e.reservation.id, release.id)
        return [_persist(records.Ended(e.reservation.id, release.raw))], None, []

    def _on_assignment(self, now: Now, assignment: AnyDocument) -> Answered:
        body: d.Assignment = assignment.body
        if assignment.id in self._by_assignment:
            return [], None, []
        e = self._engagements.get(body.reservation)
        if e is None or e.requester != assignment.signer or e.state != "reserved":
            return [], self._decline(now, assignment, d.DeclineCode.UNKNOWN_RESERVATION, "no such reservation"), []
        if (
            body.price_per_device_s < e.price_per_device_s
            or body.price_per_gb < e.price_per_gb
            or not e.price_minimum <= body.price_minimum <= body.price_ceiling
        ):
            return [], self._decline(now, assignment, d.DeclineCode.UNSUITABLE, "below the quoted price"), []
        fault = policy_fault(body.policy)
        if fault:
            return [], self._decline(now, assignment, d.DeclineCode.UNSUITABLE, fault), []
        if body.commit_by <= now.wall_ms:
            return [], self._decline(now, assignment, d.DeclineCode.TOO_LATE, "the deadline has passed"), []
        self._accept(e, assignment)
        started = _event("provider.assigned", e.requester)
        return [_persist(records.Accepted(assignment.raw))], None, [started, *self._fetch_manifest(now, e)]

    def _accept(self, e: Engagement, assignment: AnyDocument) -> None:
        e.step("assign")
        e.assignment = assignment
        self._by_assignment[assignment.id] = e
        self._slots.assign(e.reservation.id)

    def _on_abort(self, now: Now, abort: AnyDocument) -> Answered:
        e = self._by_assignment.get(abort.body.assignment)
        if e is None or e.requester != abort.signer or (e.state, "abort") not in TRANSITIONS:
            return [], None, []
        running = e.state in ("fetching", "running")
        e.step("abort")
        self._slots.close(e.reservation.id, abort.id)
        stop: list[Effect] = [CancelJob(e.token)] if running else []
        return [_persist(records.Ended(e.reservation.id, abort.raw))], None, [*stop, *self._quiet(e)]

    def _on_reveal_request(self, now: Now, request: AnyDocument) -> Answered:
        e = self._by_commitment.get(request.body.commitment)
        if e is None or e.opening is None or e.requester != request.signer:
            return [], self._decline(now, request, d.DeclineCode.UNKNOWN_RESERVATION, "no such commitment"), []
        if request.body.commitment not in request.body.all_commitments:
            return [], self._decline(now, request, d.DeclineCode.UNSUITABLE, "my commitment is not listed"), []
        assert e.assignment is not None
        if verification.nonce_commitment(request.body.nonce) != e.assignment.body.nonce_commitment:
            return [], self._decline(now, request, d.DeclineCode.UNSUITABLE, "this is not the nonce committed to"), []
        quiet: list[Effect] = []
        if (e.state, "reveal") in TRANSITIONS:
            e.step("reveal")
            quiet = self._await_verdict(now, e)
        return self._grant_pieces(e), self._post.write(now, e.opening, lifetime_ms=LETTER_MS), quiet

    @staticmethod
    def _grant_pieces(e: Engagement) -> list[Effect]:
        """For an inspection: single leaves of the states, until there is a verdict."""
        assert e.opening is not None
        assert e.assignment is not None
        roots = tuple(dict.fromkeys(root for state in e.opening.states for root in state))
        leaves = e.assignment.body.policy.samples * verification.LEAVES_PER_SAMPLE
        return [Grant(e.token, e.requester, roots, e.verdict_by_wall_ms, leaves)] if roots else []

    def _on_verdict(self, now: Now, verdict: AnyDocument) -> Answered:
        body: d.Verdict = verdict.body
        e = self._by_commitment.get(body.commitment)
        if e is None or e.requester != verdict.signer or e.opening is None or e.assignment is None:
            return [], None, []
        if e.receipt is not None:
            return [], e.receipt, []
        if (e.state, "judge") not in TRANSITIONS:
            return [], None, []
        if body.judgement not in (d.Judgement.AGREED, d.Judgement.KERNEL_AT_FAULT):
            e.step("judge")
            return [], None, [_event("provider.outvoted", e.requester, judgement=body.judgement.name), *self._quiet(e)]
        fault = verification.verdict_fault(body, e.opening, e.assignment.body, e.moved_bytes)
        if fault:
            return [], self._decline(now, verdict, d.DeclineCode.UNSUITABLE, fault), []
        receipt = self._write_receipt(now, e, verdict)
        self._issue(e, verdict, receipt)
        record = _persist(records.Issued(verdict.raw, receipt.raw))
        return (
            [record, *self._grant_outputs(e)],
            receipt,
            [_event("provider.earned", e.requester, price=body.price), *self._quiet(e)],
        )

    @staticmethod
    def _grant_outputs(e: Engagement) -> list[Effect]:
        assert e.opening is not None
        assert e.receipt is not None
        return [Grant(e.token, e.requester, e.opening.output_roots, e.receipt.issued_at + DELIVERY_MS)]

    def _write_receipt(self, now: Now, e: Engagement, verdict: AnyDocument) -> AnyDocument:
        assert e.opening is not None
        assert e.assignment is not None
        n, previous = self.chain.next_link()
        body = d.Receipt(
            n=n,
            previous=previous,
            verdict=verdict.id,
            assignment=e.assignment.id,
            manifest=e.assignment.body.manifest,
            requester=e.requester,
            output_roots=e.opening.output_roots,
            engine=e.opening.engine,
            device_us=e.opening.device_us,
            energy_mj=0,
            price=verdict.body.price,
        )
        return self._post.write(now, body, lifetime_ms=limits.DOCUMENT_LIFETIME_MS_MAX)

    def _issue(self, e: Engagement, verdict: AnyDocument, receipt: AnyDocument) -> None:
        e.step("issue")
        e.verdict, e.receipt = verdict, receipt
        self.chain.append(receipt)
        self._ledger.earn(e.requester, receipt.body.price)

    def _on_delivery(self, now: Now, delivery: AnyDocument) -> Answered:
        return [], None, []

    def _on_cheque(self, now: Now, cheque: AnyDocument) -> Answered:
        body: d.Cheque = cheque.body
        receipt = self.chain.get(body.receipt)
        if body.payee != self._post.env.me or receipt is None or receipt.body.requester != cheque.signer:
            return [], self._decline(now, cheque, d.DeclineCode.UNSUITABLE, "this cheque covers no receipt of mine"), []
        if self.chain.countersigned(body.receipt):
            return [], None, []
        if not self._cover(cheque, receipt.body.price):
            text = "the sum does not reach the receipts it covers"
            return [], self._decline(now, cheque, d.DeclineCode.UNSUITABLE, text), []
        return [_persist(records.Covered(cheque.raw))], None, [_event("provider.paid", cheque.signer)]

    def _cover(self, cheque: AnyDocument, price: int) -> bool:
        """Whether the cheque is good for the receipt's price."""
        if not self._ledger.take_cheque(cheque.signer, cheque.epoch, cheque.body.cumulative, price):
            return False
        self.chain.countersign(cheque)
        for e in reversed(self._engagements.values()):
            if e.receipt is not None and e.receipt.id == cheque.body.receipt and e.state == "unpaid":
                e.step("pay")
                break
        return True

    # -- the run ---------------------------------------------------------------------------------------------------

    def _fetch_manifest(self, now: Now, e: Engagement) -> list[Effect]:
        assert e.assignment is not None
        body: d.Assignment = e.assignment.body
        blob = body.manifest_root, body.manifest_size_bytes
        return [Fetch(f"manifest:{e.token}", e.requester, (blob,), FETCH_MS)]

    def on_fetch(self, now: Now, token: str, blobs: tuple[bytes, ...] | None, reason: str) -> list[Effect]:
        """Blobs arrived (only a manifest's bytes are passed in), or could not be had."""
        what, _, name = token.partition(":")
        e = self._engagements.get(bytes.fromhex(name))
        if e is None or e.state != "fetching":
            return []
        if blobs is None:
            return self._fail(now, e, d.FailureCode.INPUT_UNAVAILABLE, reason)
        if what == "manifest":
            return self._on_manifest(now, e, blobs[0])
        e.step("fetched inputs")
        return [_event("provider.running", e.requester), self._run(e)]

    @staticmethod
    def _run(e: Engagement) -> RunJob:
        assert e.assignment is not None
        return RunJob(e.token, e.manifest_bytes, snapshots=e.assignment.body.policy.scheme is Scheme.SAMPLE)

    def _on_manifest(self, now: Now, e: Engagement, data: bytes) -> list[Effect]:
        assert e.assignment is not None
        if self.terms is None:
            return self._fail(now, e, d.FailureCode.SHUTTING_DOWN, "restarted without an offer")
        try:
            manifest = decode_manifest(data)
        except DecodeError as error:
            return self._fail(now, e, d.FailureCode.REFUSED, str(error))
        if manifest_id(data) != e.assignment.body.manifest:
            return self._fail(now, e, d.FailureCode.REFUSED, "the manifest is not the one assigned")
        if manifest.memory_bytes_max > self.terms.memory_bytes_max or manifest.device_ms_max > self.terms.device_ms_max:
            return self._fail(now, e, d.FailureCode.REFUSED, "larger than the offer allows")
        body: d.Assignment = e.assignment.body
        moved = pricing.traffic_bytes(manifest, len(data), with_outputs=True)
        if body.price_ceiling < pricing.price_ceiling(body, manifest.device_ms_max, moved):
            return self._fail(now, e, d.FailureCode.REFUSED, "the price ceiling is below what the run may cost")
        e.step("fetched manifest")
        e.manifest, e.manifest_bytes = manifest, data
        return [Fetch(f"inputs:{e.token}", e.requester, tuple(manifest.blobs.items()), FETCH_MS)]

    def on_job(self, now: Now, token: str, outcome: JobOutcome) -> list[Effect]:
        """The run ended."""
        e = self._engagements.get(bytes.fromhex(token))
        if e is None or e.state != "running":
            return []
        statuses = {
            JobStatus.OK: d.OutcomeStatus.OK,
            JobStatus.TRAP: d.OutcomeStatus.TRAP,
            JobStatus.TIMEOUT: d.OutcomeStatus.TIMEOUT,
        }
        if outcome.status not in statuses:
            refused = outcome.status is JobStatus.REFUSED
            return self._fail(now, e, d.FailureCode.REFUSED if refused else d.FailureCode.CRASHED, outcome.reason)
        return self._make_commitment(now, e, statuses[outcome.status], outcome)

    def _make_commitment(self, now: Now, e: Engagement, status: d.OutcomeStatus, outcome: JobOutcome) -> list[Effect]:
        assert e.assignment is not None
        assert e.manifest is not None
        assert self.terms is not None
        opening = d.RootReveal(
            commitment=NONE,
            salt=verification.salt_of(self._post.env.secret, e.assignment.id),
            engine=self.terms.engine,
            numeric_class=self.terms.numeric_class,
            status=status,
            output_roots=tuple(root for root, _ in outcome.outputs) if status is d.OutcomeStatus.OK else (),
            device_us=outcome.device_us,
            reason=_short(outcome.reason),
            states=outcome.states if status is d.OutcomeStatus.OK else (),
        )
        root = verification.commitment_root(e.assignment.id, e.assignment.body.manifest, e.manifest, opening)
        document = self._post.write(now, d.Commitment(e.assignment.id, root), lifetime_ms=LETTER_MS)
        opening = msgspec.structs.replace(opening, commitment=document.id)
        ok = status is d.OutcomeStatus.OK
        moved_bytes = pricing.traffic_bytes(e.manifest, len(e.manifest_bytes), with_outputs=ok)
        self._commit(e, document, opening, moved_bytes)
        record = records.Committed(e.assignment.id, opening, document.raw, moved_bytes)
        done = _event("provider.committed", e.requester, device_us=outcome.device_us)
        return [_persist(record), done, *self._tell(now, e)]

    def _commit(self, e: Engagement, commitment: AnyDocument, opening: d.RootReveal, moved_bytes: int) -> None:
        e.state = "running" if e.state == "fetching" else e.state  # replay: a restart repeats the run silently
        e.step("commit")
        e.commitment, e.opening, e.moved_bytes = commitment, opening, moved_bytes
        self._by_commitment[commitment.id] = e
        self._slots.close(e.reservation.id, commitment.id)

    def _fail(self, now: Now, e: Engagement, code: d.FailureCode, reason: str) -> list[Effect]:
        assert e.assignment is not None
        e.step("fail")
        e.failure = self._post.write(now, d.Failure(e.assignment.id, code, _short(reason)), lifetime_ms=LETTER_MS)
        self._slots.close(e.reservation.id, e.failure.id)
        said = _event("provider.failed", e.requester, reason=reason)
        return [_persist(records.Ended(e.reservation.id, e.failure.raw)), said, *self._tell(now, e)]

    # -- telling the requester, until it knows -----------------------------------------------------------------------

    def _tell(self, now: Now, e: Engagement) -> list[Effect]:
        letter = e.commitment if e.state == "committed" else e.failure
        if letter is None or e.assignment is None:
            return []
        if now.wall_ms >= letter.expires_at:
            e.step("expire")
            return []
        tag = Tag("provider", "tell", e.reservation.id, e.requester)
        ask = self._post.ask(e.requester, letter.raw, tag, timeout_ms=REQUEST_MS)
        return [ask, SetTimer(f"provider.tell:{e.token}", None)]

    def _quiet(self, e: Engagement) -> list[Effect]:
        return [SetTimer(f"provider.tell:{e.token}", None)]

    def _await_verdict(self, now: Now, e: Engagement) -> list[Effect]:
        return [SetTimer(f"provider.tell:{e.token}", now.mono_ms + max(0, e.verdict_by_wall_ms - now.wall_ms))]

    def on_response(self, now: Now, tag: Tag, outcome: Outcome) -> list[Effect]:
        """The requester acknowledged a commitment or failure, or did not."""
        e = self._engagements.get(tag.subject)
        if e is None or e.state not in ("committed", "failed"):
            return []
        if isinstance(outcome, Ok):
            e.step("acknowledged")
            return self._await_verdict(now, e) if e.state == "awaiting verdict" else []
        return [SetTimer(f"provider.tell:{e.token}", now.mono_ms + RETRY_MS)]

    def on_timer(self, now: Now, name: str) -> list[Effect]:
        """`name` is the token of an engagement whose letter is due again, or whose verdict is overdue."""
        e = self._engagements.get(bytes.fromhex(name))
        if e is not None and e.state == "awaiting verdict":
            e.step("expire")
        return self._tell(now, e) if e is not None and e.state in ("committed", "failed") else []

    def on_peer_up(self, now: Now, peer: bytes) -> list[Effect]:
        """A requester is back: tell it what it missed."""
        return [
            effect
            for e in self._engagements.values()
            if e.requester == peer and e.state in ("committed", "failed")
            for effect in self._tell(now, e)
        ]

    def _expire(self, now: Now) -> None:
        for reservation in self._slots.expire(now):
            e = self._engagements.get(reservation)
            if e is not None and e.state == "reserved":
                e.step("expire")
