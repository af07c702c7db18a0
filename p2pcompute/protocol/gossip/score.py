"""What a peer has done wrong lately: a sum of penalties that halves every minute.

The full score of gossipsub v1.1 (P1 to P7) will stand here; until then only faults count, and nobody gains anything.
Faults outlive a connection, so that reconnecting clears nothing.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from typing import Final

HALF_LIFE_MS: Final = 60_000
DISTRUST: Final = 10.0
"""From here on a peer is kept out of meshes, and neither told of messages nor asked for them."""
DISCONNECT: Final = 30.0
RECORDS_MAX: Final = 4_096
_FORGOTTEN: Final = 0.01


class Fault(enum.Enum):
    """What a peer can do wrong."""

    UNDECODABLE = "a frame that is no RPC"
    MALFORMED = "a message that breaks StrictSign"
    SIGNATURE = "a signature that does not hold"
    REJECTED = "a message that is not valid"
    GRAFT_IN_BACKOFF = "a GRAFT before its time"
    BROKEN_PROMISE = "a message advertised and not sent"
    FLOOD = "more advertisements than allowed"


PENALTY: Final = {
    Fault.UNDECODABLE: 15.0,  # two cost the connection; no honest peer sends one
    Fault.MALFORMED: 5.0,
    Fault.SIGNATURE: 6.0,
    Fault.REJECTED: 5.0,
    Fault.GRAFT_IN_BACKOFF: 1.0,
    Fault.BROKEN_PROMISE: 1.0,  # happens to honest peers whose frames are dropped under load
    Fault.FLOOD: 0.5,
}


@dataclasses.dataclass(slots=True)
class _Record:
    value: float
    at_ms: int


class Scores:
    """Penalties by peer. The oldest record goes when there are too many."""

    def __init__(self) -> None:
        self._records: dict[bytes, _Record] = {}

    def penalty(self, peer: bytes, now_ms: int) -> float:
        record = self._records.get(peer)
        if record is None:
            return 0.0
        return record.value * math.exp2((record.at_ms - now_ms) / HALF_LIFE_MS)

    def blame(self, peer: bytes, fault: Fault, now_ms: int, times: int = 1) -> bool:
        """Add a fault; whether the peer is now to be disconnected."""
        value = self.penalty(peer, now_ms) + PENALTY[fault] * times
        self._records.pop(peer, None)
        self._records[peer] = _Record(value, now_ms)
        if len(self._records) > RECORDS_MAX:
            del self._records[next(iter(self._records))]
        return value >= DISCONNECT

    def trusted(self, peer: bytes, now_ms: int) -> bool:
        return not self._records or self.penalty(peer, now_ms) < DISTRUST

    def decay(self, now_ms: int) -> None:
        """Forget what has faded."""
        for peer in [peer for peer in self._records if self.penalty(peer, now_ms) < _FORGOTTEN]:
            del self._records[peer]
