"""The mesh and the books: nobody honest is put out, and all who can reach each other know the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from p2pcompute.protocol.book import order_of
from p2pcompute.protocol.core import PeerCore
from p2pcompute.protocol.machine import Emit
from p2pcompute.wire.documents import AnyDocument
from simnet.invariants.base import Invariant, Violation
from simnet.invariants.draws import Draws
from simnet.site import Site
from simnet.world import World

CONVERGED_MS: Final = 15_000
"""More than one round of anti-entropy (protocol.sync.PERIOD_MS) and a missed answer."""
STALE_MS: Final = 8_000
"""Books are swept every 5 s (protocol.core.NEIGHBOURS_MS); clocks differ a little."""


class NoHonestConvicted(Invariant):
    """No honest node bans an honest operator or graylists an honest neighbour; only where a quorum of colluders stated
    one thing together, those whom they outvoted are excused."""

    name = "no-honest-convicted"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.draws = Draws(world)

    def on_event(self, now_ms: int, node: Site, event: Emit) -> None:
        self.draws.on_event(node, event)

    def on_second(self, now_ms: int) -> None:
        by_peer = {site.peer: site for site in self.world.nodes}
        for node, core in self.honest_cores():
            for operator in core.reputation.banned():
                site = self.draws.operators.get(operator)
                if site is not None and site.kind.honest and not self._excused(node, operator):
                    raise Violation(f"{node.name} banned {site.name}: {core.reputation.banned()[operator]}")
            standing = core._gossip._standing  # type: ignore[attr-defined]
            for peer in core.peers:
                site = by_peer[peer]
                if site.kind.honest and standing.graylisted(peer) and not self._excused(node, site.operator.public):
                    raise Violation(f"{node.name} reads nothing of {site.name}, whose score is {standing.score(peer)}")

    def at_end(self) -> None:
        self.on_second(self.world.wheel.now_ms)

    def _excused(self, node: Site, operator: bytes) -> bool:
        return any(
            operator in stated
            for task in self.world.tasks.values()
            if task.requester is node and self.draws.convicting(task.id)
            for stated in self.draws.stated(task.id).values()
        )


class BooksConverge(Invariant):
    """When the faults are over, honest nodes that are connected with each other, directly or through honest ones, come
    to hold the same offers of honest providers within seconds; none holds one that was taken back, or one that ran
    out."""

    name = "books-converge"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._latest: dict[bytes, AnyDocument | None] = {}
        """What each honest provider says of itself: its offer, or None since it took it back."""
        self._wrong_since: dict[tuple[str, bytes], int] = {}

    def on_second(self, now_ms: int) -> None:
        self._note_latest()
        for node, core in self.honest_cores():
            for listing in core.book.listings():
                if listing.offer.expires_at + STALE_MS < node.now.wall_ms:
                    raise Violation(f"{node.name} holds an offer that ran out")
        wrong: dict[tuple[str, bytes], int] = {}
        for group in self._groups() if now_ms > self.world.calm_ms else ():
            for node, core, peer in self._differences(group):
                key = node.name, peer
                since_ms = wrong[key] = self._wrong_since.get(key, now_ms)
                if now_ms - since_ms > CONVERGED_MS:
                    what = "holds an offer that was taken back" if core.book.get(peer) else "lacks an offer"
                    raise Violation(f"{node.name} {what} since {since_ms} ms")
        self._wrong_since = wrong

    def _note_latest(self) -> None:
        for node in self.world.providers:
            if node.kind.honest and node.core is not None and node.terms is not None:
                listing = node.core.book.get(node.peer)
                self._latest[node.peer] = listing.offer if listing is not None else None

    def _groups(self) -> Iterator[list[tuple[Site, PeerCore]]]:
        """The honest nodes that are up, those together that honest connections link."""
        left = {node.peer: (node, core) for node, core in self.honest_cores()}
        while left:
            _, first = left.popitem()
            group, edge = [first], [first]
            while edge:
                node, _ = edge.pop()
                for peer, line in node.lines.items():
                    if peer in left and not line.blocked:
                        found = left.pop(peer)
                        group.append(found)
                        edge.append(found)
            yield group

    def _differences(self, group: list[tuple[Site, PeerCore]]) -> Iterator[tuple[Site, PeerCore, bytes]]:
        """Who differs from what a provider of the same group says of itself."""
        members = {node.peer for node, _ in group}
        down = {node.peer for node in self.world.providers if not node.up}
        for peer, offer in self._latest.items():
            if peer not in members and not (offer is None and peer in down):
                continue
            for node, core in group:
                held = core.book.get(peer)
                if offer is None:
                    differs = held is not None
                else:
                    differs = held is None or order_of(held.offer) < order_of(offer)
                if differs:
                    yield node, core, peer
