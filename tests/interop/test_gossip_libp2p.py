"""Our gossip router on our transport, in one mesh with py-libp2p's own GossipSub on its own stack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import multiaddr
import pytest
import trio
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service

from p2pcompute.protocol.gossip import message_id
from tests.interop.member import LOOPBACK, Member
from tests.transport.stock import closing_dialled_sockets, new_stock_host

TOPIC = "p2pcompute/interop"
COUNT = 20


@pytest.fixture(autouse=True)
def _no_leaks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with closing_dialled_sockets(monkeypatch):
        yield


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
    member = Member(0, TOPIC)
    host, pubsub, router = stock()
    received: list[bytes] = []
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(member.run)
            async with (
                host.run(listen_addrs=[multiaddr.Multiaddr(LOOPBACK)]),
                background_trio_service(pubsub),
                background_trio_service(router),
            ):
                await pubsub.wait_until_ready()
                subscription = await pubsub.subscribe(TOPIC)
                await host.connect(info_from_p2p_addr(multiaddr.Multiaddr(member.address)))
                await member.until(lambda: bool(member.mesh))
                for index in range(COUNT):  # one by one: a stock router drops what comes too fast
                    await pubsub.publish(TOPIC, b"stock %d" % index)
                    member.publish(b"ours %d" % index)
                    await member.until(lambda: len(member.delivered) > index)  # noqa: B023
                    while len(received) <= index:
                        data = (await subscription.get()).data
                        if data.startswith(b"ours"):
                            received.append(data)
            nursery.cancel_scope.cancel()
    assert sorted(received) == sorted(b"ours %d" % index for index in range(COUNT))
    assert sorted(member.delivered) == sorted(b"stock %d" % index for index in range(COUNT))
