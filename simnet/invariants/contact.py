"""Whom nodes deal with: those who contradict themselves are told of, and nobody's word on the market stands alone."""

from __future__ import annotations

from typing import Final

from p2pcompute.protocol import records
from p2pcompute.protocol.candidates import PULL
from p2pcompute.protocol.equivocation import contradictions
from p2pcompute.protocol.shards import Shard, shard_of
from simnet.invariants.base import Invariant, Violation, opened, written
from simnet.network import Endpoint
from simnet.site import Site
from simnet.world import World

ASKED_MIN: Final = 3
"""Q1 of docs/spec/market.md."""


class ContradictionsTold(Invariant):
    """Whoever gave an honest node two receipts or reservations that contradict each other is convicted there (C6)."""

    name = "contradictions-told"

    def at_end(self) -> None:
        for node, core in self.honest_cores():
            held = [opened(record.receipt) for record in written(node, records.ReceiptHeld)]
            held += [opened(record.reservation) for record in written(node, records.Assigned)]
            for first, _ in contradictions(held):
                if not core.book.is_convicted(first.signer):
                    raise Violation(f"{node.name} was given a {first.kind} twice by one it does not convict")


class SeveralAsked(Invariant):
    """Who pulls candidates from a shard asks three peers of it, where there are so many (Q1): one that lies alone hides
    nothing."""

    name = "several-asked"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.asked: dict[tuple[str, bytes], dict[str, None]] = {}
        """(who, its question) -> whom it asked."""
        self._broken: list[Violation] = []
        world.network.taps.append(self._tap)

    def _tap(self, source: Endpoint, target: Endpoint, way: str, frame: bytes | None, about: bytes) -> None:
        if way == "request" and frame is not None and frame[:1] == bytes((PULL,)) and self._is_honest(source):
            self.asked.setdefault((source.name, frame), {})[target.name] = None

    @staticmethod
    def _is_honest(site: Endpoint) -> bool:
        return isinstance(site, Site) and site.kind.honest

    def at_end(self) -> None:
        """Peers move from shard to shard, and lines are lost: so it is what a node does at best that counts."""
        best: dict[str, int] = {}
        for (name, _), peers in self.asked.items():
            best[name] = max(best.get(name, 0), len(peers))
        depths = [core.home.depth for _, core in self.honest_cores() if core.home is not None]
        shards: dict[Shard, int] = {}
        for node in self.world.providers:
            home = shard_of(node.peer, max(depths, default=0))
            shards[home] = shards.get(home, 0) + 1
        there = max(shards.values(), default=0)
        for name, count in best.items():
            if count < min(ASKED_MIN, there):
                raise Violation(f"{name} never asked more than {count} peers of a shard, and some have {there}")
