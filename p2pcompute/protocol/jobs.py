"""All jobs of a requester, and how the journal rebuilds them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from p2pcompute.protocol import pricing, records, slices, verification
from p2pcompute.protocol.claims import Claims, work_of
from p2pcompute.protocol.job import LIVE, Job, Replica
from p2pcompute.protocol.ledger import Ledger
from p2pcompute.protocol.matching import Needs
from p2pcompute.protocol.post import Post
from p2pcompute.protocol.reputation import Reputation
from p2pcompute.protocol.settlement import Redeemer
from p2pcompute.protocol.trust import Trust
from p2pcompute.wire import documents as d
from p2pcompute.wire import merkle
from p2pcompute.wire.documents import AnyDocument
from p2pcompute.wire.manifest import Manifest, decode_manifest, manifest_id
from p2pcompute.wire.policy import Scheme

JOBS_MAX: Final = 10_000
"""Jobs in memory; the oldest finished ones are forgotten first (the journal keeps them)."""


def _needs(asked: Needs, manifest: Manifest) -> Needs:
    """What the user asked for, and at least what the manifest takes."""
    return msgspec.structs.replace(
        asked,
        memory_bytes=max(asked.memory_bytes, manifest.memory_bytes_max),
        device_ms=max(asked.device_ms, manifest.device_ms_max),
    )


class Jobs:
    """Jobs by id, oldest first."""

    def __init__(self, post: Post, ledger: Ledger, reputation: Reputation, redeemer: Redeemer) -> None:
        self._post, self._ledger, self._reputation, self._redeemer = post, ledger, reputation, redeemer
        self.trust = Trust(post.env.secret)
        self.claims = Claims()
        self._jobs: OrderedDict[bytes, Job] = OrderedDict()

    def __iter__(self) -> Iterator[Job]:
        return iter(list(self._jobs.values()))

    def get(self, job_id: bytes) -> Job | None:
        return self._jobs.get(job_id)

    def add(self, record: records.JobSubmitted) -> Job:
        """Take a job on, from its record."""
        manifest = decode_manifest(record.manifest)
        job = Job(
            id=record.job,
            manifest=manifest,
            manifest_bytes=record.manifest,
            manifest_id=manifest_id(record.manifest),
            manifest_root=merkle.blob_root(record.manifest),
            policy=record.policy,
            budget=record.budget,
            needs=_needs(record.needs, manifest),
            deadline_wall_ms=record.deadline_wall_ms,
            stored=record.stored,
            target=record.policy.first,
            quorum=record.policy.quorum if record.policy.scheme is Scheme.REPLICATE else 1,
        )
        self._jobs[job.id] = job
        while len(self._jobs) > JOBS_MAX and (old := next((j for j in self._jobs.values() if j.at_rest), None)):
            del self._jobs[old.id]
        return job

    def find(self, assignment_id: bytes, signer: bytes) -> tuple[Job, Replica] | None:
        """The job and replica behind an assignment of this signer."""
        for job in reversed(self._jobs.values()):
            replica = job.replica_of(assignment_id)
            if replica is not None and replica.peer == signer:
                return job, replica
        return None

    def partners(self) -> set[bytes]:
        """Providers that work for us."""
        return {replica.peer for job in self for replica in job.team if not job.over}

    def take_assignment(self, job: Job, replica: Replica, assignment: AnyDocument) -> None:
        """The signed assignment is in force. Where this operator's word does not suffice, the job is replicated."""
        replica.assignment = assignment
        replica.step("assign")
        is_open = job.policy.scheme is Scheme.ADAPTIVE and not job.checked
        if is_open and self.trust.assign(job.kind_of(replica), assignment.issued_at):
            job.replicate()
        if job.policy.scheme is Scheme.RESTRICTED:
            replica.is_examined = self.trust.assign(job.kind_of(replica), assignment.issued_at)

    def take_loss(self, job: Job, replica: Replica, reason: str) -> None:
        """This replica brings nothing (more); when it was to be checked, another task makes up for it."""
        replica.error = reason
        if job.checked or replica.is_examined:
            self.trust.miss(job.kind_of(replica))

    def take_failure(self, job: Job, code: int, error: str) -> None:
        """The job ends without a result: those that were to be checked by it are checked another time."""
        for replica in job.within(*LIVE) if job.checked else ():
            self.trust.miss(job.kind_of(replica))
        job.code, job.error = code, error

    def take_verdict(self, job: Job, replica: Replica, verdict: AnyDocument) -> None:
        """The signed verdict counts, for the replica and for its operator's standing here."""
        body: d.Verdict = verdict.body
        assert replica.reveal is not None
        replica.verdict = verdict
        if body.judgement in (d.Judgement.OUTVOTED, d.Judgement.REFUTED):
            how = "refuted" if body.judgement is d.Judgement.REFUTED else f"outvoted by {body.agreeing}"
            replica.step("reject")
            self._reputation.ban(replica.operator, f"{how} on task {job.name[:8]}")
            self.trust.forget(replica.operator)
            self._doubt(replica.operator)
            return
        replica.step("agree")
        self._reputation.good(replica.operator)
        if body.agreeing > 1:
            self.trust.confirm(job.kind_of(replica), verdict.issued_at)
        at_fault = body.judgement is d.Judgement.KERNEL_AT_FAULT
        answer = verification.answer_of(replica.reveal.body)
        job.answer = (d.OutcomeStatus.TRAP, ()) if at_fault and answer[0] is d.OutcomeStatus.OK else answer

    def counted_us(self, job: Job, replica: Replica, group: Sequence[d.RootReveal]) -> int:
        """Microseconds of a replica's claim that are paid when this group, of which it is one, agrees (F7)."""
        assert replica.reveal is not None
        claimed_us: int = replica.reveal.body.device_us
        if len(group) > 1:
            return pricing.paid_us(claimed_us, min(opening.device_us for opening in group))
        return self.claims.bound(work_of(job.manifest, replica.device), claimed_us)

    def take_judgement(self, job: Job) -> None:
        """All verdicts of the job are there: what several operators were paid for says what to expect."""
        job.step("judge")
        agreed = [r for r in job.within("judged") if r.verdict and r.verdict.body.judgement is d.Judgement.AGREED]
        group = [r.reveal.body for r in agreed if r.reveal is not None]
        for replica in agreed if len(group) > 1 else ():
            self.claims.see(work_of(job.manifest, replica.device), self.counted_us(job, replica, group))

    def _doubt(self, operator: bytes) -> None:
        """Its word alone was taken for these before it was caught."""
        for job in self._jobs.values():
            theirs = [r for r in job.within("judged", "owed", "paying", "paid") if r.operator == operator]
            if any(r.verdict is not None and r.verdict.body.agreeing == 1 for r in theirs):
                job.doubt = "the one provider that computed it was later caught with a wrong result"

    # -- journal -----------------------------------------------------------------------------------------------------

    def replay(self, record: records.AnyRecord) -> None:
        """Rebuild from one journal record."""
        match record:
            case records.JobSubmitted():
                self.add(record)
            case records.Assigned():
                assignment = self._post.open(record.assignment)
                terms = assignment.body.price_ceiling, record.device, record.numeric_class
                replica = Replica(record.peer, record.operator, record.addresses, *terms)
                self._jobs[record.job].team.append(replica)
                self.take_assignment(self._jobs[record.job], replica, assignment)
            case records.CommitmentHeld():
                commitment = self._post.open(record.commitment)
                replica = self._replica(record.job, commitment.body.assignment)
                replica.commitment = commitment
                replica.step("commit")
            case records.ReplicaLost():
                replica = self._replica(record.job, record.assignment)
                replica.state = "lost"
                self.take_loss(self._jobs[record.job], replica, record.reason)
            case records.Judged():
                self._replay_verdicts(self._jobs[record.job], record.verdicts)
                self.take_judgement(self._jobs[record.job])
            case records.Reopened():
                self._jobs[record.job].reopen()
            case records.Refuted():
                self._replay_verdicts(self._jobs[record.job], ((record.reveal, record.verdict),))
                reveal = self._post.open(record.reveal)
                self._judged(self._jobs[record.job], reveal.body.commitment).evidence = record.evidence
            case records.ReceiptHeld():
                receipt = self._post.open(record.receipt)
                replica = self._replica(record.job, receipt.body.assignment)
                replica.receipt = receipt
                replica.step("receipt")
            case records.Settled() | records.PartPaid() | records.ChequeTaken() | records.JobEnded():
                self._replay_end(record)
            case records.Banned():
                if record.reason:
                    self._reputation.ban(record.operator, record.reason)
                else:
                    self._reputation.pardon(record.operator)
            case _:
                pass

    def _replica(self, job_id: bytes, assignment_id: bytes) -> Replica:
        replica = self._jobs[job_id].replica_of(assignment_id)
        assert replica is not None, "the journal names an assignment it does not hold"
        return replica

    @staticmethod
    def _judged(job: Job, commitment: bytes) -> Replica:
        return next(r for r in job.team if r.commitment and r.commitment.id == commitment)

    def _replay_verdicts(self, job: Job, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        for reveal_raw, verdict_raw in pairs:
            reveal, verdict = self._post.open(reveal_raw), self._post.open(verdict_raw)
            replica = self._judged(job, reveal.body.commitment)
            replica.step("ask")
            replica.step("reveal")
            replica.reveal = reveal
            self.take_verdict(job, replica, verdict)

    def _replay_end(self, record: records.Settled | records.PartPaid | records.ChequeTaken | records.JobEnded) -> None:
        job = self._jobs[record.job]
        match record:
            case records.Settled():
                cheque = self._post.open(record.cheque)
                job.fetched = True
                replica = next(r for r in job.team if r.receipt and r.receipt.id == cheque.body.receipt)
                replica.cheque = cheque
                replica.step("cheque")
                self._restore_promise(cheque)
            case records.PartPaid():
                cheque = self._post.open(record.cheque)
                replica = next(r for r in job.team if r.receipt and r.receipt.id == cheque.body.receipt)
                slices.add_part(replica.parts, cheque)
                self._restore_promise(cheque)
            case records.ChequeTaken():
                replica = next(r for r in job.team if r.receipt and r.receipt.id == record.receipt)
                replica.step("paid")
            case records.JobEnded():
                if record.error:
                    self.take_failure(job, record.code, record.error)
                job.fetched = not record.error
                job.state = "failed" if record.error else "done"

    def _restore_promise(self, cheque: AnyDocument) -> None:
        """Sums count within an epoch; a restored home begins anew."""
        if cheque.epoch == self._post.author.epoch:
            self._ledger.restore_promise(cheque.body.payee, cheque.body.cumulative)
            self._redeemer.take(cheque)
