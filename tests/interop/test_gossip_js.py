"""Our stack and js-libp2p's, on one network. Run with: ./dev test --interop"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from p2pcompute.identity.delegation import Capability, Delegation
from p2pcompute.identity.keys import KeyPair, verify
from p2pcompute.identity.names import parse_peer_id, peer_id
from p2pcompute.node import factory
from p2pcompute.protocol.core import offers_topic
from p2pcompute.protocol.gossip import CHANNEL, GossipParams
from p2pcompute.protocol.gossip.exchange import decode_record
from p2pcompute.wire import documents as d
from tests.interop.javascript import PATIENCE_S, JsPeer, js_peer
from tests.interop.member import LOOPBACK, STREAM, Member, now

pytestmark = pytest.mark.interop_js
TOPIC = "p2pcompute/interop"
ECHO = "/p2pcompute/interop-echo/1"


@asynccontextmanager
async def members(count: int, params: GossipParams | None = None) -> AsyncIterator[list[Member]]:
    async with trio.open_nursery() as nursery:
        made = [Member(index, TOPIC, params) for index in range(count)]
        for member in made:
            await nursery.start(member.run)
        with trio.fail_after(PATIENCE_S):
            yield made
        nursery.cancel_scope.cancel()


async def until_meshed(member: Member, js: JsPeer) -> None:
    await member.until(lambda: parse_peer_id(js.peer) in member.mesh)
    while not (await js.tell("mesh"))["mesh"]:
        await trio.sleep(0.1)


@pytest.mark.parametrize("direction", ["js dials us", "we dial js"])
async def test_gossip_goes_both_ways_in_the_newest_version(direction: str) -> None:
    async with members(1) as (member,), js_peer(TOPIC) as js:
        await js.tell("subscribe")
        if direction == "js dials us":
            await js.tell("dial", address=member.address)
        else:
            await member.transport.connect(js.address)
        await until_meshed(member, js)
        for index in range(10):
            member.publish(b"ours %d" % index)
            await js.tell("publish", data=(b"theirs %d" % index).hex())
        heard = await js.until("message", 10)
        await member.until(lambda: len(member.delivered) == 10)
        state = await js.tell("mesh")
        score = member.gossip.breakdown(parse_peer_id(js.peer)).total
    assert sorted(bytes.fromhex(one["data"]) for one in heard) == sorted(b"ours %d" % index for index in range(10))
    assert sorted(member.delivered) == sorted(b"theirs %d" % index for index in range(10))
    assert member.channels[parse_peer_id(js.peer)] == CHANNEL
    assert list(state["versions"].values()) == [CHANNEL]
    assert all(score >= 0 for score in state["scores"].values())
    assert score > 0


async def test_js_and_we_identify_and_ping_each_other() -> None:
    async with members(1) as (member,), js_peer(TOPIC) as js:
        await js.tell("dial", address=member.address)
        (identified,) = await js.until("identified")
        answer = await js.tell("ping", address=member.address)
        echo = await member.transport.open_stream(parse_peer_id(js.peer), "/ipfs/ping/1.0.0")
        await echo.send_all(bytes(range(32)))
        assert await echo.receive_some() == bytes(range(32))
        echo.reset()
        theirs = decode_record(await member.transport.signed_record(parse_peer_id(js.peer)), verify)
    assert parse_peer_id(identified["peer"]) == member.transport.peer
    assert CHANNEL in identified["protocols"]
    assert identified["record"]
    assert answer["ms"] >= 0
    assert f"{theirs.addresses[0]}/p2p/{js.peer}" == js.address


async def test_addresses_that_change_are_pushed_both_ways() -> None:
    theirs = "/ip4/8.8.8.8/tcp/4001"
    async with members(2) as (member, relay), js_peer(TOPIC) as js:
        await js.tell("dial", address=member.address)
        await js.until("identified")
        await js.tell("announce", address=theirs)
        await member.until(lambda: any(f"{theirs}/p2p/{js.peer}" in where.addresses for where in member.told))
        assert all(where.peer == parse_peer_id(js.peer) and where.record for where in member.told)
        await member.transport.reserve(relay.address)
        suffix = f"/p2p/{peer_id(member.transport.peer)}"
        ours = {text.removesuffix(suffix) for text in member.transport.addresses()}
        assert any(text.endswith("p2p-circuit") for text in ours)
        known: set[str] = set()
        while known != ours:
            await trio.sleep(0.1)
            answer = await js.tell("whereis", peer=peer_id(member.transport.peer))
            known = {text.removesuffix(suffix) for text in answer["addresses"]}


@pytest.mark.parametrize("size", [1, 300_000])
async def test_streams_go_both_ways(size: int) -> None:
    data = bytes(index % 251 for index in range(size))
    async with members(1) as (member,), js_peer(TOPIC) as js:
        answer = await js.tell("ask", address=member.address, protocol=STREAM, data=data.hex())
        assert bytes.fromhex(answer["data"]) == data
        stream = await member.transport.open_stream(parse_peer_id(js.peer), ECHO)
        received = bytearray()
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                await stream.send_all(data)
                await stream.send_eof()

            nursery.start_soon(send)
            while len(received) < size:
                received += await stream.receive_some()
        stream.reset()
    assert received == data


async def test_every_message_reaches_everyone_in_a_mixed_mesh_of_ten() -> None:
    async with members(5, GossipParams(flood_publish=False)) as ours, trio.open_nursery() as nursery:
        theirs = [await nursery.start(_keep_js) for _ in range(5)]
        for js in theirs:
            await js.tell("subscribe")
        for at, member in enumerate(ours):  # a ring of alternating kinds, with a chord each
            await member.transport.connect(theirs[at].address)
            await theirs[at].tell("dial", address=ours[(at + 1) % 5].address)
            await member.transport.connect(ours[(at + 2) % 5].address)
        for member, js in zip(ours, theirs, strict=True):
            await until_meshed(member, js)
        sent = [b"%d by %s" % (index, kind) for index in range(5) for kind in (b"us", b"js")]
        for index in range(5):
            ours[index].publish(sent[2 * index])
            await theirs[index].tell("publish", data=sent[2 * index + 1].hex())
        for member in ours:
            await member.until(lambda: len(member.delivered) == 9)  # noqa: B023
        for js in theirs:
            await js.until("message", 9)
        states = [await js.tell("mesh") for js in theirs]
        scores = [m.gossip.breakdown(parse_peer_id(js.peer)).total for m, js in zip(ours, theirs, strict=True)]
        nursery.cancel_scope.cancel()
    assert all(score > 0 for score in scores)
    assert all(len(set(member.delivered)) == 9 for member in ours)
    assert all(score >= 0 for state in states for score in state["scores"].values())


async def _keep_js(task_status: trio.TaskStatus[JsPeer]) -> None:
    async with js_peer(TOPIC) as js:
        task_status.started(js)
        await trio.sleep_forever()


async def test_a_js_peer_sees_a_nodes_signed_offer_and_publishes_one(tmp_path: Path) -> None:
    factory.create_home(tmp_path / "home", "", "", "main")
    changes: dict[str, object] = {"listen": (LOOPBACK,), "threads": 1}
    async with js_peer(offers_topic("main")) as js, factory.open_provider(tmp_path / "home", "", changes) as (peer, _):
        await js.tell("subscribe")
        await js.tell("dial", address=peer.addresses()[0])
        while not (await js.tell("mesh"))["mesh"]:
            await trio.sleep(0.1)
        peer.offer("cpu", "cpu-1", isolation="jail", mflops=1, copy_mb_s=1)
        heard = await js.until("message")
        seen = d.open_document("main", bytes.fromhex(heard[-1]["data"]), verify)
        assert isinstance(seen.body, d.Offer)
        provider = KeyPair(bytes([9]) * 32)
        await js.tell("publish", data=offer_of(provider, seen.body).hex())
        while peer.core.book.get(provider.public) is None:
            await trio.sleep(0.05)
        standing = peer.core.book.get(provider.public)
    assert seen.signer == peer.keyring.node.public
    assert standing is not None
    assert standing.offer.body.price_per_device_s == 7


def offer_of(provider: KeyPair, like: d.Offer) -> bytes:
    """A provider's own offer, with its operator's delegation, as a js peer would bring it."""
    operator, wall_ms = KeyPair(bytes([8]) * 32), now().wall_ms
    lent = d.Author("main", operator.public, bytes(8), operator.sign).write(
        wall_ms, Delegation(provider.public, Capability.PROVIDE), lifetime_ms=10**9
    )
    body = msgspec.structs.replace(like, delegation=lent.raw, price_per_device_s=7)
    return d.Author("main", provider.public, bytes(8), provider.sign).write(wall_ms, body, lifetime_ms=600_000).raw
