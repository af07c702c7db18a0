"""A provider's slots: who holds which, and the signed chain that shows none was promised twice.

The provider alone serialises its capacity. The n-th reservation of a slot names the one before it and the document that
ended that one; two different reservations with the same (key, epoch, slot, n) prove a double booking to anyone.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from p2pcompute.protocol.machine import Now

NONE: Final = bytes(32)
"""The id where a chain has no earlier document."""


@dataclasses.dataclass(slots=True)
class Slot:
    """One unit of capacity. `holder` is the id of the reservation in force; `closes` the document that ended the last
    one. `until_wall_ms` ends an unassigned reservation; an assigned one has no end of its own (0)."""

    n: int = 0
    previous: bytes = NONE
    closes: bytes = NONE
    holder: bytes = b""
    requester: bytes = b""
    until_wall_ms: int = 0


class Slots:
    """All slots of a provider."""

    UNASSIGNED_PER_REQUESTER_MAX: Final = 8

    def __init__(self, count: int) -> None:
        self._slots = [Slot() for _ in range(count)]

    def add(self) -> None:
        """One more slot."""
        self._slots.append(Slot())

    def expire(self, now: Now) -> list[bytes]:
        """Free the slots whose unassigned reservation ran out; their reservation ids."""
        gone = []
        for slot in self._slots:
            if slot.holder and 0 < slot.until_wall_ms <= now.wall_ms:
                gone.append(slot.holder)
                slot.holder, slot.closes = b"", NONE
        return gone

    def free(self, requester: bytes) -> int | None:
        """The number of a slot this requester may have now; None when there is none."""
        unassigned = sum(1 for s in self._slots if s.holder and s.until_wall_ms and s.requester == requester)
        if unassigned >= self.UNASSIGNED_PER_REQUESTER_MAX:
            return None
        return next((i for i, s in enumerate(self._slots) if not s.holder), None)

    def link(self, number: int) -> tuple[int, bytes, bytes]:
        """(n, previous, closes) of the next reservation of a slot."""
        slot = self._slots[number]
        return slot.n, slot.previous, slot.closes

    def hold(self, number: int, reservation: bytes, requester: bytes, until_wall_ms: int) -> bytes:
        """The signed reservation is in force. Also replays one from the journal; since nobody journals an expiry, the
        slot may then still be held by one that had run out: its id, else empty."""
        while number >= len(self._slots):
            self.add()
        slot = self._slots[number]
        displaced = slot.holder
        slot.n, slot.previous, slot.closes = slot.n + 1, reservation, NONE
        slot.holder, slot.requester, slot.until_wall_ms = reservation, requester, until_wall_ms
        return displaced

    def assign(self, reservation: bytes) -> None:
        """The reservation no longer runs out by itself."""
        for slot in self._slots:
            if slot.holder == reservation:
                slot.until_wall_ms = 0

    def close(self, reservation: bytes, by: bytes) -> None:
        """The document `by` ended the reservation: its slot is free."""
        for slot in self._slots:
            if slot.holder == reservation:
                slot.holder, slot.closes = b"", by

    @property
    def busy(self) -> int:
        """How many slots are held."""
        return sum(1 for s in self._slots if s.holder)

    def __len__(self) -> int:
        return len(self._slots)
