"""What every step of a job uses: letters to its replicas, retries, and giving a replica or a whole job up.

The steps are hiring.py, judging.py and settling.py; requester.py says which of them is due.
"""

from __future__ import annotations

from typing import Final

from p2pcompute.errors import P2PComputeError, RemoteError
from p2pcompute.protocol import records
from p2pcompute.protocol.bidding import Announce, Bidder
from p2pcompute.protocol.job import COMMITTED, Job, Replica
from p2pcompute.protocol.jobs import Jobs
from p2pcompute.protocol.ledger import Ledger
from p2pcompute.protocol.machine import Effect, Emit, Now, SetTimer
from p2pcompute.protocol.post import Post, Tag
from p2pcompute.protocol.records import persist
from p2pcompute.protocol.reputation import Reputation
from p2pcompute.protocol.settlement import Redeemer
from p2pcompute.wire import documents as d
from p2pcompute.wire import limits
from p2pcompute.wire.documents import AnyDocument

LETTER_MS: Final = 3_600_000
VERDICT_MS: Final = 2 * limits.DEVICE_MS_MAX
"""A verdict lives as long as any provider waits for it."""
REQUEST_MS: Final = 5_000
ATTEMPTS_MAX: Final = 5
RETRY_MS: Final = 1_000
SETTLING_ATTEMPTS_MAX: Final = 9
"""What was judged is worth more patience, with pauses that double: a minute or two, as long as a line may be cut."""


class Desk:
    """Shared by the steps of one requester. `lose` and `fail` change the job; what is due next is the requester's to
    say."""

    def __init__(
        self, post: Post, ledger: Ledger, reputation: Reputation, announce: Announce, redeemer: Redeemer
    ) -> None:
        self.post, self.ledger, self.reputation, self.redeemer = post, ledger, reputation, redeemer
        self.bidder = Bidder(post, announce)
        self.jobs = Jobs(post, ledger, reputation, redeemer)

    def promised(self, cheque: AnyDocument) -> list[Effect]:
        """What follows from a cheque that this peer wrote: its promise may have to be settled."""
        self.redeemer.take(cheque)
        return self.redeemer.consider(cheque.body.payee)

    # -- letters -----------------------------------------------------------------------------------------------------

    def send(self, job: Job, replica: Replica, step: str, letter: AnyDocument) -> Effect:
        """A letter to an assigned replica; the answer comes back under `step`."""
        assert replica.assignment is not None
        tag = Tag("requester", step, job.id + replica.assignment.id, replica.peer)
        return self.post.ask(replica.peer, letter.raw, tag, timeout_ms=REQUEST_MS, addresses=replica.addresses)

    @staticmethod
    def event(job: Job, name: str, replica: Replica | None = None, **fields: object) -> Emit:
        who = {"peer": replica.peer, "operator": replica.operator} if replica is not None else {}
        return Emit(name, {"job": job.id, "task": job.manifest.name, **who, **fields})

    def ban(self, operator: bytes, reason: str) -> list[Effect]:
        """No more business with this operator; an empty reason lifts the ban. Durable."""
        if reason:
            self.reputation.ban(operator, reason)
        else:
            self.reputation.pardon(operator)
        return [persist(records.Banned(operator, reason))]

    # -- retries -----------------------------------------------------------------------------------------------------

    def retry_or_lose(self, now: Now, job: Job, replica: Replica, step: str, reason: str) -> list[Effect]:
        """Repeat a letter that had no good answer, or give the replica up."""
        replica.attempts += 1
        judged = replica.state == "judged"
        if replica.attempts >= (SETTLING_ATTEMPTS_MAX if judged else ATTEMPTS_MAX):
            return self.lose(now, job, replica, reason)
        pause_ms = RETRY_MS << min(replica.attempts - 1, 5) if judged else RETRY_MS
        return [SetTimer(self.retry_key(job, replica, step), now.mono_ms + pause_ms)]

    @staticmethod
    def retry_key(job: Job, replica: Replica, step: str) -> str:
        """The timer after which `step` is due again."""
        assert replica.assignment is not None
        return f"job.retry:{job.name}:{replica.assignment.id.hex()}:{step}"

    # -- losing and failing ------------------------------------------------------------------------------------------

    def lose(self, now: Now, job: Job, replica: Replica, reason: str) -> list[Effect]:
        """This replica brings nothing (more)."""
        replica.step("lose")
        self.jobs.take_loss(job, replica, reason)
        self.reputation.slow(replica.operator, now.mono_ms)
        out: list[Effect] = []
        if replica.assignment is not None:
            out.append(persist(records.ReplicaLost(job.id, replica.assignment.id, reason)))
        return [*out, self.event(job, "job.lost", replica, reason=reason)]

    def abandon(self, now: Now, job: Job, replica: Replica, reason: str) -> list[Effect]:
        """Others did its work: it is told to stop."""
        assert replica.assignment is not None
        abort = self.post.write(now, d.Abort(replica.assignment.id, reason), lifetime_ms=LETTER_MS)
        return [self.send(job, replica, "courtesy", abort), *self.lose(now, job, replica, reason)]

    def reopen(self, now: Now, job: Job) -> list[Effect]:
        """Nobody who agreed gives the outputs: they are paid nothing, and others are asked, as long as the job has
        places for them."""
        withheld = job.within("owed")
        if len(job.team) + job.policy.replicas > limits.REPLICAS_MAX or now.wall_ms >= job.deadline_wall_ms:
            return self.fail(now, job, RemoteError("the agreed result could not be fetched from any replica"))
        reason = "withheld the outputs it was to be paid for"
        out = [effect for replica in withheld for effect in self.lose(now, job, replica, reason)]
        job.reopen()
        return [*out, persist(records.Reopened(job.id)), self.event(job, "job.reopened", replicas=len(withheld))]

    def fail(self, now: Now, job: Job, error: P2PComputeError) -> list[Effect]:
        """The job ends without a result; everybody at work for it is told."""
        job.step("fail")
        job.round = None
        self.jobs.take_failure(job, error.exit_code, str(error))
        out: list[Effect] = [persist(records.JobEnded(job.id, (), job.code, job.error)), *self.hush(job)]
        out += self.bidder.withdraw(now, job)
        for replica in job.within("assigned", "running"):
            assert replica.assignment is not None
            abort = self.post.write(now, d.Abort(replica.assignment.id, job.error[:200]), lifetime_ms=LETTER_MS)
            out.append(self.send(job, replica, "courtesy", abort))
        for replica in job.within(*COMMITTED):
            assert replica.commitment is not None
            body = d.Verdict(replica.commitment.id, d.Judgement.UNDECIDED, (), 0, 0)
            out.append(self.send(job, replica, "courtesy", self.post.write(now, body, lifetime_ms=LETTER_MS)))
        return [*out, self.event(job, "job.failed", code=job.code, error=job.error)]

    @staticmethod
    def hush(job: Job) -> list[Effect]:
        """No timer of a job that is over."""
        return [SetTimer(f"job.{what}:{job.name}", None) for what in ("deadline", "commit", "late", "round", "rest")]
