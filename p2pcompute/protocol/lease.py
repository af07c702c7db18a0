"""A provider's lease: a slot held for a requester, for one task or for many. Data and transition table."""

from __future__ import annotations

import dataclasses
from typing import Final

from p2pcompute.protocol.machine import follow
from p2pcompute.wire.documents import AnyDocument

LEASE: Final[dict[tuple[str, str], str]] = {
    ("held", "assign"): "working",
    ("held", "renew"): "held",
    ("held", "release"): "closed",
    ("held", "expire"): "closed",
    ("working", "renew"): "working",
    ("working", "next"): "held",
    ("working", "last"): "closed",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Caps:
    """How many slots may be held without work for them: by one requester, and by all together who never paid here.
    `renewals`: how often in a row a lease is prolonged without work."""

    per_requester: int = 8
    strangers: int = 16
    renewals: int = 8


CAPS: Final = Caps()


@dataclasses.dataclass(slots=True)
class Lease:
    """`reservation` is the newest one, `assignments` how many more it is good for, at the prices of its quote;
    `price_ceiling`: the most that one of them may cost."""

    requester: bytes
    reservation: AnyDocument
    price_per_device_s: int
    price_per_gb: int
    price_minimum: int
    price_ceiling: int
    assignments: int
    renewals: int = 0
    state: str = "held"

    def step(self, event: str) -> None:
        self.state = follow(LEASE, self.state, event)
