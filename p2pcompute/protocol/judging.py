"""From commitments to a verdict: have every commitment opened, compare what they say, pronounce."""

from __future__ import annotations

from p2pcompute.protocol import pricing, records, verification
from p2pcompute.protocol.desk import LETTER_MS, Desk, persist
from p2pcompute.protocol.job import COMMITTED, Job, Replica
from p2pcompute.protocol.machine import Effect, Now
from p2pcompute.wire import documents as d
from p2pcompute.wire.documents import AnyDocument


class Judging:
    """Compares what the replicas of a job committed to."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # -- openings ----------------------------------------------------------------------------------------------------

    def ask_reveal(self, now: Now, job: Job, replica: Replica) -> list[Effect]:
        """Have a commitment opened, for the first time."""
        replica.step("ask")
        return self.repeat_reveal(now, job, replica)

    def repeat_reveal(self, now: Now, job: Job, replica: Replica) -> list[Effect]:
        """The same again, showing all commitments that are held by now."""
        assert replica.commitment is not None
        everyone = tuple(r.commitment.id for r in job.within(*COMMITTED) if r.commitment is not None)
        letter = self._desk.post.write(now, d.RevealRequest(replica.commitment.id, everyone), lifetime_ms=LETTER_MS)
        return [self._desk.send(job, replica, "reveal", letter)]

    def on_reveal(self, now: Now, job: Job, replica: Replica, answer: AnyDocument | None) -> list[Effect]:
        """An opening, or none. One that is not what was committed to ends the operator's business here."""
        if replica.state != "revealing":
            return []
        if answer is None or not isinstance(answer.body, d.RootReveal):
            return self._desk.retry_or_lose(now, job, replica, "reveal", "did not open its commitment")
        assert replica.commitment is not None
        assert replica.assignment is not None
        root = verification.commitment_root(replica.assignment.id, job.manifest_id, job.manifest, answer.body)
        fault = verification.opening_fault(answer.body, job.manifest)
        if root != replica.commitment.body.root or answer.body.commitment != replica.commitment.id or fault:
            reason = fault or "its opening does not match its commitment"
            return self._desk.ban(replica.operator, reason) + self._desk.lose(now, job, replica, reason)
        replica.reveal = answer
        replica.step("reveal")
        return [self._desk.event(job, "job.revealed", replica, roots=answer.body.output_roots)]

    # -- comparing ---------------------------------------------------------------------------------------------------

    def judge(self, now: Now, job: Job, revealed: list[Replica]) -> list[Effect]:
        """Pronounce what a quorum agrees on, or ask for more replicas."""
        count = verification.tally(job.votes(), job.quorum)
        if count.agreed is not None:
            return self._pronounce(now, job, revealed, count.agreed)
        job.target = len(revealed) + max(1, job.quorum - count.best)
        job.dry_rounds = 0
        return [self._desk.event(job, "job.disagreement", replicas=len(revealed), best=count.best)]

    def _pronounce(self, now: Now, job: Job, revealed: list[Replica], agreed: verification.Answer) -> list[Effect]:
        group = [r for r in revealed if r.reveal and verification.answer_of(r.reveal.body) == agreed]
        lowest_us = min(r.reveal.body.device_us for r in group if r.reveal)
        moved = job.traffic_bytes(with_outputs=agreed[0] is d.OutcomeStatus.OK)
        pairs: list[tuple[bytes, bytes]] = []
        letters: list[Effect] = []
        for replica in revealed:
            assert replica.reveal is not None
            assert replica.commitment is not None
            judgement = verification.judge(replica.reveal.body, agreed)
            paid = judgement in (d.Judgement.AGREED, d.Judgement.KERNEL_AT_FAULT)
            price = pricing.price_due(replica.terms, replica.reveal.body.device_us, lowest_us, moved) if paid else 0
            body = d.Verdict(replica.commitment.id, judgement, agreed[1], len(group), price)
            verdict = self._desk.post.write(now, body, lifetime_ms=LETTER_MS)
            self._desk.jobs.take_verdict(job, replica, verdict)
            pairs.append((replica.reveal.raw, verdict.raw))
            letters.append(self._desk.event(job, "job.verdict", replica, judgement=judgement.name, price=price))
            letters.append(self._desk.send(job, replica, "verdict", verdict))
        job.step("judge")
        return [persist(records.Judged(job.id, tuple(pairs))), *letters]
