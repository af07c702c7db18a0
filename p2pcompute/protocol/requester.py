"""The requester's side: recruit providers, assign, collect commitments, ask for openings, judge, fetch, pay.

Every event ends in `_advance`, which looks at the job as a whole and does what is due. The replicas' and the job's
transition tables are in job.py; the rules F1 to F8 in docs/spec/documents.md.
"""

from __future__ import annotations

from typing import Final

from p2pcompute.errors import (
    BudgetError,
    KernelError,
    NoPeersError,
    P2PComputeError,
    RemoteError,
    UsageError,
    VerificationError,
)
from p2pcompute.protocol import matching, receipts, records, verification
from p2pcompute.protocol.book import Book
from p2pcompute.protocol.candidates import Candidates
from p2pcompute.protocol.commands import Submit
from p2pcompute.protocol.job import COMMITTED, LIVE, PENDING, Job, Replica
from p2pcompute.protocol.jobs import Jobs
from p2pcompute.protocol.ledger import Ledger
from p2pcompute.protocol.machine import Effect, Emit, Fetch, Grant, Missed, Now, Outcome, Persist, Reply, SetTimer
from p2pcompute.protocol.post import Post, Tag
from p2pcompute.protocol.recruiting import Recruiter
from p2pcompute.protocol.reputation import Reputation
from p2pcompute.wire import documents as d
from p2pcompute.wire import limits
from p2pcompute.wire.documents import AnyDocument

LETTER_MS: Final = 3_600_000
LEASE_MS: Final = 15_000
"""How long a slot is held while the assignment is on its way."""
REQUEST_MS: Final = 5_000
RESERVE_MS: Final = 3_000
"""For a Reservation: docs/spec/documents.md."""
LONELY_ROUNDS_MAX: Final = 20
"""With nobody at work, or replicas that disagree, so many fruitless rounds end the job: longer than a lease lasts."""
DRY_ROUNDS_MAX: Final = 3
"""With a quorum at work, this many fruitless rounds end the search for more."""
COMMIT_GRACE_MS: Final = 60_000
"""Time for fetching inputs and waiting for the engine, on top of the manifest's own limit."""
ATTEMPTS_MAX: Final = 5
RETRY_MS: Final = 1_000
SETTLING_ATTEMPTS_MAX: Final = 9
"""What was judged is worth more patience, with pauses that double: a minute or two, as long as a line may be cut."""
LOST_MS: Final = 2_000
"""A provider gone for so long while it works is given up."""
INPUT_GRANT_MS: Final = 3_600_000
FETCH_MS: Final = 120_000
FETCH_PAUSE_MS: Final = 200
PATIENT_BYTES: Final = 16 * limits.MIB
"""Outputs larger than this are fetched from all agreeing replicas together."""


