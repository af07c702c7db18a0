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
    one. `until_wall_ms` ends a reservation without work; one that is at work has no end of its own (0)."""

    n: int = 0
    previous: bytes = NONE
    closes: bytes = NONE
    holder: bytes = b""
    requester: bytes = b""
    until_wall_ms: int = 0


class Slots:
    """All slots of a provider."""

    def __init__(self, count: int) -> None:
        self._slots = [Slot() for _ in range(count)]

    def add(self) -> None:
        """One more slot."""
        self._slots.append(Slot())

    def expired(self, now: Now) -> list[bytes]:
        """The reservations without work that ran out."""
        return [s.holder for s in self._slots if s.holder and 0 < s.until_wall_ms <= now.wall_ms]

    def free(self) -> int | None:
        """The number of a slot that nobody holds; None when there is none."""
        return next((i for i, s in enumerate(self._slots) if not s.holder), None)

    def unassigned(self) -> list[bytes]:
        """Who holds a slot without work for it, once for each."""
        return [s.requester for s in self._slots if s.holder and s.until_wall_ms]

    def link(self, number: int) -> tuple[int, bytes, bytes]:
        """(n, previous, closes) of the next reservation of a slot."""
        slot = self._slots[number]
        return slot.n, slot.previous, slot.closes

    def holder(self, number: int) -> bytes:
        """The reservation that holds a slot; empty when none does."""
        return self._slots[number].holder if number < len(self._slots) else b""

    def hold(self, number: int, reservation: bytes, requester: bytes, until_wall_ms: int) -> None:
        """The signed reservation is in force: of a free slot, or in place of the one that it renews."""
        while number >= len(self._slots):
            self.add()
        slot = self._slots[number]
        slot.n, slot.previous, slot.closes = slot.n + 1, reservation, NONE
        slot.holder, slot.requester, slot.until_wall_ms = reservation, requester, until_wall_ms

    def assign(self, reservation: bytes) -> None:
        """The reservation no longer runs out by itself."""
        for slot in self._slots:
            if slot.holder == reservation:
                slot.until_wall_ms = 0

    def idle(self, reservation: bytes, until_wall_ms: int) -> None:
        """The reservation is without work again."""
        for slot in self._slots:
            if slot.holder == reservation:
                slot.until_wall_ms = until_wall_ms

    def close(self, reservation: bytes, by: bytes) -> None:
        """The document `by` ended the reservation, or (NONE) it ran out: its slot is free."""
        for slot in self._slots:
            if slot.holder == reservation:
                slot.holder, slot.closes = b"", by

    @property
    def busy(self) -> int:
        """How many slots are held."""
        return sum(1 for s in self._slots if s.holder)

    def __len__(self) -> int:
        return len(self._slots)
