"""From a verdict to the end of a job: receipts, outputs, cheques."""

from __future__ import annotations

from typing import Final

from p2pcompute.errors import KernelError
from p2pcompute.protocol import receipts, records, slices
from p2pcompute.protocol.desk import RETRY_MS, SETTLING_ATTEMPTS_MAX, Desk
from p2pcompute.protocol.job import Job, Replica
from p2pcompute.protocol.machine import Effect, Fetch, Missed, Now, Ok, Outcome, SetTimer
from p2pcompute.protocol.records import persist
from p2pcompute.wire import documents as d
from p2pcompute.wire import limits
from p2pcompute.wire.documents import AnyDocument

FETCH_MS: Final = 120_000
FETCH_PAUSE_MS: Final = 200
PATIENT_BYTES: Final = 16 * limits.MIB
"""Outputs larger than this are fetched from all agreeing replicas together."""
PART_WAIT_MS: Final = 24 * 3_600_000
"""Who does not take a cheque for a part in this time is not paid the rest."""


class Settling:
    """Brings what was judged to its end: the outputs here, everybody paid."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def send_verdict(self, job: Job, replica: Replica) -> list[Effect]:
        """The journaled verdict, until there is a receipt."""
        assert replica.verdict is not None
        return [self._desk.send(job, replica, "verdict", replica.verdict)]

    def on_receipt(self, now: Now, job: Job, replica: Replica, answer: AnyDocument | None) -> list[Effect]:
        """The answer to a verdict."""
        if replica.state != "judged":
            return []
        assert replica.verdict is not None
        assert replica.assignment is not None
        assert replica.reveal is not None
        if answer is None or not receipts.holds(answer, replica.verdict, replica.assignment, replica.reveal):
            return self._desk.retry_or_lose(now, job, replica, "verdict", "gave no valid receipt")
        replica.receipt = answer
        replica.step("receipt")
        held = persist(records.ReceiptHeld(job.id, answer.raw))
        return [held, self._desk.event(job, "job.receipt", replica, n=answer.body.n)]

    def settle(self, now: Now, job: Job) -> list[Effect]:
        """Fetch the outputs from one agreeing replica, then pay every receipt, then end the job."""
        assert job.answer is not None
        if job.answer[0] is not d.OutcomeStatus.OK:
            job.fetched = True
        if not job.fetched and not job.over:
            return self._fetch_outputs(now, job)
        out: list[Effect] = []
        for replica in job.within("owed"):
            out += self.pay(now, job, replica)
        if not job.over and not job.within("judged"):
            out += self._end(now, job)
        return out

    # -- outputs -----------------------------------------------------------------------------------------------------

    def _fetch_outputs(self, now: Now, job: Job) -> list[Effect]:
        if job.fetching:
            return []
        assert job.answer is not None
        owed = [r for r in job.within("owed") if r.reveal is not None and r.reveal.body.output_roots == job.answer[1]]
        sources = [r for r in owed if r.fetch_failures < SETTLING_ATTEMPTS_MAX]
        if not sources:
            if job.within("judged"):
                return []
            return self._desk.reopen(now, job)
        blobs = tuple((root, b.size_bytes) for root, b in zip(job.answer[1], job.manifest.outputs))
        if job.within("judged") and sum(size for _, size in blobs) > PATIENT_BYTES:
            return []  # worth waiting for every receipt: all replicas then send at once
        source = min(sources, key=lambda r: r.fetch_failures)
        job.fetching = source.peer
        others = tuple((r.peer, r.addresses) for r in sources if r is not source)
        fetch = Fetch(f"outputs:{job.name}", source.peer, blobs, FETCH_MS, source.addresses, others)
        return [self._desk.event(job, "job.fetching", source), fetch]

    def on_fetched(self, now: Now, job: Job, *, ok: bool, held_bytes: int) -> list[Effect]:
        """The outputs are in the local store, or this source could not give them. `held_bytes`: so many of them are
        here, and it gives no more until they are paid."""
        if job.state != "settling" or not job.fetching:
            return []
        if ok:
            job.fetching, job.fetched = b"", True
            return []
        source = next((r for r in job.within("owed") if r.peer == job.fetching), None)
        part = self._pay_part(now, job, source, held_bytes) if source is not None and held_bytes else []
        return part or self._fetch_later(now, job, source)

    def _fetch_later(self, now: Now, job: Job, source: Replica | None) -> list[Effect]:
        """This source brought nothing: another one, or the same one after a pause."""
        if source is not None:
            source.fetch_failures += 1
            self._desk.reputation.slow(source.operator, now.mono_ms)
        rounds = min((r.fetch_failures for r in job.within("owed")), default=0)
        return [SetTimer(f"job.fetch:{job.name}", now.mono_ms + (FETCH_PAUSE_MS << min(rounds, 6)))]

    # -- slices ------------------------------------------------------------------------------------------------------

    def _pay_part(self, now: Now, job: Job, replica: Replica, held_bytes: int) -> list[Effect]:
        """A cheque for what is here of the outputs. Where that was paid, and gives no more, there may be no word of it
        there: the cheque goes once more, and the source has brought nothing."""
        assert replica.receipt is not None
        sizes, price = [b.size_bytes for b in job.manifest.outputs], replica.receipt.body.price
        part = slices.value_of(sizes, price, held_bytes)
        if replica.part_pending or part <= replica.paid_in_parts:
            return [*self.send_part(job, replica), *self._fetch_later(now, job, replica)]
        cumulative = self._desk.ledger.promise(replica.peer, part - replica.paid_in_parts)
        body = d.Cheque(replica.peer, cumulative, replica.receipt.id, part)
        cheque = self._desk.post.write(now, body, lifetime_ms=limits.DOCUMENT_LIFETIME_MS_MAX)
        slices.add_part(replica.parts, cheque)
        replica.part_taken = False
        paid = self._desk.event(job, "job.part-paid", replica, price=part)
        held, settled = persist(records.PartPaid(job.id, cheque.raw)), self._desk.promised(cheque)
        return [held, paid, *self.send_part(job, replica), *settled]

    def send_part(self, job: Job, replica: Replica) -> list[Effect]:
        """The journaled cheque for a part, until it is taken."""
        assert replica.part is not None
        replica.part_sent = True
        return [self._desk.send(job, replica, "part", replica.part)]

    def repeat_part(self, job: Job, replica: Replica) -> list[Effect]:
        """The pause is over. Where the part is not waited for any more, it goes again when it is."""
        replica.part_sent = job.fetched or job.fetching == replica.peer
        return self.send_part(job, replica) if replica.part_sent and replica.part_pending else []

    def on_part_taken(self, now: Now, job: Job, replica: Replica, outcome: Outcome) -> list[Effect]:
        """The source has it, and gives more; or it did not answer, or declined, time and again."""
        if replica.state != "owed":
            return []
        is_awaited = job.fetching == replica.peer
        if isinstance(outcome, Ok) and not outcome.frame:
            replica.attempts, replica.part_taken = 0, True
            job.fetching = b"" if is_awaited else job.fetching
            return self.pay(now, job, replica) if job.fetched else []
        replica.attempts += 1
        if job.fetched:
            return self._part_again(now, job, replica)
        if is_awaited and replica.attempts < SETTLING_ATTEMPTS_MAX:
            pause_ms = RETRY_MS << min(replica.attempts - 1, 5)
            return [SetTimer(self._desk.retry_key(job, replica, "part"), now.mono_ms + pause_ms)]
        replica.part_sent = False
        if is_awaited:
            replica.attempts, replica.fetch_failures = 0, SETTLING_ATTEMPTS_MAX
            job.fetching = b""
        return []

    def _part_again(self, now: Now, job: Job, replica: Replica) -> list[Effect]:
        """All outputs are here, from others too, and this one is still to say that it has its part: ever more rarely,
        for a day. Then it gets no more, as the end of its receipt cannot be paid without it."""
        assert replica.part is not None
        if now.wall_ms >= replica.part.issued_at + PART_WAIT_MS:
            return self._desk.lose(now, job, replica, "did not take the cheque for a part")
        delay_ms = RETRY_MS << min(replica.attempts, 10)
        return [SetTimer(self._desk.retry_key(job, replica, "part"), now.mono_ms + delay_ms)]

    # -- cheques -----------------------------------------------------------------------------------------------------

    def pay(self, now: Now, job: Job, replica: Replica) -> list[Effect]:
        """The last cheque for a receipt, once the payee has the part before it, of whatever epoch (K9)."""
        assert replica.receipt is not None
        if replica.part_pending:
            return [] if replica.part_sent else self.send_part(job, replica)
        due = replica.receipt.body.price - replica.paid_in_parts
        cumulative = self._desk.ledger.promise(replica.peer, due)
        body = d.Cheque(replica.peer, cumulative, replica.receipt.id)
        replica.cheque = self._desk.post.write(now, body, lifetime_ms=limits.DOCUMENT_LIFETIME_MS_MAX)
        replica.step("cheque")
        paid = self._desk.event(job, "job.paid", replica, price=replica.receipt.body.price)
        held, settled = persist(records.Settled(job.id, replica.cheque.raw)), self._desk.promised(replica.cheque)
        return [held, paid, *self.send_cheque(job, replica), *settled]

    def send_cheque(self, job: Job, replica: Replica) -> list[Effect]:
        """The journaled cheque, until it is taken."""
        assert replica.cheque is not None
        return [self._desk.send(job, replica, "cheque", replica.cheque)]

    def on_cheque_taken(self, now: Now, job: Job, replica: Replica, outcome: Outcome) -> list[Effect]:
        """The payee has it, or did not answer."""
        if replica.state != "paying":
            return []
        if isinstance(outcome, Missed):
            replica.attempts += 1
            delay = RETRY_MS << min(replica.attempts, 10)
            return [SetTimer(self._desk.retry_key(job, replica, "cheque"), now.mono_ms + delay)]
        assert replica.receipt is not None
        replica.step("paid")
        return [persist(records.ChequeTaken(job.id, replica.receipt.id))]

    def _end(self, now: Now, job: Job) -> list[Effect]:
        assert job.answer is not None
        status, roots = job.answer
        if status is not d.OutcomeStatus.OK:
            reason = job.fault or next((r.reveal.body.reason for r in job.team if r.receipt and r.reveal), "")
            return self._desk.fail(now, job, KernelError(reason or f"the kernel ended in a {status.name.lower()}"))
        job.step("done")
        ended = persist(records.JobEnded(job.id, roots, 0, ""))
        return [ended, *self._desk.hush(job), self._desk.event(job, "job.done", roots=roots)]
