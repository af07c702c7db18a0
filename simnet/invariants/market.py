"""Tasks, promises and money."""

from __future__ import annotations

from p2pcompute.protocol import records
from p2pcompute.protocol.machine import Emit
from simnet.invariants.base import Invariant, Violation, of_kind, opened
from simnet.site import Site, right_outputs
from simnet.world import World


class NoTaskLost(Invariant):
    """Every task that was submitted ends well: the faults are over in time, and somebody can do it."""

    name = "no-task-lost"

    def at_end(self) -> None:
        for task in self.world.tasks.values():
            if not task.requester.kind.honest:
                continue
            if task.ended_ms < 0:
                raise Violation(f"task {task.number} of {task.requester.name} never ended")
            if not task.done:
                raise Violation(f"task {task.number} of {task.requester.name} failed: {task.error or 'unknown'}")


class NoWrongResult(Invariant):
    """What was accepted is what honest engines compute."""

    name = "no-wrong-result"

    def on_event(self, now_ms: int, node: Site, event: Emit) -> None:
        if event.name == "job.done":
            self._check(event.fields["job"])  # type: ignore[arg-type]

    def at_end(self) -> None:
        for job in self.world.tasks:
            self._check(job)

    def _check(self, job: bytes) -> None:
        task = self.world.tasks[job]
        if task.done and task.roots != tuple(root for root, _ in right_outputs(task.manifest)):
            raise Violation(f"task {task.number} ended with a wrong result")


class NoDoubleBooking(Invariant):
    """No two reservations of one provider share (epoch, slot, n), and each names the one before it."""

    name = "no-double-booking"

    def at_end(self) -> None:
        for provider in self.world.providers:
            if provider.kind.honest:
                self._check(provider)

    @staticmethod
    def _check(provider: Site) -> None:
        links: dict[tuple[bytes, int, int], bytes] = {}
        last: dict[int, bytes] = {}
        for record in of_kind(provider, records.Reserved):
            doc = opened(record.reservation)
            key = doc.epoch, doc.body.slot, doc.body.n
            if links.setdefault(key, doc.id) != doc.id:
                raise Violation(f"{provider.name} promised slot {doc.body.slot} twice as number {doc.body.n}")
            if doc.body.previous != last.get(doc.body.slot, bytes(32)):
                raise Violation(f"{provider.name}'s reservation {doc.body.n} does not follow the one before")
            last[doc.body.slot] = doc.id


class PaidOnce(Invariant):
    """A requester's last cheque to a provider is the sum of its receipts that are held; the provider has it; no
    assignment is charged twice."""

    name = "paid-once"

    def at_end(self) -> None:
        for provider in self.world.providers:
            if provider.kind.honest:
                self._charged_once(provider)
        for requester in self.world.requesters:
            if requester.kind.honest:
                self._check(requester)

    @staticmethod
    def _charged_once(provider: Site) -> None:
        charged: set[bytes] = set()
        for record in of_kind(provider, records.Issued):
            assignment = opened(record.receipt).body.assignment
            if assignment in charged:
                raise Violation(f"{provider.name} issued two receipts for one assignment")
            charged.add(assignment)

    def _check(self, requester: Site) -> None:
        held: dict[bytes, int] = {}
        promised: dict[bytes, int] = {}
        for record in of_kind(requester, records.ReceiptHeld):
            receipt = opened(record.receipt)
            held[receipt.signer] = held.get(receipt.signer, 0) + receipt.body.price
        for settled in of_kind(requester, records.Settled):
            cheque = opened(settled.cheque).body
            promised[cheque.payee] = max(promised.get(cheque.payee, 0), cheque.cumulative)
        if held != promised:
            raise Violation(f"receipts held {sum(held.values())}, cheques written {sum(promised.values())}")
        for provider in self.world.providers:
            covered = _covered(provider, requester)
            if provider.kind.honest and covered != promised.get(provider.peer, 0):
                raise Violation(f"{provider.name} was promised {promised.get(provider.peer, 0)} and got {covered}")


def _covered(provider: Site, payer: Site) -> int:
    cheques = [opened(record.cheque) for record in of_kind(provider, records.Covered)]
    return max((x.body.cumulative for x in cheques if x.signer == payer.peer), default=0)


class LiarsAreOut(Invariant):
    """Whoever was outvoted gets no further work from that requester: nothing is assigned to it after the verdict."""

    name = "liars-are-out"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._outvoted: dict[tuple[str, object], int] = {}

    def on_event(self, now_ms: int, node: Site, event: Emit) -> None:
        key = node.name, event.fields.get("operator")
        if event.name == "job.verdict" and event.fields["judgement"] == "OUTVOTED":
            self._outvoted.setdefault(key, now_ms)
        elif event.name == "job.assigned" and self._outvoted.get(key, now_ms) < now_ms:
            raise Violation(f"an operator outvoted at {self._outvoted[key]} ms got more work at {now_ms} ms")
