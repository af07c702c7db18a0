"""A network of gossip routers in memory, with a clock that the test turns and links that the test may break."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Collection, Mapping, Sequence

from nacl.signing import SigningKey

from p2pcompute.protocol.gossip import HEARTBEAT, Gossip, GossipParams, codec
from p2pcompute.protocol.machine import Connect, Disconnect, Effect, Environment, Now, PeerInfo, Ruling, Send, SetTimer
from p2pcompute.transport import noise

TOPIC = "p2pcompute/test"
V12, V11, V10 = "/meshsub/1.2.0", "/meshsub/1.1.0", "/meshsub/1.0.0"


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
    dialled: dict[bytes, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    opinion: dict[bytes, float] = dataclasses.field(default_factory=dict)
    """P5 by peer; it counts from the next heartbeat."""
    ruling: Callable[[bytes], Ruling] = lambda data: Ruling.ACCEPT


class Network:
    """Routers that are all subscribed to TOPIC, on a given graph of links."""

    def __init__(
        self, size: int, params: GossipParams | None = None, direct: Mapping[int, Collection[bytes]] | None = None
    ) -> None:
        self.now = Now(0, 1_700_000_000_000)
        self.nodes: dict[bytes, Node] = {}
        self.frames: list[tuple[bytes, bytes, bytes]] = []
        self.sent: list[tuple[bytes, bytes, bytes]] = []
        """Every (sender, receiver, frame) that left a router."""
        self.lossy: Callable[[bytes, bytes, bytes], bool] = lambda sender, receiver, frame: False
        self._timers: dict[bytes, int] = {}
        for index in range(size):
            self._make(index + 1, params, (direct or {}).get(index, ()))
        self.keys = list(self.nodes)

    def _make(self, index: int, params: GossipParams | None, direct: Collection[bytes]) -> None:
        env = environment(index)

        def validate(now: Now, topic: str, data: bytes, peer: bytes) -> Ruling:
            return self.nodes[env.me].ruling(data)

        def deliver(now: Now, topic: str, data: bytes, peer: bytes) -> Sequence[Effect]:
            self.nodes[env.me].delivered.append(data)
            return ()

        def opinion(peer: bytes) -> float:
            return self.nodes[env.me].opinion.get(peer, 0.0)

        gossip = Gossip(env, validate=validate, deliver=deliver, params=params, app_score=opinion, direct=direct)
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

    def inject(self, receiver: int, sender: bytes, frame: bytes, channel: str = V12) -> list[Effect]:
        """Give a router a frame that no router made; its effects also run."""
        key = self.keys[receiver]
        effects = self.nodes[key].gossip.on_frame(self.now, sender, frame, channel)
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
                case Connect(peer, addresses):
                    self.nodes[key].dialled[peer] = addresses
                case Disconnect(peer, reason):
                    self.nodes[key].disconnected[peer] = reason
                case _:
                    raise AssertionError(effect)

    def settle(self) -> None:
        """Deliver frames until nobody has anything to say."""
        while self.frames:
            batch, self.frames = self.frames, []
            for sender, receiver, frame in batch:
                self.run(receiver, self.nodes[receiver].gossip.on_frame(self.now, sender, frame, V12))

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


STRANGER = environment(1_000)


def with_stranger(
    size: int = 1, params: GossipParams | None = None, *, channel: str = V12, address: str = "", outbound: bool = False
) -> Network:
    """A network whose first node also knows a peer that the test speaks for."""
    network = Network(size, params)
    network.link_all()
    join(network, STRANGER.me, channel=channel, address=address, outbound=outbound)
    return network


def join(network: Network, peer: bytes, *, channel: str = V12, address: str = "", outbound: bool = False) -> None:
    """One more neighbour of the first node, for whom the test speaks."""
    info = PeerInfo(peer, up=True, outbound=outbound, address=address)
    network.run(network.keys[0], network.gossip(0).on_peer(network.now, info))
    network.inject(0, peer, codec.encode_subscription(TOPIC, subscribe=True), channel)


def score(network: Network, peer: bytes, at: int = 0) -> float:
    return network.gossip(at).breakdown(peer).total


def blamed(network: Network, peer: bytes) -> bool:
    """Whether the first node holds anything against a peer."""
    record = network.gossip(0)._scores._records.get(peer)
    return record is not None and bool(record.behaviour or any(one.is_stained for one in record.topics.values()))


def message(data: bytes, sequence: int = 1) -> bytes:
    return codec.encode_message(STRANGER.me, TOPIC, data, sequence, STRANGER.sign).part


def to_stranger(network: Network) -> list[codec.Rpc]:
    return [codec.decode_rpc(frame) for _, receiver, frame in network.sent if receiver == STRANGER.me]
