"""A requester's sessions: leases that are kept with some providers, for jobs that come one after the other.

A session hires as its jobs do, only that its reservations are good for many assignments. It is not journaled: after a
crash its jobs go on as ordinary ones, and its leases run out by themselves.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from p2pcompute.protocol import matching
from p2pcompute.protocol.book import Book
from p2pcompute.protocol.desk import LETTER_MS, REQUEST_MS, Desk
from p2pcompute.protocol.job import PENDING, Job, Replica
from p2pcompute.protocol.machine import Effect, Emit, Now, SetTimer
from p2pcompute.protocol.post import Tag
from p2pcompute.wire import documents as d
from p2pcompute.wire import limits
from p2pcompute.wire.documents import AnyDocument

LEASE_MS: Final = 15_000
"""As for a single task: a lease whose answer was lost is gone before a job gives up on its provider."""
LOOK_MS: Final = 2_500
"""How often it is looked whether a lease is to be renewed."""
RENEW_AHEAD_MS: Final = 7_500
"""So long before it runs out: the letter can be lost once."""
MARGIN_MS: Final = 2_000
"""A lease that runs out so soon carries no new task: the assignment is on its way for a while."""
WAIT_MS: Final = 1_000
"""After so long a job that waits for a lease looks again: the one it waited for may be lost."""
SESSIONS_MAX: Final = 64


@dataclasses.dataclass(slots=True)
class Kept:
    """A lease of a session. `replica` is the last one that worked on it, for `job`; `left` how many more it carries;
    `renew` the letter that prolongs it, while that is under way."""

    job: Job
    replica: Replica
    reservation: AnyDocument
    left: int
    renew: AnyDocument | None = None

    @property
    def busy(self) -> bool:
        return self.replica.state in PENDING and not self.job.over

    @property
    def lost(self) -> bool:
        """Its provider gave nothing, or may still be at work for a job that nobody wants any more."""
        return self.replica.state in ("lost", "rejected") or (self.replica.state in PENDING and self.job.over)


@dataclasses.dataclass(slots=True)
class Session:
    """Up to `providers` leases, by peer. `pending` are reservation requests that will be its leases, `waiting` the jobs
    that wait until one of them has nothing to do."""

    id: bytes
    providers: int
    kept: dict[bytes, Kept] = dataclasses.field(default_factory=dict)
    pending: set[bytes] = dataclasses.field(default_factory=set)
    waiting: dict[bytes, Job] = dataclasses.field(default_factory=dict)
    closed: bool = False


class Sessions:
    """All of a requester's."""

    def __init__(self, desk: Desk, book: Book) -> None:
        self._desk, self._book = desk, book
        self._sessions: dict[bytes, Session] = {}

    def open(self, session_id: bytes, providers: int) -> Session | None:
        """The session of this name, made when it is new; None when there are too many."""
        known = self._sessions.get(session_id)
        if known is None and len(self._sessions) < SESSIONS_MAX:
            known = self._sessions[session_id] = Session(session_id, min(providers, limits.SLOTS_MAX))
        return known

    def close(self, now: Now, session_id: bytes) -> list[Effect]:
        """Give back what nobody works on; the rest runs out by itself. Jobs that are under way go on."""
        session = self._sessions.pop(session_id, None)
        if session is None:
            return []
        session.closed = True
        out: list[Effect] = [SetTimer(f"session.renew:{session_id.hex()}", None)]
        for kept in session.kept.values():
            if not kept.busy and not kept.lost:
                release = self._desk.post.write(now, d.Release(kept.reservation.id), lifetime_ms=LETTER_MS)
                out.append(self._ask(session, kept, "courtesy", release))
        session.kept.clear()
        return out

    # -- leases ------------------------------------------------------------------------------------------------------

    def wants(self, now: Now, session: Session) -> bool:
        """Whether a further lease is to be had for it."""
        self._drop_lost(now, session)
        return not session.closed and len(session.kept) + len(session.pending) < session.providers

    def keep(self, now: Now, session: Session, job: Job, replica: Replica, reservation: AnyDocument) -> list[Effect]:
        """The reservation is the session's from now on; the replica will be the first to work on it."""
        session.pending.discard(replica.request)
        if session.closed:
            return []
        begins = not session.kept
        session.kept[replica.peer] = Kept(job, replica, reservation, limits.ASSIGNMENTS_MAX - 1)
        said = Emit("session.lease", {"session": session.id, "peer": replica.peer})
        timer = SetTimer(f"session.renew:{session.id.hex()}", now.mono_ms + LOOK_MS)
        return [said, *([timer] if begins else [])]

    def idle(self, now: Now, session: Session) -> list[Kept]:
        """The leases that could carry a task now."""
        self._drop_lost(now, session)
        soon = now.wall_ms + MARGIN_MS
        return [k for k in session.kept.values() if not k.busy and k.renew is None and k.reservation.expires_at > soon]

    def fitting(self, now: Now, job: Job, wanted: int) -> list[Kept]:
        """At most so many idle leases for a job: as its needs want them, of operators not engaged for it."""
        assert job.session is not None
        by_peer = {k.replica.peer: k for k in self.idle(now, job.session)}
        return [by_peer[x.peer] for x in self._choose(job, list(by_peer), wanted)]

    def worth_waiting(self, now: Now, job: Job, wanted: int) -> bool:
        """Whether leases that are busy now would do for all that a job lacks."""
        assert job.session is not None
        self._drop_lost(now, job.session)
        return len(self._choose(job, list(job.session.kept), wanted)) >= wanted

    def _choose(self, job: Job, peers: list[bytes], wanted: int) -> list[matching.Listing]:
        listings = [x for peer in peers if (x := self._book.get(peer)) is not None]
        ranked = matching.rank(listings, job.needs, seed=job.id, demerits=self._desk.reputation.demerits)
        return matching.distinct(ranked, wanted, taken=job.taken(lost=True))

    def _drop_lost(self, now: Now, session: Session) -> None:
        for peer, kept in list(session.kept.items()):
            ran_out = not kept.busy and kept.reservation.expires_at <= now.wall_ms
            banned = self._desk.reputation.demerits(kept.replica.operator) < 0
            if kept.lost or ran_out or banned or (not kept.left and not kept.busy):
                del session.kept[peer]

    # -- renewals ----------------------------------------------------------------------------------------------------

    def on_timer(self, now: Now, name: str) -> list[Effect]:
        """Time to prolong the leases of a session."""
        session = self._sessions.get(bytes.fromhex(name))
        if session is None:
            return []
        self._drop_lost(now, session)
        out: list[Effect] = []
        for kept in session.kept.values():
            if kept.reservation.expires_at > now.wall_ms + RENEW_AHEAD_MS:
                continue
            if kept.replica.state == "assigned" and kept.busy:
                continue  # its assignment names the old reservation, and may be overtaken
            if kept.renew is None:
                body = d.Renew(kept.reservation.id, LEASE_MS)
                kept.renew = self._desk.post.write(now, body, lifetime_ms=LETTER_MS)
            out.append(self._ask(session, kept, "renew", kept.renew))
        at = now.mono_ms + LOOK_MS if session.kept else None
        return [*out, SetTimer(f"session.renew:{name}", at)]

    def _ask(self, session: Session, kept: Kept, step: str, letter: AnyDocument) -> Effect:
        tag = Tag("requester", step, session.id + letter.id, kept.replica.peer)
        addresses = kept.replica.addresses
        return self._desk.post.ask(kept.replica.peer, letter.raw, tag, timeout_ms=REQUEST_MS, addresses=addresses)

    def on_renewed(self, tag: Tag, answer: AnyDocument | None) -> Session | None:
        """The answer to a Renew; the session when a lease of it may carry tasks again. Without an answer the same
        letter is sent at the next turn, until the lease runs out."""
        session = self._sessions.get(tag.subject[:16])
        kept = session.kept.get(tag.peer) if session is not None else None
        if kept is None or kept.renew is None or kept.renew.id != tag.subject[16:] or answer is None:
            return None
        if isinstance(answer.body, d.Reservation) and answer.body.request == kept.renew.id:
            kept.reservation = answer
        kept.renew = None
        return session
