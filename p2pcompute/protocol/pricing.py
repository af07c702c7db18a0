"""What a replica costs: device time and the bytes that travel, at the rates of an offer, a quote or an assignment.

Rules F7 of docs/spec/documents.md and V7 of docs/spec/verification.md. Integers of micro-credits, bytes and
microseconds only; every sum is exact, and rounded up once.
"""

from __future__ import annotations

from typing import Final, Protocol

from p2pcompute.wire import limits
from p2pcompute.wire.documents import Assignment
from p2pcompute.wire.manifest import Manifest

GB: Final = 10**9
"""Bytes in the gigabyte of `price_per_gb`."""
US_PER_S: Final = 1_000_000


class Rates(Protocol):
    """What an Offer, a Quote and an Assignment ask for, in micro-credits."""

    @property
    def price_per_device_s(self) -> int: ...
    @property
    def price_per_gb(self) -> int: ...
    @property
    def price_minimum(self) -> int: ...


def traffic_bytes(manifest: Manifest, manifest_bytes: int, *, with_outputs: bool) -> int:
    """The bytes one replica is paid to move: the manifest, the PTX and every distinct input to it, and, when the run
    has outputs, these back."""
    back = sum(b.size_bytes for b in manifest.outputs) if with_outputs else 0
    return manifest_bytes + sum(manifest.blobs.values()) + back


def price(rates: Rates, device_us: int, moved_bytes: int) -> int:
    """Micro-credits for so much device time and so many bytes; never more than a document can state."""
    parts = rates.price_per_device_s * device_us * (GB // US_PER_S) + rates.price_per_gb * moved_bytes
    return min(limits.PRICE_MAX, max(rates.price_minimum, -(-parts // GB)))


def price_ceiling(rates: Rates, device_ms_max: int, moved_bytes: int) -> int:
    """The most one replica can cost: its whole device time, and all that can travel."""
    return price(rates, device_ms_max * 1_000, moved_bytes)


def paid_us(claimed_us: int, lowest_us: int) -> int:
    """Microseconds of a claim that count in a group whose lowest claim is this: up to a quarter more."""
    return min(claimed_us, lowest_us * 5 // 4)


def price_due(assignment: Assignment, device_us: int, moved_bytes: int) -> int:
    """Micro-credits for one agreeing replica, of whose claim so much counts."""
    return min(price(assignment, device_us, moved_bytes), assignment.price_ceiling)


def price_floor(assignment: Assignment, moved_bytes: int) -> int:
    """The least an agreeing replica is paid, whatever the others claimed: its provider can tell by itself."""
    return price_due(assignment, 0, moved_bytes)
