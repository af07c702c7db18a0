"""What is to be said to each peer, collected while one input is handled and then sent as one RPC per peer."""

from __future__ import annotations

import enum
from collections.abc import Iterable

from p2pcompute.protocol.machine import Priority, Send
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

    def __bool__(self) -> bool:
        return bool(self._parts)

    def add(self, peer: bytes, part: bytes, weight: Weight) -> None:
        self._parts.setdefault(peer, []).append(part)
        self._weights[peer] = min(self._weights.get(peer, weight), weight)

    def drop(self, peer: bytes) -> None:
        self._parts.pop(peer, None)

    def take(self) -> list[Send]:
        """One Send per distinct RPC, with all peers that get the same; larger ones are split."""
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
