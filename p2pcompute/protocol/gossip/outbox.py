"""What is to be said to each peer, collected while one input is handled and then sent as one RPC per peer."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence

from p2pcompute.protocol.machine import Effect, Priority, Send
from p2pcompute.wire.limits import GOSSIP_RPC_BYTES_MAX


class Weight(enum.IntEnum):
    """How much a part matters; an RPC has the weight of its weightiest part."""

    STATE = 0
    """Subscriptions, GRAFT, PRUNE: lost ones leave the two sides with different views until the connection ends."""
    MESSAGE = 1
    REPAIR = 2
    """IHAVE, IWANT and messages sent again: the next heartbeat makes up for lost ones."""


_PRIORITY = {Weight.STATE: Priority.HIGH, Weight.MESSAGE: Priority.NORMAL, Weight.REPAIR: Priority.LOW}


class Outbox:
    """Encoded parts by peer, in order."""

    def __init__(self, channel: str) -> None:
        self._channel = channel
        self._parts: dict[bytes, list[bytes]] = {}
        self._weights: dict[bytes, Weight] = {}
        self._spread: tuple[Sequence[bytes], bytes, Weight] | None = None
        """One part for many peers, which as a rule is all there is to say: it becomes a Send as it is."""

    def __bool__(self) -> bool:
        return bool(self._parts or self._spread)

    def add(self, peer: bytes, part: bytes, weight: Weight) -> None:
        if self._spread is not None:
            self._unfold()
        self._parts.setdefault(peer, []).append(part)
        self._weights[peer] = min(self._weights.get(peer, weight), weight)

    def spread(self, peers: Sequence[bytes], part: bytes, weight: Weight) -> None:
        """The same part to several peers."""
        if peers and not self:
            self._spread = peers, part, weight
        else:
            for peer in peers:
                self.add(peer, part, weight)

    def _unfold(self) -> None:
        if self._spread is not None:
            (peers, part, weight), self._spread = self._spread, None
            for peer in peers:
                self.add(peer, part, weight)

    def drop(self, peer: bytes) -> None:
        self._unfold()
        self._parts.pop(peer, None)

    def take(self) -> list[Effect]:
        """One Send per distinct RPC, with all peers that get the same; larger ones are split."""
        if self._spread is not None:
            (peers, part, weight), self._spread = self._spread, None
            return [Send(tuple(peers), self._channel, part, _PRIORITY[weight])]
        if not self._parts:
            return []
        alike: dict[tuple[Weight, tuple[bytes, ...]], list[bytes]] = {}
        for peer, parts in self._parts.items():
            alike.setdefault((self._weights[peer], tuple(parts)), []).append(peer)
        self._parts, self._weights = {}, {}
        return [
            Send(tuple(peers), self._channel, frame, _PRIORITY[weight])
            for (weight, parts), peers in alike.items()
            for frame in _frames(parts)
        ]


def _frames(parts: Iterable[bytes]) -> list[bytes]:
    """The parts joined into as few frames as the limit allows. A part is never longer than the limit itself."""
    frames: list[bytes] = []
    current: list[bytes] = []
    size = 0
    for part in parts:
        if current and size + len(part) > GOSSIP_RPC_BYTES_MAX:
            frames.append(b"".join(current))
            current, size = [], 0
        current.append(part)
        size += len(part)
    frames.append(b"".join(current))
    return frames
