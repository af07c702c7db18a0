"""Who brought a message soon enough after its first copy to have delivered it too (P3)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

DELIVERIES_MAX: Final = 10_000
"""Messages whose window is open; the oldest close first."""


class Window:
    """Messages judged within the last milliseconds, and who has delivered each."""

    def __init__(self) -> None:
        self.open: OrderedDict[bytes, tuple[int, dict[bytes, None]]] = OrderedDict()
        """Until when, and who has delivered it; by message id."""

    def opened(self, message_id: bytes, peer: bytes, until_ms: int) -> None:
        self.open[message_id] = until_ms, {peer: None}
        if len(self.open) > DELIVERIES_MAX:
            self.open.popitem(last=False)

    def counts(self, message_id: bytes, peer: bytes, now_ms: int) -> bool:
        """Whether this further copy is one in time, and the peer's first."""
        found = self.open.get(message_id)
        if found is None or now_ms > found[0] or peer in found[1]:
            return False
        found[1][peer] = None
        return True

    def expire(self, now_ms: int) -> None:
        while self.open:
            message_id, (until_ms, _) = next(iter(self.open.items()))
            if until_ms >= now_ms:
                return
            del self.open[message_id]
