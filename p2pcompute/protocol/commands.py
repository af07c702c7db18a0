"""What a peer's owner may ask of it."""

from __future__ import annotations

import dataclasses
from typing import Final

from p2pcompute.protocol.matching import ANYBODY, Needs
from p2pcompute.wire.documents import EquivocationProof, Offer
from p2pcompute.wire.policy import Policy

DEFAULT: Final = Policy()


@dataclasses.dataclass(frozen=True, slots=True)
class Submit:
    """Have a manifest computed. `job` is 16 random bytes; its blobs are already in the local store. `budget` is
    micro-credits; `needs` is what is asked of providers beyond the manifest's own limits. `stored`: for the
    policy sample, the places in the manifest of the buffers that each launch may store to. `session`: 16 random bytes
    that name a session, which keeps leases with so many providers; empty for none. `addresses`: where
    this peer is reached by providers that answer its demand; empty: it states none."""

    job: bytes
    manifest: bytes
    policy: Policy = DEFAULT
    stored: tuple[tuple[int, ...], ...] = ()
    budget: int = 0
    needs: Needs = ANYBODY
    timeout_ms: int = 600_000
    session: bytes = b""
    session_providers: int = 0
    addresses: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class StopJob:
    """Give a job up."""

    job: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class CloseSession:
    """No more jobs for this session: its leases go back."""

    session: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Publish:
    """Offer capacity on these terms, and keep the offer fresh. `floor`: micro-credits of a device-second that demands
    are answered for, below the price of the terms; 0: never below it."""

    terms: Offer
    floor: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Withdraw:
    """Take the offer back; `drain` also refuses new work, so that the peer can stop once its runs are done."""

    drain: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Pause:
    """No offer and no new work for a while; `paused` False ends it. An offer that was withdrawn stays so."""

    paused: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Ban:
    """No more business with this operator; an empty reason lifts the ban."""

    operator: bytes
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Accuse:
    """Ban the operator of the key that this proof convicts, and tell everybody."""

    proof: EquivocationProof


@dataclasses.dataclass(frozen=True, slots=True)
class ValueArrived:
    """So many micro-credits of value came from a peer, for its cheques. `reference` names the transfer, so that it is
    not booked twice; empty: nobody looks."""

    peer: bytes
    amount: int
    reference: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Announce:
    """Spread a signed Revocation of one's own making."""

    document: bytes


Command = Submit | StopJob | CloseSession | Publish | Withdraw | Pause | Ban | Accuse | ValueArrived | Announce
