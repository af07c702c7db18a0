"""From a job that lacks replicas to replicas at work: probe, reserve, assign, and watch that they commit."""

from __future__ import annotations

from typing import Final

from p2pcompute.errors import BudgetError, NoPeersError, VerificationError
from p2pcompute.protocol import matching, pricing, records, verification
from p2pcompute.protocol import session as session_module
from p2pcompute.protocol.book import Book
from p2pcompute.protocol.candidates import Candidates
from p2pcompute.protocol.desk import LETTER_MS, REQUEST_MS, Desk
from p2pcompute.protocol.durations import Durations, kind_of_work
from p2pcompute.protocol.job import OPENED, PENDING, Job, Replica
from p2pcompute.protocol.machine import Effect, Grant, Missed, Now, Outcome, SetTimer
from p2pcompute.protocol.post import Tag
from p2pcompute.protocol.records import persist
from p2pcompute.protocol.recruiting import PULL_MS, Recruiter
from p2pcompute.protocol.session import Sessions
from p2pcompute.wire import documents as d
from p2pcompute.wire import limits
from p2pcompute.wire.documents import AnyDocument

LEASE_MS: Final = 15_000
"""How long a slot is held while the assignment is on its way."""
RESERVE_MS: Final = 3_000
"""For a Reservation: docs/spec/documents.md."""
LONELY_ROUNDS_MAX: Final = 20
"""With nobody at work, or replicas that disagree, so many fruitless rounds end the job: longer than a lease lasts."""
DRY_ROUNDS_MAX: Final = 3
"""With a quorum at work, this many fruitless rounds end the search for more."""
COMMIT_GRACE_MS: Final = 60_000
"""Time for fetching inputs and waiting for the engine, on top of the manifest's own limit."""
INPUT_GRANT_MS: Final = 3_600_000
LATE_SLACK_MS: Final = 1_000


