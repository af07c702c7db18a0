"""The requester's side of the market: which step of a job is due.

Every event ends in `_advance`, which looks at the job as a whole. The steps are hiring.py (recruit, assign), judging.py
(open, compare) and settling.py (receive, fetch, pay); the replicas' and the job's transition tables are in job.py, the
rules F1 to F8 in docs/spec/documents.md.
"""

from __future__ import annotations

from typing import Final

from p2pcompute.errors import KernelError, NoPeersError, P2PComputeError, RemoteError, UsageError
from p2pcompute.protocol import records
from p2pcompute.protocol.bidding import Announce
from p2pcompute.protocol.book import Book
from p2pcompute.protocol.candidates import Candidates
from p2pcompute.protocol.commands import Submit
from p2pcompute.protocol.desk import LETTER_MS, Desk
from p2pcompute.protocol.equivocation import OFFENCES, contradict
from p2pcompute.protocol.hiring import Hiring
from p2pcompute.protocol.job import COMMITTED, LIVE, OPENED, PENDING, Job, Replica
from p2pcompute.protocol.judging import Judging
from p2pcompute.protocol.ledger import Ledger
from p2pcompute.protocol.machine import Effect, Emit, InspectOutcome, JobOutcome, Now, Outcome, Reply, SetTimer
from p2pcompute.protocol.post import Post, Tag
from p2pcompute.protocol.records import persist
from p2pcompute.protocol.reputation import Reputation
from p2pcompute.protocol.sampling import stored_fault
from p2pcompute.protocol.session import Session
from p2pcompute.protocol.settlement import Redeemer
from p2pcompute.protocol.settling import Settling
from p2pcompute.wire import documents as d
from p2pcompute.wire import limits
from p2pcompute.wire.documents import AnyDocument
from p2pcompute.wire.manifest import decode_manifest
from p2pcompute.wire.policy import Scheme, policy_fault
from p2pcompute.wire.steps import snapshot_fault

LOST_MS: Final = 2_000
"""A provider gone for so long while it works is given up."""


