"""What a router has seen and done, for metrics and for people."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(slots=True)
class Counters:
    """Totals since the start; they only grow."""

    published: int = 0
    accepted: int = 0
    """First copies of valid messages."""
    duplicates: int = 0
    ignored: int = 0
    """Messages beyond a budget, or that the validator let pass unheeded."""
    rejected: int = 0
    verified: int = 0
    """Signatures checked."""
    unread: int = 0
    """Frames of graylisted peers."""
    dropped: int = 0
    """Frames of ours that the transport dropped, because their receiver read too slowly."""
    suppressed: int = 0
    """Messages not sent because their receiver has them (IDONTWANT)."""
    broken_promises: int = 0
    recommended: int = 0
    """Peers dialled on another's word."""
