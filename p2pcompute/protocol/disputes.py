"""A referee between replicas: results that differ are taken back to the first step after which they do, to one byte,
and to the block that writes it, which is recomputed. Rules V24 to V30 of docs/spec/verification.md.

The state before that step is common to all, so that the block's result is nobody's word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from p2pcompute.protocol.desk import Desk
from p2pcompute.protocol.job import Dispute, Job, Replica
from p2pcompute.protocol.machine import Effect, Locate, Now, Point, Side
from p2pcompute.protocol.verification import LEAVES_PER_DISPUTE, LEAVES_PER_SAMPLE, LEVELS_MAX, leaves_shown
from p2pcompute.wire import documents as d
from p2pcompute.wire.steps import state_buffers

LOCATE_MS: Final = 60_000
"""For some twenty leaves of either side, one after the other."""

States = Sequence[Sequence[bytes]]


def divergence(results: Sequence[States]) -> tuple[int, int, int] | None:
    """The first step after which not all of these have the same state; the place in it of the first buffer that is not
    the same; and the first result that has another one than the first. None where all are alike."""
    for step, states in enumerate(zip(*results, strict=True)):
        for place, roots in enumerate(zip(*states, strict=True)):
            for number, root in enumerate(roots):
                if root != roots[0]:
                    return step, place, number
    return None


def states_of(replica: Replica) -> States:
    """As it opened them."""
    assert replica.reveal is not None
    states: States = replica.reveal.body.states
    return states


class Disputes:
    """Takes the replicas of a job from a difference to the point where a block decides."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def open(self, now: Now, job: Job, revealed: Sequence[Replica]) -> list[Effect]:
        """Begin with two replicas whose results differ earliest, of equal ones those that have shown least. Nothing,
        where all that have a result agree."""
        able = [r for r in revealed if r.reveal is not None and r.reveal.body.status is d.OutcomeStatus.OK]
        if len({r.reveal.body.output_roots for r in able if r.reveal is not None}) < 2:
            return []
        found = divergence([states_of(r) for r in able])
        assert found is not None, "the last state holds the outputs (V3)"
        step, place, number = found
        groups = [
            [r for r in able if states_of(r)[step][place] == states_of(one)[step][place]]
            for one in (able[0], able[number])
        ]
        left, right = (max(group, key=lambda r: self.left(job, r)) for group in groups)
        job.dispute = Dispute(step, state_buffers(job.manifest)[place], left, right)
        if any(self.left(job, r) < LEAVES_PER_DISPUTE for r in job.dispute.sides):
            job.undecided = True  # whoever asks for more than is given would take silence for guilt
            return []
        for replica in job.dispute.sides:
            replica.step("dispute")
        where = {"step": step, "buffer": job.manifest.buffers[job.dispute.buffer].name}
        return [self._desk.event(job, "job.disputed", r, **where) for r in job.dispute.sides] + self.locate(job)

    def locate(self, job: Job) -> list[Effect]:
        """Look for the byte; again, when somebody was silent."""
        dispute = job.dispute
        if dispute is None or dispute.is_asked:
            return []
        if not _has_both(dispute):
            _release(dispute)
            return []
        dispute.is_asked = True
        for replica in dispute.sides:
            replica.shown += LEVELS_MAX
        place = state_buffers(job.manifest).index(dispute.buffer)
        left, right = (Side(r.peer, r.addresses, states_of(r)[dispute.step][place]) for r in dispute.sides)
        return [Locate(job.name, job.manifest_bytes, dispute.buffer, left, right, LOCATE_MS)]

    def on_located(self, now: Now, job: Job, byte: int | None, silent: Sequence[bytes]) -> list[Effect]:
        """The byte is known: then both sides are to be inspected. Or one of them did not help to find it."""
        dispute = job.dispute
        if job.state != "working" or dispute is None:
            return []
        dispute.is_asked, dispute.byte = False, byte
        out: list[Effect] = []
        for replica in dispute.sides if byte is None else ():
            if replica.peer in silent and replica.state == "disputed":
                reason = "did not prove the states it committed to"
                out += self._desk.retry_or_lose(now, job, replica, "locate", reason)
        job.undecided |= byte is None and not silent
        if job.undecided or not _has_both(dispute):
            _release(dispute)
        return out

    @staticmethod
    def ready(job: Job) -> tuple[Replica, ...]:
        """Whom to inspect now."""
        dispute = job.dispute
        found = dispute is not None and dispute.byte is not None
        return tuple(r for r in dispute.sides if r.state == "disputed") if dispute is not None and found else ()

    @staticmethod
    def left(job: Job, replica: Replica) -> int:
        """How many more leaves it gives."""
        return leaves_shown(job.policy) - replica.shown

    def for_a_block(self, job: Job, replica: Replica) -> int:
        """How many leaves to spend on one block of it: there may be other disputes."""
        return max(LEAVES_PER_SAMPLE, self.left(job, replica) // 2)

    @staticmethod
    def point(job: Job) -> Point | None:
        """What is to be recomputed of either side; None before that is known."""
        dispute = job.dispute
        if dispute is None or dispute.byte is None:
            return None
        return Point(dispute.step, dispute.buffer, dispute.byte)

    @staticmethod
    def alike(job: Job, replica: Replica) -> list[Replica]:
        """Others that committed to the same wrong bytes after the same state: what refutes one refutes them."""
        assert job.dispute is not None
        step = job.dispute.step
        others = [r for r in job.within("revealed") if r.reveal is not None and states_of(r)]
        return [r for r in others if r is not replica and states_of(r)[step] == states_of(replica)[step]]


def _has_both(dispute: Dispute) -> bool:
    """Whether neither side was lost meanwhile."""
    return all(r.state == "disputed" for r in dispute.sides)


def _release(dispute: Dispute) -> None:
    """Nothing is left to tell apart: who is there is compared with the rest."""
    for replica in dispute.sides:
        if replica.state == "disputed":
            replica.step("compare")
