"""Those who want no business, but the network to fail."""

from __future__ import annotations

from typing import Final

import msgspec

from p2pcompute.protocol import sync
from p2pcompute.protocol.core import PeerCore
from p2pcompute.protocol.gossip.codec import encode_graft, encode_ihave, encode_message
from p2pcompute.protocol.gossip.router import CHANNEL
from p2pcompute.protocol.machine import Connect, Effect, Now, Reply, Request, Ruling, Send
from p2pcompute.wire import codec
from p2pcompute.wire import documents as d
from p2pcompute.wire.documents import AnyDocument, Kind
from simnet.characters.base import Character

KEPT_MAX: Final = 64
"""Old frames that a replayer keeps."""
GRAFT_MS: Final = 65_000
"""An eclipser asks again when the backoff is over: sooner would cost it its standing."""
FLOOD: Final = 8
"""Of each thing that a spammer sends to each of its victims in a turn."""


class BlackHole(Character):
    """Joins, offers, and takes its place in others' meshes; passes nothing on, asks nothing and answers nothing."""

    def __init__(self, core: PeerCore, site: object) -> None:
        super().__init__(core, site)  # type: ignore[arg-type]
        core.judge_gossip = lambda now, topic, data, peer: Ruling.IGNORE  # type: ignore[method-assign]

    def out(self, now: Now, effects: list[Effect]) -> list[Effect]:
        return [e for e in effects if not isinstance(e, Request | Reply)]

    def on_request(self, now: Now, peer: bytes, request_id: int, frame: bytes) -> list[Effect]:
        return []


class Eclipser(BlackHole):
    """Connects to everybody it hears of and wants into everybody's mesh, and then passes nothing on."""

    every_ms = 1_000

    def __init__(self, core: PeerCore, site: object) -> None:
        super().__init__(core, site)
        core.judge_gossip = self._note_only  # type: ignore[method-assign]
        self._grafted: dict[bytes, int] = {}

    def _note_only(self, now: Now, topic: str, data: bytes, peer: bytes) -> Ruling:
        self.core.book.judge(now, data)
        return Ruling.IGNORE

    def out(self, now: Now, effects: list[Effect]) -> list[Effect]:
        """It asks others for their books, to find more of them."""
        learning = [e for e in effects if isinstance(e, Request) and e.frame[0] in (sync.COMPARE, sync.GET)]
        return [*learning, *super().out(now, effects)]

    def turn(self, now: Now) -> list[Effect]:
        strangers = [x for x in self.core.book.listings() if x.peer not in self.core.peers]
        out: list[Effect] = [Connect(x.peer, x.offer.body.addresses) for x in strangers if x.peer != self.site.peer]
        due = tuple(peer for peer in self.core.peers if self._grafted.get(peer, -GRAFT_MS) + GRAFT_MS <= now.mono_ms)
        self._grafted |= dict.fromkeys(due, now.mono_ms)
        return [*out, Send(due, CHANNEL, encode_graft(self.core.topics[0]))] if due else out


class Spammer(Character):
    """Floods its neighbours: gossip that means nothing or is not signed, advertisements of nothing, requests."""

    every_ms = 250

    def turn(self, now: Now) -> list[Effect]:
        out: list[Effect] = []
        for peer in self.some_peers(2):
            out += [Send((peer,), CHANNEL, self._nonsense(signed=i % 2 == 0)) for i in range(FLOOD)]
            ids = [self.site.rng.randbytes(20) for _ in range(FLOOD)]
            out += [Send((peer,), CHANNEL, encode_ihave(self.core.topics[0], ids)) for _ in range(FLOOD)]
            for _ in range(FLOOD):
                probe = self.core.post.write(now, d.Probe(self.site.delegation, "", 1, 1, 1), lifetime_ms=1_000)
                out += [self.ask(peer, probe.raw), self.ask(peer, self.site.rng.randbytes(64))]
        return out

    def _nonsense(self, *, signed: bool) -> bytes:
        data, topic = self.site.rng.randbytes(100), self.core.topics[0]
        sequence = int.from_bytes(self.site.rng.randbytes(6), "big")
        sign = self.site.key.sign if signed else lambda message: bytes(64)
        return encode_message(self.site.peer, topic, data, sequence, sign).part


