"""Promises and money."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

from p2pcompute.protocol import receipts, records, verification
from p2pcompute.protocol.claims import work_of
from p2pcompute.protocol.core import PeerCore
from p2pcompute.protocol.job import Job, Replica
from p2pcompute.wire import documents as d
from p2pcompute.wire.documents import AnyDocument
from simnet.invariants.base import Invariant, Violation, of_kind, opened, written
from simnet.site import NETWORK, Site, network_verify


class PaidOnce(Invariant):
    """A requester's last cheque to a provider is the sum of its receipts that are held, also for a kernel that failed;
    the provider has it; no assignment is charged twice."""

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
        failed = {record.job for record in of_kind(requester, records.JobEnded) if record.error}
        failed -= {record.job for record in of_kind(requester, records.Judged) if _is_at_fault(record)}
        lost = {record.assignment for record in of_kind(requester, records.ReplicaLost)}
        held: dict[bytes, int] = {}
        whole: set[bytes] = set()
        parts: dict[bytes, tuple[bytes, int]] = {}
        for record in of_kind(requester, records.ReceiptHeld):
            receipt = opened(record.receipt)
            if record.job not in failed and receipt.body.assignment not in lost:  # who withheld is not paid (R10)
                held[receipt.signer] = held.get(receipt.signer, 0) + receipt.body.price
                whole.add(receipt.id)
        for part in of_kind(requester, records.PartPaid):
            cheque = opened(part.cheque)
            if cheque.body.receipt not in whole:  # what was here of the data was paid
                parts[cheque.body.receipt] = cheque.body.payee, cheque.body.part
        for payee, sum_ in parts.values():
            held[payee] = held.get(payee, 0) + sum_
        promised = promises(cheques_written(of_kind(requester, records.Settled), of_kind(requester, records.PartPaid)))
        if held != promised:
            raise Violation(f"receipts held {sum(held.values())}, cheques written {sum(promised.values())}")
        for provider in self.world.providers:
            got = covered(of_kind(provider, records.Covered), requester)
            if provider.kind.honest and got != promised.get(provider.peer, 0):
                raise Violation(f"{provider.name} was promised {promised.get(provider.peer, 0)} and got {got}")


def _is_at_fault(judged: records.Judged) -> bool:
    """Whether it says that the kernel failed: that is paid, though there is no result."""
    return any(opened(verdict).body.judgement is d.Judgement.KERNEL_AT_FAULT for _, verdict in judged.verdicts)


class ValueConserved(Invariant):
    """Between two honest peers no value appears or vanishes: a payee never holds more than its payer promised, nor
    does a payer promise more than the receipts it holds, or hold one that was not issued. The payee's account is the
    sum of its receipts, in part covered, in part owed."""

    name = "value-conserved"

    def on_second(self, now_ms: int) -> None:
        requesters = [node for node in self.world.requesters if node.kind.honest]
        for provider in self.world.providers:
            if provider.kind.honest:
                for requester in requesters:
                    self._check(provider, requester)

    def at_end(self) -> None:
        self.on_second(self.world.wheel.now_ms)

    def _check(self, provider: Site, requester: Site) -> None:
        who = f"between {provider.name} and {requester.name}"
        issued = [opened(record.receipt) for record in written(provider, records.Issued)]
        earned = {x.id: x.body.price for x in issued if x.body.requester == requester.peer}
        receipts_held = [opened(record.receipt) for record in written(requester, records.ReceiptHeld)]
        held = {x.id: x.body.price for x in receipts_held if x.signer == provider.peer}
        cheques = cheques_written(written(requester, records.Settled), written(requester, records.PartPaid))
        promised = promises(cheques).get(provider.peer, 0)
        got = covered(written(provider, records.Covered), requester)
        if not held.items() <= earned.items():
            raise Violation(f"{who} a receipt is held that was never issued")
        if not got <= promised <= sum(held.values()) <= sum(earned.values()):
            sums = f"covered {got}, promised {promised}, held {sum(held.values())}, issued {sum(earned.values())}"
            raise Violation(f"{who} value appeared: {sums}")
        account = dict(provider.core.ledger.accounts()).get(requester.peer) if provider.core is not None else None
        if account is None and not earned:
            return
        if account is None and provider.core is not None:
            raise Violation(f"{who} {sum(earned.values())} was earned and stands in no account")
        if account is not None and (account.earned, account.covered, account.earned - account.owed_to_me) != (
            sum(earned.values()),
            got,
            got,
        ):
            raise Violation(f"{who} the account says {account}, and the journal {sum(earned.values())}, {got} covered")


class SettledOnce(Invariant):
    """Value that left between two honest peers is never more than the payer's cheques promise, and none moves twice
    for one key. Who was paid books no more than came. In the end no more is owed than may be, and what left is booked.
    """

    name = "settled-once"

    def on_second(self, now_ms: int) -> None:
        if not self.world.scenario.settle_at:
            return
        if self.world.network.bank.altered:
            raise Violation("a key that moved value was used for another sum")
        for payer in self.world.nodes:
            for payee in self.world.nodes:
                if payer.kind.honest and payee.kind.honest:
                    self._check(payer, payee)

    @staticmethod
    def _moved(payer: Site, payee: Site) -> int:
        moved = payer.network.bank.transfers.values()
        return sum(x.amount for x in moved if (x.payer, x.payee) == (payer.peer, payee.peer))

    @staticmethod
    def _came(payer: Site, payee: Site) -> int:
        return sum(record.amount for record in written(payee, records.ValueCame) if record.peer == payer.peer)

    def _check(self, payer: Site, payee: Site) -> None:
        cheques = cheques_written(written(payer, records.Settled), written(payer, records.PartPaid))
        promised, moved, came = (
            promises(cheques).get(payee.peer, 0),
            self._moved(payer, payee),
            self._came(payer, payee),
        )
        if not came <= moved <= promised:
            raise Violation(f"of {promised} promised by {payer.name}, {moved} left for {payee.name} and {came} came")

    def at_end(self) -> None:
        self.on_second(self.world.wheel.now_ms)
        if not self.world.scenario.settle_at:
            return
        for payer, core in self.honest_cores():
            owed = max((account.outstanding for _, account in core.ledger.accounts()), default=0)
            if owed > self.world.scenario.settle_at:
                raise Violation(f"{payer.name} owes {owed} to one peer, and nothing leaves")
            for payee in self.world.nodes:
                if payee.kind.honest and self._moved(payer, payee) != self._came(payer, payee):
                    raise Violation(f"not all that {payer.name} sent to {payee.name} is booked there")


class DebtBounded(Invariant):
    """What one requester leaves unpaid is within the credit that its cheques earned it, but for the work that was under
    way when the credit was used up (K3, K4). What counts as under way is, and nothing else. Receipts that count as paid
    are worth no more than the cheques that are held (K2)."""

    name = "debt-bounded"

    def on_second(self, now_ms: int) -> None:
        for node, core in self.honest_cores():
            debts: dict[bytes, list[int]] = {}
            paid: dict[bytes, int] = {}
            for receipt in core.provider.chain.receipts():
                who, price = receipt.body.requester, receipt.body.price
                if core.provider.chain.countersigned(receipt.id):
                    paid[who] = paid.get(who, 0) + price
                else:
                    debts.setdefault(who, []).append(price)
            worth = cheques_of(written(node, records.Covered))
            if any(worth.get(who, 0) < price for who, price in paid.items()):
                raise Violation(f"{node.name} takes receipts for paid that its cheques do not reach")
            for who, prices in debts.items():
                slots = node.terms.slots if node.terms is not None else 0
                within = sorted(prices)[: max(0, len(prices) - slots)]
                credit = min(node.credit.paying, node.credit.first + worth.get(who, 0))
                if sum(within) > credit:
                    raise Violation(f"{node.name} let one requester owe {sum(prices)}, its credit is {credit}")
            self._check_claims(node, core)

    @staticmethod
    def _check_claims(node: Site, core: PeerCore) -> None:
        done = {e.assignment.id for e in core.provider._engagements.values() if e.claim}
        counted = {one for _, account in core.ledger.accounts() for one in account.claims}
        if done != counted:
            raise Violation(f"{node.name} counts {len(counted)} tasks as done and not judged, and {len(done)} are")

    def at_end(self) -> None:
        self.on_second(self.world.wheel.now_ms)


class FairPrice(Invariant):
    """Every agreeing replica of an honest requester gets the price that F7 says, and nobody else gets anything. Of a
    claim that stands alone no more is counted than others were paid for such work before."""

    name = "fair-price"

    def at_end(self) -> None:
        for _, core in self.honest_cores():
            for job in core.requester.jobs:
                judged = [r for r in job.team if r.verdict is not None and r.reveal is not None]
                claims = [r.reveal.body.device_us for r in judged if r.reveal and r.verdict and _is_paid(r.verdict)]
                for r in judged:
                    assert r.reveal is not None
                    assert r.verdict is not None
                    due = _due(job, r, min(claims, default=0)) if _is_paid(r.verdict) else 0
                    least = due
                    if len(claims) == 1 and due:
                        least, due = _due(job, r, 0), self._lone_due(core, job, r)
                    if not least <= r.verdict.body.price <= due:
                        raise Violation(f"a replica of {job.name[:8]} was to get {due} and gets {r.verdict.body.price}")

    def _lone_due(self, core: PeerCore, job: Job, replica: Replica) -> int:
        """By the longest time that was ever paid to one of several for such work on such a device, once there was one
        before this task came."""
        assert replica.reveal is not None
        claimed_us, work = replica.reveal.body.device_us, work_of(job.manifest, replica.device)
        before, longest_us = False, 0
        for other in core.requester.jobs:
            agreed = [
                r for r in other.team if r.verdict and r.verdict.body.judgement is d.Judgement.AGREED and r.reveal
            ]
            paid = [
                min(r.reveal.body.device_us, min(x.reveal.body.device_us for x in agreed if x.reveal) * 5 // 4)
                for r in agreed
                if len(agreed) > 1 and r.reveal and work_of(other.manifest, r.device) == work
            ]
            longest_us = max([longest_us, *paid])
            ended_ms = self.world.tasks[other.id].ended_ms if other.id in self.world.tasks else -1
            before |= bool(paid) and 0 <= ended_ms < self.world.tasks[job.id].submitted_ms
        return _due(job, replica, claimed_us if not before else min(claimed_us, longest_us), exactly=True)


def _is_paid(verdict: AnyDocument) -> bool:
    return verdict.body.judgement in (d.Judgement.AGREED, d.Judgement.KERNEL_AT_FAULT)


def _due(job: Job, replica: Replica, lowest_us: int, *, exactly: bool = False) -> int:
    """F7, with whole micro-credits rounded up (V7); `exactly`: for this time."""
    assert replica.reveal is not None
    claimed_us, terms, m = replica.reveal.body.device_us, replica.terms, job.manifest
    paid_us = claimed_us if 4 * claimed_us <= 5 * lowest_us else 5 * lowest_us // 4
    paid_us = lowest_us if exactly else paid_us
    moved = len(job.manifest_bytes) + m.ptx_size_bytes + sum({b.root: b.size_bytes for b in m.inputs}.values())
    if replica.reveal.body.status is d.OutcomeStatus.OK:
        moved += sum(b.size_bytes for b in m.outputs)
    exact = Fraction(terms.price_per_device_s * paid_us, 10**6) + Fraction(terms.price_per_gb * moved, 10**9)
    return sorted((terms.price_minimum, math.ceil(exact), terms.price_ceiling))[1]


class ReceiptsVerify(Invariant):
    """The evidence that any honest node holds passes an audit offline, and every opening that was judged is that of the
    commitment that stands; what the evidence says against a dishonest provider is no fault of it."""

    name = "receipts-verify"

    def at_end(self) -> None:
        liars = [node.peer for node in self.world.nodes if not node.kind.honest]
        for node, core in self.honest_cores():
            jobs = [raw for job in core.requester.jobs for raw in job.evidence()]
            for job in core.requester.jobs:
                self._check_openings(job)
            audit = receipts.audit(NETWORK, [*core.provider.evidence(), *jobs], network_verify)
            lines = [fault for x in audit.receipts if x.receipt.signer not in liars for fault in x.faults]
            for fault in (*audit.faults, *lines):
                if not any(peer.hex()[:16] in fault for peer in liars):
                    raise Violation(f"the evidence of {node.name} does not hold: {fault}")
            for line in audit.receipts:
                paid = core.provider.chain.countersigned(line.receipt.id)
                if line.receipt.signer == node.peer and paid and not line.countersigned:
                    raise Violation(f"the evidence of {node.name} lacks the cheque for receipt {line.receipt.body.n}")

    @staticmethod
    def _check_openings(job: Job) -> None:
        for r in job.team:
            if r.verdict is None or r.reveal is None or r.commitment is None or r.assignment is None:
                continue
            root = verification.commitment_root(r.assignment.id, job.manifest_id, job.manifest, r.reveal.body)
            if (root, r.reveal.body.commitment) != (r.commitment.body.root, r.commitment.id):
                raise Violation(f"task {job.name[:8]} was judged by an opening that is not its commitment's")


def cheques_written(settled: Iterable[records.Settled], parts: Iterable[records.PartPaid]) -> list[AnyDocument]:
    """Every cheque that a requester wrote."""
    return [*(opened(record.cheque) for record in settled), *(opened(record.cheque) for record in parts)]


def promises(cheques: Iterable[AnyDocument]) -> dict[bytes, int]:
    """What cheques promise to each payee: the greatest sum of each epoch, all epochs together."""
    sums: dict[tuple[bytes, bytes], int] = {}
    for cheque in cheques:
        key = cheque.body.payee, cheque.epoch
        sums[key] = max(sums.get(key, 0), cheque.body.cumulative)
    return _by_peer(sums)


def covered(held: Iterable[records.Covered], payer: Site) -> int:
    """What a payer's cheques that are held are worth."""
    return cheques_of(held).get(payer.peer, 0)


def cheques_of(held: Iterable[records.Covered]) -> dict[bytes, int]:
    """What the cheques that are held are worth, by payer."""
    sums: dict[tuple[bytes, bytes], int] = {}
    for record in held:
        cheque = opened(record.cheque)
        key = cheque.signer, cheque.epoch
        sums[key] = max(sums.get(key, 0), cheque.body.cumulative)
    return _by_peer(sums)


def _by_peer(sums: dict[tuple[bytes, bytes], int]) -> dict[bytes, int]:
    total: dict[bytes, int] = {}
    for (peer, _), cumulative in sums.items():
        total[peer] = total.get(peer, 0) + cumulative
    return total
