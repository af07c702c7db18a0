"""The smallest node for interop tests: effects of a router go to a transport, its events to the router."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

import trio

from p2pcompute.protocol.gossip import CHANNEL, HEARTBEAT, OLDER_CHANNELS, Gossip, GossipParams
from p2pcompute.protocol.machine import Connect, Disconnect, Effect, Environment, Now, PeerInfo, Ruling, Send, SetTimer
from p2pcompute.transport import noise
from p2pcompute.transport.libp2p import Libp2pTransport
from p2pcompute.transport.mux import Stream
from p2pcompute.transport.push import Whereabouts
from p2pcompute.transport.relay import RelayLimits
from p2pcompute.wire.limits import GOSSIP_RPC_BYTES_MAX

LOOPBACK = "/ip4/127.0.0.1/tcp/0"
REQUEST = "/p2pcompute/interop-request/1"
STREAM = "/p2pcompute/interop-stream/1"


def now() -> Now:
    return Now(time.monotonic_ns() // 1_000_000, time.time_ns() // 1_000_000)


async def _echo(stream: Stream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)


class Member:
    """Subscribed to `topic`, and remembers what was delivered. Run `run` in a nursery."""

    def __init__(self, index: int, topic: str, params: GossipParams | None = None, *, libp2p_host: bool = True) -> None:
        seed = (index + 1).to_bytes(32, "big")
        public, sign = noise.signer(seed)
        env = Environment(public, sign, noise.verify, random.Random(index), seed)
        self.topic = topic
        self.delivered: list[bytes] = []
        self.channels: dict[bytes, str] = {}
        """The version that each peer speaks to us."""
        self.told: list[Whereabouts] = []
        """What peers pushed of their addresses."""
        self.on_delivery: Callable[[bytes], None] | None = None
        self.gossip = Gossip(env, validate=lambda *_: Ruling.ACCEPT, deliver=self._deliver, params=params)
        self.transport = Libp2pTransport(
            seed,
            listen=[LOOPBACK],
            events=self,
            channels={CHANNEL: GOSSIP_RPC_BYTES_MAX},
            older={CHANNEL: OLDER_CHANNELS},
            requests={REQUEST: 1 << 16},
            streams=[STREAM],
            libp2p_host=libp2p_host,
            relay=RelayLimits(),
            told=self._hear,
        )
        self._heartbeat_ms = 0
        self._changed: trio.Event | None = None

    @property
    def address(self) -> str:
        return self.transport.addresses()[0]

    @property
    def mesh(self) -> list[bytes]:
        return list(self.gossip._mesh.topics.get(self.topic, ()))

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled; started once it listens."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.transport.run)
            self.execute(self.gossip.start(now()))
            self.execute(self.gossip.subscribe(now(), self.topic))
            task_status.started()
            while True:
                await trio.sleep(max(0, self._heartbeat_ms - now().mono_ms) / 1_000)
                self.execute(self.gossip.on_timer(now(), HEARTBEAT))

    def publish(self, data: bytes) -> None:
        self.execute(self.gossip.publish(now(), self.topic, data))

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed = self._changed or trio.Event()
            await self._changed.wait()

    def execute(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(peers, channel, frame, priority):
                    for peer in peers:
                        self.transport.send(peer, channel, frame, priority)
                case SetTimer(at_mono_ms=at_ms):
                    self._heartbeat_ms = at_ms or 0
                case _:
                    assert not isinstance(effect, Disconnect | Connect), effect

    def on_peer(self, info: PeerInfo) -> None:
        self.execute(self.gossip.on_peer(now(), info))
        self._wake()

    def on_frame(self, peer: bytes, channel: str, frame: bytes) -> None:
        self.channels[peer] = channel
        self.execute(self.gossip.on_frame(now(), peer, frame, channel))
        self._wake()

    async def on_request(self, peer: bytes, channel: str, frame: bytes) -> bytes | None:
        return frame[::-1]

    def _hear(self, where: Whereabouts) -> None:
        self.told.append(where)
        self._wake()

    async def on_stream(self, peer: bytes, protocol: str, stream: Stream) -> None:
        await _echo(stream)

    def _deliver(self, at: Now, topic: str, data: bytes, peer: bytes) -> Sequence[Effect]:
        self.delivered.append(data)
        if self.on_delivery is not None:
            self.on_delivery(data)
        return ()

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None
