"""Which connections lead to which peer, and which of them is used.

Two peers that dial each other at the same moment get two connections. The one with the lower public key decides which
is kept, and retires the other: no new streams there, those that are open end in peace. The other side follows, so both
always agree, and nobody sees the peer go down in between. A connection that has been silent gives way to a new one: a
peer that dials again has lost the old one. A connection through a relay gives way to a direct one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

import trio

from p2pcompute.transport.channels import Outbox
from p2pcompute.transport.memory import Memory
from p2pcompute.transport.mux import Connection

ALIVE_S: Final = 5.0
"""A connection that brought a byte within this time is not replaced by another one."""
CONNECTIONS_PER_PEER_MAX: Final = 2
"""In use at once, while the other side decides; the oldest gives way."""

REQUESTS_OUT_MAX: Final = 64
"""Requests to one peer in flight; more wait for their turn. Half of what it works on, so that it need not refuse one
while it still works on another that we gave up."""

Start = Callable[[Callable[[], Awaitable[None]]], None]


class Peer:
    """One remote key and what leads to it."""

    def __init__(self, key: bytes, start: Start, memory: Memory) -> None:
        self.key, self._memory = key, memory
        self.connections: list[Connection] = []
        self.requests_in = 0
        self.told: tuple[str, ...] = ()
        """Where it said last that it is reached, when that changed."""
        self.requests_out = trio.Semaphore(REQUESTS_OUT_MAX)
        self._outboxes: dict[str, Outbox] = {}
        self._start = start

    def current(self) -> Connection | None:
        """The connection for new streams."""
        for connection in self.connections:
            if connection.takes_streams:
                return connection
        return None

    def outbox(self, channel: str, versions: Sequence[str]) -> Outbox:
        """Our frames on a channel, whose protocol ids are `versions`, best first."""
        found = self._outboxes.get(channel)
        if found is None:
            found = self._outboxes[channel] = Outbox(versions, self.current, self._start, self._memory)
        return found

    def leave(self, connection: Connection) -> None:
        for outbox in self._outboxes.values():
            outbox.leave(connection)


class Peers:
    """All peers that are connected, by public key."""

    def __init__(self, me: bytes, start: Start, memory: Memory | None = None) -> None:
        self._me, self._start, self._memory = me, start, memory or Memory()
        self._peers: dict[bytes, Peer] = {}

    def get(self, key: bytes) -> Peer | None:
        return self._peers.get(key)

    def __iter__(self) -> Iterator[Peer]:
        return iter(list(self._peers.values()))

    def add(self, connection: Connection) -> bool:
        """Take a connection in; whether its peer was not connected before."""
        peer = self._peers.get(connection.peer)
        if peer is None:
            peer = self._peers[connection.peer] = Peer(connection.peer, self._start, self._memory)
            peer.connections.append(connection)
            return True
        old = peer.current()
        peer.connections.append(connection)
        if old is None:
            return False
        if trio.current_time() - old.heard_at > ALIVE_S or (old.is_relayed and not connection.is_relayed):
            old.retire()
        elif (connection.is_relayed and not old.is_relayed) or self._me < connection.peer:
            connection.retire()
        else:
            live = [one for one in peer.connections if one.takes_streams]
            for one in live[:-CONNECTIONS_PER_PEER_MAX]:
                one.retire()
        return False

    def remove(self, connection: Connection) -> bool:
        """Let a closed connection go; whether its peer is not connected any more."""
        peer = self._peers[connection.peer]
        peer.connections.remove(connection)
        if peer.connections:
            return False
        del self._peers[connection.peer]
        return True
