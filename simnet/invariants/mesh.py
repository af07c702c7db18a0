"""The mesh and the books: nobody honest is put out, and all who can reach each other know the same."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Final

from p2pcompute.protocol.book import order_of
from p2pcompute.protocol.core import PeerCore
from p2pcompute.protocol.gossip import Gossip
from p2pcompute.protocol.gossip.codec import Message, decode_rpc
from p2pcompute.protocol.machine import Emit
from p2pcompute.wire import codec
from p2pcompute.wire.documents import AnyDocument
from simnet.invariants.base import Invariant, Violation
from simnet.invariants.draws import Draws
from simnet.network import Endpoint
from simnet.site import NETWORK, Site, network_verify
from simnet.world import World

CONVERGED_MS: Final = 15_000
"""More than one round of anti-entropy (protocol.sync.PERIOD_MS) and a missed answer."""
RENEWED_MS: Final = 300_000
"""Offers are made anew after so long (docs/spec/documents.md)."""
LOOKED_AT: Final = 100
STALE_MS: Final = 8_000
"""Books are swept every 5 s (protocol.core.NEIGHBOURS_MS); clocks differ a little."""


class NoHonestConvicted(Invariant):
    """No honest node bans an honest operator, holds a proof against an honest key, graylists an honest neighbour, or
    holds against it what it passed on. Only where a quorum of colluders stated one thing together, those whom they
    outvoted are excused."""

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
            for convicted in core.book.convicted():
                if convicted in by_peer and by_peer[convicted].kind.honest:
                    raise Violation(f"{node.name} holds a proof against {by_peer[convicted].name}")
            assert isinstance(core._gossip, Gossip)
            for peer in core.peers:
                site = by_peer[peer]
                if site.kind.honest and core._gossip.score(peer) < 0:
                    self._check(node, core._gossip, site)

    def _check(self, node: Site, gossip: Gossip, site: Site) -> None:
        """An honest neighbour with a negative score: of requests that were lost it may have demerits, but no fault."""
        if self._excused(node, site.operator.public):
            return
        if gossip._standing.graylisted(site.peer):
            raise Violation(f"{node.name} reads nothing of {site.name}, whose score is {gossip.score(site.peer)}")
        if any(value < 0 for value in gossip.breakdown(site.peer).topics.values()):
            raise Violation(f"{node.name} takes messages that {site.name} passed on for invalid")

    def at_end(self) -> None:
        self.on_second(self.world.wheel.now_ms)

    def _excused(self, node: Site, operator: bytes) -> bool:
        return any(
            operator in stated
            for task in self.world.tasks.values()
            if task.requester is node and self.draws.convicting(task.id)
            for stated in self.draws.stated(task.id).values()
        )


class NewsOnce(Invariant):
    """No honest node passes on what it passed on before, in whatever message it comes again. (Of networks with up to
    100 nodes.)"""

    name = "news-once"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._passed: dict[str, dict[tuple[str, bytes], bytes]] = {}
        """Node -> (topic, document) -> the message in which it passed it on."""
        self._broken: list[Violation] = []
        if len(world.nodes) <= LOOKED_AT:
            world.network.taps.append(self._tap)

    def _tap(self, source: Endpoint, target: Endpoint, way: str, frame: bytes | None, about: bytes) -> None:
        if way != "gossip" or frame is None or not isinstance(source, Site) or not source.kind.honest:
            return
        passed = self._passed.setdefault(source.name, {})
        for message in messages(frame):
            own = message.source == source.peer
            if not own and passed.setdefault((message.topic, message.data), message.part) != message.part:
                self._broken.append(Violation(f"{source.name} passed the same document on twice"))

    def on_event(self, now_ms: int, node: Site, event: Emit) -> None:
        if event.name == "node.crashed":  # it begins anew with an empty book
            self._passed.pop(node.name, None)

    def on_second(self, now_ms: int) -> None:
        if self._broken:
            raise self._broken[0]

    def at_end(self) -> None:
        self.on_second(self.world.wheel.now_ms)


@functools.lru_cache(maxsize=4_096)
def messages(frame: bytes) -> tuple[Message, ...]:
    """What a frame publishes: most of them go to several neighbours."""
    return tuple(decode_rpc(frame).messages)


class BooksConverge(Invariant):
    """When the faults are over, honest nodes that are connected with each other, directly or through honest ones, come
    to hold the same offers of honest providers within seconds. None holds one that was taken back, that ran out or that
    its provider did not sign, and a provider that is open for business has its own. (Of a large network every n-th book
    is looked at, 100 in all.)"""

    name = "books-converge"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._latest: dict[bytes, AnyDocument | None] = {}
        """What each honest provider says of itself: its offer, or None since it took it back."""
        self._wrong_since: dict[tuple[str, bytes], int] = {}
        self._looked_at = {node.peer for node in world.nodes[:: 1 + len(world.nodes) // LOOKED_AT]}

    def on_second(self, now_ms: int) -> None:
        self._note_latest()
        for node, core in self.honest_cores():
            if node.peer in self._looked_at:
                self._look_into(node, core)
        wrong: dict[tuple[str, bytes], int] = {}
        for group in self._groups() if now_ms > self.world.calm_ms else ():
            for node, core, peer in self._differences(group):
                key = node.name, peer
                since_ms = wrong[key] = self._wrong_since.get(key, now_ms)
                if now_ms - since_ms > CONVERGED_MS:
                    what = "holds an offer that was taken back" if core.book.get(peer) else "lacks an offer"
                    raise Violation(f"{node.name} {what} since {since_ms} ms")
        self._wrong_since = wrong

    @staticmethod
    def _look_into(node: Site, core: PeerCore) -> None:
        for listing in core.book.listings():
            if listing.offer.expires_at + STALE_MS < node.now.wall_ms:
                raise Violation(f"{node.name} holds an offer that ran out")
            if not is_signed(listing.offer.raw):
                raise Violation(f"{node.name} holds an offer that its provider did not sign")
        mine = core.book.get(node.peer)
        if core.provider.terms is None or core.provider.closed:
            return
        if mine is None or node.now.wall_ms - mine.offer.issued_at > RENEWED_MS + STALE_MS:
            raise Violation(f"{node.name} is open for business and its own book does not have its offer of today")

    def _note_latest(self) -> None:
        for node in self.world.providers:
            if node.kind.honest and node.core is not None and node.terms is not None:
                listing = node.core.book.get(node.peer)
                stands = listing is not None and not node.core.provider.closed
                self._latest[node.peer] = listing.offer if listing is not None and stands else None

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
                if node.peer not in self._looked_at:
                    continue
                held = core.book.get(peer)
                if offer is None:
                    differs = held is not None
                else:
                    differs = held is None or order_of(held.offer) < order_of(offer)
                if differs:
                    yield node, core, peer


def is_signed(raw: bytes) -> bool:
    """Whether the signature of a document holds: looked at without the code under test."""
    e = codec.open_envelope(raw)
    return network_verify(e.signer, codec.domain_tag(NETWORK) + raw[1:-66], e.signature)
