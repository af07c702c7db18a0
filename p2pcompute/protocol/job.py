"""A requester's job and its replicas: data and transition tables, no behaviour of their own."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from p2pcompute.protocol import pricing
from p2pcompute.protocol.machine import follow
from p2pcompute.protocol.matching import Listing, Needs, network_of
from p2pcompute.protocol.trust import Kind
from p2pcompute.protocol.verification import Answer
from p2pcompute.wire.documents import AnyDocument, Assignment, Quote, RootReveal
from p2pcompute.wire.manifest import Manifest
from p2pcompute.wire.policy import Policy

if TYPE_CHECKING:
    from p2pcompute.protocol.session import Session

REPLICA: Final[dict[tuple[str, str], str]] = {
    ("reserving", "assign"): "assigned",
    ("reserving", "lose"): "lost",
    ("assigned", "accept"): "running",
    ("assigned", "commit"): "committed",
    ("assigned", "lose"): "lost",
    ("running", "accept"): "running",
    ("running", "commit"): "committed",
    ("running", "lose"): "lost",
    ("committed", "ask"): "revealing",
    ("committed", "lose"): "lost",
    ("revealing", "ask"): "revealing",
    ("revealing", "reveal"): "revealed",
    ("revealing", "lose"): "lost",
    ("revealed", "lose"): "lost",
    ("revealed", "fetch"): "showing",
    ("showing", "fetched"): "shown",
    ("showing", "lose"): "lost",
    ("shown", "agree"): "judged",
    ("shown", "reject"): "rejected",
    ("shown", "lose"): "lost",
    ("revealed", "dispute"): "disputed",
    ("disputed", "dispute"): "disputed",
    ("disputed", "compare"): "revealed",
    ("disputed", "inspect"): "inspecting",
    ("disputed", "lose"): "lost",
    ("revealed", "inspect"): "inspecting",
    ("inspecting", "inspect"): "inspecting",
    ("inspecting", "compare"): "revealed",
    ("inspecting", "agree"): "judged",
    ("inspecting", "reject"): "rejected",
    ("inspecting", "lose"): "lost",
    ("revealed", "agree"): "judged",
    ("revealed", "reject"): "rejected",
    ("judged", "receipt"): "owed",
    ("judged", "lose"): "lost",
    ("owed", "lose"): "lost",
    ("owed", "cheque"): "paying",
    ("paying", "paid"): "paid",
}
"""State of one replica, seen from the requester."""

JOB: Final[dict[tuple[str, str], str]] = {
    ("working", "judge"): "settling",
    ("working", "fail"): "failed",
    ("settling", "reopen"): "working",
    ("settling", "done"): "done",
    ("settling", "fail"): "failed",
}

PENDING: Final = ("reserving", "assigned", "running")
COMMITTED: Final = ("committed", "revealing", "revealed", "showing", "shown", "disputed", "inspecting")
OPENED: Final = ("revealed", "shown")
LIVE: Final = PENDING + COMMITTED


@dataclasses.dataclass(slots=True)
class Replica:
    """One provider's part in a job. `device` is the class of device it offered."""

    peer: bytes
    operator: bytes
    addresses: tuple[str, ...]
    price_ceiling: int
    device: str = ""
    numeric_class: str = ""
    state: str = "reserving"
    took_ms: int = 0
    """From the assignment to the commitment."""
    is_examined: bool = False
    """Whether its task is computed here as well."""
    late: bool = False
    """It takes longer than such work does: somebody else was, or is being, put to it as well."""
    attempts: int = 0
    shown: int = 0
    """Leaves of its states that disputes took."""
    fetch_failures: int = 0
    quote: Quote | None = None
    request: bytes = b""
    assignment: AnyDocument | None = None
    commitment: AnyDocument | None = None
    reveal: AnyDocument | None = None
    verdict: AnyDocument | None = None
    receipt: AnyDocument | None = None
    cheque: AnyDocument | None = None
    parts: list[AnyDocument] = dataclasses.field(default_factory=list)
    """The last cheque for a part of the receipt of each epoch, the newest last."""
    part_sent: bool = False
    """Whether it is on its way, or to be repeated by a timer."""
    part_taken: bool = False
    """Whether the payee said, in this life, that it has it."""
    evidence: tuple[bytes, int] = (b"", 0)
    """Root and size of what shows to others that it was wrong."""
    error: str = ""

    def step(self, event: str) -> None:
        self.state = follow(REPLICA, self.state, event)
        self.attempts = 0

    @property
    def assigned_wall_ms(self) -> int:
        """When; only once assigned."""
        assert self.assignment is not None
        return self.assignment.issued_at

    @property
    def part(self) -> AnyDocument | None:
        """The last cheque for a part of its receipt."""
        return self.parts[-1] if self.parts else None

    @property
    def paid_in_parts(self) -> int:
        """Of its receipt, so far."""
        return int(self.part.body.part) if self.part is not None else 0

    @property
    def part_pending(self) -> bool:
        """Whether no further cheque for its receipt may be written yet (K9)."""
        return self.part is not None and not self.part_taken

    @property
    def terms(self) -> Assignment:
        """The assignment's body; only once assigned."""
        assert self.assignment is not None
        body = self.assignment.body
        assert isinstance(body, Assignment)
        return body


