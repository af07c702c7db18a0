"""Our gossip router on our transport, in one mesh with py-libp2p's own GossipSub on its own stack."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from typing import Any

import multiaddr
import pytest
import trio
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service

from p2pcompute.protocol.gossip import CHANNEL, OLDER_CHANNELS, Gossip, message_id
from p2pcompute.protocol.machine import Effect, Environment, Now, PeerInfo, Ruling, Send
from p2pcompute.transport import noise
from p2pcompute.transport.libp2p import Libp2pTransport
from p2pcompute.transport.mux import Stream
from p2pcompute.wire.limits import GOSSIP_RPC_BYTES_MAX
from tests.transport.stock import closing_dialled_sockets, new_stock_host

TOPIC = "p2pcompute/interop"
LOOPBACK = "/ip4/127.0.0.1/tcp/0"
COUNT = 20
SEED = b"\x01" * 32


@pytest.fixture(autouse=True)
def _no_leaks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with closing_dialled_sockets(monkeypatch):
        yield


def now() -> Now:
    return Now(time.monotonic_ns() // 1_000_000, time.time_ns() // 1_000_000)


class Member:
    """The smallest node: effects of the router go to the transport, events of the transport to the router."""

    def __init__(self) -> None:
        public, sign = noise.signer(SEED)
        env = Environment(public, sign, noise.verify, random.Random(1), SEED)
        self.delivered: list[bytes] = []
        self.changed = trio.Event()
        self.gossip = Gossip(env, validate=lambda *_: Ruling.ACCEPT, deliver=self._deliver)
        self.transport = Libp2pTransport(
            SEED,
            listen=[LOOPBACK],
            events=self,
            channels={CHANNEL: GOSSIP_RPC_BYTES_MAX},
            older={CHANNEL: OLDER_CHANNELS},
        )

    def _deliver(self, at: Now, topic: str, data: bytes, peer: bytes) -> Sequence[Effect]:
        self.delivered.append(data)
        self._wake()
        return ()

    def _wake(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    def execute(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            assert isinstance(effect, Send), effect
            for peer in effect.peers:
                self.transport.send(peer, effect.channel, effect.frame, effect.priority)

    def on_peer(self, info: PeerInfo) -> None:
        self.execute(self.gossip.on_peer(now(), info))

    def on_frame(self, peer: bytes, channel: str, frame: bytes) -> None:
        self.execute(self.gossip.on_frame(now(), peer, frame, channel))
        self._wake()

    async def on_request(self, peer: bytes, channel: str, frame: bytes) -> bytes | None:
        return None

    async def on_stream(self, peer: bytes, protocol: str, stream: Stream) -> None: ...

    async def until(self, condition: Any) -> None:
        while not condition():
            await self.changed.wait()


def stock() -> tuple[Any, Pubsub, GossipSub]:
    host = new_stock_host()
    router = GossipSub(
        [PROTOCOL_ID_V11],
        6,
        4,
        12,
        heartbeat_interval=1,
        spam_protection_enabled=False,
        adaptive_gossip_enabled=False,
        eclipse_protection_enabled=False,
    )
    pubsub = Pubsub(
        host,
        router,
        strict_signing=True,
        msg_id_constructor=lambda message: message_id(message.topicIDs[0], message.data),
    )
    return host, pubsub, router


async def test_messages_cross_between_our_router_and_a_stock_one() -> None:
    member = Member()
    host, pubsub, router = stock()
    received: list[bytes] = []
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(member.transport.run)
            async with (
                host.run(listen_addrs=[multiaddr.Multiaddr(LOOPBACK)]),
                background_trio_service(pubsub),
                background_trio_service(router),
            ):
                await pubsub.wait_until_ready()
                member.execute(member.gossip.subscribe(now(), TOPIC))
                subscription = await pubsub.subscribe(TOPIC)
                await host.connect(info_from_p2p_addr(multiaddr.Multiaddr(member.transport.addresses()[0])))
                await member.until(lambda: bool(member.gossip._mesh.topics[TOPIC]))
                for index in range(COUNT):  # one by one: a stock router drops what comes too fast
                    await pubsub.publish(TOPIC, b"stock %d" % index)
                    member.execute(member.gossip.publish(now(), TOPIC, b"ours %d" % index))
                    await member.until(lambda: len(member.delivered) > index)  # noqa: B023
                    while len(received) <= index:
                        data = (await subscription.get()).data
                        if data.startswith(b"ours"):
                            received.append(data)
            nursery.cancel_scope.cancel()
    assert sorted(received) == sorted(b"ours %d" % index for index in range(COUNT))
    assert sorted(member.delivered) == sorted(b"stock %d" % index for index in range(COUNT))
