"""Our DHT and py-libp2p's: each asks the other."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from p2pcompute.identity.names import peer_id_bytes
from p2pcompute.protocol.kademlia import provider_key
from tests.transport.dht import Node, running
from tests.transport.stock import closing_dialled_sockets, new_stock_host

TOPIC = "/p2pcompute/test/offers"


async def test_each_finds_providers_and_peers_through_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    stock: Any = new_stock_host()
    node, third = Node(400), Node(401)
    with closing_dialled_sockets(monkeypatch):
        async with stock.run(listen_addrs=[Multiaddr("/ip4/127.0.0.1/tcp/0")]), running(node, third):
            dht = KadDHT(stock, DHTMode.SERVER)
            async with background_trio_service(dht):
                address = next(str(one) for one in stock.get_addrs() if "127.0.0.1" in str(one))
                key = await node.transport.connect(address)
                assert await node.routing.met(key, [address])
                await third.transport.connect(node.address)
                assert await third.routing.met(node.peer, [node.address])

                assert await node.routing.provide(TOPIC) == 1
                found = await dht.find_providers(provider_key(TOPIC).hex())
                assert ID(peer_id_bytes(node.peer)) in [one.peer_id for one in found]

                await stock.connect(info_from_p2p_addr(Multiaddr(node.address)))
                with trio.fail_after(10):
                    await dht.provide(provider_key("other").hex())
                providers = await third.routing.find_providers("other")
                assert key in [one.peer for one in providers]