class Requester:
    """Runs this peer's own jobs."""

    def __init__(
        self,
        post: Post,
        book: Book,
        ledger: Ledger,
        reputation: Reputation,
        candidates: Candidates,
        announce: Announce,
        redeemer: Redeemer,
    ) -> None:
        self._desk = Desk(post, ledger, reputation, announce, redeemer)
        self._hiring = Hiring(self._desk, book, candidates)
        self._judging = Judging(self._desk)
        self._settling = Settling(self._desk)
        self.jobs = self._desk.jobs
        self.sessions = self._hiring.sessions
        self.ban = self._desk.ban

    # -- commands --------------------------------------------------------------------------------------------------

    def submit(self, now: Now, command: Submit) -> list[Effect]:
        """Take a job on. Its blobs must be in the local store. Idempotent by id. Raises UsageError or DecodeError."""
        if self.jobs.get(command.job) is not None:
            return []
        fault = policy_fault(command.policy)
        if not fault and command.policy.keeps_states:
            manifest = decode_manifest(command.manifest)
            fault = snapshot_fault(manifest) or stored_fault(manifest, command.stored)
            if not fault and command.policy.referee and manifest.is_tolerant:
                fault = "a referee compares bits: it decides nothing where an output has a tolerance"
        if not fault and command.policy.scheme is Scheme.RESTRICTED and not command.needs.operators:
            fault = "a restricted task names the operators that may compute it"
        if fault:
            raise UsageError(fault)
        record = records.JobSubmitted(
            job=command.job,
            manifest=command.manifest,
            policy=command.policy,
            stored=command.stored,
            budget=command.budget,
            needs=command.needs,
            deadline_wall_ms=now.wall_ms + command.timeout_ms,
        )
        job = self.jobs.add(record)
        job.addresses = command.addresses[: limits.ADDRESSES_MAX]
        if command.session:
            job.session = self.sessions.open(command.session, command.session_providers)
        return [persist(record), self._desk.event(job, "job.submitted"), *self._start(now, job)]

    def _start(self, now: Now, job: Job) -> list[Effect]:
        left = max(0, job.deadline_wall_ms - now.wall_ms)
        return [SetTimer(f"job.deadline:{job.name}", now.mono_ms + left), *self._advance(now, job)]

    def cancel(self, now: Now, job_id: bytes) -> list[Effect]:
        """The user does not want the result any more."""
        job = self.jobs.get(job_id)
        if job is None or job.state != "working":
            return []
        return self._desk.fail(now, job, P2PComputeError("cancelled"))

    def resume(self, now: Now) -> list[Effect]:
        """After replay: take up every job where the journal left it."""
        out: list[Effect] = []
        for job in self.jobs:
            for replica in job.team:
                if replica.state == "assigned" and not job.over:
                    out += self._hiring.send_assignment(now, job, replica)
                elif replica.state == "judged":
                    out += self._settling.send_verdict(job, replica)
                elif replica.state == "paying":
                    out += self._settling.send_cheque(job, replica)
                elif replica.state == "owed" and job.state == "done":
                    out += self._settling.pay(now, job, replica)
            if not job.over:
                out += self._hiring.watch_commit_by(now, job)
                out += self._start(now, job)
        return out

    # -- the heart -------------------------------------------------------------------------------------------------

    def _advance(self, now: Now, job: Job) -> list[Effect]:
        """Do what is due for this job."""
        if job.state == "settling":
            settled = self._settling.settle(now, job)
            return [*settled, *self._advance(now, job)] if job.state == "working" else settled
        if job.state != "working":
            return []
        if len(job.refusals) >= job.quorum:
            return self._desk.fail(now, job, KernelError(f"providers refused the task: {job.refusals[0]}"))
        out: list[Effect] = []
        if job.lacking > 0 and job.round is None and not job.resting:
            out += self._hiring.recruit(now, job)
        pending, committed = job.within(*PENDING), job.within(*COMMITTED)
        searching = job.round is not None or job.lacking > 0
        if job.over or searching or len(committed) < job.quorum or any(not r.late for r in pending):
            return out
        for replica in pending:
            out += self._desk.abandon(now, job, replica, "others were quicker")
        for replica in job.within("committed"):
            out += self._judging.ask_reveal(now, job, replica)
        if all(r.state in OPENED for r in committed) and not job.compared:
            out += self._judging.judge(now, job, committed)
            out += self._advance(now, job) if len(committed) < job.target else []
        return out

    # -- what comes in -----------------------------------------------------------------------------------------------

    def on_request(self, now: Now, peer: bytes, request_id: int, document: AnyDocument) -> list[Effect]:
        """A Commitment or Failure from a provider we assigned. What is unknown is acknowledged and dropped: its
        provider must stop repeating it."""
        found = self.jobs.find(document.body.assignment, document.signer)
        acknowledge = Reply(request_id, b"")
        if found is None:
            return [acknowledge]
        job, replica = found
        if isinstance(document.body, d.Failure):
            return [acknowledge, *self._on_failure(now, job, replica, document.body)]
        word = self._last_word(now, job, replica, document)
        if word is not None:
            return [Reply(request_id, word.raw)]
        if replica.commitment is not None:
            return [acknowledge, *self._on_second_commitment(now, job, replica, document)]
        if job.state != "working" or replica.state not in ("assigned", "running"):
            return [acknowledge]
        replica.commitment = document
        replica.step("commit")
        held = persist(records.CommitmentHeld(job.id, document.raw))
        told = [self._desk.event(job, "job.committed", replica), *self._hiring.on_committed(now, job, replica)]
        return [held, acknowledge, *told, *self._advance(now, job), *self._wake(now, job.session)]

    def _last_word(self, now: Now, job: Job, replica: Replica, commitment: AnyDocument) -> AnyDocument | None:
        """What became of a commitment that brings nothing (any more): the verdict against it, or that it is not wanted.
        Its provider may have missed that, or forgotten it in a crash, and takes it for work that will be paid."""
        if replica.state == "rejected" and replica.commitment is not None and replica.commitment.id == commitment.id:
            return replica.verdict
        if replica.state == "lost" or (job.over and replica.state in LIVE):
            body = d.Abort(commitment.body.assignment, (replica.error or job.error)[:200])
            return self._desk.post.write(now, body, lifetime_ms=LETTER_MS)
        return None

    def _wake(self, now: Now, session: Session | None) -> list[Effect]:
        """A lease of the session may be idle: the jobs that wait for one take it, first come, first served."""
        out: list[Effect] = []
        for job in list(session.waiting.values()) if session is not None else ():
            assert session is not None
            if not self.sessions.idle(now, session):
                break
            del session.waiting[job.id]
            job.resting = False
            out += self._advance(now, job)
        return out

    def on_proposal(self, now: Now, request_id: int, proposal: AnyDocument) -> list[Effect]:
        """A provider answers a demand. It is acknowledged whatever comes of it."""
        acknowledge = Reply(request_id, b"")
        job = next((j for j in self.jobs if j.demand is not None and j.demand.id == proposal.body.demand), None)
        if job is None or not self._desk.bidder.take(now, job, proposal):
            return [acknowledge]
        job.resting = False
        return [acknowledge, Emit("job.proposal", {"job": job.id, "peer": proposal.signer}), *self._advance(now, job)]

    def _on_failure(self, now: Now, job: Job, replica: Replica, failure: d.Failure) -> list[Effect]:
        if replica.state not in ("assigned", "running") or job.over:
            return []
        if failure.code is d.FailureCode.REFUSED:
            job.refusals.append(failure.reason)
        lost = self._desk.lose(now, job, replica, f"{failure.code.name.lower()}: {failure.reason}")
        return [*lost, *self._advance(now, job)]

    def _on_second_commitment(self, now: Now, job: Job, replica: Replica, document: AnyDocument) -> list[Effect]:
        """Neither counts. Two of one epoch are held against their operator, see `PeerCore`; in another one a home that
        was restored does not know of the first."""
        assert replica.commitment is not None
        if replica.commitment.id == document.id or replica.state not in COMMITTED:
            return []
        forgot = "was restored from a backup, and commits again"
        reason = OFFENCES[d.Commitment] if contradict(replica.commitment, document) else forgot
        return [*self._desk.lose(now, job, replica, reason), *self._advance(now, job)]

    def on_response(self, now: Now, tag: Tag, outcome: Outcome, answer: AnyDocument | None) -> list[Effect]:
        """`answer` is the opened document, signed by `tag.peer`; None for an acknowledgement or none at all."""
        if tag.step == "renew":
            return self._wake(now, self.sessions.on_renewed(tag, answer))
        job = self.jobs.get(tag.subject[:16])
        if job is None or tag.step == "courtesy":
            return []
        return [*self._take_answer(now, job, tag, outcome, answer), *self._advance(now, job)]

    def _take_answer(self, now: Now, job: Job, tag: Tag, outcome: Outcome, answer: AnyDocument | None) -> list[Effect]:
        if tag.step == "probe":
            return self._hiring.on_probed(now, job, tag, answer)
        if tag.step == "reserve":
            return self._hiring.on_reservation(now, job, tag, answer)
        replica = job.replica_of(tag.subject[16:])
        if replica is None:
            return []
        if tag.step == "assign":
            return self._hiring.on_assigned(now, job, replica, outcome, answer)
        if tag.step == "reveal":
            return self._judging.on_reveal(now, job, replica, answer)
        if tag.step == "verdict":
            return self._settling.on_receipt(now, job, replica, answer)
        if tag.step == "part":
            return self._settling.on_part_taken(now, job, replica, outcome)
        return self._settling.on_cheque_taken(now, job, replica, outcome)

    def on_fetch(
        self, now: Now, token: str, blobs: tuple[bytes, ...] | None, reason: str, held_bytes: int
    ) -> list[Effect]:
        """The outputs are in the local store, or this source could not give them."""
        what, job_name, *rest = token.split(":")
        job = self.jobs.get(bytes.fromhex(job_name))
        if job is None:
            return []
        if what == "compare":
            replica = job.replica_of(bytes.fromhex(rest[0]))
            assert replica is not None
            shown = self._judging.comparing.on_fetched(now, job, replica, ok=blobs is not None)
            return [*shown, *self._advance(now, job)]
        fetched = self._settling.on_fetched(now, job, ok=blobs is not None, held_bytes=held_bytes)
        return [*fetched, *self._advance(now, job)]

    def on_own_run(self, now: Now, token: str, outcome: JobOutcome) -> list[Effect]:
        """A task that was computed here as well is done."""
        _, job_name, assignment = token.split(":")
        job = self.jobs.get(bytes.fromhex(job_name))
        replica = job.replica_of(bytes.fromhex(assignment)) if job is not None else None
        if job is None or replica is None:
            return []
        return [*self._judging.on_own_run(now, job, replica, outcome), *self._advance(now, job)]

    def on_inspected(self, now: Now, token: str, outcome: InspectOutcome) -> list[Effect]:
        """An Inspect ended."""
        job_name, _, assignment = token.partition(":")
        job = self.jobs.get(bytes.fromhex(job_name))
        replica = job.replica_of(bytes.fromhex(assignment)) if job is not None else None
        if job is None or replica is None:
            return []
        return [*self._judging.on_inspected(now, job, replica, outcome), *self._advance(now, job)]

    def on_located(self, now: Now, token: str, byte: int | None, silent: tuple[bytes, ...]) -> list[Effect]:
        """A Locate ended."""
        job = self.jobs.get(bytes.fromhex(token))
        if job is None:
            return []
        return [*self._judging.on_located(now, job, byte, silent), *self._advance(now, job)]

    def on_compared(self, now: Now, token: str, pairs: tuple[tuple[int, int], ...] | None) -> list[Effect]:
        """A Compare ended."""
        job = self.jobs.get(bytes.fromhex(token))
        return [*self._judging.on_compared(now, job, pairs), *self._advance(now, job)] if job is not None else []

    def on_timer(self, now: Now, what: str, name: str) -> list[Effect]:
        """A timer `job.<what>:<name>` or `session.renew:<name>` is due."""
        if what == "renew":
            return self.sessions.on_timer(now, name)
        job_name, _, rest = name.partition(":")
        job = self.jobs.get(bytes.fromhex(job_name))
        return [*self._take_timer(now, job, what, rest), *self._advance(now, job)] if job is not None else []

    def _take_timer(self, now: Now, job: Job, what: str, rest: str) -> list[Effect]:
        if what == "round":
            return self._hiring.close_round(now, job)
        if what == "rest":
            job.resting = False
            if job.session is not None:
                job.session.waiting.pop(job.id, None)
        elif what == "fetch":
            job.fetching = b""
        elif what == "deadline":
            return self._on_deadline(now, job)
        elif what == "commit":
            return self._hiring.on_commit_by(now, job)
        elif what == "late":
            return self._hiring.on_late(now, job)
        else:
            assignment, _, step = rest.partition(":")
            replica = job.replica_of(bytes.fromhex(assignment))
            return self._again(now, job, replica, step) if replica is not None else []
        return []

    def _again(self, now: Now, job: Job, replica: Replica, step: str) -> list[Effect]:
        """A retry, or a grace period, ran out."""
        if step == "assign" and replica.state == "assigned" and not job.over:
            return self._hiring.send_assignment(now, job, replica)
        if step == "reveal" and replica.state == "revealing" and not job.over:
            return self._judging.repeat_reveal(now, job, replica)
        if step == "show" and replica.state == "showing" and not job.over:
            return self._judging.comparing.fetch(job, replica)
        if step == "locate" and job.state == "working":
            return self._judging.disputes.locate(job)
        if step == "inspect" and replica.state == "inspecting" and not job.over:
            return self._judging.inspect(now, job, replica)
        if step == "verdict" and replica.state == "judged":
            return self._settling.send_verdict(job, replica)
        if step == "part" and replica.state == "owed":
            return self._settling.repeat_part(job, replica)
        if step == "cheque" and replica.state == "paying":
            return self._settling.send_cheque(job, replica)
        if step == "gone" and replica.state in ("assigned", "running") and job.state == "working":
            return self._desk.lose(now, job, replica, "the connection to the provider was lost")
        return []

    def _on_deadline(self, now: Now, job: Job) -> list[Effect]:
        if job.state != "working":  # what was judged is fetched and paid; that ends by itself
            return []
        if len(job.within(*LIVE)) < job.quorum:
            return self._desk.fail(now, job, NoPeersError(self._hiring.explain(job)))
        return self._desk.fail(now, job, RemoteError("the job's time is up; a longer --timeout gives it more"))

    def on_peer(self, now: Now, peer: bytes, up: bool) -> list[Effect]:
        """A connection came or went: watch the replicas that depend on it."""
        out: list[Effect] = []
        for job in self.jobs:
            for replica in job.team:
                if replica.peer != peer:
                    continue
                if replica.state in ("assigned", "running") and not job.over:
                    at = None if up else now.mono_ms + LOST_MS
                    out.append(SetTimer(self._desk.retry_key(job, replica, "gone"), at))
                elif replica.state == "paying" and up:
                    out += self._settling.send_cheque(job, replica)
                elif replica.state == "owed" and replica.part_pending and job.fetched and up:
                    out += self._settling.send_part(job, replica)
        return out
