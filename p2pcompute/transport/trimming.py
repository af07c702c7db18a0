"""Which connection gives way when all room is taken and somebody new knocks (rule A6 of docs/spec/transport.md).

First those that are being given up anyway, then those of the least useful peers; among equals those of the network that
holds the most, and then chance decides: whoever fills the room with idle connections mostly pushes out their own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping

from p2pcompute.transport.mux import Connection

Usefulness = Callable[[Collection[bytes]], Mapping[bytes, float]]
"""What each of these peers, by its public key, is worth to us; strangers are worth 0."""


def no_opinion(peers: Collection[bytes]) -> Mapping[bytes, float]:
    """Of a node that does not care."""
    return dict.fromkeys(peers, 0.0)


def least_useful(
    hosts: Mapping[Connection, str], newcomer: bytes, usefulness: Usefulness, crowd: Callable[[str], int]
) -> Connection | None:
    """The inbound connection that gives way; None when every peer is worth more than the newcomer.

    `hosts` holds the established connections with their addresses, `crowd` counts those of an address' network.
    """
    inbound = [connection for connection in hosts if not connection.outbound]
    worth = usefulness({newcomer, *(connection.peer for connection in inbound)})
    candidates = [c for c in inbound if c.retired_at is not None or worth[c.peer] <= worth[newcomer]]
    return min(
        candidates,
        key=lambda c: (c.retired_at is None, worth[c.peer], -crowd(hosts[c]), random.random()),
        default=None,
    )
