"""Which connection gives way when all room is taken and somebody new knocks (rule A6 of docs/spec/transport.md).

First those that are being given up anyway, then those of the least useful peers; among equals those of the network that
holds the most, and then chance decides: whoever fills the room with idle connections mostly pushes out their own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from p2pcompute.transport.mux import Connection

Usefulness = Callable[[bytes], float]
"""What a peer, by its public key, is worth to us; strangers are worth 0."""


def no_opinion(peer: bytes) -> float:
    """Of a node that does not care."""
    return 0.0


def least_useful(
    hosts: Mapping[Connection, str], newcomer: bytes, usefulness: Usefulness, crowd: Callable[[str], int]
) -> Connection | None:
    """The inbound connection that gives way; None when every peer is worth more than the newcomer.

    `hosts` holds the established connections with their addresses, `crowd` counts those of an address' network.
    """
    worth = {connection.peer: usefulness(connection.peer) for connection in hosts if not connection.outbound}
    room = usefulness(newcomer)
    candidates = [c for c in hosts if not c.outbound and (c.retired_at is not None or worth[c.peer] <= room)]
    return min(
        candidates,
        key=lambda c: (c.retired_at is None, worth[c.peer], -crowd(hosts[c]), random.random()),
        default=None,
    )