class Requester:
    """Runs this peer's own jobs."""

    def __init__(self, post: Post, book: Book, ledger: Ledger, reputation: Reputation, candidates: Candidates) -> None:
        self._post, self._ledger, self._reputation = post, ledger, reputation
        self._recruiter = Recruiter(post, book, reputation, candidates)
        self.jobs = Jobs(post, ledger, reputation)

    # -- commands --------------------------------------------------------------------------------------------------

    def submit(self, now: Now, command: Submit) -> list[Effect]:
        """Take a job on. Its blobs must be in the local store. Idempotent by id. Raises UsageError or DecodeError."""
        if self.jobs.get(command.job) is not None:
            return []
        if not 1 <= command.quorum <= command.replicas <= limits.REPLICAS_MAX:
            raise UsageError(f"the quorum must be 1 to the number of replicas, and these at most {limits.REPLICAS_MAX}")
        record = records.JobSubmitted(
            job=command.job,
            manifest=command.manifest,
            replicas=command.replicas,
            quorum=command.quorum,
            budget=command.budget,
            needs=command.needs,
            deadline_wall_ms=now.wall_ms + command.timeout_ms,
        )
        job = self.jobs.add(record)
        return [_persist(record), self._event(job, "job.submitted"), *self._start(now, job)]

    def _start(self, now: Now, job: Job) -> list[Effect]:
        left = max(0, job.deadline_wall_ms - now.wall_ms)
        return [SetTimer(f"job.deadline:{job.name}", now.mono_ms + left), *self._advance(now, job)]

    def cancel(self, now: Now, job_id: bytes) -> list[Effect]:
        """The user does not want the result any more."""
        job = self.jobs.get(job_id)
        if job is None or job.state != "working":
            return []
        return self._fail(now, job, P2PComputeError("cancelled"))

    def ban(self, operator: bytes, reason: str) -> list[Effect]:
        """No more business with this operator; an empty reason lifts the ban. Durable."""
        if reason:
            self._reputation.ban(operator, reason)
        else:
            self._reputation.pardon(operator)
        return [_persist(records.Banned(operator, reason))]

    def resume(self, now: Now) -> list[Effect]:
        """After replay: take up every job where the journal left it."""
        out: list[Effect] = []
        for job in self.jobs:
            for replica in job.team:
                if replica.state == "assigned" and not job.over:
                    out += self._send_assignment(now, job, replica)
                elif replica.state == "judged":
                    out += self._send_verdict(now, job, replica)
                elif replica.state == "paying":
                    out += self._send_cheque(now, job, replica)
            if not job.over:
                out += self._watch_commit_by(now, job)
                out += self._start(now, job)
        return out

    # -- the heart -------------------------------------------------------------------------------------------------

    def _advance(self, now: Now, job: Job) -> list[Effect]:
        """Do what is due for this job."""
        if job.state == "settling":
            return self._settle(now, job)
        if job.state != "working":
            return []
        out: list[Effect] = []
        if len(job.refusals) >= job.quorum:
            return self._fail(now, job, KernelError(f"providers refused the task: {job.refusals[0]}"))
        if len(job.within(*LIVE)) < job.target and job.round is None and not job.resting:
            out += self._recruit(now, job)
            if job.state != "working":
                return out
        pending, committed = job.within(*PENDING), job.within(*COMMITTED)
        searching = job.round is not None or len(pending) + len(committed) < job.target
        if pending or searching or len(committed) < job.quorum:
            return out
        for replica in job.within("committed"):
            out += self._ask_reveal(now, job, replica)
        if all(r.state == "revealed" for r in committed):
            out += self._tally(now, job, committed)
        return out

    # -- recruiting ------------------------------------------------------------------------------------------------

    def _recruit(self, now: Now, job: Job) -> list[Effect]:
        if others := self._recruiter.next_best(now, job, job.target - len(job.within(*LIVE))):
            return self._engage(now, job, others)
        if pull := self._recruiter.look_beyond(now, job):
            job.resting = True
            return pull
        out = self._recruiter.begin(now, job)
        return out if job.round is not None else self._dry(now, job)

    def _close_round(self, now: Now, job: Job) -> list[Effect]:
        """When enough quotes are in, or time is up: reserve the best of them."""
        if job.round is None:
            return []
        hurry_mono_ms, end_mono_ms = job.round.hurry_mono_ms, job.round.end_mono_ms
        chosen = self._recruiter.close(now, job)
        if chosen is None:
            return [SetTimer(f"job.round:{job.name}", end_mono_ms)] if now.mono_ms >= hurry_mono_ms else []
        out: list[Effect] = [SetTimer(f"job.round:{job.name}", None)]
        if not chosen:
            return out + self._dry(now, job)
        job.dry_rounds = 0
        return [*out, *self._engage(now, job, chosen), *self._advance(now, job)]  # more are probed after too few quotes

    def _engage(self, now: Now, job: Job, chosen: list[tuple[matching.Listing, AnyDocument]]) -> list[Effect]:
        """Ask these to reserve, if the budget allows."""
        out: list[Effect] = []
        ceilings = [self._ceiling(job, quote) for _, quote in chosen]
        if job.committed_spend() + sum(ceilings) > job.budget:
            text = f"{len(chosen)} more replica(s) could cost {sum(ceilings)} micro-credits"
            return self._fail(now, job, BudgetError(f"{text}, more than is left of the budget of {job.budget}"))
        for (listing, quote), ceiling in zip(chosen, ceilings):
            out += self._reserve(now, job, listing, quote, ceiling)
        return out

    @staticmethod
    def _ceiling(job: Job, quote: AnyDocument) -> int:
        body: d.Quote = quote.body
        return verification.price_ceiling(body.price_per_device_s, body.price_minimum, job.manifest.device_ms_max)

    def _dry(self, now: Now, job: Job) -> list[Effect]:
        """Nobody (else) could be had: go on with a quorum, or rest and try again; give up when nobody is at work."""
        job.dry_rounds += 1
        live = job.within(*LIVE)
        lonely = len(live) < job.quorum and not job.within(*PENDING)
        if lonely and job.dry_rounds >= LONELY_ROUNDS_MAX:
            missing = f"{job.quorum} providers are needed, {len(live)} took the task; " if live else ""
            return self._fail(now, job, NoPeersError(missing + self._recruiter.explain(job)))
        if len(live) == len(job.within("revealed")) >= job.quorum:
            if job.dry_rounds >= LONELY_ROUNDS_MAX:
                best = verification.tally(self._votes(live), job.quorum).best
                text = f"{len(live)} replicas disagree (the largest group has {best} of the {job.quorum} needed)"
                return self._fail(now, job, VerificationError(f"{text}, and no further provider is to be had"))
        elif job.dry_rounds >= DRY_ROUNDS_MAX and len(live) >= job.quorum:
            job.target = len(live)
            return self._advance(now, job)
        job.resting = True
        waiting = self._event(job, "job.waiting", reason=self._recruiter.why_waiting(job))
        return [waiting, SetTimer(f"job.rest:{job.name}", now.mono_ms + self._recruiter.pause_ms(job))]

    def _reserve(self, now: Now, job: Job, listing: matching.Listing, quote: AnyDocument, ceiling: int) -> list[Effect]:
        request = self._post.write(now, d.ReservationRequest(quote.id, LEASE_MS), lifetime_ms=LETTER_MS)
        addresses = listing.offer.body.addresses
        replica = Replica(listing.peer, listing.operator, addresses, ceiling, quote=quote.body, request=request.id)
        job.team.append(replica)
        tag = Tag("requester", "reserve", job.id + request.id, listing.peer)
        return [self._post.ask(listing.peer, request.raw, tag, timeout_ms=RESERVE_MS, addresses=replica.addresses)]

    def _on_reservation(self, now: Now, job: Job, tag: Tag, answer: AnyDocument | None) -> list[Effect]:
        replica = next((r for r in job.within("reserving") if r.request == tag.subject[16:]), None)
        if replica is None:
            return []
        if answer is None or not isinstance(answer.body, d.Reservation) or answer.body.request != tag.subject[16:]:
            return self._on_no_reservation(now, job, replica, answer)
        self._recruiter.show(answer)
        banned = self._reputation.demerits(replica.operator) < 0
        if job.over or banned:
            release = self._post.write(now, d.Release(answer.id), lifetime_ms=LETTER_MS)
            tag = Tag("requester", "courtesy", job.id, replica.peer)
            give_back = self._post.ask(replica.peer, release.raw, tag, timeout_ms=REQUEST_MS)
            return [give_back, *(self._lose(now, job, replica, "banned meanwhile") if not job.over else [])]
        commit_by = now.wall_ms + job.manifest.device_ms_max + COMMIT_GRACE_MS
        nonce = verification.nonce_commitment(self._post.env.secret, answer.id)
        body = job.assignment(replica, answer.id, commit_by, nonce)
        assignment = self._post.write(now, body, lifetime_ms=LETTER_MS)
        self.jobs.take_assignment(replica, assignment)
        record = records.Assigned(job.id, replica.peer, replica.operator, replica.addresses, assignment.raw, answer.raw)
        assigned = self._event(job, "job.assigned", replica, price_per_device_s=body.price_per_device_s)
        return [
            _persist(record), assigned, *self._send_assignment(now, job, replica), *self._watch_commit_by(now, job)
        ]  # fmt: skip

    def _on_no_reservation(self, now: Now, job: Job, replica: Replica, answer: AnyDocument | None) -> list[Effect]:
        """Somebody else was quicker, or there is no answer: it may be asked again, a few times. It was never engaged,
        so it takes none of the places that a job has for replicas."""
        job.team.remove(replica)
        job.declines[replica.operator] = job.declines.get(replica.operator, 0) + 1
        if answer is not None and isinstance(answer.body, d.Decline):
            self._recruiter.declined(job, replica.operator)
            return [self._event(job, "job.declined", replica, reason=answer.body.reason), *self._advance(now, job)]
        self._reputation.slow(replica.operator, now.mono_ms)
        return [self._event(job, "job.lost", replica, reason="no reservation"), *self._advance(now, job)]

    def _watch_commit_by(self, now: Now, job: Job) -> list[Effect]:
        """Wake at the earliest deadline of those at work."""
        due = min((r.terms.commit_by for r in job.within("assigned", "running")), default=0)
        return [SetTimer(f"job.commit:{job.name}", now.mono_ms + max(0, due - now.wall_ms))] if due else []

    def _send_assignment(self, now: Now, job: Job, replica: Replica) -> list[Effect]:
        roots = (job.manifest_root, job.manifest.ptx_root, *(b.root for b in job.manifest.inputs))
        assert replica.assignment is not None
        grant = Grant(f"inputs:{job.name}:{replica.peer.hex()}", replica.peer, roots, now.wall_ms + INPUT_GRANT_MS)
        return [grant, self._send(job, replica, "assign", replica.assignment)]

    def _send(self, job: Job, replica: Replica, step: str, letter: AnyDocument) -> Effect:
        assert replica.assignment is not None
        tag = Tag("requester", step, job.id + replica.assignment.id, replica.peer)
        return self._post.ask(replica.peer, letter.raw, tag, timeout_ms=REQUEST_MS, addresses=replica.addresses)

    # -- commitments and failures come as requests -----------------------------------------------------------------

    def on_request(self, now: Now, peer: bytes, request_id: int, document: AnyDocument) -> list[Effect]:
        """A Commitment or Failure from a provider we assigned. Anything unknown or late is acknowledged and dropped:
        the provider must stop repeating it."""
        found = self.jobs.find(document.body.assignment, document.signer)
        acknowledge: list[Effect] = [Reply(request_id, b"")]
        if found is None:
            return acknowledge
        job, replica = found
        assert replica.assignment is not None
        if isinstance(document.body, d.Failure):
            if replica.state not in ("assigned", "running") or job.over:
                return acknowledge
            if document.body.code is d.FailureCode.REFUSED:
                job.refusals.append(document.body.reason)
            lost = self._lose(now, job, replica, f"{document.body.code.name.lower()}: {document.body.reason}")
            return acknowledge + lost
        if replica.commitment is not None:
            if replica.commitment.id != document.id and replica.state in COMMITTED:
                reason = "made two commitments for one assignment"
                return acknowledge + self.ban(replica.operator, reason) + self._lose(now, job, replica, reason)
            return acknowledge
        if job.state != "working" or replica.state not in ("assigned", "running"):
            return acknowledge
        replica.commitment = document
        replica.step("commit")
        held = _persist(records.CommitmentHeld(job.id, document.raw))
        return [held, *acknowledge, self._event(job, "job.committed", replica), *self._advance(now, job)]

    # -- openings and judgement ------------------------------------------------------------------------------------

    def _ask_reveal(self, now: Now, job: Job, replica: Replica) -> list[Effect]:
        replica.step("ask")
        return self._repeat_reveal(now, job, replica)

    def _repeat_reveal(self, now: Now, job: Job, replica: Replica) -> list[Effect]:
        assert replica.commitment is not None
        everyone = tuple(r.commitment.id for r in job.within(*COMMITTED) if r.commitment is not None)
        body = d.RevealRequest(replica.commitment.id, everyone)
        return [self._send(job, replica, "reveal", self._post.write(now, body, lifetime_ms=LETTER_MS))]

    def _on_reveal(self, now: Now, job: Job, replica: Replica, answer: AnyDocument | None) -> list[Effect]:
        if answer is None or not isinstance(answer.body, d.RootReveal):
            return self._retry_or_lose(now, job, replica, "reveal", "did not open its commitment")
        assert replica.commitment is not None
        assert replica.assignment is not None
        root = verification.commitment_root(replica.assignment.id, job.manifest_id, job.manifest, answer.body)
        fault = verification.opening_fault(answer.body, job.manifest)
        if root != replica.commitment.body.root or answer.body.commitment != replica.commitment.id or fault:
            reason = fault or "its opening does not match its commitment"
            return self.ban(replica.operator, reason) + self._lose(now, job, replica, reason)
        replica.reveal = answer
        replica.step("reveal")
        return [self._event(job, "job.revealed", replica, roots=answer.body.output_roots), *self._advance(now, job)]

    @staticmethod
    def _votes(replicas: list[Replica]) -> list[tuple[bytes, d.RootReveal]]:
        return [(r.operator, r.reveal.body) for r in replicas if r.reveal is not None]

    def _tally(self, now: Now, job: Job, revealed: list[Replica]) -> list[Effect]:
        count = verification.tally(self._votes(revealed), job.quorum)
        if count.agreed is None:
            job.target = len(revealed) + max(1, job.quorum - count.best)
            job.dry_rounds = 0
            disagreed = self._event(job, "job.disagreement", replicas=len(revealed), best=count.best)
            return [disagreed, *self._advance(now, job)]
        return self._pronounce(now, job, revealed, count.agreed)

    def _pronounce(self, now: Now, job: Job, revealed: list[Replica], agreed: verification.Answer) -> list[Effect]:
        group = [r for r in revealed if r.reveal and verification.answer_of(r.reveal.body) == agreed]
        lowest_us = min(r.reveal.body.device_us for r in group if r.reveal)
        pairs: list[tuple[bytes, bytes]] = []
        letters: list[Effect] = []
        for replica in revealed:
            assert replica.reveal is not None
            assert replica.commitment is not None
            judgement = verification.judge(replica.reveal.body, agreed)
            paid = judgement in (d.Judgement.AGREED, d.Judgement.KERNEL_AT_FAULT)
            price = verification.price_due(replica.terms, replica.reveal.body.device_us, lowest_us) if paid else 0
            body = d.Verdict(replica.commitment.id, judgement, agreed[1], len(group), price)
            verdict = self._post.write(now, body, lifetime_ms=LETTER_MS)
            self.jobs.take_verdict(job, replica, verdict)
            pairs.append((replica.reveal.raw, verdict.raw))
            letters.append(self._event(job, "job.verdict", replica, judgement=judgement.name, price=price))
            letters += self._send_verdict(now, job, replica)
        job.step("judge")
        return [_persist(records.Judged(job.id, tuple(pairs))), *letters]

    def _send_verdict(self, now: Now, job: Job, replica: Replica) -> list[Effect]:
        assert replica.verdict is not None
        return [self._send(job, replica, "verdict", replica.verdict)]

    # -- receipts, outputs, cheques --------------------------------------------------------------------------------

    def _on_receipt(self, now: Now, job: Job, replica: Replica, answer: AnyDocument | None) -> list[Effect]:
        if replica.state != "judged":
            return []
        assert replica.verdict is not None
        assert replica.assignment is not None
        assert replica.reveal is not None
        if answer is None or not receipts.holds(answer, replica.verdict, replica.assignment, replica.reveal):
            return self._retry_or_lose(now, job, replica, "verdict", "gave no valid receipt")
        replica.receipt = answer
        replica.step("receipt")
        held = _persist(records.ReceiptHeld(job.id, answer.raw))
        return [held, self._event(job, "job.receipt", replica, n=answer.body.n), *self._settle(now, job)]

    def _settle(self, now: Now, job: Job) -> list[Effect]:
        """Fetch the outputs from one agreeing replica, then pay every receipt, then end the job."""
        assert job.answer is not None
        if job.answer[0] is not d.OutcomeStatus.OK:
            job.fetched = True
        if not job.fetched and not job.over:
            return self._fetch_outputs(now, job)
        out: list[Effect] = []
        for replica in job.within("owed"):
            out += self._pay(now, job, replica)
        if not job.over and not job.within("judged"):
            out += self._end(now, job)
        return out

    def _fetch_outputs(self, now: Now, job: Job) -> list[Effect]:
        if job.fetching:
            return []
        sources = [r for r in job.within("owed") if r.fetch_failures < SETTLING_ATTEMPTS_MAX]
        if not sources:
            if job.within("judged"):
                return []
            return self._fail(now, job, RemoteError("the agreed result could not be fetched from any replica"))
        assert job.answer is not None
        blobs = tuple((root, b.size_bytes) for root, b in zip(job.answer[1], job.manifest.outputs))
        if job.within("judged") and sum(size for _, size in blobs) > PATIENT_BYTES:
            return []  # worth waiting for every receipt: all replicas then send at once
        source = min(sources, key=lambda r: r.fetch_failures)
        job.fetching = source.peer
        others = tuple((r.peer, r.addresses) for r in sources if r is not source)
        fetch = Fetch(f"outputs:{job.name}", source.peer, blobs, FETCH_MS, source.addresses, others)
        return [self._event(job, "job.fetching", source), fetch]

    def on_fetch(self, now: Now, token: str, blobs: tuple[bytes, ...] | None, reason: str) -> list[Effect]:
        """The outputs are in the local store, or this source could not give them."""
        job = self.jobs.get(bytes.fromhex(token.partition(":")[2]))
        if job is None or job.state != "settling" or not job.fetching:
            return []
        if blobs is not None:
            job.fetching, job.fetched = b"", True
            return self._settle(now, job)
        source = next((r for r in job.within("owed") if r.peer == job.fetching), None)
        if source is not None:
            source.fetch_failures += 1
            self._reputation.slow(source.operator, now.mono_ms)
        rounds = min((r.fetch_failures for r in job.within("owed")), default=0)
        return [SetTimer(f"job.fetch:{job.name}", now.mono_ms + (FETCH_PAUSE_MS << min(rounds, 6)))]

    def _pay(self, now: Now, job: Job, replica: Replica) -> list[Effect]:
        assert replica.receipt is not None
        cumulative = self._ledger.promise(replica.peer, replica.receipt.body.price)
        body = d.Cheque(replica.peer, cumulative, replica.receipt.id)
        replica.cheque = self._post.write(now, body, lifetime_ms=limits.DOCUMENT_LIFETIME_MS_MAX)
        replica.step("cheque")
        paid = self._event(job, "job.paid", replica, price=replica.receipt.body.price)
        record = _persist(records.Settled(job.id, replica.cheque.raw))
        return [record, paid, *self._send_cheque(now, job, replica)]

    def _send_cheque(self, now: Now, job: Job, replica: Replica) -> list[Effect]:
        assert replica.cheque is not None
        return [self._send(job, replica, "cheque", replica.cheque)]

    def _on_cheque_taken(self, now: Now, job: Job, replica: Replica, outcome: Outcome) -> list[Effect]:
        if replica.state != "paying":
            return []
        if isinstance(outcome, Missed):
            replica.attempts += 1
            delay = RETRY_MS << min(replica.attempts, 10)
            return [SetTimer(self._retry_key(job, replica, "cheque"), now.mono_ms + delay)]
        assert replica.receipt is not None
        replica.step("paid")
        return [_persist(records.ChequeTaken(job.id, replica.receipt.id))]

    def _end(self, now: Now, job: Job) -> list[Effect]:
        assert job.answer is not None
        status, roots = job.answer
        if status is not d.OutcomeStatus.OK:
            reason = next((r.reveal.body.reason for r in job.team if r.receipt and r.reveal), "")
            return self._fail(now, job, KernelError(reason or f"the kernel ended in a {status.name.lower()}"))
        job.step("done")
        ended = _persist(records.JobEnded(job.id, roots, 0, ""))
        return [ended, *self._hush(job), self._event(job, "job.done", roots=roots)]

    # -- losing and failing ----------------------------------------------------------------------------------------

    def _retry_or_lose(self, now: Now, job: Job, replica: Replica, step: str, reason: str) -> list[Effect]:
        replica.attempts += 1
        judged = replica.state == "judged"
        if replica.attempts >= (SETTLING_ATTEMPTS_MAX if judged else ATTEMPTS_MAX):
            return self._lose(now, job, replica, reason)
        pause_ms = RETRY_MS << min(replica.attempts - 1, 5) if judged else RETRY_MS
        return [SetTimer(self._retry_key(job, replica, step), now.mono_ms + pause_ms)]

    @staticmethod
    def _retry_key(job: Job, replica: Replica, step: str) -> str:
        assert replica.assignment is not None
        return f"job.retry:{job.name}:{replica.assignment.id.hex()}:{step}"

    def _lose(self, now: Now, job: Job, replica: Replica, reason: str) -> list[Effect]:
        """This replica brings nothing (more)."""
        replica.step("lose")
        replica.error = reason
        self._reputation.slow(replica.operator, now.mono_ms)
        out: list[Effect] = []
        if replica.assignment is not None:
            out.append(_persist(records.ReplicaLost(job.id, replica.assignment.id, reason)))
        return [*out, self._event(job, "job.lost", replica, reason=reason), *self._advance(now, job)]

    def _fail(self, now: Now, job: Job, error: P2PComputeError) -> list[Effect]:
        job.step("fail")
        job.round = None
        job.code, job.error = error.exit_code, str(error)
        out: list[Effect] = [_persist(records.JobEnded(job.id, (), job.code, job.error)), *self._hush(job)]
        for replica in job.within("assigned", "running"):
            assert replica.assignment is not None
            abort = self._post.write(now, d.Abort(replica.assignment.id, job.error[:200]), lifetime_ms=LETTER_MS)
            out.append(self._send(job, replica, "courtesy", abort))
        for replica in job.within("committed", "revealing", "revealed"):
            assert replica.commitment is not None
            body = d.Verdict(replica.commitment.id, d.Judgement.UNDECIDED, (), 0, 0)
            out.append(self._send(job, replica, "courtesy", self._post.write(now, body, lifetime_ms=LETTER_MS)))
        return [*out, self._event(job, "job.failed", code=job.code, error=job.error)]

    @staticmethod
    def _hush(job: Job) -> list[Effect]:
        return [SetTimer(f"job.{what}:{job.name}", None) for what in ("deadline", "commit", "round", "rest")]

    # -- routing ---------------------------------------------------------------------------------------------------

    def on_response(self, now: Now, tag: Tag, outcome: Outcome, answer: AnyDocument | None) -> list[Effect]:
        """`answer` is the opened document, signed by `tag.peer`; None for an acknowledgement or none at all."""
        job = self.jobs.get(tag.subject[:16])
        if job is None or tag.step == "courtesy":
            return []
        if tag.step == "probe":
            self._recruiter.take_quote(now, job, tag, answer)
            return self._close_round(now, job)
        if tag.step == "reserve":
            return self._on_reservation(now, job, tag, answer)
        replica = job.replica_of(tag.subject[16:])
        if replica is None:
            return []
        if tag.step == "assign":
            return self._on_assigned(now, job, replica, outcome, answer)
        if tag.step == "reveal":
            return self._on_reveal(now, job, replica, answer) if replica.state == "revealing" else []
        if tag.step == "verdict":
            return self._on_receipt(now, job, replica, answer)
        return self._on_cheque_taken(now, job, replica, outcome)

    def _on_assigned(
        self, now: Now, job: Job, replica: Replica, outcome: Outcome, answer: AnyDocument | None
    ) -> list[Effect]:
        if replica.state != "assigned":
            return []
        if isinstance(outcome, Missed):
            return self._retry_or_lose(now, job, replica, "assign", "did not take the assignment")
        if answer is not None:
            reason = answer.body.reason if isinstance(answer.body, d.Decline) else "did not take the assignment"
            return self._lose(now, job, replica, reason)
        replica.step("accept")
        return [self._event(job, "job.running", replica)]

    def on_timer(self, now: Now, what: str, name: str) -> list[Effect]:
        """A timer `job.<what>:<name>` is due."""
        job_name, _, rest = name.partition(":")
        job = self.jobs.get(bytes.fromhex(job_name))
        if job is None:
            return []
        if what == "round":
            return self._close_round(now, job)
        if what == "rest":
            job.resting = False
            return self._advance(now, job)
        if what == "fetch":
            job.fetching = b""
            return self._advance(now, job)
        if what == "deadline":
            return self._on_deadline(now, job)
        if what == "commit":
            return self._on_commit_by(now, job)
        assignment, _, step = rest.partition(":")
        replica = job.replica_of(bytes.fromhex(assignment))
        return self._again(now, job, replica, step) if replica is not None else []

    def _again(self, now: Now, job: Job, replica: Replica, step: str) -> list[Effect]:
        """A retry, or a grace period, ran out."""
        if step == "assign" and replica.state == "assigned" and not job.over:
            return self._send_assignment(now, job, replica)
        if step == "reveal" and replica.state == "revealing" and not job.over:
            return self._repeat_reveal(now, job, replica)
        if step == "verdict" and replica.state == "judged":
            return self._send_verdict(now, job, replica)
        if step == "cheque" and replica.state == "paying":
            return self._send_cheque(now, job, replica)
        if step == "gone" and replica.state in ("assigned", "running") and job.state == "working":
            return self._lose(now, job, replica, "the connection to the provider was lost")
        return []

    def _on_deadline(self, now: Now, job: Job) -> list[Effect]:
        if job.state != "working":  # what was judged is fetched and paid; that ends by itself
            return []
        if len(job.within(*LIVE)) < job.quorum:
            return self._fail(now, job, NoPeersError(self._recruiter.explain(job)))
        return self._fail(now, job, RemoteError("the job's time is up; a longer --timeout gives it more"))

    def _on_commit_by(self, now: Now, job: Job) -> list[Effect]:
        out: list[Effect] = []
        for replica in job.within("assigned", "running"):
            if now.wall_ms >= replica.terms.commit_by and job.state == "working":
                out += self._lose(now, job, replica, "did not commit in time")
        return out if job.over else out + self._watch_commit_by(now, job)

    def on_peer(self, now: Now, peer: bytes, up: bool) -> list[Effect]:
        """A connection came or went: watch the replicas that depend on it."""
        out: list[Effect] = []
        for job in self.jobs:
            for replica in job.team:
                if replica.peer != peer:
                    continue
                if replica.state in ("assigned", "running") and not job.over:
                    at = None if up else now.mono_ms + LOST_MS
                    out.append(SetTimer(self._retry_key(job, replica, "gone"), at))
                elif replica.state == "paying" and up:
                    out += self._send_cheque(now, job, replica)
        return out

    def _event(self, job: Job, name: str, replica: Replica | None = None, **fields: object) -> Emit:
        who = {"peer": replica.peer, "operator": replica.operator} if replica is not None else {}
        return Emit(name, {"job": job.id, "task": job.manifest.name, **who, **fields})


def _persist(record: records.AnyRecord) -> Persist:
    return Persist(records.encode_record(record))
