"""Results that need only be close: have every replica show its outputs, compare their numbers, find who agrees.

Only for tasks with an output that is compared with a tolerance, and only where the bits differ.
"""

from __future__ import annotations

from p2pcompute.protocol import tolerance, verification
from p2pcompute.protocol.desk import Desk
from p2pcompute.protocol.job import Job, Replica
from p2pcompute.protocol.machine import Compare, Effect, Fetch, Now
from p2pcompute.protocol.settling import FETCH_MS
from p2pcompute.wire import documents as d

Judged = list[tuple[Replica, d.Judgement]]


def must_show(job: Job, revealed: list[Replica]) -> bool:
    """Whether the roots alone do not say who agrees."""
    answers = {verification.answer_of(r.reveal.body) for r in revealed if r.reveal is not None}
    return job.manifest.is_tolerant and sum(status is d.OutcomeStatus.OK for status, _ in answers) > 1


class Comparing:
    """Compares results by their values."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def advance(self, now: Now, job: Job, revealed: list[Replica]) -> list[Effect]:
        """Fetch what was not shown yet; with all of it here, compare."""
        unseen = [r for r in revealed if r.state == "revealed" and _is_ok(r)]
        if unseen:
            return [effect for replica in unseen for effect in self.fetch(job, replica)]
        job.compared = [r for r in revealed if r.state == "shown"]
        answers = tuple(r.reveal.body.output_roots for r in job.compared if r.reveal is not None)
        told = self._desk.event(job, "job.comparing", replicas=len(answers))
        return [told, Compare(job.name, job.manifest_bytes, answers)]

    def fetch(self, job: Job, replica: Replica) -> list[Effect]:
        """The outputs of one replica."""
        assert replica.reveal is not None
        assert replica.assignment is not None
        if replica.state == "revealed":
            replica.step("fetch")
        blobs = tuple((root, b.size_bytes) for root, b in zip(replica.reveal.body.output_roots, job.manifest.outputs))
        token = f"compare:{job.name}:{replica.assignment.id.hex()}"
        return [Fetch(token, replica.peer, blobs, FETCH_MS, replica.addresses)]

    def on_fetched(self, now: Now, job: Job, replica: Replica, *, ok: bool) -> list[Effect]:
        """One replica's outputs are here, or could not be had."""
        if replica.state != "showing" or job.over:
            return []
        if not ok:
            return self._desk.retry_or_lose(now, job, replica, "show", "did not show its result")
        replica.step("fetched")
        return []

    def on_compared(self, job: Job, pairs: tuple[tuple[int, int], ...]) -> tuple[Judged, int]:
        """(replica, judgement), the one whose outputs are taken last; empty without an agreement. And the size of the
        largest group."""
        shown = [r for r in job.compared if r.state == "shown"]
        others = [r for r in job.within("revealed") if not _is_ok(r)]
        if len(shown) != len(job.compared):
            return [], 0
        team = [*shown, *others]
        alike = [
            (i, j)
            for i in range(len(shown), len(team))
            for j in range(i + 1, len(team))
            if _status(team[i]) is _status(team[j])
        ]
        found = tolerance.agreement([r.operator for r in team], [*pairs, *alike], job.quorum)
        if found.reference is None:
            return [], found.best
        reference = team[found.reference]
        agreed = d.Judgement.AGREED if _is_ok(reference) else d.Judgement.KERNEL_AT_FAULT
        judged = [
            (r, agreed if i in found.close else d.Judgement.OUTVOTED) for i, r in enumerate(team) if r is not reference
        ]
        return [*judged, (reference, agreed)], found.best


def _status(replica: Replica) -> d.OutcomeStatus:
    assert replica.reveal is not None
    status: d.OutcomeStatus = replica.reveal.body.status
    return status


def _is_ok(replica: Replica) -> bool:
    return _status(replica) is d.OutcomeStatus.OK
