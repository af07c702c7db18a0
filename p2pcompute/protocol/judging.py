"""From commitments to a verdict: have every commitment opened, compare what they say, pronounce."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from p2pcompute.errors import RemoteError
from p2pcompute.protocol import pricing, records, sampling, verification
from p2pcompute.protocol.comparing import Comparing, must_show
from p2pcompute.protocol.desk import LETTER_MS, VERDICT_MS, Desk
from p2pcompute.protocol.disputes import Disputes
from p2pcompute.protocol.job import COMMITTED, LIVE, OPENED, Job, Replica
from p2pcompute.protocol.machine import Effect, Finding, Inspect, InspectOutcome, JobOutcome, JobStatus, Now, RunJob
from p2pcompute.protocol.records import persist
from p2pcompute.protocol.verification import LEAVES_PER_SAMPLE
from p2pcompute.wire import documents as d
from p2pcompute.wire.documents import AnyDocument
from p2pcompute.wire.policy import Scheme

INSPECTION_MS: Final = 60_000
"""For recomputing blocks and fetching what they need, on top of what the whole task may take."""


class Judging:
    """Compares what the replicas of a job committed to."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.comparing = Comparing(desk)
        self.disputes = Disputes(desk)

    # -- openings ----------------------------------------------------------------------------------------------------

    def ask_reveal(self, now: Now, job: Job, replica: Replica) -> list[Effect]:
        """Have a commitment opened, for the first time."""
        replica.step("ask")
        return self.repeat_reveal(now, job, replica)

    def repeat_reveal(self, now: Now, job: Job, replica: Replica) -> list[Effect]:
        """The same again, showing all commitments that are held by now."""
        assert replica.commitment is not None
        everyone = tuple(r.commitment.id for r in job.within(*COMMITTED) if r.commitment is not None)
        body = d.RevealRequest(replica.commitment.id, everyone, self._nonce(job, replica))
        return [self._desk.send(job, replica, "reveal", self._desk.post.write(now, body, lifetime_ms=LETTER_MS))]

    def _nonce(self, job: Job, replica: Replica) -> bytes:
        return verification.nonce_of(self._desk.post.env.secret, replica.terms.reservation, job.id)

    def on_reveal(self, now: Now, job: Job, replica: Replica, answer: AnyDocument | None) -> list[Effect]:
        """An opening, or none. One that is not what was committed to ends the operator's business here."""
        if replica.state != "revealing":
            return []
        if answer is None or not isinstance(answer.body, d.RootReveal):
            return self._desk.retry_or_lose(now, job, replica, "reveal", "did not open its commitment")
        assert replica.commitment is not None
        assert replica.assignment is not None
        root = verification.commitment_root(replica.assignment.id, job.manifest_id, job.manifest, answer.body)
        fault = verification.opening_fault(answer.body, job.manifest, job.policy)
        if root != replica.commitment.body.root or answer.body.commitment != replica.commitment.id or fault:
            reason = fault or "its opening does not match its commitment"
            return self._desk.ban(replica.operator, reason) + self._desk.lose(now, job, replica, reason)
        replica.reveal = answer
        replica.step("reveal")
        return [self._desk.event(job, "job.revealed", replica, roots=answer.body.output_roots)]

    # -- comparing ---------------------------------------------------------------------------------------------------

    def judge(self, now: Now, job: Job, revealed: list[Replica]) -> list[Effect]:
        """Pronounce what a quorum agrees on, or ask for more replicas."""
        if job.policy.scheme is Scheme.RESTRICTED:
            return self._examine(now, job, revealed[0])
        count = verification.tally(job.votes(), job.quorum)
        failed = any(opening.status is not d.OutcomeStatus.OK for _, opening in job.votes())
        # that a kernel failed is no single operator's word to give, and who was caught meanwhile has none any more
        weak = failed or (job.policy.scheme is Scheme.ADAPTIVE and self._is_banned(revealed[0]))
        if weak and job.quorum < job.policy.quorum:
            job.replicate()
            return [self._desk.event(job, "job.unconfirmed", revealed[0])]
        if job.policy.scheme is Scheme.SAMPLE and not job.checked:
            return self.inspect(now, job, revealed[0])
        disputed = self.disputes.open(now, job, revealed) if job.policy.referee and not job.undecided else []
        if disputed:
            return disputed
        if must_show(job, revealed):
            return self.comparing.advance(now, job, revealed)
        if count.agreed is not None:
            agreed = count.agreed
            judged = [(r, verification.judge(r.reveal.body, agreed)) for r in revealed if r.reveal is not None]
            return self._pronounce(now, job, judged)
        return self._disagree(job, count.best)

    def _is_banned(self, replica: Replica) -> bool:
        return self._desk.reputation.demerits(replica.operator) < 0

    def _disagree(self, job: Job, best: int) -> list[Effect]:
        """As many more replicas as the largest group lacks to the quorum."""
        opened = len(job.within(*OPENED))
        job.target = opened + max(1, job.quorum - best)
        job.dry_rounds = 0
        return [self._desk.event(job, "job.disagreement", replicas=opened, best=best)]

    def on_compared(self, now: Now, job: Job, pairs: tuple[tuple[int, int], ...] | None) -> list[Effect]:
        """Which results are close to each other; None when what was fetched is not here any more."""
        if job.state != "working" or not job.compared:
            return []
        if pairs is None:
            return self._desk.fail(now, job, RemoteError("the results could not be compared here"))
        judged, best = self.comparing.on_compared(job, pairs)
        job.compared = []
        job.fetched = bool(judged)  # what is compared is here
        return self._pronounce(now, job, judged) if judged else self._disagree(job, best)

    # -- sampling ----------------------------------------------------------------------------------------------------

    def inspect(self, now: Now, job: Job, replica: Replica) -> list[Effect]:
        """Recompute blocks that nobody could know when the provider committed, or the one that decides a dispute;
        again, when that could not be done."""
        assert replica.assignment is not None
        assert replica.commitment is not None
        assert replica.reveal is not None
        if replica.state != "inspecting":
            replica.step("inspect")
        decisive = self.disputes.point(job)
        blocks = 1 if decisive is not None else job.policy.samples
        nonce, commitment = self._nonce(job, replica), replica.commitment.id
        drawn = (decisive,) if decisive else sampling.points(job.manifest, job.stored, nonce, commitment, blocks)
        inspect = Inspect(
            token=f"{job.name}:{replica.assignment.id.hex()}",
            peer=replica.peer,
            manifest=job.manifest_bytes,
            states=replica.reveal.body.states,
            points=drawn,
            blocks=blocks,
            timeout_ms=job.manifest.device_ms_max + INSPECTION_MS,
            addresses=replica.addresses,
            leaves_max=self.disputes.for_a_block(job, replica) if decisive else blocks * LEAVES_PER_SAMPLE,
        )
        return [self._desk.event(job, "job.inspecting", replica, blocks=blocks), inspect]

    def on_inspected(self, now: Now, job: Job, replica: Replica, outcome: InspectOutcome) -> list[Effect]:
        """What the recomputed blocks show."""
        if replica.state != "inspecting" or job.state != "working":
            return []
        assert replica.reveal is not None
        facts = {"finding": outcome.finding.name, "reason": outcome.reason}
        counts = {"blocks": outcome.blocks, "device_us": outcome.device_us, "leaves": outcome.leaves}
        told = self._desk.event(job, "job.inspected", replica, **facts, **counts)
        if outcome.finding is Finding.UNAVAILABLE:
            return [told, *self._desk.retry_or_lose(now, job, replica, "inspect", outcome.reason)]
        if job.policy.referee:
            return [told, *self._on_refereed(now, job, replica, outcome)]
        if outcome.finding is Finding.WRONG:
            return [told, *self._refute(now, job, replica, outcome.evidence)]
        if outcome.finding is Finding.UNPROVEN or (outcome.finding is Finding.AT_FAULT and outcome.step):
            job.replicate()  # blocks do not decide here, or ran on a state that rests on this provider's word
            replica.step("compare")
            return [told]
        if outcome.finding is Finding.AT_FAULT:
            job.fault = outcome.reason
            return [told, *self._pronounce(now, job, [(replica, d.Judgement.KERNEL_AT_FAULT)])]
        return [told, *self._pronounce(now, job, [(replica, d.Judgement.AGREED)])]

    # -- a referee ---------------------------------------------------------------------------------------------------

    def on_located(self, now: Now, job: Job, byte: int | None, silent: Sequence[bytes]) -> list[Effect]:
        """Where two results differ is known: whose block is wrong there?"""
        out = self.disputes.on_located(now, job, byte, silent)
        return out + [effect for replica in self.disputes.ready(job) for effect in self.inspect(now, job, replica)]

    def _on_refereed(self, now: Now, job: Job, replica: Replica, outcome: InspectOutcome) -> list[Effect]:
        """What the block in which two results differ shows of one of them."""
        assert job.dispute is not None
        replica.shown += outcome.leaves
        if outcome.finding is Finding.WRONG:
            liars = [replica, *self.disputes.alike(job, replica)]
            told = [effect for liar in liars for effect in self._refute(now, job, liar, outcome.evidence)]
            job.target, job.dry_rounds = max(job.quorum, len(job.within(*LIVE))), 0
            return told
        able = [r for r in job.within("revealed", "inspecting") if r.reveal is not None]
        if outcome.finding is Finding.AT_FAULT and len(able) >= job.quorum:
            job.fault = outcome.reason
            return self._pronounce(now, job, [(r, d.Judgement.KERNEL_AT_FAULT) for r in able])
        job.dispute.clean += outcome.finding is Finding.CLEAN
        job.undecided |= outcome.finding is not Finding.CLEAN or job.dispute.clean == len(job.dispute.sides)
        replica.step("compare")
        return []

    def _refute(self, now: Now, job: Job, replica: Replica, evidence: tuple[bytes, int]) -> list[Effect]:
        """A block of it is not what the kernel computes. Others take its place."""
        assert replica.reveal is not None
        assert replica.commitment is not None
        body = d.Verdict(replica.commitment.id, d.Judgement.REFUTED, (), 0, 0)
        verdict = self._desk.post.write(now, body, lifetime_ms=VERDICT_MS)
        self._desk.jobs.take_verdict(job, replica, verdict)
        replica.evidence = evidence
        record = persist(records.Refuted(job.id, replica.reveal.raw, verdict.raw, evidence))
        told = self._desk.event(job, "job.verdict", replica, judgement=body.judgement.name, price=0)
        return [record, told, self._desk.send(job, replica, "courtesy", verdict)]

    # -- computing it here -------------------------------------------------------------------------------------------

    def _examine(self, now: Now, job: Job, replica: Replica) -> list[Effect]:
        """Believe the one replica, or compute the task here as well: when its turn has come, or when it says that the
        kernel failed."""
        assert replica.reveal is not None
        assert replica.assignment is not None
        replica.is_examined |= self._is_banned(replica)
        if not replica.is_examined and replica.reveal.body.status is d.OutcomeStatus.OK:
            return self._pronounce(now, job, [(replica, d.Judgement.AGREED)])
        replica.step("inspect")
        token = f"own:{job.name}:{replica.assignment.id.hex()}"
        return [self._desk.event(job, "job.examining", replica), RunJob(token, job.manifest_bytes)]

    def on_own_run(self, now: Now, job: Job, replica: Replica, outcome: JobOutcome) -> list[Effect]:
        """What the task comes to here. Where this machine cannot say, another task is to make up for it."""
        if replica.state != "inspecting" or job.state != "working":
            return []
        assert replica.reveal is not None
        theirs = verification.answer_of(replica.reveal.body)
        roots = tuple(root for root, _ in outcome.outputs)
        ours = {JobStatus.OK: (d.OutcomeStatus.OK, roots), JobStatus.TRAP: (d.OutcomeStatus.TRAP, ())}
        mine = ours.get(outcome.status)
        told = self._desk.event(job, "job.examined", replica, status=outcome.status.name, device_us=outcome.device_us)
        if mine is not None and theirs[0] is d.OutcomeStatus.TIMEOUT:  # a slow machine is no lie
            return [told, *self._desk.lose(now, job, replica, "took longer than the task allows")]
        if mine is not None and mine != theirs:
            return [told, *self._refute(now, job, replica, (b"", 0))]
        if mine is None:
            self._desk.jobs.trust.miss(job.kind_of(replica))
        judgement = verification.judge(replica.reveal.body, theirs)
        return [told, *self._pronounce(now, job, [(replica, judgement)], witnesses=mine is not None)]

    # -- pronouncing -------------------------------------------------------------------------------------------------

    def _pronounce(
        self, now: Now, job: Job, judged: list[tuple[Replica, d.Judgement]], *, witnesses: int = 0
    ) -> list[Effect]:
        """All verdicts of a job, in one record. Where results are close but not equal, each that agrees is told so of
        its own roots; the outputs are those of the last one."""
        group = [r.reveal.body for r, judgement in judged if r.reveal and judgement is not d.Judgement.OUTVOTED]
        pairs: list[tuple[bytes, bytes]] = []
        letters: list[Effect] = []
        for replica, judgement in judged:
            assert replica.reveal is not None
            assert replica.commitment is not None
            paid = judgement is not d.Judgement.OUTVOTED
            moved = job.traffic_bytes(with_outputs=replica.reveal.body.status is d.OutcomeStatus.OK)
            counted_us = self._desk.jobs.counted_us(job, replica, group)
            price = pricing.price_due(replica.terms, counted_us, moved) if paid else 0
            roots = replica.reveal.body.output_roots if paid else group[-1].output_roots
            body = d.Verdict(replica.commitment.id, judgement, roots, len(group) + witnesses, price)
            verdict = self._desk.post.write(now, body, lifetime_ms=VERDICT_MS)
            self._desk.jobs.take_verdict(job, replica, verdict)
            pairs.append((replica.reveal.raw, verdict.raw))
            letters.append(self._desk.event(job, "job.verdict", replica, judgement=judgement.name, price=price))
            letters.append(self._desk.send(job, replica, "verdict", verdict))
        self._desk.jobs.take_judgement(job)
        return [persist(records.Judged(job.id, tuple(pairs))), *letters]