@dataclasses.dataclass(slots=True)
class Dispute:
    """Two results that differ in a buffer after a step, which all before it have in common. `byte`: one in which they
    do, once it is known; `is_asked`: it is being looked for."""

    step: int
    buffer: int
    left: Replica
    right: Replica
    byte: int | None = None
    is_asked: bool = False
    clean: int = 0
    """Sides whose block is as it was recomputed."""

    @property
    def sides(self) -> tuple[Replica, Replica]:
        return self.left, self.right


@dataclasses.dataclass(slots=True)
class Round:
    """One round of recruiting: who was probed (by probe id), who quoted, how many are wanted."""

    wanted: int
    asked: dict[bytes, Listing]
    quotes: list[tuple[Listing, AnyDocument]]
    begin_mono_ms: int
    hurry_mono_ms: int
    end_mono_ms: int
    known: int
    """From how many those asked could be drawn."""
    probes: int
    silent: int = 0
    """Of those probed so far."""


@dataclasses.dataclass(slots=True)
class Job:
    """What the user asked for, and how far it is. `target` is the number of replicas wanted now; it grows when they
    disagree. `quorum` of them must agree: one, while an operator's word suffices. Money is micro-credits."""

    id: bytes
    manifest: Manifest
    manifest_bytes: bytes
    manifest_id: bytes
    manifest_root: bytes
    policy: Policy
    quorum: int
    budget: int
    needs: Needs
    deadline_wall_ms: int
    stored: tuple[tuple[int, ...], ...] = ()
    state: str = "working"
    target: int = 0
    team: list[Replica] = dataclasses.field(default_factory=list)
    round: Round | None = None
    dry_rounds: int = 0
    resting: bool = False
    why_waiting: str = ""
    refusals: list[str] = dataclasses.field(default_factory=list)
    declines: dict[bytes, int] = dataclasses.field(default_factory=dict)
    busy: dict[bytes, None] = dataclasses.field(default_factory=dict)
    """Operators that gave no quote, until all were asked; `more`: whether the last round left somebody out."""
    more: bool = False
    spare: list[tuple[Listing, AnyDocument]] = dataclasses.field(default_factory=list)
    """Quotes of the last round that were not chosen, the cheapest first."""
    answer: Answer | None = None
    fetching: bytes = b""
    fetched: bool = False
    code: int = 0
    error: str = ""
    compared: list[Replica] = dataclasses.field(default_factory=list)
    """Whose results are being compared, in the order in which they are named."""
    late_ms: int = 0
    """After how long a replica is late."""
    backups: int = 0
    """How many replicas were late so far."""
    dispute: Dispute | None = None
    """The one that the referee is at, or the last."""
    undecided: bool = False
    """No block decides between these results: their number does."""
    fault: str = ""
    """What recomputing a block showed to be wrong with the kernel."""
    doubt: str = ""
    """Why a result that was believed unchecked should be computed again."""
    session: Session | None = None
    addresses: tuple[str, ...] = ()
    demand: AnyDocument | None = None
    """What this job states that it lacks, while it does."""
    proposals: dict[bytes, Listing] = dataclasses.field(default_factory=dict)
    """Providers that proposed themselves for it, by key."""

    def step(self, event: str) -> None:
        self.state = follow(JOB, self.state, event)

    @property
    def name(self) -> str:
        return self.id.hex()

    @property
    def over(self) -> bool:
        return self.state in ("done", "failed")

    @property
    def at_rest(self) -> bool:
        """Over, and no receipt or cheque is under way: the journal will hold nothing more of it."""
        return self.over and not self.within("judged", "owed", "paying")

    def within(self, *states: str) -> list[Replica]:
        """The replicas in any of these states, in order of engagement."""
        return [r for r in self.team if r.state in states]

    @property
    def punctual(self) -> list[Replica]:
        """Those at work or done who are not late."""
        return [r for r in self.within(*LIVE) if not r.late]

    @property
    def lacking(self) -> int:
        """How many more replicas are wanted."""
        return self.target - len(self.punctual)

    def taken(self, *, lost: bool) -> list[bytes | str]:
        """The operators engaged for this job and their networks; with `lost`, also those whose replica was lost. Who
        gave a receipt and then withheld what it was for is asked no more."""
        team = [r for r in self.team if lost or r.state != "lost" or r.receipt is not None]
        networks = [network for r in team if (network := network_of(r.addresses))]
        return [*(r.operator for r in team), *networks]

    def committed_spend(self) -> int:
        """The most this job can still cost: the ceilings of all replicas that were not lost."""
        return sum(r.price_ceiling for r in self.team if r.state != "lost")

    @property
    def checked(self) -> bool:
        """Whether more than one operator's word is asked for."""
        return self.quorum > 1

    def replicate(self) -> None:
        """One operator's word does not suffice (any more)."""
        if not self.checked:
            self.quorum = self.policy.quorum
            self.target = max(self.target, self.policy.replicas)

    @property
    def numeric_class(self) -> str:
        """In which results of this job are compared by their values; "" where none is settled."""
        engaged = (r.numeric_class for r in self.team if r.state not in ("reserving", "lost"))
        return next(engaged, "") if self.manifest.is_tolerant else ""

    def reopen(self) -> None:
        """What was agreed cannot be had: others have to compute it again."""
        self.step("reopen")
        self.answer, self.fetching, self.dry_rounds = None, b"", 0
        self.dispute, self.undecided = None, False
        self.target = len(self.within(*LIVE)) + (self.policy.replicas if self.checked else 1)

    def kind_of(self, replica: Replica) -> Kind:
        """What trust in this replica's result is about."""
        return Kind(replica.operator, replica.device, self.manifest.ptx_root)

    def votes(self) -> list[tuple[bytes, RootReveal]]:
        """(operator, opening) of every replica that opened its commitment and is still in the running."""
        return [(r.operator, r.reveal.body) for r in self.within(*OPENED) if r.reveal is not None]

    def replica_of(self, assignment_id: bytes) -> Replica | None:
        return next((r for r in self.team if r.assignment is not None and r.assignment.id == assignment_id), None)

    def assignment(self, replica: Replica, reservation: bytes, commit_by: int, nonce_commitment: bytes) -> Assignment:
        """The body of a replica's assignment, at the price it quoted."""
        assert replica.quote is not None
        return Assignment(
            reservation=reservation,
            manifest=self.manifest_id,
            manifest_root=self.manifest_root,
            manifest_size_bytes=len(self.manifest_bytes),
            price_per_device_s=replica.quote.price_per_device_s,
            price_per_gb=replica.quote.price_per_gb,
            price_minimum=replica.quote.price_minimum,
            price_ceiling=replica.price_ceiling,
            commit_by=commit_by,
            policy=self.policy,
            nonce_commitment=nonce_commitment,
        )

    def traffic_bytes(self, *, with_outputs: bool = True) -> int:
        """What a replica is paid to move."""
        return pricing.traffic_bytes(self.manifest, len(self.manifest_bytes), with_outputs=with_outputs)

    def evidence(self) -> list[bytes]:
        """Every signed document of this job, in the order of the flow, for an auditor."""
        out: list[bytes] = []
        for r in self.team:
            documents = (r.assignment, r.commitment, r.reveal, r.verdict, r.receipt, *r.parts, r.cheque)
            out += [x.raw for x in documents if x is not None]
        return out
