"""How many bytes a second a peer may cost us: a token bucket for each, which outlives its connections.

The buckets here by default are those for what a peer sends us unasked; blobs that we serve have others.
What comes in is charged, except the data on streams that we opened: answers and blobs were asked for, and their windows
bound them. A stream that is opened and a control frame count as more bytes than they have, by what they cost us. Who
has spent its allowance is not read from for a while, so that TCP slows it down; nothing is lost, and nobody is blamed.
Rule F1 of docs/spec/transport.md.
"""

from __future__ import annotations

from typing import Final

UNASKED_BYTES_PER_S: Final = 8 * 1024 * 1024
"""In the long run; gossip of a busy mesh is a hundredth of it."""
UNASKED_BYTES_BURST: Final = 32 * 1024 * 1024
STREAM_COST_BYTES: Final = 4 * 1024
"""Of a stream the peer opens: a task, its negotiation and its end, about 0.3 ms. 2,048 a second in the long run."""
CONTROL_COST_BYTES: Final = 128
"""Of a frame without data, about 3 us."""
PAUSE_S_MAX: Final = 1.0
PEERS_MAX: Final = 4_096


class Allowance:
    """One peer's bucket."""

    __slots__ = ("_at_s", "_burst", "_bytes", "_per_s")

    def __init__(self, now_s: float, per_s: int = UNASKED_BYTES_PER_S, burst: int = UNASKED_BYTES_BURST) -> None:
        self._per_s, self._burst = float(per_s), float(burst)
        self._bytes, self._at_s = self._burst, now_s

    def spend(self, size: int, now_s: float) -> float:
        """Take `size` bytes; for how many seconds to leave it at that."""
        self._bytes = min(self._burst, self._bytes + (now_s - self._at_s) * self._per_s) - size
        self._at_s = now_s
        return 0.0 if self._bytes >= 0 else min(PAUSE_S_MAX, -self._bytes / self._per_s)


class Allowances:
    """Buckets by public key; the least recently used bucket is forgotten first."""

    def __init__(self, per_s: int = UNASKED_BYTES_PER_S, burst: int = UNASKED_BYTES_BURST) -> None:
        self._per_s, self._burst = per_s, burst
        self._buckets: dict[bytes, Allowance] = {}

    def of(self, peer: bytes, now_s: float) -> Allowance:
        bucket = self._buckets.pop(peer, None) or Allowance(now_s, self._per_s, self._burst)
        self._buckets[peer] = bucket
        while len(self._buckets) > PEERS_MAX:
            del self._buckets[next(iter(self._buckets))]
        return bucket
