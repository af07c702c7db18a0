"""Trust: what an operator's word is worth, and what rests on it alone."""

from __future__ import annotations

from collections.abc import Iterator

from p2pcompute.protocol import records
from p2pcompute.protocol.core import PeerCore
from p2pcompute.protocol.job import Job, Replica
from p2pcompute.protocol.machine import Emit
from p2pcompute.protocol.trust import Kind
from p2pcompute.wire import documents as d
from p2pcompute.wire.policy import Scheme
from simnet.invariants.base import Invariant, Violation, opened
from simnet.site import Site

BELIEVED = ("judged", "owed", "paying", "paid")


class WordEarned(Invariant):
    """An operator's word is worth as many results as others confirmed, on such devices and of such kernels, since it
    was last caught (V10, V14). What was believed on the word of one that was caught is marked doubtful, whichever of
    the two came first, and nothing else is. Where a word counts, another one is asked for only when it says that the
    kernel failed, or when its operator was banned meanwhile."""

    name = "word-earned"

    def on_event(self, now_ms: int, node: Site, event: Emit) -> None:
        if event.name == "job.unconfirmed" and node.kind.honest and node.core is not None:
            job = node.core.requester.jobs.get(event.fields["job"])  # type: ignore[arg-type]
            said = [r for r in job.team if r.peer == event.fields["peer"] and r.reveal is not None] if job else []
            fails = any(r.reveal is not None and r.reveal.body.status is not d.OutcomeStatus.OK for r in said)
            if not fails and node.core.reputation.demerits(event.fields["operator"]) >= 0:  # type: ignore[arg-type]
                raise Violation(f"{node.name} does not believe one that it trusts")

    def on_second(self, now_ms: int) -> None:
        for node, core in self.honest_cores():
            self._check(node, core)

    def at_end(self) -> None:
        self.on_second(self.world.wheel.now_ms)

    @staticmethod
    def _check(node: Site, core: PeerCore) -> None:
        earned: dict[Kind, int] = {}
        caught: set[bytes] = set()
        for job, replica, verdict in judged(node, core):
            if verdict.judgement in (d.Judgement.OUTVOTED, d.Judgement.REFUTED):
                caught.add(replica.operator)
                earned = {kind: n for kind, n in earned.items() if kind.operator != replica.operator}
            elif verdict.agreeing > 1:
                kind = job.kind_of(replica)
                earned[kind] = earned.get(kind, 0) + 1
        trusted = {kind: row.confirmed for kind, row in core.requester.jobs.trust.rows()}
        if trusted != earned:
            raise Violation(f"{node.name} trusts {sorted(trusted.values())}, and {sorted(earned.values())} were earned")
        for job in core.requester.jobs:
            alone = [r for r in job.within(*BELIEVED) if r.operator in caught]
            if any(_rests_on_a_word(job, r) for r in alone) and not job.doubt:
                raise Violation(f"{node.name} believes one that was caught, of task {job.name[:8]}")
            if job.doubt and not alone:
                raise Violation(f"{node.name} doubts task {job.name[:8]}, of which nobody was caught")


def judged(node: Site, core: PeerCore) -> Iterator[tuple[Job, Replica, d.Verdict]]:
    """Every verdict that a requester's journal holds, in order."""
    for data in node.disk.written():
        record = records.decode_record(data)
        if isinstance(record, records.Judged | records.Refuted):
            pairs = record.verdicts if isinstance(record, records.Judged) else ((record.reveal, record.verdict),)
            job = core.requester.jobs.get(record.job)
            assert job is not None
            for _, raw in pairs:
                verdict = opened(raw).body
                yield job, next(r for r in job.team if r.commitment and r.commitment.id == verdict.commitment), verdict


def _rests_on_a_word(job: Job, replica: Replica) -> bool:
    """Whether nobody else computed anything of it."""
    lone = replica.verdict is not None and replica.verdict.body.agreeing == 1
    return lone and job.policy.scheme in (Scheme.ADAPTIVE, Scheme.RESTRICTED)
