"""How many bytes all connections together may hold: received and not read yet, queued and not taken yet.

Each connection has bounds of its own (yamux.Limits, channels.QUEUE_BYTES_MAX); five hundred peers that exhaust theirs
at the same time would still fill a machine. Beyond the common bound, whoever holds the most is let go. Rule F5 of
docs/spec/transport.md.
"""

from __future__ import annotations

import logging
from typing import Final, Protocol

log = logging.getLogger(__name__)

BUFFERED_BYTES_MAX: Final = 256 * 1024 * 1024
"""Over all connections. What honest peers cause is a thousandth of it."""


class Holder(Protocol):
    """Something that buffers what a peer sends or does not take."""

    def shed(self) -> None:
        """Let go of everything, and of the peer."""


class Memory:
    """The common account."""

    def __init__(self, bytes_max: int = BUFFERED_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._held: dict[Holder, int] = {}
        self.bytes = 0

    def holds(self, holder: Holder, size: int) -> None:
        """`holder` buffers `size` bytes now; nothing, when it has ended."""
        self.bytes += size - self._held.get(holder, 0)
        if size:
            self._held[holder] = size
        else:
            self._held.pop(holder, None)
        if self.bytes > self._bytes_max:
            self._relieve()

    def _relieve(self) -> None:
        most = max(self._held, key=self._held.__getitem__)
        log.warning("all connections together buffer %d bytes: the one with the most ends", self.bytes)
        self.bytes -= self._held.pop(most)
        most.shed()
