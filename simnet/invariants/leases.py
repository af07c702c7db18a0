"""What providers promise: slots, prices, and to keep a lease for those that renew it."""

from __future__ import annotations

from typing import Final

from p2pcompute.protocol import records
from p2pcompute.protocol.core import PeerCore
from p2pcompute.protocol.machine import Emit
from p2pcompute.wire import documents as d
from p2pcompute.wire.documents import Kind
from simnet.characters.base import kind_of
from simnet.invariants.base import Invariant, Violation, of_kind, opened
from simnet.network import Endpoint
from simnet.site import Site
from simnet.world import World

UNASSIGNED_MAX: Final = 8
STRANGERS_MAX: Final = 16
"""P5 of docs/spec/provider.md."""
RENEWALS_MAX: Final = 8
"""P7 of docs/spec/provider.md."""


class NoDoubleBooking(Invariant):
    """No two reservations of one provider share (epoch, slot, n); each names the one before it and counts one on."""

    name = "no-double-booking"

    def at_end(self) -> None:
        for provider in self.world.providers:
            if provider.kind.honest:
                self._check(provider)

    @staticmethod
    def _check(provider: Site) -> None:
        links: dict[tuple[bytes, int, int], bytes] = {}
        last: dict[int, bytes] = {}
        numbers: dict[int, int] = {}
        for record in of_kind(provider, records.Reserved):
            doc = opened(record.reservation)
            key = doc.epoch, doc.body.slot, doc.body.n
            if links.setdefault(key, doc.id) != doc.id:
                raise Violation(f"{provider.name} promised slot {doc.body.slot} twice as number {doc.body.n}")
            if doc.body.previous != last.get(doc.body.slot, bytes(32)):
                raise Violation(f"{provider.name}'s reservation {doc.body.n} does not follow the one before")
            if doc.body.n != numbers.get(doc.body.slot, 0):
                raise Violation(f"{provider.name}'s reservations of slot {doc.body.slot} leave {doc.body.n} out")
            last[doc.body.slot] = doc.id
            numbers[doc.body.slot] = doc.body.n + 1


class SlotsShared(Invariant):
    """A provider runs no more at once than it has slots, holds one for everything that it runs, and lets no requester
    keep more than 8 of them without work for them, and no more than 16 all together who never paid there (P5)."""

    name = "slots-shared"

    def on_event(self, now_ms: int, node: Site, event: Emit) -> None:
        if event.name in ("provider.reserved", "provider.running") and node.kind.honest and node.core is not None:
            self._check(node, node.core)

    @staticmethod
    def _check(node: Site, core: PeerCore) -> None:
        running = sum(e.state in ("fetching", "running") for e in core.provider._engagements.values())
        if node.terms is not None and running > node.terms.slots:
            raise Violation(f"{node.name} runs {running} tasks at once in {node.terms.slots} slots")
        if running > core.provider.busy_slots:
            raise Violation(f"{node.name} runs {running} tasks and holds {core.provider.busy_slots} slots for them")
        idle: dict[bytes, int] = {}
        for lease in core.provider.leasing._leases.values():
            if lease.state == "held" and lease.reservation.expires_at > node.now.wall_ms:
                idle[lease.requester] = idle.get(lease.requester, 0) + 1
        if max(idle.values(), default=0) > UNASSIGNED_MAX:
            raise Violation(f"{node.name} keeps {max(idle.values())} slots for one requester that has no work for them")
        strangers = sum(count for who, count in idle.items() if not core.ledger.account(who).covered)
        if strangers > STRANGERS_MAX:
            raise Violation(f"{node.name} keeps {strangers} slots for those who never paid and have no work for them")


class LeasesRenewed(Invariant):
    """Between two assignments an honest provider prolongs a lease 8 times, and neither more often nor less (P7)."""

    name = "leases-renewed"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._broken: list[Violation] = []
        world.network.taps.append(self._tap)

    def _tap(self, source: Endpoint, target: Endpoint, way: str, frame: bytes | None, about: bytes) -> None:
        if not isinstance(source, Site) or not source.kind.honest or kind_of(about) != Kind.RENEW or frame is None:
            return
        if kind_of(frame) == Kind.DECLINE and opened(frame).body.code is d.DeclineCode.RENEWED_TOO_OFTEN:
            renewed = renewals(source).get(opened(about).body.reservation, 0)
            if renewed < RENEWALS_MAX:
                self._broken.append(Violation(f"{source.name} renewed a lease {renewed} times, and then no more"))

    def on_second(self, now_ms: int) -> None:
        if self._broken:
            raise self._broken[0]

    def at_end(self) -> None:
        self.on_second(self.world.wheel.now_ms)
        for provider in self.world.providers:
            most = max(renewals(provider).values(), default=0) if provider.kind.honest else 0
            if most > RENEWALS_MAX:
                raise Violation(f"{provider.name} renewed a lease {most} times without work")


def renewals(provider: Site) -> dict[bytes, int]:
    """How often in a row the lease of each reservation was renewed, the last assignment on it counted as the end of a
    row."""
    rows: dict[bytes, int] = {}
    for data in provider.disk.written():
        record = records.decode_record(data)
        if isinstance(record, records.Reserved):
            rows[opened(record.reservation).id] = rows[record.renews] + 1 if record.renews else 0
        elif isinstance(record, records.Accepted):
            rows[opened(record.assignment).body.reservation] = 0
    return rows


class QuotesKept(Invariant):
    """An honest provider works for nobody below the prices that it quoted, and on no reservation more often than it is
    good for."""

    name = "quotes-kept"

    def at_end(self) -> None:
        for provider in self.world.providers:
            if provider.kind.honest:
                self._check(provider)

    @staticmethod
    def _check(provider: Site) -> None:
        left, quoted = dict[bytes, int](), dict[bytes, records.Reserved]()
        for record in of_kind(provider, records.Reserved):
            reservation = opened(record.reservation).id
            left[reservation], quoted[reservation] = record.assignments, record
        for accepted in of_kind(provider, records.Accepted):
            body = opened(accepted.assignment).body
            asked = quoted[body.reservation]
            for given, least in (
                (body.price_per_device_s, asked.price_per_device_s),
                (body.price_per_gb, asked.price_per_gb),
                (body.price_minimum, asked.price_minimum),
            ):
                if given < least:
                    raise Violation(f"{provider.name} works at {given}, and asked for {least}")
            left[body.reservation] -= 1
            if left[body.reservation] < 0:
                raise Violation(f"{provider.name} works on a reservation more often than it is good for")
