"""A provider's engagement: data and transition table, no behaviour of its own."""

from __future__ import annotations

import dataclasses
from typing import Final

from p2pcompute.protocol import pricing
from p2pcompute.protocol.lease import Lease
from p2pcompute.protocol.machine import follow
from p2pcompute.wire import documents as d
from p2pcompute.wire import limits
from p2pcompute.wire.documents import AnyDocument
from p2pcompute.wire.manifest import Manifest

VERDICT_WAIT_MS: Final = limits.DEVICE_MS_MAX
"""How long after its own deadline a provider waits for the verdict: replicas that are recruited because the first ones
disagree may run as long as any job may."""

TRANSITIONS: Final[dict[tuple[str, str], str]] = {
    ("fetching", "fetched manifest"): "fetching",
    ("fetching", "fetched inputs"): "running",
    ("fetching", "fail"): "failed",
    ("fetching", "abort"): "closed",
    ("running", "commit"): "committed",
    ("running", "fail"): "failed",
    ("running", "abort"): "closed",
    ("failed", "acknowledged"): "closed",
    ("failed", "abort"): "closed",
    ("failed", "expire"): "closed",
    ("committed", "acknowledged"): "awaiting verdict",
    ("committed", "reveal"): "awaiting verdict",
    ("committed", "judge"): "closed",
    ("committed", "issue"): "unpaid",
    ("committed", "abort"): "closed",
    ("committed", "expire"): "closed",
    ("awaiting verdict", "reveal"): "awaiting verdict",
    ("awaiting verdict", "acknowledged"): "awaiting verdict",
    ("awaiting verdict", "judge"): "closed",
    ("awaiting verdict", "issue"): "unpaid",
    ("awaiting verdict", "abort"): "closed",
    ("awaiting verdict", "expire"): "closed",
    ("unpaid", "pay"): "closed",
}
TOLD: Final = ("failed", "committed", "awaiting verdict")
"""States in which its requester is told something, until it answers."""


@dataclasses.dataclass(slots=True)
class Engagement:
    """One assignment and all that grew from it. `lease` is the one whose slot it works on, while it does."""

    requester: bytes
    assignment: AnyDocument
    lease: Lease | None
    state: str = "fetching"
    manifest: Manifest | None = None
    manifest_bytes: bytes = b""
    opening: d.RootReveal | None = None
    commitment: AnyDocument | None = None
    moved_bytes: int = 0
    is_shown: bool = False
    """Whether the requester sees the outputs before it judges, since it compares their values."""
    output_sizes: tuple[int, ...] = ()
    paid: int = 0
    """Of the receipt, in parts."""
    parts: list[AnyDocument] = dataclasses.field(default_factory=list)
    """The last cheque for a part of each epoch, the newest last."""
    released: int = 0
    """The value of what the requester may read."""
    failure: AnyDocument | None = None
    tell_by_wall_ms: int = 0
    """Until then its requester is told of the commitment, if it does not answer."""
    asked: int = 0
    """How often it was asked for its verdict, in this life."""
    receipt: AnyDocument | None = None
    verdict: AnyDocument | None = None

    def step(self, event: str) -> None:
        self.state = follow(TRANSITIONS, self.state, event)

    @property
    def claim(self) -> int:
        """The most that its requester will owe for the work, as long as it is done and not judged."""
        if self.opening is None or self.state not in ("committed", "awaiting verdict"):
            return 0
        return pricing.price_due(self.assignment.body, self.opening.device_us, self.moved_bytes)

    @property
    def verdict_by_wall_ms(self) -> int:
        """After this time no verdict is waited for: the commitment's own end; only once committed."""
        assert self.commitment is not None
        return self.commitment.expires_at

    @property
    def letter(self) -> tuple[AnyDocument, int] | None:
        """What is told to its requester in this state, and until when."""
        if self.state == "failed" and self.failure is not None:
            return self.failure, self.failure.expires_at
        if self.state == "committed" and self.commitment is not None:
            return self.commitment, min(self.tell_by_wall_ms, self.commitment.expires_at)
        if self.state == "awaiting verdict" and self.commitment is not None:
            return self.commitment, self.commitment.expires_at
        return None

    @property
    def token(self) -> str:
        """Names the engagement's jobs, fetches and grants."""
        return self.assignment.id.hex()
