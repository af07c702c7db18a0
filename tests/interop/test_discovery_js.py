"""Our DHT and relay, and js-libp2p's. Run with: ./dev test --interop"""

from __future__ import annotations

import pytest
import trio

from p2pcompute.identity.names import parse_peer_id, peer_id
from p2pcompute.protocol.kademlia import provider_key
from p2pcompute.transport.address import parse_address
from p2pcompute.transport.libp2p import Libp2pTransport
from p2pcompute.transport.relay import RelayLimits
from tests.interop.javascript import PATIENCE_S, js_peer
from tests.transport.dht import Node, join, running
from tests.transport.harness import LOOPBACK, Recorder

pytestmark = pytest.mark.interop_js
SCRIPT = "discovery.mjs"
ECHO = "/p2pcompute/interop-echo/1"
TOPIC = "p2pcompute/interop"


async def test_js_and_we_find_providers_and_peers_through_each_other() -> None:
    near, far = Node(500, libp2p_host=True), Node(501, libp2p_host=True)
    async with running(near, far), js_peer(script=SCRIPT) as js:
        await join(far, near)
        key = await near.transport.connect(js.address)
        assert key == parse_peer_id(js.peer)
        with trio.fail_after(PATIENCE_S):
            while not await near.routing.met(key, [js.address]):
                await trio.sleep(0.1)
        assert await far.routing.provide(TOPIC)
        assert peer_id(far.peer) in (await js.tell("providers", data=provider_key(TOPIC).hex()))["providers"]
        assert far.address.partition("/p2p/")[0] in (await js.tell("find", peer=peer_id(far.peer)))["addresses"]
        await js.tell("provide", data=provider_key("theirs").hex())
        assert key in [one.peer for one in await far.routing.find_providers("theirs")]


async def test_a_js_peer_is_reached_through_our_relay() -> None:
    relay, ours = (
        Libp2pTransport(
            bytes([index]) * 32, listen=[LOOPBACK], events=Recorder(), libp2p_host=True, relay=RelayLimits()
        )
        for index in (71, 72)
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(relay.run)
        await nursery.start(ours.run)
        async with js_peer(relay.addresses()[0], script=SCRIPT) as js:
            address = ""
            while "p2p-circuit" not in address:
                address = next(iter((await js.tell("addresses"))["addresses"]), "")
                await trio.sleep(0.1)
            assert parse_address(address).relay == relay.peer
            peer = await ours.connect(address)
            assert peer == parse_peer_id(js.peer)
            stream = await ours.open_stream(peer, ECHO)
            await stream.send_all(b"through the relay")
            assert await stream.receive_some() == b"through the relay"
            assert relay.load()["circuits"] == 1
        nursery.cancel_scope.cancel()