class Forger(Character):
    """Writes in others' names: takes their offers back, alters them, and spoils every fourth signature of its own."""

    every_ms = 1_000

    def turn(self, now: Now) -> list[Effect]:
        listings = [x for x in self.core.book.listings() if x.peer != self.site.peer]
        victims, out = self.some_peers(2), list[Effect]()
        if not listings or not victims:
            return out
        offer = listings[self.site.rng.randrange(len(listings))].offer
        cheap = msgspec.structs.replace(offer.body, price_per_device_s=1)
        forged = [self._forged(now, offer, d.Cancel()), self._forged(now, offer, cheap)]
        for peer in victims:
            out.append(self.ask(peer, bytes((sync.PUSH,)) + msgspec.msgpack.encode(forged)))
        for data in forged:
            sequence = now.wall_ms << 16
            message = encode_message(self.site.peer, self.core.topics[0], data, sequence, self.site.key.sign)
            out.append(Send(tuple(victims), CHANNEL, message.part))
        probe = self.core.post.write(now, d.Probe(b"", "", 1, 1, 1), lifetime_ms=1_000)
        return [*out, self.ask(victims[0], probe.raw.replace(self.site.peer, offer.signer, 1))]

    def _forged(self, now: Now, offer: AnyDocument, body: msgspec.Struct) -> bytes:
        """A newer document of its signer, had it signed it."""
        return codec.seal(
            self.core.post.network,
            self.site.key.sign,
            kind=Kind.OFFER if isinstance(body, d.Offer) else Kind.CANCEL,
            signer=offer.signer,
            epoch=offer.epoch,
            sequence=offer.sequence + 1,
            issued_at=now.wall_ms,
            expires_at=offer.expires_at,
            body=body,
        )

    def out(self, now: Now, effects: list[Effect]) -> list[Effect]:
        return [self._spoilt(e) if isinstance(e, Request) and e.frame[:1] == b"\x99" else e for e in effects]

    def _spoilt(self, request: Request) -> Request:
        if not self.falls_on(request.frame, 4):
            return request
        return msgspec.structs.replace(request, frame=request.frame[:-1] + bytes((request.frame[-1] ^ 1,)))


class Replayer(Character):
    """Says again what it or others once said: its own old requests, offers that their signers replaced or took back,
    and that they took them back."""

    undercuts = True
    every_ms = 500

    def __init__(self, core: PeerCore, site: object) -> None:
        super().__init__(core, site)  # type: ignore[arg-type]
        self._requests: list[bytes] = []
        self._offers: dict[bytes, None] = {}

    def out(self, now: Now, effects: list[Effect]) -> list[Effect]:
        said = [e.frame for e in effects if isinstance(e, Request) and e.frame[:1] == b"\x99"]
        self._requests = [*self._requests, *said][:KEPT_MAX]
        return effects

    def turn(self, now: Now) -> list[Effect]:
        self._offers |= {x.offer.raw: None for x in self.core.book.listings()}
        self._offers = dict(list(self._offers.items())[:KEPT_MAX])
        victims = self.some_peers(2)
        push = bytes((sync.PUSH,)) + msgspec.msgpack.encode(list(self._offers))
        out: list[Effect] = [self.ask(peer, push) for peer in victims]
        for number, cancel in enumerate(self.core.book._cancels.values()):
            data, sequence = self.core.book._standing[cancel][0], (now.wall_ms << 16) + number
            message = encode_message(self.site.peer, self.core.topics[0], data, sequence, self.site.key.sign)
            out.append(Send(tuple(victims), CHANNEL, message.part))
        if self._requests and victims:
            out.append(self.ask(victims[0], self._requests[self.site.rng.randrange(len(self._requests))]))
        return out
