"""What a hostile peer may send, on a socket or on a stream. Each costs a stream or a connection, never the host."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from p2pcompute.transport import multistream, noise, yamux
from p2pcompute.transport.libp2p import Libp2pTransport
from tests.transport.harness import CHANNEL, REQUEST, STREAM, Recorder, make, pair, raw_peer, running

HEADER = multistream.HEADER


async def works(transport: Libp2pTransport) -> bool:
    """Whether a new peer can still connect and ask."""
    friend = make(50, Recorder())
    async with running(friend):
        peer = await friend.connect(transport.addresses()[0])
        return await friend.request(peer, REQUEST, b"ping", timeout_s=10) == b"ping"


@asynccontextmanager
async def victim() -> AsyncIterator[tuple[Libp2pTransport, Recorder]]:
    events = Recorder()
    transport = make(1, events, libp2p_host=True)
    async with running(transport):
        yield transport, events


STREAM_OPENINGS = {
    "not UTF-8": HEADER + b"\x05\xff\xfe\xfd\xfc\n",
    "empty name": HEADER + b"\x01\n",
    "zero length": HEADER + b"\x00",
    "endless length": b"\xff" * 20,
    "another language": b"GET / HTTP/1.1\r\n\r\n",
    "only the header": HEADER,
    "half a name": HEADER + b"\x06/echo",
    "ls": HEADER + multistream.line(b"ls"),
    "nothing": b"",
    "frame too long": multistream.request(CHANNEL) + b"\xff\xff\xff\x7f",
    "length of many bytes": multistream.request(CHANNEL) + b"\xff" * 9,
    "request too long": multistream.request(REQUEST) + b"\x81\x80\x04" + bytes(100),
    "identify garbage": multistream.request("/ipfs/id/push/1.0.0") + b"\x05\xff\xff\xff\xff\xff",
    "ping garbage": multistream.request("/ipfs/ping/1.0.0") + b"\x00" * 31,
}


@pytest.mark.parametrize("name", STREAM_OPENINGS)
@pytest.mark.parametrize("end", ["finish", "reset", "leave open"])
async def test_a_bad_stream_costs_the_stream_only(name: str, end: str) -> None:
    async with victim() as (transport, _):
        attacker_events = Recorder()
        attacker = make(60, attacker_events)
        async with running(attacker):
            peer = await attacker.connect(transport.addresses()[0])
            record = attacker._peers.get(peer)
            assert record is not None
            connection = record.current()
            assert connection is not None
            stream = connection.open_stream()
            await stream.send_all(STREAM_OPENINGS[name])
            if end == "finish":
                stream.finish()
            elif end == "reset":
                stream.reset()
            assert await attacker.request(peer, REQUEST, b"x", timeout_s=10) == b"x"
            assert attacker_events.up() == {peer}


async def test_random_streams_cost_nothing_else() -> None:
    chance = random.Random(3)
    async with victim() as (transport, _):
        attacker = make(60, Recorder())
        async with running(attacker):
            peer = await attacker.connect(transport.addresses()[0])
            for _ in range(30):
                for _ in range(10):
                    protocol = chance.choice([CHANNEL, REQUEST, STREAM, "/ipfs/id/push/1.0.0"])
                    stream = await attacker.open_stream(peer, protocol)
                    await stream.send_all(chance.randbytes(chance.randrange(1, 200)))
                    chance.choice([stream.finish, stream.reset])()
                assert await attacker.request(peer, REQUEST, b"x", timeout_s=10) == b"x"
        assert await works(transport)


SOCKET_OPENINGS = {
    "nothing": b"",
    "garbage": bytes(range(1, 200)),
    "only the header": HEADER,
    "another protocol": multistream.request("/plaintext/2.0.0"),
    "endless proposals": HEADER + multistream.line(b"/secio/1.0.0") * 100,
    "Noise garbage": multistream.request("/noise") + noise.frame(b"\x01" * 31),
    "Noise of low order": multistream.request("/noise") + noise.frame(bytes(32)),
    "Noise too long": multistream.request("/noise") + b"\xff\xff" + bytes(70_000),
}


@pytest.mark.parametrize("name", SOCKET_OPENINGS)
async def test_a_bad_handshake_costs_the_socket_only(name: str) -> None:
    async with victim() as (transport, events):
        host, port = transport.addresses()[0].split("/")[2], int(transport.addresses()[0].split("/")[4])
        async with await trio.open_tcp_stream(host, port) as socket:
            await socket.send_all(SOCKET_OPENINGS[name])
        assert await works(transport)
        assert len({info.peer for info in events.changes}) == 1


async def test_garbage_inside_the_encryption_costs_the_connection_only() -> None:
    async with victim() as (transport, events):
        for index, data in enumerate([b"\x07not yamux at all", os.urandom(500), yamux.HEADER.pack(0, 3, 0, 0, 2)]):
            raw = await raw_peer(transport, 70 + index)
            await raw.socket.send_all(bytes(raw.session.seal(data)))
            while await raw.socket.receive_some(65_536):
                pass
            await raw.socket.aclose()
        await events.until(lambda: len(events.changes) == 6)
        assert not events.up()
        assert await works(transport)


async def test_a_message_that_does_not_authenticate_costs_the_connection_only() -> None:
    async with victim() as (transport, events):
        raw = await raw_peer(transport)
        await raw.socket.send_all(noise.frame(b"\x00" * 40))
        await events.until(lambda: bool(events.changes) and not events.up())
        await raw.socket.aclose()
        assert await works(transport)


async def test_a_connection_that_breaks_mid_message_costs_nothing_else() -> None:
    async with victim() as (transport, events):
        raw = await raw_peer(transport)
        await raw.socket.send_all(bytes(raw.session.seal(bytes(1_000)))[:50])
        await trio.aclose_forcefully(raw.socket)
        await events.until(lambda: bool(events.changes) and not events.up())
        assert await works(transport)


async def test_many_reconnections_are_all_served() -> None:
    async with pair() as (a, _, b, right):
        for _ in range(270):  # py-libp2p's own listener refuses the 251st
            await a.disconnect(b.peer)
            await right.until(lambda: not right.up())
            await a.connect(b.addresses()[0])
            await right.until(lambda: bool(right.up()))
        assert await a.request(b.peer, REQUEST, b"x", timeout_s=5) == b"x"


async def test_streams_of_one_peer_are_bounded() -> None:
    async with victim() as (transport, _):
        events = Recorder()
        attacker = make(60, events)
        async with running(attacker):
            peer = await attacker.connect(transport.addresses()[0])
            streams = [await attacker.open_stream(peer, STREAM) for _ in range(400)]
            for stream in streams:
                await stream.send_all(b"x")
            assert await works(transport)
            record = transport._peers.get(attacker.peer)
            assert record is not None
            assert len(record.connections[0].mux.streams) <= record.connections[0].mux.limits.streams_max
