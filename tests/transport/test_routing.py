"""The DHT over real sockets: peers and providers are found, and what hostile peers answer is bounded."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable

import pytest
import trio

from p2pcompute.identity.names import peer_id
from p2pcompute.protocol import kademlia
from p2pcompute.protocol.kademlia import Contact, Kind, Message
from p2pcompute.protocol.kademlia.messages import encode, peer_position
from p2pcompute.protocol.kademlia.search import QUESTIONS_MAX
from p2pcompute.transport import libp2p, routing
from p2pcompute.transport.channels import FrameReader, pack_frame
from p2pcompute.transport.mux import Stream
from p2pcompute.transport.routing import Found
from tests.transport.dht import Node, join, running

TOPIC = "/p2pcompute/test/offers"
MEMBERS = 12


async def test_members_that_know_one_other_find_all() -> None:
    nodes = [Node(100 + index) for index in range(MEMBERS)]
    async with running(*nodes):
        for left, right in itertools.pairwise(nodes):
            await join(right, left)
        for node in nodes:
            for wanted in nodes:
                if wanted is not node:
                    assert wanted.address in await node.routing.find_peer(wanted.peer)


async def test_a_neighbour_in_the_table_moves_where_it_says() -> None:
    here, mover, stranger = Node(320), Node(321), Node(322)
    async with running(here, mover, stranger):
        await join(here, mover)
        await here.transport.connect(stranger.address)
        elsewhere = f"/ip4/127.0.0.1/tcp/9/p2p/{peer_id(mover.peer)}"
        here.routing.told(mover.peer, (elsewhere,))
        here.routing.told(stranger.peer, (stranger.address,))
        found = here.routing.kademlia.table.get(mover.peer)
        assert found is not None
        assert found.addresses == (elsewhere,)
        here.routing.told(mover.peer, ())
        assert here.routing.kademlia.table.get(mover.peer) == found
        assert here.routing.kademlia.table.get(stranger.peer) is None


async def test_a_joiner_with_one_bootstrap_finds_the_providers_of_a_topic() -> None:
    nodes = [Node(200 + index) for index in range(8)]
    joiner = Node(300)
    async with running(*nodes, joiner):
        for left, right in itertools.pairwise(nodes):
            await join(right, left)
        for provider in nodes[5:]:
            assert await provider.routing.provide(TOPIC)
        await join(joiner, nodes[0])
        found = await joiner.routing.find_providers(TOPIC)
        assert {one.peer: one.addresses[0] for one in found} == {one.peer: one.address for one in nodes[5:]}


async def test_topics_are_told_as_soon_as_somebody_is_met() -> None:
    provider, other = Node(310, [TOPIC]), Node(311)
    async with running(provider, other), trio.open_nursery() as nursery:
        nursery.start_soon(provider.routing.run)
        await join(other, provider)
        while not await other.routing.find_providers(TOPIC):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


async def test_a_peer_that_is_gone_is_forgotten_by_the_table() -> None:
    node, other = Node(320), Node(321)
    async with running(node):
        async with running(other):
            await join(node, other)
            assert len(node.routing) == 1
        await node.until(lambda: not node.up())
        for _ in range(kademlia.table.FAILURES_MAX):
            await node.routing.find_peer(os.urandom(32))
        assert not len(node.routing)


def _garbage(frame: bytes) -> bytes:
    return pack_frame(b"\xff" * 64)


def _huge(frame: bytes) -> bytes:
    return b"\xff\xff\xff\x7f" + bytes(1000)


def _silence(frame: bytes) -> bytes:
    return b""


def _cut(frame: bytes) -> bytes:
    return pack_frame(frame)[:3]


def _other_kind(frame: bytes) -> bytes:
    return pack_frame(b"\x08\x01\x12\x01k")


@pytest.mark.parametrize("reply", [_garbage, _huge, _silence, _cut, _other_kind], ids=lambda f: f.__name__)
async def test_an_answer_that_is_none_costs_that_peer_its_place(reply: Callable[[bytes], bytes]) -> None:
    node, liar, honest = Node(330), Node(331), Node(332)

    async def lie(peer: bytes, protocol: str, stream: Stream) -> None:
        frame = await FrameReader(stream).next(kademlia.MESSAGE_BYTES_MAX)
        await stream.send_all(reply(frame))

    async with running(node, liar, honest):
        await join(node, liar)
        await join(node, honest)
        liar.handle = lie
        for _ in range(kademlia.table.FAILURES_MAX):
            await node.routing.find_peer(os.urandom(32))
        assert [one.peer for one in node.routing.kademlia.table] == [honest.peer]


async def test_endless_closer_peers_end_a_search_at_its_bound() -> None:
    """Every answer names twenty new peers, nearer than any before, all of them the liar's own."""
    node, liar = Node(340), Node(341)
    asked = 0

    async def lie(peer: bytes, protocol: str, stream: Stream) -> None:
        nonlocal asked
        message = kademlia.messages.decode(await FrameReader(stream).next(kademlia.MESSAGE_BYTES_MAX))
        asked += 1
        near = sorted((os.urandom(32) for _ in range(200)), key=lambda p: peer_position(p) ^ peer_position(target))
        port = liar.address.split("/")[4]
        contacts = [Contact(one, (f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer_id(one)}",)) for one in near[:20]]
        await stream.send_all(pack_frame(encode(Message(message.kind, message.key, tuple(contacts)))))

    target = os.urandom(32)
    async with running(node, liar):
        await join(node, liar)
        liar.handle = lie
        assert await node.routing.find_peer(target) == ()
        assert asked <= QUESTIONS_MAX
        assert [one.peer for one in node.routing.kademlia.table] == [liar.peer]


async def test_one_search_after_another_is_answered_while_a_peer_floods() -> None:
    node, flooder, friend = Node(350), Node(351), Node(352)
    async with running(node, flooder, friend):
        await join(flooder, node)
        await join(friend, node)
        question = pack_frame(encode(Message(Kind.FIND_NODE, os.urandom(38))))
        stream = await flooder.transport.open_stream(node.peer, kademlia.PROTOCOL)

        async def flood() -> None:
            while True:
                await stream.send_all(question)

        with pytest.raises(trio.BrokenResourceError):
            await flood()
        assert await friend.routing.find_peer(flooder.peer)


async def test_a_stream_without_a_question_ends_in_peace() -> None:
    node, other = Node(360), Node(361)
    async with running(node, other):
        await join(other, node)
        stream = await other.transport.open_stream(node.peer, kademlia.PROTOCOL)
        await stream.send_eof()
        assert await stream.receive_some() == b""


async def test_idle_streams_of_one_peer_silence_nobody() -> None:
    """py-libp2p works on twelve streams of all peers together, and waits for each as long as it takes."""
    node, idle, friend = Node(370), Node(371), Node(372)
    async with running(node, idle, friend):
        await join(idle, node)
        await join(friend, node)
        streams = [await idle.transport.open_stream(node.peer, kademlia.PROTOCOL) for _ in range(40)]
        for stream in streams:
            await stream.send_all(b"\x10")  # the length of a question that never comes
        assert await friend.routing.met(node.peer, [node.address])


async def test_one_liar_cannot_fill_the_list_of_providers() -> None:
    nodes = [Node(380 + index) for index in range(6)]
    joiner, liar = Node(390), Node(391)

    async def lie(peer: bytes, protocol: str, stream: Stream) -> None:
        message = kademlia.messages.decode(await FrameReader(stream).next(kademlia.MESSAGE_BYTES_MAX))
        false = tuple(Contact(key, (f"/ip4/127.0.0.1/tcp/1/p2p/{peer_id(key)}",)) for key in map(os.urandom, [32] * 20))
        await stream.send_all(pack_frame(encode(Message(message.kind, message.key, (), false))))

    async with running(*nodes, joiner, liar):
        for left, right in itertools.pairwise(nodes):
            await join(right, left)
        for provider in nodes:
            assert await provider.routing.provide(TOPIC)
        await join(joiner, liar)
        await join(joiner, nodes[0])
        liar.handle = lie
        found = await joiner.routing.find_providers(TOPIC, 100)
        assert {one.peer for one in found} >= {one.peer for one in nodes}


async def test_two_tellers_of_one_provider_are_both_heard() -> None:
    key = os.urandom(32)
    there, elsewhere = (f"/ip4/127.0.0.{n}/tcp/1/p2p/{peer_id(key)}" for n in (1, 2))
    found = Found([], 1, random.Random(1))
    found.add([Contact(key, (elsewhere,))])
    assert not found.is_enough
    found.add([Contact(key, (there, elsewhere))])
    assert found.some(b"") == [Contact(key, (elsewhere, there))]
    assert found.some(key) == []


async def test_searches_leave_few_connections_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libp2p, "OUTBOUND_KEPT", 2)
    nodes = [Node(410 + index) for index in range(8)]
    async with running(*nodes):
        for left, right in itertools.pairwise(nodes):
            await join(right, left)
        for wanted in nodes[1:]:
            await nodes[0].routing.find_peer(wanted.peer)
        await nodes[0].routing.refresh()
        while nodes[0].transport.load()["outbound"] > 2:
            await trio.lowlevel.checkpoint()
        assert nodes[1].peer in nodes[0].up()


async def test_who_was_told_a_record_is_not_told_again_until_it_has_to_be() -> None:
    provider, others = Node(430), [Node(431 + index) for index in range(3)]
    heard: list[bytes] = []

    def listen(node: Node) -> None:
        async def handle(peer: bytes, protocol: str, stream: Stream) -> None:
            await node.routing.serve(peer, stream)
            if node.routing.kademlia.providers.get(kademlia.provider_key(TOPIC), 1, 0):
                heard.append(node.peer)
                node.routing.kademlia.providers = kademlia.providers.Providers()

        node.handle = handle

    async with running(provider, *others):
        for node in others[:2]:
            listen(node)
            await join(provider, node)
        assert await provider.routing.provide(TOPIC) == 2
        while len(heard) < 2:
            await trio.lowlevel.checkpoint()
        listen(others[2])
        await join(provider, others[2])
        assert await provider.routing.provide(TOPIC) == 3
        while len(heard) < 3:
            await trio.lowlevel.checkpoint()
        assert heard[2] == others[2].peer
        provider.routing.moved()
        assert await provider.routing.provide(TOPIC) == 3
        while len(heard) < 6:
            await trio.lowlevel.checkpoint()


async def test_searches_that_belong_together_dial_a_peer_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libp2p, "OUTBOUND_KEPT", 1)
    monkeypatch.setattr(routing, "FIRST_S", 1e6)
    nodes = [Node(440 + index) for index in range(8)]
    newcomer = Node(450, [TOPIC])
    async with running(*nodes, newcomer):
        for left, right in itertools.pairwise(nodes):
            await join(right, left)
        await join(newcomer, nodes[0])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(newcomer.routing.run)
            while not newcomer.routing._told:
                await trio.lowlevel.checkpoint()
            await newcomer.until(lambda: len(newcomer.up()) == 1)
            nursery.cancel_scope.cancel()
        dialled = [info.peer for info in newcomer.changes if info.up]
        assert len(dialled) == len(set(dialled)) > 1
