"""Those who sign two documents where the protocol allows one."""

from __future__ import annotations

import msgspec
from blake3 import blake3

from p2pcompute.protocol import verification
from p2pcompute.protocol.core import PeerCore
from p2pcompute.protocol.gossip.codec import encode_message
from p2pcompute.protocol.machine import Effect, Now, Reply, Send
from p2pcompute.wire import codec
from p2pcompute.wire import documents as d
from p2pcompute.wire.documents import AnyDocument, Kind
from simnet.characters.base import Character, kind_of


class DoubleBooker(Character):
    """Promises every slot twice: two reservations with the same number."""

    undercuts = True

    def __init__(self, core: PeerCore, site: object) -> None:
        super().__init__(core, site)  # type: ignore[arg-type]
        self._links: dict[int, tuple[int, bytes, bytes]] = {}
        self._link = core.provider.leasing.slots.link
        core.provider.leasing.slots.link = self._twice  # type: ignore[method-assign]

    def _twice(self, number: int) -> tuple[int, bytes, bytes]:
        if number in self._links:
            return self._links.pop(number)
        link = self._links[number] = self._link(number)
        return link


class Forker(Character):
    """Writes two receipts for every place in its chain."""

    undercuts = True

    def __init__(self, core: PeerCore, site: object) -> None:
        super().__init__(core, site)  # type: ignore[arg-type]
        self._links: list[tuple[int, bytes]] = []
        self._next_link = core.provider.chain.next_link
        core.provider.chain.next_link = self._twice  # type: ignore[method-assign]

    def _twice(self) -> tuple[int, bytes]:
        if self._links:
            return self._links.pop()
        self._links.append(self._next_link())
        return self._links[0]


class Turncoat(Character):
    """Commits, and when it is asked to open it opens something else; or commits to something else and opens that; or
    opens what it had, and then commits to something else."""

    undercuts = wrong_results = True

    def answer(self, now: Now, peer: bytes, frame: bytes, effects: list[Effect]) -> list[Effect]:
        if kind_of(frame) != Kind.REVEAL_REQUEST:
            return effects
        post, provider = self.core.post, self.core.provider
        e = provider._by_commitment.get(post.open(frame).body.commitment)
        if e is None or e.opening is None or e.manifest is None:
            return effects
        roots = tuple(blake3(root).digest() for root in e.opening.output_roots)
        opening = msgspec.structs.replace(e.opening, output_roots=roots)
        root = verification.commitment_root(e.assignment.id, e.assignment.body.manifest, e.manifest, opening)
        second = post.write(now, d.Commitment(e.assignment.id, root), lifetime_ms=600_000)
        if self.falls_on(e.assignment.id, 3):
            return [*effects, self.ask(peer, second.raw)]
        twice = self.falls_on(e.assignment.body.reservation, 2)
        opening = msgspec.structs.replace(opening, commitment=second.id) if twice else opening
        reveal = post.write(now, opening, lifetime_ms=600_000).raw
        rest = [Reply(x.request_id, reveal) if isinstance(x, Reply) else x for x in effects]
        return [self.ask(peer, second.raw), *rest] if twice else rest


class TwoFaced(Character):
    """Makes its offer anew all the time, and tells every other neighbour another price in one with the same number."""

    every_ms = 2_000

    def turn(self, now: Now) -> list[Effect]:
        return self.core._publish_offer(now)

    def out(self, now: Now, effects: list[Effect]) -> list[Effect]:
        out: list[Effect] = []
        for e in effects:
            other = self._other_face(e) if isinstance(e, Send) else None
            if other is None or not isinstance(e, Send):
                out.append(e)
                continue
            out += [msgspec.structs.replace(e, peers=e.peers[::2])]
            out += [Send(e.peers[1::2], e.channel, other)] if e.peers[1::2] else []
        return out

    def _other_face(self, send: Send) -> bytes | None:
        """The same message with the dearer offer, when it is our own offer that is sent."""
        mine = self.core.book.get(self.site.peer)
        if mine is None or mine.offer.raw not in send.frame:
            return None
        data = self._dearer(mine.offer)
        return encode_message(self.site.peer, self.core.topics[0], data, mine.offer.sequence, self.site.key.sign).part

    def _dearer(self, offer: AnyDocument) -> bytes:
        body = msgspec.structs.replace(offer.body, price_per_device_s=2 * offer.body.price_per_device_s)
        return codec.seal(
            self.core.post.network,
            self.site.key.sign,
            kind=Kind.OFFER,
            signer=offer.signer,
            epoch=offer.epoch,
            sequence=offer.sequence,
            issued_at=offer.issued_at,
            expires_at=offer.expires_at,
            body=body,
        )
