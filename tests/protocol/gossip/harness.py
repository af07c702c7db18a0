"""A network of gossip routers in memory, with a clock that the test turns and links that the test may break."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence

from nacl.signing import SigningKey

from p2pcompute.protocol.gossip import HEARTBEAT, Gossip, GossipParams
from p2pcompute.protocol.machine import Disconnect, Effect, Environment, Now, PeerInfo, Ruling, Send, SetTimer
from p2pcompute.transport import noise

TOPIC = "p2pcompute/test"


def environment(index: int) -> Environment:
    seed = index.to_bytes(32, "big")
    key = SigningKey(seed)
    return Environment(
        me=bytes(key.verify_key),
        sign=lambda message: key.sign(message).signature,
        verify=noise.verify,
        rng=random.Random(index),
        secret=seed,
    )


@dataclasses.dataclass
class Node:
    env: Environment
    gossip: Gossip
    delivered: list[bytes] = dataclasses.field(default_factory=list)
    disconnected: dict[bytes, str] = dataclasses.field(default_factory=dict)
    ruling: Callable[[bytes], Ruling] = lambda data: Ruling.ACCEPT


class Network:
    """Routers that are all subscribed to TOPIC, on a given graph of links."""

    def __init__(self, size: int, params: GossipParams | None = None) -> None:
        self.now = Now(0, 1_700_000_000_000)
        self.nodes: dict[bytes, Node] = {}
        self.frames: list[tuple[bytes, bytes, bytes]] = []
        self.sent: list[tuple[bytes, bytes, bytes]] = []
        """Every (sender, receiver, frame) that left a router."""
        self.lossy: Callable[[bytes, bytes, bytes], bool] = lambda sender, receiver, frame: False
        self._timers: dict[bytes, int] = {}
        for index in range(size):
            self._make(index + 1, params)
        self.keys = list(self.nodes)

    def _make(self, index: int, params: GossipParams | None) -> None:
        env = environment(index)

        def validate(now: Now, topic: str, data: bytes, peer: bytes) -> Ruling:
            return self.nodes[env.me].ruling(data)

        def deliver(now: Now, topic: str, data: bytes, peer: bytes) -> Sequence[Effect]:
            self.nodes[env.me].delivered.append(data)
            return ()

        gossip = Gossip(env, validate=validate, deliver=deliver, params=params)
        self.nodes[env.me] = Node(env, gossip)
        self.run(env.me, gossip.start(self.now))
        self.run(env.me, gossip.subscribe(self.now, TOPIC))

    def gossip(self, index: int) -> Gossip:
        return self.nodes[self.keys[index]].gossip

    def mesh(self, index: int) -> list[bytes]:
        return list(self.gossip(index)._mesh.topics[TOPIC])

    def link(self, left: int, right: int) -> None:
        a, b = self.keys[left], self.keys[right]
        self.run(a, self.nodes[a].gossip.on_peer(self.now, PeerInfo(b, up=True, outbound=True)))
        self.run(b, self.nodes[b].gossip.on_peer(self.now, PeerInfo(a, up=True)))

    def link_all(self) -> None:
        for left in range(len(self.keys)):
            for right in range(left + 1, len(self.keys)):
                self.link(left, right)
        self.settle()

    def publish(self, index: int, data: bytes) -> None:
        key = self.keys[index]
        self.run(key, self.nodes[key].gossip.publish(self.now, TOPIC, data))
        self.settle()

    def inject(self, receiver: int, sender: bytes, frame: bytes) -> list[Effect]:
        """Give a router a frame that no router made; its effects also run."""
        key = self.keys[receiver]
        effects = self.nodes[key].gossip.on_frame(self.now, sender, frame)
        self.run(key, effects)
        return effects

    def run(self, key: bytes, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(peers, _, frame, _):
                    for peer in peers:
                        self.sent.append((key, peer, frame))
                        if peer in self.nodes and not self.lossy(key, peer, frame):
                            self.frames.append((key, peer, frame))
                case SetTimer(key=name, at_mono_ms=at_ms):
                    assert name == HEARTBEAT
                    assert at_ms is not None
                    self._timers[key] = at_ms
                case Disconnect(peer, reason):
                    self.nodes[key].disconnected[peer] = reason
                case _:
                    raise AssertionError(effect)

    def settle(self) -> None:
        """Deliver frames until nobody has anything to say."""
        while self.frames:
            batch, self.frames = self.frames, []
            for sender, receiver, frame in batch:
                self.run(receiver, self.nodes[receiver].gossip.on_frame(self.now, sender, frame))

    def pass_time(self, seconds: float) -> None:
        """Let timers fire in their order, and everything they cause."""
        end_ms = self.now.mono_ms + int(seconds * 1_000)
        while True:
            key = min(self._timers, key=lambda one: self._timers[one])
            at_ms = self._timers[key]
            if at_ms > end_ms:
                break
            self._turn(at_ms)
            self.run(key, self.nodes[key].gossip.on_timer(self.now, HEARTBEAT))
            self.settle()
        self._turn(end_ms)

    def _turn(self, mono_ms: int) -> None:
        self.now = Now(mono_ms, self.now.wall_ms + mono_ms - self.now.mono_ms)
