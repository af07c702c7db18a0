"""Bounds: no table grows past its limit, and no node past what it may take."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sized
from typing import Final

from p2pcompute.protocol import budget, leasing, post, provider, reputation
from p2pcompute.protocol.book import Book
from p2pcompute.protocol.core import PeerCore
from p2pcompute.protocol.gossip import Gossip
from p2pcompute.protocol.gossip.params import CACHE_BYTES_MAX, PROMISES_MAX, SEEN_MAX
from p2pcompute.protocol.jobs import JOBS_MAX
from p2pcompute.wire import limits
from simnet.invariants.base import Invariant, Violation
from simnet.world import World

CORE_BYTES_MAX: Final = 8 * limits.MIB
"""All that hangs on one core, in a world of up to 1,000 offers: a twentieth of what a whole process holds."""
SAMPLED_EVERY: Final = 5
"""Seconds from one node's size to the next one's."""


def _gossip(core: PeerCore) -> Gossip:
    found = core._gossip
    assert isinstance(found, Gossip)
    return found


TABLES: Final[dict[str, Callable[[PeerCore], Sized]]] = {
    "offers": lambda core: core.book._listings,
    "tombstones": lambda core: core.book._tombstones,
    "demands": lambda core: core.book.demands,
    "requests under way": lambda core: core.post._pending,
    "delegations": lambda core: core.post._grants,
    "quotes": lambda core: core.provider.leasing._quotes,
    "engagements": lambda core: core.provider._engagements,
    "leases": lambda core: core.provider.leasing._leases,
    "reservations answered": lambda core: core.provider.leasing._answers,
    "tasks": lambda core: core.requester.jobs._jobs,
    "budgets": lambda core: core._budget._buckets,
    "demerits": lambda core: core.reputation._demerits,
    "seen messages": lambda core: _gossip(core)._seen,
    "cached bytes": lambda core: range(_gossip(core)._cache._bytes),
    "promised messages": lambda core: _gossip(core)._promises,
}
LIMITS: Final[dict[str, int]] = {
    "offers": limits.OFFERS_MAX,
    "tombstones": Book.TOMBSTONES_MAX,
    "demands": limits.DEMANDS_MAX,
    "requests under way": post.PENDING_MAX,
    "delegations": post.Post.GRANTS_MAX,
    "quotes": leasing.QUOTES_MAX,
    "engagements": provider.ENGAGEMENTS_MAX,
    "leases": limits.SLOTS_MAX,
    "reservations answered": leasing.ANSWERS_MAX,
    "tasks": JOBS_MAX,
    "budgets": budget.PEERS_MAX,
    "demerits": reputation.OPERATORS_MAX,
    "seen messages": SEEN_MAX,
    "cached bytes": CACHE_BYTES_MAX,
    "promised messages": PROMISES_MAX,
}
"""As the protocol had them when this module was read: a limit that somebody moves later is not taken for granted."""


class MemoryBounded(Invariant):
    """Every named table of every honest node is within its limit, and everything that hangs on its core within
    8 MiB: one node is measured whole every five seconds."""

    name = "memory-bounded"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._seconds = 0

    def on_second(self, now_ms: int) -> None:
        cores = list(self.honest_cores())
        for node, core in cores:
            for what, table in TABLES.items():
                if len(table(core)) > LIMITS[what]:
                    raise Violation(f"{node.name} holds {len(table(core))} {what}, more than {LIMITS[what]}")
        self._seconds += 1
        if cores and self._seconds % SAMPLED_EVERY == 0:
            node, core = cores[self._seconds // SAMPLED_EVERY % len(cores)]
            size = deep_bytes(core)
            if size > CORE_BYTES_MAX:
                raise Violation(f"{node.name} takes {size} bytes, more than {CORE_BYTES_MAX}")

    def at_end(self) -> None:
        self.on_second(self.world.wheel.now_ms)


def deep_bytes(root: object) -> int:
    """Bytes of an object and of all data under it: containers, and objects of the protocol and the wire."""
    seen, edge, total = {id(root)}, deque([root]), 0
    while edge:
        one = edge.popleft()
        total += sys.getsizeof(one)
        for child in _children(one):
            if id(child) not in seen:
                seen.add(id(child))
                edge.append(child)
    return total


def _children(one: object) -> list[object]:
    if isinstance(one, dict):
        return [*one.keys(), *one.values()]
    if isinstance(one, list | tuple | set | frozenset | deque):
        return list(one)
    if not type(one).__module__.startswith(("p2pcompute.protocol", "p2pcompute.wire", "p2pcompute.identity")):
        return []
    slots = [name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ())]
    fields = [*slots, *getattr(type(one), "__struct_fields__", ())]
    held = [getattr(one, name) for name in dict.fromkeys(fields) if hasattr(one, name) and name != "__weakref__"]
    return [*held, *(vars(one).values() if hasattr(one, "__dict__") else ())]
