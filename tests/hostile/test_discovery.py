"""Hostile peers of a real node's DHT, relay and dial-back service: it stays up, serves others, and grows no larger."""

from __future__ import annotations

import os
import random

import pytest
import trio

from p2pcompute.errors import RemoteError
from p2pcompute.identity.names import peer_id, peer_id_bytes
from p2pcompute.protocol import kademlia
from p2pcompute.protocol.gossip.exchange import PeerRecord, encode_record
from p2pcompute.protocol.kademlia import Contact, Kind, Message
from p2pcompute.protocol.kademlia.messages import decode, encode
from p2pcompute.transport import circuit, dialback, identify, noise, push
from p2pcompute.transport.channels import FrameReader, pack_frame
from p2pcompute.transport.circuit import Hop, HopKind, Status, encode_hop
from p2pcompute.transport.dialback import Answer, Call, decode_answer, encode_call
from tests.hostile.node import SETTLE_S, Victim, attack, attacker

PROTOCOLS = (kademlia.PROTOCOL, circuit.HOP, circuit.STOP, dialback.PROTOCOL)
WISHES = 300


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_garbage_costs_its_stream_only(victim: Victim, protocol: str) -> None:
    rng = random.Random(protocol)
    async with attack(victim), attacker(victim, 300) as (peer, events):
        for _ in range(100):
            stream = await peer.open_stream(victim.key, protocol)
            try:
                await stream.send_all(pack_frame(rng.randbytes(rng.randrange(1, 400))))
                await stream.send_all(rng.randbytes(rng.randrange(1, 4_000)))
            except (trio.BrokenResourceError, RemoteError):
                pass
            stream.reset()
        assert events.up() == {victim.key}


async def test_provider_records_without_end_are_bounded(victim: Victim) -> None:
    async with attack(victim):
        for index in range(3):
            async with attacker(victim, 310 + index) as (peer, _):
                mine = Contact(peer.peer, peer.addresses())
                for _ in range(WISHES):
                    record = Message(Kind.ADD_PROVIDER, os.urandom(34), providers=(mine,) * 20)
                    stream = await peer.open_stream(victim.key, kademlia.PROTOCOL)
                    await stream.send_all(pack_frame(encode(record)))
                    stream.reset()


async def test_a_flood_of_questions_is_answered_up_to_a_bound(victim: Victim) -> None:
    async with attack(victim), attacker(victim, 320) as (peer, _):
        question = pack_frame(encode(Message(Kind.FIND_NODE, peer_id_bytes(os.urandom(32)))))
        answered = 0
        for _ in range(8):
            stream = await peer.open_stream(victim.key, kademlia.PROTOCOL)
            try:
                reader = FrameReader(stream)
                for _ in range(100):
                    await stream.send_all(question)
                    decode(await reader.next(kademlia.MESSAGE_BYTES_MAX))
                    answered += 1
            except (trio.BrokenResourceError, RemoteError):
                pass
        assert answered < 8 * 100


async def test_places_and_circuits_that_nobody_wants_leave_nothing(victim: Victim) -> None:
    async with attack(victim), attacker(victim, 330) as (peer, _):
        for number in range(WISHES):
            stream = await peer.open_stream(victim.key, circuit.HOP)
            wish = Hop(HopKind.RESERVE) if number % 2 else Hop(HopKind.CONNECT, os.urandom(32))
            await stream.send_all(pack_frame(encode_hop(wish)))
            if number < 4:
                answer = circuit.decode_hop(await FrameReader(stream).next(circuit.MESSAGE_BYTES_MAX))
                assert answer.status in (Status.OK, Status.NO_RESERVATION)
            stream.reset()


async def test_the_node_is_aimed_at_nobody(victim: Victim) -> None:
    """It dials back the asker's own address only: here 127.0.0.1, and seldom."""
    async with attack(victim), attacker(victim, 340) as (peer, _):
        for target in (
            "/ip4/127.0.0.2/tcp/22",
            "/ip4/192.0.2.1/tcp/80",
            f"/ip4/10.0.0.1/tcp/9/p2p/{peer_id(peer.peer)}",
        ):
            stream = await peer.open_stream(victim.key, dialback.PROTOCOL)
            await stream.send_all(pack_frame(encode_call(Call(peer.peer, (target,)))))
            answer = decode_answer(await FrameReader(stream).next(dialback.MESSAGE_BYTES_MAX))
            assert answer is Answer.REFUSED


async def test_a_flood_of_pushed_addresses_costs_the_sender_its_connection(victim: Victim) -> None:
    async with attack(victim), attacker(victim, 350) as (peer, events):
        public, sign = noise.signer((350).to_bytes(2, "big") * 16)
        for number in range(1, WISHES):
            record = encode_record(PeerRecord(public, number, (f"/ip4/203.0.113.9/tcp/{number}",)), sign)
            try:
                stream = await peer.open_stream(victim.key, push.PROTOCOL)
                await stream.send_all(pack_frame(identify.encode(public, (), (), record)))
                await stream.send_eof()
            except (trio.BrokenResourceError, trio.ClosedResourceError, RemoteError):
                break
        with trio.fail_after(SETTLE_S):
            await events.until(lambda: not events.up())
