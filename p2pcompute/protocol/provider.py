"""The provider's side: run, commit, reveal, be paid. The slots it all happens on are leasing.py's.

One `Engagement` per assignment; its transitions are the table in engagement.py and docs/spec/provider.md. What the
requester sends is answered at once; only the run itself takes time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from p2pcompute.errors import DecodeError
from p2pcompute.protocol import pricing, records, slices, verification
from p2pcompute.protocol.engagement import TOLD, TRANSITIONS, VERDICT_WAIT_MS, Engagement
from p2pcompute.protocol.lease import Caps, Lease
from p2pcompute.protocol.leasing import LETTER_MS, Answered, Leasing, Refusal
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
    Reply,
    RunJob,
    SetTimer,
)
from p2pcompute.protocol.post import Post, Tag
from p2pcompute.protocol.receipts import Chain
from p2pcompute.protocol.records import persist
from p2pcompute.protocol.reservation import NONE
from p2pcompute.wire import documents as d
from p2pcompute.wire import limits
from p2pcompute.wire.documents import AnyDocument
from p2pcompute.wire.manifest import decode_manifest, manifest_id
from p2pcompute.wire.policy import policy_fault

RETRY_MS: Final = 2_000
ASK_MS_MIN: Final = 30_000
"""After so long a requester is asked for the verdict that may have got lost; then twice as late every time."""
ASK_MS_MAX: Final = 3_600_000
REQUEST_MS: Final = 5_000
FETCH_MS: Final = 120_000
DELIVERY_MS: Final = 3_600_000
"""How long outputs stay readable by their requester after the verdict."""
ENGAGEMENTS_MAX: Final = 65_536
"""Assignments remembered; when none of them is closed, nothing is reserved and no new one is taken."""


def _lifetime_ms(now: Now, e: Engagement) -> int:
    """Of a commitment: as long as a verdict on it is waited for (P14)."""
    due_ms = max(int(e.assignment.body.commit_by) - now.wall_ms, LETTER_MS)
    return min(due_ms + VERDICT_WAIT_MS, limits.DOCUMENT_LIFETIME_MS_MAX)


def _event(name: str, requester: bytes, **fields: object) -> Emit:
    return Emit(name, {"requester": requester, **fields})


def _short(reason: str) -> str:
    return reason.encode()[: limits.REASON_BYTES_MAX].decode(errors="ignore")


class Provider:
    """Sells slots. Inactive until `open_for_business` gives it terms."""

    def __init__(self, post: Post, ledger: Ledger, caps: Caps) -> None:
        self._post, self._ledger = post, ledger
        self.leasing = Leasing(post, ledger, caps)
        self._decline = self.leasing.decline
        self.chain = Chain()
        self._engagements: OrderedDict[bytes, Engagement] = OrderedDict()
        """By the id of the assignment."""
        self._by_commitment: dict[bytes, Engagement] = {}
        self._unpaid: dict[bytes, dict[bytes, Engagement]] = {}
        """Requester -> receipt -> the engagement that it ended, until it is paid."""
        self.handlers: Final[dict[type[object], Callable[[Now, AnyDocument], Answered]]] = {
            d.Probe: self.leasing.on_probe,
            d.ReservationRequest: self._on_reservation_request,
            d.Renew: self.leasing.on_renew,
            d.Release: self.leasing.on_release,
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
        self.leasing.open(terms)

    def drain(self) -> None:
        """No new work from now on; what runs goes on."""
        self.leasing.draining = True

    @property
    def terms(self) -> d.Offer | None:
        """What is offered; None before `open_for_business`."""
        return self.leasing.terms

    @property
    def closed(self) -> bool:
        """Whether it takes no new work, for good or for a while."""
        return self.leasing.closed

    def replay(self, record: records.AnyRecord) -> None:
        """Rebuild from one journal record."""
        match record:
            case records.Reserved() | records.Released():
                self.leasing.replay(record)
            case records.Accepted():
                document = self._post.open(record.assignment)
                self._accept(document, self.leasing.at(document.body.reservation))
            case records.Ended():
                self._replay_end(self._engagements[record.assignment], self._post.open(record.by))
            case records.Committed():
                document = self._post.open(record.commitment)
                facts = record.opening, record.moved_bytes, record.is_shown, record.output_sizes
                self._commit(self._engagements[record.assignment], document, *facts)
            case records.Issued():
                verdict, receipt = self._post.open(record.verdict), self._post.open(record.receipt)
                self._issue(self._by_commitment[verdict.body.commitment], verdict, receipt)
            case records.Covered():
                cheque = self._post.open(record.cheque)
                covered = self.chain.get(cheque.body.receipt)
                assert covered is not None, "the journal names a receipt it does not hold"
                self._cover(cheque, covered)
            case _:
                pass

    def _replay_end(self, e: Engagement, by: AnyDocument) -> None:
        if isinstance(by.body, d.Failure):
            e.failure = by
            e.state = "failed"
        else:
            e.state = "closed"
            self._ledger.claim(e.requester, e.assignment.id, 0, by.issued_at)
        self._vacate(e, by)

    def resume(self, now: Now) -> list[Effect]:
        """After replay: take up every engagement where the journal left it."""
        out: list[Effect] = []
        for e in self._engagements.values():
            if e.state == "fetching":
                out += self._fetch_manifest(now, e)
            elif e.state in ("committed", "failed"):
                e.tell_by_wall_ms = now.wall_ms + LETTER_MS
                out.append(SetTimer(f"provider.tell:{e.token}", now.mono_ms))
            elif e.state == "awaiting verdict":
                out += self._grant_evidence(e)
            elif e.state == "unpaid":
                out += self._grant_outputs(e)
        return out

    @property
    def busy_slots(self) -> int:
        return self.leasing.slots.busy

    @property
    def running(self) -> int:
        """Engagements that keep a drain waiting."""
        return sum(1 for e in self._engagements.values() if e.state in ("fetching", "running", "committed"))

    def partners(self) -> set[bytes]:
        """Requesters with open business here, but for those that use their credit up and do not pay."""
        open_here = self.leasing.requesters() | {e.requester for e in self._engagements.values() if e.state != "closed"}
        return {requester for requester in open_here if not self._ledger.is_overdue(requester)}

    def evidence(self) -> list[bytes]:
        """Every signed document of the engagements that brought a receipt, for an auditor."""
        out: list[bytes] = []
        for e in self._engagements.values():
            if e.receipt is not None:
                cheques = (*e.parts, self.chain.cheque(e.receipt.id))
                documents = (e.assignment, e.commitment, e.verdict, e.receipt, *cheques)
                out += [x.raw for x in documents if x is not None]
        return out

    # -- requests --------------------------------------------------------------------------------------------------

    def on_request(self, now: Now, peer: bytes, request_id: int, document: AnyDocument) -> list[Effect]:
        """A signed request from a connected peer, its signer. The answer is one document or an empty frame."""
        self.leasing.expire(now)
        before, answer, after = self.handlers[type(document.body)](now, document)
        return [*before, Reply(request_id, answer.raw if answer is not None else b""), *after]

    def _on_reservation_request(self, now: Now, request: AnyDocument) -> Answered:
        if self._is_full():
            return [], self._decline(now, request, d.DeclineCode.BUSY, "too much is unsettled here"), []
        return self.leasing.on_reservation_request(now, request)

    def _remember(self, e: Engagement) -> None:
        self._engagements[e.assignment.id] = e
        if len(self._engagements) > ENGAGEMENTS_MAX:
            oldest = next((x for x in self._engagements.values() if x.state == "closed"), None)
            if oldest is not None:
                self._forget(oldest)

    def _is_full(self) -> bool:
        return len(self._engagements) >= ENGAGEMENTS_MAX and all(
            e.state != "closed" for e in self._engagements.values()
        )

    def _forget(self, e: Engagement) -> None:
        del self._engagements[e.assignment.id]
        if e.commitment is not None:
            self._by_commitment.pop(e.commitment.id, None)

    def _on_assignment(self, now: Now, assignment: AnyDocument) -> Answered:
        if assignment.id in self._engagements:
            return [], None, []
        lease = self.leasing.of(assignment.body.reservation, assignment.signer)
        if lease is None:
            return (
                [],
                self._decline(now, assignment, d.DeclineCode.UNKNOWN_RESERVATION, "no such reservation"),
                [],
            )
        fault = self._assignment_fault(now, assignment, lease)
        if fault is not None:
            return [], self._decline(now, assignment, *fault), []
        e = self._accept(assignment, lease)
        started = _event("provider.assigned", e.requester)
        return [persist(records.Accepted(assignment.raw))], None, [started, *self._fetch_manifest(now, e)]

    def _assignment_fault(self, now: Now, assignment: AnyDocument, lease: Lease) -> Refusal | None:
        body: d.Assignment = assignment.body
        if lease.state != "held" or self._is_full():
            return d.DeclineCode.BUSY, "the task before it is still at work on this reservation"
        if (
            body.price_per_device_s < lease.price_per_device_s
            or body.price_per_gb < lease.price_per_gb
            or not lease.price_minimum <= body.price_minimum <= body.price_ceiling
        ):
            return d.DeclineCode.UNSUITABLE, "below the quoted price"
        fault = policy_fault(body.policy)
        if fault:
            return d.DeclineCode.UNSUITABLE, fault
        if body.commit_by <= now.wall_ms:
            return d.DeclineCode.TOO_LATE, "the deadline has passed"
        return self.leasing.credit_fault(now, assignment.signer, body.price_ceiling, lease)

    def _accept(self, assignment: AnyDocument, lease: Lease) -> Engagement:
        self.leasing.begin(lease, assignment.body.price_ceiling)
        e = Engagement(assignment.signer, assignment, lease)
        self._remember(e)
        return e

    def _step(self, now: Now, e: Engagement, event: str) -> None:
        """The work done may not be paid any more."""
        e.step(event)
        self._ledger.claim(e.requester, e.assignment.id, e.claim, now.wall_ms)

    def _vacate(self, e: Engagement, by: AnyDocument) -> None:
        """The run is over, as this document says: its slot is the lease's again."""
        if e.lease is not None:
            self.leasing.end(e.lease, by.id)
            e.lease = None

    def _on_abort(self, now: Now, abort: AnyDocument) -> Answered:
        e = self._engagements.get(abort.body.assignment)
        if e is None or e.requester != abort.signer or (e.state, "abort") not in TRANSITIONS:
            return [], None, []
        running = e.state in ("fetching", "running")
        self._step(now, e, "abort")
        self._vacate(e, abort)
        stop: list[Effect] = [CancelJob(e.token)] if running else []
        return [persist(records.Ended(e.assignment.id, abort.raw))], None, [*stop, *self._quiet(e)]

    def _on_reveal_request(self, now: Now, request: AnyDocument) -> Answered:
        e = self._by_commitment.get(request.body.commitment)
        if e is None or e.opening is None or e.requester != request.signer:
            return [], self._decline(now, request, d.DeclineCode.UNKNOWN_RESERVATION, "no such commitment"), []
        if request.body.commitment not in request.body.all_commitments:
            return [], self._decline(now, request, d.DeclineCode.UNSUITABLE, "my commitment is not listed"), []
        if verification.nonce_commitment(request.body.nonce) != e.assignment.body.nonce_commitment:
            return [], self._decline(now, request, d.DeclineCode.UNSUITABLE, "this is not the nonce committed to"), []
        if e.is_shown and e.claim and self._ledger.unpaid(e.requester) > self._ledger.credit_of(e.requester):
            text = "this result would be shown before it is judged and paid, and costs more than your credit here"
            return [], self._decline(now, request, d.DeclineCode.NO_CREDIT, text), []
        quiet: list[Effect] = []
        if (e.state, "reveal") in TRANSITIONS:
            e.step("reveal")
            quiet = self._await_verdict(now, e)
        return self._grant_evidence(e), self._post.write(now, e.opening, lifetime_ms=LETTER_MS), quiet

    @staticmethod
    def _grant_evidence(e: Engagement) -> list[Effect]:
        """Until there is a verdict: for an inspection single leaves of the states, for a comparison the outputs."""
        assert e.opening is not None
        if e.is_shown:
            return [Grant(e.token, e.requester, e.opening.output_roots, e.verdict_by_wall_ms)]
        roots = tuple(dict.fromkeys(root for state in e.opening.states for root in state))
        leaves = verification.leaves_shown(e.assignment.body.policy)
        return [Grant(e.token, e.requester, roots, e.verdict_by_wall_ms, leaves)] if roots else []

    def _on_verdict(self, now: Now, verdict: AnyDocument) -> Answered:
        body: d.Verdict = verdict.body
        e = self._by_commitment.get(body.commitment)
        if e is None or e.requester != verdict.signer or e.opening is None:
            return [], None, []
        if e.receipt is not None:
            return [], e.receipt, []
        if (e.state, "judge") not in TRANSITIONS:
            return [], None, []
        if body.judgement not in (d.Judgement.AGREED, d.Judgement.KERNEL_AT_FAULT):
            self._step(now, e, "judge")
            return [], None, [_event("provider.outvoted", e.requester, judgement=body.judgement.name), *self._quiet(e)]
        fault = verification.verdict_fault(body, e.opening, e.assignment.body, e.moved_bytes)
        if fault:
            return [], self._decline(now, verdict, d.DeclineCode.UNSUITABLE, fault), []
        receipt = self._write_receipt(now, e, verdict)
        self._issue(e, verdict, receipt)
        record = persist(records.Issued(verdict.raw, receipt.raw))
        return (
            [record, *self._grant_outputs(e)],
            receipt,
            [_event("provider.earned", e.requester, price=body.price), *self._quiet(e)],
        )

    def _grant_outputs(self, e: Engagement, wall_ms: int = 0) -> list[Effect]:
        """All of them where the price is within the credit that is left, else the next slice."""
        assert e.opening is not None
        assert e.receipt is not None
        roots, sizes, price = e.opening.output_roots, e.output_sizes, e.receipt.body.price
        others = sum(x.released - x.paid for x in self._unpaid[e.requester].values() if x is not e)
        left = max(0, self._ledger.credit_of(e.requester) - self._ledger.late(e.requester) - others)
        readable = sum(sizes) if e.is_shown else slices.readable_bytes(sizes, price, e.paid, left)
        whole, chunks = slices.whole_chunks(sizes, readable)
        e.released = max(e.paid, slices.value_of(sizes, price, readable))
        part = (roots[whole], chunks) if whole < len(roots) else None
        until = max(e.receipt.issued_at, wall_ms) + DELIVERY_MS
        return [Grant(e.token, e.requester, roots[:whole], until, part=part)]

    def _grant_more(self, now: Now, requester: bytes) -> list[Effect]:
        """A cheque came: what was kept back for want of credit may go on."""
        waiting = [
            e for e in self._unpaid.get(requester, {}).values() if e.receipt and e.released < e.receipt.body.price
        ]
        return [effect for e in waiting if e.output_sizes for effect in self._grant_outputs(e, now.wall_ms)]

    def _write_receipt(self, now: Now, e: Engagement, verdict: AnyDocument) -> AnyDocument:
        assert e.opening is not None
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
        self._unpaid.setdefault(e.requester, {})[receipt.id] = e
        self._ledger.earn(e.requester, e.assignment.id, receipt.body.price, receipt.issued_at)

    def _on_delivery(self, now: Now, delivery: AnyDocument) -> Answered:
        return [], None, []

    def _on_cheque(self, now: Now, cheque: AnyDocument) -> Answered:
        body: d.Cheque = cheque.body
        receipt = self.chain.get(body.receipt)
        if body.payee != self._post.env.me or receipt is None or receipt.body.requester != cheque.signer:
            return (
                [],
                self._decline(now, cheque, d.DeclineCode.UNSUITABLE, "this cheque covers no receipt of mine"),
                [],
            )
        e = self._unpaid.get(cheque.signer, {}).get(body.receipt)
        if e is None or 0 < body.part <= e.paid:
            return [], None, []
        if body.part > receipt.body.price or not self._cover(cheque, receipt):
            text = "the sum does not reach the receipts it covers"
            return [], self._decline(now, cheque, d.DeclineCode.UNSUITABLE, text), []
        record = persist(records.Covered(cheque.raw))
        more = self._grant_more(now, cheque.signer)
        return [record, *more], None, [_event("provider.paid", cheque.signer, part=body.part)]

    def _cover(self, cheque: AnyDocument, receipt: AnyDocument) -> bool:
        """Whether the cheque is good for what it says it pays of the receipt."""
        e = self._unpaid[cheque.signer][receipt.id]
        due = (cheque.body.part or receipt.body.price) - e.paid
        if not self._ledger.take_cheque(cheque.signer, cheque.epoch, cheque.body.cumulative, due):
            return False
        if cheque.body.part:
            e.paid = cheque.body.part
            slices.add_part(e.parts, cheque)
            return True
        self.chain.countersign(cheque)
        e.step("pay")
        del self._unpaid[cheque.signer][receipt.id]
        if not self._unpaid[cheque.signer]:
            del self._unpaid[cheque.signer]
        return True

    # -- the run ---------------------------------------------------------------------------------------------------

    def _fetch_manifest(self, now: Now, e: Engagement) -> list[Effect]:
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
        return RunJob(e.token, e.manifest_bytes, snapshots=e.assignment.body.policy.keeps_states)

    def _on_manifest(self, now: Now, e: Engagement, data: bytes) -> list[Effect]:
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
        document = self._post.write(now, d.Commitment(e.assignment.id, root), lifetime_ms=_lifetime_ms(now, e))
        opening = msgspec.structs.replace(opening, commitment=document.id)
        ok = status is d.OutcomeStatus.OK
        moved_bytes = pricing.traffic_bytes(e.manifest, len(e.manifest_bytes), with_outputs=ok)
        is_shown = ok and e.manifest.is_tolerant
        sizes = tuple(b.size_bytes for b in e.manifest.outputs) if ok else ()
        self._commit(e, document, opening, moved_bytes, is_shown, sizes)
        record = records.Committed(e.assignment.id, opening, document.raw, moved_bytes, is_shown, sizes)
        done = _event("provider.committed", e.requester, device_us=outcome.device_us)
        return [persist(record), done, *self._tell(now, e)]

    def _commit(
        self,
        e: Engagement,
        commitment: AnyDocument,
        opening: d.RootReveal,
        moved_bytes: int,
        is_shown: bool,
        output_sizes: tuple[int, ...],
    ) -> None:
        e.state = "running" if e.state == "fetching" else e.state  # replay: a restart repeats the run silently
        e.step("commit")
        e.commitment, e.opening, e.moved_bytes, e.is_shown = commitment, opening, moved_bytes, is_shown
        e.output_sizes, e.tell_by_wall_ms = output_sizes, commitment.issued_at + LETTER_MS
        self._by_commitment[commitment.id] = e
        self._ledger.claim(e.requester, e.assignment.id, e.claim, commitment.issued_at)
        self._vacate(e, commitment)

    def _fail(self, now: Now, e: Engagement, code: d.FailureCode, reason: str) -> list[Effect]:
        e.step("fail")
        e.failure = self._post.write(now, d.Failure(e.assignment.id, code, _short(reason)), lifetime_ms=LETTER_MS)
        self._vacate(e, e.failure)
        said = _event("provider.failed", e.requester, reason=reason)
        return [persist(records.Ended(e.assignment.id, e.failure.raw)), said, *self._tell(now, e)]

    # -- telling the requester, until it knows -----------------------------------------------------------------------

    def _tell(self, now: Now, e: Engagement) -> list[Effect]:
        """Its commitment or failure. A commitment that is told again asks what became of it."""
        if e.letter is None:
            return []
        letter, until_wall_ms = e.letter
        if now.wall_ms >= until_wall_ms:
            self._step(now, e, "expire")
            return []
        tag = Tag("provider", "tell", e.assignment.id, e.requester)
        ask = self._post.ask(e.requester, letter.raw, tag, timeout_ms=REQUEST_MS)
        return [ask, SetTimer(f"provider.tell:{e.token}", None)]

    def _quiet(self, e: Engagement) -> list[Effect]:
        return [SetTimer(f"provider.tell:{e.token}", None)]

    def _await_verdict(self, now: Now, e: Engagement) -> list[Effect]:
        """Ask for it after a while, ever more rarely: the letter that said it may be lost, or what came of it may have
        been forgotten in a crash."""
        pause_ms = min(ASK_MS_MIN << min(e.asked, 16), ASK_MS_MAX, max(0, e.verdict_by_wall_ms - now.wall_ms))
        return [SetTimer(f"provider.tell:{e.token}", now.mono_ms + pause_ms)]

    def on_response(self, now: Now, tag: Tag, outcome: Outcome, answer: AnyDocument | None) -> list[Effect]:
        """The requester acknowledged a commitment or failure, or did not; or it says (`answer`, signed by it) that it
        judged against the commitment, or wants it no more."""
        e = self._engagements.get(tag.subject)
        if e is None or e.state not in TOLD:
            return []
        if isinstance(outcome, Ok):
            if answer is not None and isinstance(answer.body, d.Verdict | d.Abort):
                before, _, after = self.handlers[type(answer.body)](now, answer)
                if e.state not in TOLD:
                    return [*before, *after]
            e.step("acknowledged")
            return self._await_verdict(now, e) if e.state == "awaiting verdict" else []
        if e.state == "awaiting verdict":
            return self._await_verdict(now, e)
        return [SetTimer(f"provider.tell:{e.token}", now.mono_ms + RETRY_MS)]

    def on_timer(self, now: Now, name: str) -> list[Effect]:
        """`name` is the token of an engagement whose letter is due again, or whose verdict is overdue."""
        e = self._engagements.get(bytes.fromhex(name))
        if e is None:
            return []
        e.asked += e.state == "awaiting verdict"
        return self._tell(now, e)

    def on_peer_up(self, now: Now, peer: bytes) -> list[Effect]:
        """A requester is back: tell it what it missed."""
        return [
            effect
            for e in self._engagements.values()
            if e.requester == peer and e.state in ("committed", "failed")
            for effect in self._tell(now, e)
        ]