class Hiring:
    """Finds replicas for a job and puts them to work."""

    def __init__(self, desk: Desk, book: Book, candidates: Candidates) -> None:
        self._desk = desk
        self._recruiter = Recruiter(desk.post, book, desk.reputation, candidates)
        self.sessions = Sessions(desk, book)
        self._durations = Durations()

    def explain(self, job: Job) -> str:
        """Why nobody (else) serves this job, in one sentence."""
        return self._recruiter.explain(job)

    # -- recruiting ------------------------------------------------------------------------------------------------

    def recruit(self, now: Now, job: Job) -> list[Effect]:
        """Put leases of the job's session to work or wait for one; else take who quoted before, begin a round, or note
        that nobody is left to ask."""
        out: list[Effect] = []
        session = job.session
        if session is not None and not session.closed:
            out += self._assign_leases(now, job)
            wanted = job.lacking
            if wanted <= 0:
                return out
            if self.sessions.worth_waiting(now, job, wanted):
                session.waiting[job.id] = job
                job.resting = True
                return [*out, SetTimer(f"job.rest:{job.name}", now.mono_ms + session_module.WAIT_MS)]
        if others := self._recruiter.next_best(now, job, job.lacking):
            return [*out, *self._engage(now, job, others)]
        pull = self._recruiter.look_beyond(now, job)
        out += [*pull, *self._recruiter.begin(now, job, pulling=bool(pull))]
        if job.round is not None:
            return out
        if pull:
            job.resting = True
            return [*out, SetTimer(f"job.rest:{job.name}", now.mono_ms + PULL_MS)]
        return [*out, *self._dry(now, job)]

    def _assign_leases(self, now: Now, job: Job) -> list[Effect]:
        """What idle leases of its session can do for a job, within its budget: without a probe or a reservation."""
        out: list[Effect] = []
        for kept in self.sessions.fitting(now, job, job.lacking):
            before = kept.replica
            assert before.quote is not None
            ceiling = pricing.price_ceiling(before.quote, job.manifest.device_ms_max, job.traffic_bytes())
            if job.committed_spend() + ceiling > job.budget or len(job.team) >= limits.REPLICAS_MAX:
                continue
            if job.numeric_class not in ("", before.numeric_class):
                continue
            who = before.peer, before.operator, before.addresses, ceiling, before.device, before.numeric_class
            replica = Replica(*who, quote=before.quote)
            job.team.append(replica)
            kept.job, kept.replica, kept.left = job, replica, kept.left - 1
            out += self._assign(now, job, replica, kept.reservation)
        return out

    def on_probed(self, now: Now, job: Job, tag: Tag, answer: AnyDocument | None) -> list[Effect]:
        """A probed provider answered, or did not."""
        self._recruiter.take_quote(now, job, tag, answer)
        return self.close_round(now, job)

    def close_round(self, now: Now, job: Job) -> list[Effect]:
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
        return out + self._engage(now, job, chosen)

    def _engage(self, now: Now, job: Job, chosen: list[tuple[matching.Listing, AnyDocument]]) -> list[Effect]:
        """Ask these to reserve, if the budget allows."""
        ceilings = [self._ceiling(job, quote) for _, quote in chosen]
        over = job.committed_spend() + sum(ceilings) > job.budget
        if over and any(r.late for r in job.team):  # what is late may still come; another was not to be at any price
            for replica in job.team:
                replica.late = False
            job.backups = limits.REPLICAS_MAX
            return []
        if over:
            text = f"{len(chosen)} more replica(s) could cost {sum(ceilings)} micro-credits"
            reason = BudgetError(f"{text}, more than is left of the budget of {job.budget}")
            return self._desk.fail(now, job, reason)
        out: list[Effect] = []
        for (listing, quote), ceiling in zip(chosen, ceilings):
            out += self._reserve(now, job, listing, quote, ceiling)
        return out

    @staticmethod
    def _ceiling(job: Job, quote: AnyDocument) -> int:
        return pricing.price_ceiling(quote.body, job.manifest.device_ms_max, job.traffic_bytes())

    def _dry(self, now: Now, job: Job) -> list[Effect]:
        """Nobody (else) could be had: go on with a quorum, or rest and try again; give up when nobody is at work."""
        job.dry_rounds += 1
        live = job.punctual
        lonely = len(live) < job.quorum and not job.within(*PENDING)
        if lonely and job.dry_rounds >= LONELY_ROUNDS_MAX:
            missing = f"{job.quorum} providers are needed, {len(live)} took the task; " if live else ""
            return self._desk.fail(now, job, NoPeersError(missing + self.explain(job)))
        if len(live) == len(job.within(*OPENED)) >= job.quorum:
            if job.dry_rounds >= LONELY_ROUNDS_MAX:
                best = verification.tally(job.votes(), job.quorum).best
                text = f"{len(live)} replicas disagree (the largest group has {best} of the {job.quorum} needed)"
                return self._desk.fail(now, job, VerificationError(f"{text}, and no further provider is to be had"))
        elif job.dry_rounds >= DRY_ROUNDS_MAX and len(live) >= job.quorum:
            job.target = len(live)
            return []
        demand = self._desk.bidder.demand(now, job, job.lacking)
        job.resting = True
        waiting = self._desk.event(job, "job.waiting", reason=self._recruiter.why_waiting(job))
        return [*demand, waiting, SetTimer(f"job.rest:{job.name}", now.mono_ms + self._recruiter.pause_ms(job))]

    # -- reserving and assigning -------------------------------------------------------------------------------------

    def _reserve(self, now: Now, job: Job, listing: matching.Listing, quote: AnyDocument, ceiling: int) -> list[Effect]:
        post = self._desk.post
        session = job.session if job.session is not None and self.sessions.wants(now, job.session) else None
        many = (session_module.LEASE_MS, limits.ASSIGNMENTS_MAX) if session is not None else (LEASE_MS, 1)
        request = post.write(now, d.ReservationRequest(quote.id, *many), lifetime_ms=LETTER_MS)
        if session is not None:
            session.pending.add(request.id)
        offer = listing.offer.body
        replica = Replica(
            listing.peer,
            listing.operator,
            offer.addresses,
            ceiling,
            f"{offer.engine} {offer.model}",
            offer.numeric_class,
            quote=quote.body,
            request=request.id,
        )
        job.team.append(replica)
        enough = job.lacking <= 0
        withdrawn = self._desk.bidder.withdraw(now, job) if enough else []
        tag = Tag("requester", "reserve", job.id + request.id, listing.peer)
        asked = post.ask(listing.peer, request.raw, tag, timeout_ms=RESERVE_MS, addresses=replica.addresses)
        return [*withdrawn, asked]

    def on_reservation(self, now: Now, job: Job, tag: Tag, answer: AnyDocument | None) -> list[Effect]:
        """The answer to a reservation request: assign, or turn to another."""
        replica = next((r for r in job.within("reserving") if r.request == tag.subject[16:]), None)
        if replica is None:
            return []
        if answer is None or not isinstance(answer.body, d.Reservation) or answer.body.request != tag.subject[16:]:
            return self._on_no_reservation(now, job, replica, answer)
        self._recruiter.show(answer)
        if job.over or self._desk.reputation.demerits(replica.operator) < 0:
            return self._give_back(now, job, replica, answer)
        kept: list[Effect] = []
        if job.session is not None and replica.request in job.session.pending:
            kept = self.sessions.keep(now, job.session, job, replica, answer)
        return [*kept, *self._assign(now, job, replica, answer)]

    def _give_back(self, now: Now, job: Job, replica: Replica, reservation: AnyDocument) -> list[Effect]:
        post = self._desk.post
        if job.session is not None:
            job.session.pending.discard(replica.request)
        release = post.write(now, d.Release(reservation.id), lifetime_ms=LETTER_MS)
        tag = Tag("requester", "courtesy", job.id, replica.peer)
        given = post.ask(replica.peer, release.raw, tag, timeout_ms=REQUEST_MS)
        return [given, *(self._desk.lose(now, job, replica, "banned meanwhile") if not job.over else [])]

    def _assign(self, now: Now, job: Job, replica: Replica, reservation: AnyDocument) -> list[Effect]:
        post = self._desk.post
        commit_by = now.wall_ms + job.manifest.device_ms_max + COMMIT_GRACE_MS
        nonce = verification.nonce_of(post.env.secret, reservation.id, job.id)
        body = job.assignment(replica, reservation.id, commit_by, verification.nonce_commitment(nonce))
        assignment = post.write(now, body, lifetime_ms=LETTER_MS)
        self._desk.jobs.take_assignment(job, replica, assignment)
        record = records.Assigned(
            job.id,
            replica.peer,
            replica.operator,
            replica.device,
            replica.numeric_class,
            replica.addresses,
            assignment.raw,
            reservation.raw,
        )
        prices = {"price_per_device_s": body.price_per_device_s, "price_per_gb": body.price_per_gb}
        assigned = self._desk.event(job, "job.assigned", replica, **prices)
        return [
            persist(record),
            assigned,
            *self.send_assignment(now, job, replica),
            *self.watch_commit_by(now, job),
            *self.watch_late(now, job),
        ]

    def _on_no_reservation(self, now: Now, job: Job, replica: Replica, answer: AnyDocument | None) -> list[Effect]:
        """Somebody else was quicker, or there is no answer: it may be asked again, a few times. It was never engaged,
        so it takes none of the places that a job has for replicas."""
        job.team.remove(replica)
        if job.session is not None:
            job.session.pending.discard(replica.request)
        job.declines[replica.operator] = job.declines.get(replica.operator, 0) + 1
        if answer is not None and isinstance(answer.body, d.Decline):
            self._recruiter.declined(job, replica.operator)
            return [self._desk.event(job, "job.declined", replica, reason=answer.body.reason)]
        self._desk.reputation.slow(replica.operator, now.mono_ms)
        return [self._desk.event(job, "job.lost", replica, reason="no reservation")]

    def send_assignment(self, now: Now, job: Job, replica: Replica) -> list[Effect]:
        """The journaled assignment, and leave to read what it needs."""
        roots = (job.manifest_root, job.manifest.ptx_root, *(b.root for b in job.manifest.inputs))
        assert replica.assignment is not None
        grant = Grant(f"inputs:{job.name}:{replica.peer.hex()}", replica.peer, roots, now.wall_ms + INPUT_GRANT_MS)
        return [grant, self._desk.send(job, replica, "assign", replica.assignment)]

    def on_assigned(
        self, now: Now, job: Job, replica: Replica, outcome: Outcome, answer: AnyDocument | None
    ) -> list[Effect]:
        """The assignment was taken, declined, or not answered."""
        if replica.state != "assigned":
            return []
        if isinstance(outcome, Missed):
            return self._desk.retry_or_lose(now, job, replica, "assign", "did not take the assignment")
        if answer is not None:
            reason = answer.body.reason if isinstance(answer.body, d.Decline) else "did not take the assignment"
            return self._desk.lose(now, job, replica, reason)
        replica.step("accept")
        return [self._desk.event(job, "job.running", replica)]

    # -- deadlines ---------------------------------------------------------------------------------------------------

    def watch_commit_by(self, now: Now, job: Job) -> list[Effect]:
        """Wake at the earliest deadline of those at work."""
        due = min((r.terms.commit_by for r in job.within("assigned", "running")), default=0)
        return [SetTimer(f"job.commit:{job.name}", now.mono_ms + max(0, due - now.wall_ms))] if due else []

    def watch_late(self, now: Now, job: Job) -> list[Effect]:
        """Wake when the first of those at work takes longer than such work does: than 95 of 100 runs seen before, or
        else than twice what somebody else took for the same."""
        usual = self._durations.late_ms(kind_of_work(job.manifest))
        others = [r.took_ms for r in job.team if r.took_ms]
        late_ms = usual if usual is not None else 2 * max(others) + LATE_SLACK_MS if others else 0
        working = [r for r in job.within("assigned", "running") if not r.late]
        if not late_ms or not working or job.backups >= job.policy.replicas:
            return []
        job.late_ms = late_ms
        due = min(r.assigned_wall_ms for r in working) + late_ms
        return [SetTimer(f"job.late:{job.name}", now.mono_ms + max(0, due - now.wall_ms))]

    def on_late(self, now: Now, job: Job) -> list[Effect]:
        """Who is late by now gets company; the slowest of all decides no more than any other."""
        if job.state != "working":
            return []
        out: list[Effect] = []
        for replica in job.within("assigned", "running"):
            is_due = now.wall_ms >= replica.assigned_wall_ms + job.late_ms
            if is_due and not replica.late and job.backups < job.policy.replicas:
                replica.late = True
                job.backups += 1
                out.append(self._desk.event(job, "job.late", replica, after_ms=job.late_ms))
        return [*out, *self.watch_late(now, job)]

    def on_committed(self, now: Now, job: Job, replica: Replica) -> list[Effect]:
        """A replica is done, and shows how long such work takes."""
        replica.late = False
        replica.took_ms = max(1, now.wall_ms - replica.assigned_wall_ms)
        self._durations.saw(kind_of_work(job.manifest), replica.took_ms)
        return self.watch_late(now, job)

    def on_commit_by(self, now: Now, job: Job) -> list[Effect]:
        """Somebody's time to commit is over."""
        if job.state != "working":
            return []
        late = [r for r in job.within("assigned", "running") if now.wall_ms >= r.terms.commit_by]
        lost = [effect for r in late for effect in self._desk.lose(now, job, r, "did not commit in time")]
        return [*lost, *self.watch_commit_by(now, job)]
