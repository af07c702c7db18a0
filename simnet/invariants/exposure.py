"""What providers risk: work under way, and data that is given before it is paid."""

from __future__ import annotations

from p2pcompute.protocol.core import PeerCore
from p2pcompute.protocol.engagement import Engagement
from p2pcompute.protocol.machine import Emit
from p2pcompute.wire import limits
from simnet.invariants.base import Invariant, Violation
from simnet.site import Site


class WorkBounded(Invariant):
    """All that one requester has at work at a provider, or holds slots for, may cost no more than its credit there,
    unless it is one task alone (K5)."""

    name = "work-bounded"

    def on_second(self, now_ms: int) -> None:
        for node, core in self.honest_cores():
            ceilings: dict[bytes, list[int]] = {}
            at_work = {id(e.lease): e.assignment.body.price_ceiling for e in core.provider._engagements.values()}
            for lease in core.provider.leasing._leases.values():
                if lease.state == "working" or lease.reservation.expires_at > node.now.wall_ms:
                    ceiling = max(lease.price_ceiling, at_work.get(id(lease), 0))
                    ceilings.setdefault(lease.requester, []).append(ceiling)
            for requester, row in ceilings.items():
                credit = core.ledger.credit_of(requester)
                if len(row) > 1 and sum(row) > credit:
                    raise Violation(f"{node.name} has work for {sum(row)} under way for one whose credit is {credit}")

    def at_end(self) -> None:
        self.on_second(self.world.wheel.now_ms)


class StrangersBounded(Invariant):
    """All that requesters left unpaid beyond what each of them paid, and have at work beyond the rest of that, is
    within the cap whenever a task is taken on that adds to it (K6). What counts as left unpaid is that and nothing
    else."""

    name = "strangers-bounded"

    def on_event(self, now_ms: int, node: Site, event: Emit) -> None:
        if event.name in ("provider.reserved", "provider.assigned") and node.kind.honest and node.core is not None:
            self._check(node, node.core, event.fields["requester"])  # type: ignore[arg-type]

    @staticmethod
    def _check(node: Site, core: PeerCore, requester: bytes) -> None:
        at_work: dict[bytes, int] = {}
        for lease in core.provider.leasing._leases.values():
            at_work[lease.requester] = at_work.get(lease.requester, 0) + lease.price_ceiling
        beyond = {who: sum_ - _spare(core, who) for who, sum_ in at_work.items()}
        risk = _left_unpaid(node, core) + sum(min(node.credit.first, max(0, one)) for one in beyond.values())
        cap = max(node.credit.strangers, node.credit.first)
        if beyond.get(requester, 0) > 0 and risk > cap:
            raise Violation(f"{node.name} risks {risk} on those who did not pay as much, and its cap is {cap}")

    def on_second(self, now_ms: int) -> None:
        for node, core in self.honest_cores():
            left, counted = _left_unpaid(node, core), core.ledger.strangers_risk(node.now.wall_ms)
            if left != counted:
                raise Violation(f"{node.name} counts {counted} as unpaid beyond what was paid, and {left} is")

    def at_end(self) -> None:
        self.on_second(self.world.wheel.now_ms)


def _left_unpaid(node: Site, core: PeerCore) -> int:
    """Beyond what each paid, of each no more than the first credit. (No world lasts a day, which it is held for.)"""
    accounts = [account for _, account in core.ledger.accounts()]
    return sum(min(node.credit.first, max(0, one.unpaid - one.covered)) for one in accounts)


def _spare(core: PeerCore, requester: bytes) -> int:
    """What it paid and did not leave unpaid."""
    account = dict(core.ledger.accounts()).get(requester)
    return max(0, account.covered - account.unpaid) if account is not None else 0


class SlicesBounded(Invariant):
    """What a requester may read of outputs and has not paid is worth no more than its credit, and a chunk of each
    receipt (K9). Results that are compared by their values are shown before (K7)."""

    name = "slices-bounded"

    def on_second(self, now_ms: int) -> None:
        for node, core in self.honest_cores():
            for requester, unpaid in core.provider._unpaid.items():
                held = [e for e in unpaid.values() if not e.is_shown and any(e.output_sizes)]
                self._check(node, core, requester, held)

    def _check(self, node: Site, core: PeerCore, requester: bytes, unpaid: list[Engagement]) -> None:
        given = sum(max(0, self._given(node, e) - e.paid) for e in unpaid)
        chunks = sum(1 + _value(e, limits.BLOB_CHUNK_BYTES) for e in unpaid)
        credit = core.ledger.credit_of(requester)
        if given > credit + chunks:
            raise Violation(f"{node.name} gave data for {given} unpaid to one whose credit is {credit}")

    @staticmethod
    def _given(node: Site, e: Engagement) -> int:
        """The value of what the requester may read now, as the node grants it."""
        grant = node._grants.get((e.token, e.requester))
        if grant is None or grant.leaves_max or e.opening is None:
            return 0
        sizes = dict(zip(e.opening.output_roots, e.output_sizes, strict=True))
        part = grant.part[1] * limits.BLOB_CHUNK_BYTES if grant.part is not None else 0
        return _value(e, sum(sizes[root] for root in grant.roots if root in sizes) + part)

    def at_end(self) -> None:
        self.on_second(self.world.wheel.now_ms)


def _value(e: Engagement, size: int) -> int:
    assert e.receipt is not None
    price: int = e.receipt.body.price
    return price * min(size, sum(e.output_sizes)) // sum(e.output_sizes)
