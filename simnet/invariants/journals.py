"""Journals: nothing leaves before it is durable, and a restart would know all that matters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from p2pcompute.protocol import records
from p2pcompute.protocol.core import PeerCore
from p2pcompute.protocol.job import Job
from p2pcompute.wire import documents as d
from p2pcompute.wire.documents import AnyDocument, Kind
from simnet.characters.base import kind_of
from simnet.invariants.base import Invariant, Violation, opened
from simnet.network import Endpoint
from simnet.site import Site
from simnet.world import World

PROMISES: Final = (
    Kind.RESERVATION,
    Kind.ASSIGNMENT,
    Kind.FAILURE,
    Kind.COMMITMENT,
    Kind.VERDICT,
    Kind.RECEIPT,
    Kind.CHEQUE,
)
"""The kinds that docs/spec/documents.md wants durable before they leave."""
COMPARED_MAX: Final = 200
"""Nodes whose journals are replayed at the end of a large world."""


class DurableFirst(Invariant):
    """No promise leaves an honest node, and no assignment, commitment or cheque is acknowledged, before the node's
    journal holds it."""

    name = "durable-first"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._broken: list[Violation] = []
        self._held: dict[tuple[int, bytes], None] = {}
        world.network.taps.append(self._tap)

    def on_second(self, now_ms: int) -> None:
        if self._broken:
            raise self._broken[0]

    def at_end(self) -> None:
        self.on_second(self.world.wheel.now_ms)

    def _tap(self, source: Endpoint, target: Endpoint, way: str, frame: bytes | None, about: bytes) -> None:
        assert isinstance(source, Site)
        assert isinstance(target, Site)
        if way == "gossip" or not source.kind.honest or frame is None:
            return
        if kind_of(frame) in PROMISES and not _is_courtesy(frame) and not self._is_durable(source, frame):
            self._broken.append(Violation(f"{source.name} sent a {_name(frame)} that its journal lacks"))
        if frame == b"" and target.kind.honest and _is_owed(source, about) and not self._is_durable(source, about):
            self._broken.append(Violation(f"{source.name} took a {_name(about)} that its journal lacks"))

    def _is_durable(self, site: Site, document: bytes) -> bool:
        key = site.index, document
        if key not in self._held and any(document in record for record in reversed(site.disk.records)):
            self._held[key] = None
        return key in self._held


def _is_courtesy(frame: bytes) -> bool:
    """A word of goodbye to those whose work is not needed (R12)."""
    return kind_of(frame) == Kind.VERDICT and opened(frame).body.judgement is d.Judgement.UNDECIDED


def _is_owed(site: Site, about: bytes) -> bool:
    """Whether an acknowledgement of this promises that it will not be forgotten. A commitment that came too late is
    acknowledged and dropped."""
    if kind_of(about) == Kind.COMMITMENT and site.core is not None:
        document = opened(about)
        found = site.core.requester.jobs.find(document.body.assignment, document.signer)
        return found is not None and found[1].commitment is not None and found[1].commitment.id == document.id
    return kind_of(about) in (Kind.ASSIGNMENT, Kind.CHEQUE)


def _name(frame: bytes) -> str:
    return Kind(kind_of(frame)).name.lower()


class JournalTellsAll(Invariant):
    """A node that would restart this very moment would know all its promises again: what its journal gives back is what
    it has in memory. One node is looked at every second, all at the end."""

    name = "journal-tells-all"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._turn = 0

    def on_second(self, now_ms: int) -> None:
        nodes = [(site, core) for site, core in self.honest_cores() if site.disk.records]
        if nodes:
            self._turn += 1
            self._compare(*nodes[self._turn % len(nodes)])

    def at_end(self) -> None:
        for site, core in [(site, core) for site, core in self.honest_cores() if site.disk.records][:COMPARED_MAX]:
            self._compare(site, core)

    @staticmethod
    def _compare(site: Site, core: PeerCore) -> None:
        fresh = site.make_core()
        for data in site.disk.written():
            fresh.replay(records.decode_record(data))
        for what, look in MEMORY.items():
            lives, replayed = look(core), look(fresh)
            if lives != replayed:
                raise Violation(f"the journal of {site.name} does not give back its {what}: {lives} became {replayed}")


def _slots(core: PeerCore) -> object:
    """The next link of each slot: what a reservation will name."""
    slots = [core.provider.leasing.slots.link(i) for i in range(len(core.provider.leasing.slots))]
    while slots and slots[-1][0] == 0:
        slots.pop()
    return slots


def _engagements(core: PeerCore) -> object:
    return {
        short(e.assignment): [short(x) for x in (e.commitment, e.failure, e.receipt) if x is not None]
        for e in core.provider._engagements.values()
    }


def _leases(core: PeerCore) -> object:
    """Those with work on them: what only waits may have run out, which nobody journals."""
    leases = core.provider.leasing._leases.values()
    return {short(x.reservation): (x.assignments, x.renewals) for x in leases if x.state == "working"}


def _chain(core: PeerCore) -> object:
    chain = core.provider.chain
    return [(short(x), short(chain.cheque(x.id))) for x in chain.receipts()]


def _accounts(core: PeerCore) -> object:
    accounts = [
        (peer.hex()[:8], a.earned, a.covered, a.received, a.promised, a.settled) for peer, a in core.ledger.accounts()
    ]
    return sorted(row for row in accounts if any(row[1:]))


def _jobs(core: PeerCore) -> object:
    return {job.name[:8]: (job.state, job.code, job.error, _is_here(job)) for job in core.requester.jobs}


def _is_here(job: Job) -> bool:
    """Whether the outputs are here. That they came is journaled by what follows: the first cheque, the end."""
    told = job.state == "done" or any(r.cheque is not None for r in job.team)
    return job.fetched and told and job.state != "failed"


def _replicas(core: PeerCore) -> object:
    settled = ("lost", "judged", "rejected", "owed", "paying", "paid")
    return {
        short(r.assignment): [
            r.state if r.state in settled else "open",
            *(short(x) for x in (r.commitment, r.verdict, r.receipt, *r.parts, r.cheque)),
        ]
        for job in core.requester.jobs
        for r in job.team
        if r.assignment is not None
    }


def _settlements(core: PeerCore) -> object:
    return sorted((short(intent.cheque), intent.amount) for intent in core.redeemer._open.values())


def _bans(core: PeerCore) -> object:
    return sorted(operator.hex()[:8] for operator in core.reputation.banned())


MEMORY: Final[dict[str, Callable[[PeerCore], object]]] = {
    "slots": _slots,
    "assignments": _engagements,
    "leases": _leases,
    "receipts and cheques": _chain,
    "accounts": _accounts,
    "tasks": _jobs,
    "replicas": _replicas,
    "settlements": _settlements,
    "bans": _bans,
}


def short(document: AnyDocument | None) -> str:
    """The first digits of an id."""
    return document.id.hex()[:8] if document is not None else "-"
