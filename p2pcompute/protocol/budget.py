"""How much work one peer may cause: a token bucket for each, asked before any signature is checked."""

from __future__ import annotations

from typing import Final

from p2pcompute.protocol.machine import Now

RATE_PER_S: Final = 200
"""Documents a peer may have verified in the long run: a few per cent of one core (60 us each)."""
BURST: Final = 1_000
PEERS_MAX: Final = 10_000


class Budget:
    """Token buckets by peer; the least recently used bucket is forgotten first."""

    def __init__(self) -> None:
        self._buckets: dict[bytes, tuple[float, int]] = {}

    def spend(self, now: Now, peer: bytes) -> bool:
        """Take one token of `peer`; False when it has none left."""
        tokens, at = self._buckets.pop(peer, (float(BURST), now.mono_ms))
        tokens = min(float(BURST), tokens + (now.mono_ms - at) * RATE_PER_S / 1000)
        self._buckets[peer] = (tokens - 1 if tokens >= 1 else tokens), now.mono_ms
        while len(self._buckets) > PEERS_MAX:
            del self._buckets[next(iter(self._buckets))]
        return tokens >= 1
