"""Attacks on sockets, handshakes and streams. Each leaves a real node up, serving, and no larger than it was."""

from __future__ import annotations

import random
import struct
from typing import Final

import pytest
import trio

from p2pcompute.errors import RemoteError
from p2pcompute.protocol.core import RPC_CHANNEL
from p2pcompute.transport import multistream, noise, tcp, yamux
from p2pcompute.transport.admission import INBOUND_MAX, PENDING_MAX
from p2pcompute.transport.libp2p import Libp2pTransport
from tests.hostile.node import (
    ANSWER_S,
    Victim,
    attack,
    attacker,
    compare_frame,
    handshake,
    open_raw,
    open_socket,
    wait_hang_up,
)

IDLE_COUNT: Final = 1_000
LORIS_COUNT: Final = 60
DRIBBLE_S: Final = 0.5


def source(index: int) -> str:
    """One of loopback's addresses, each in a network of its own."""
    return f"127.{index % 200 + 1}.{index // 200}.1"


async def test_random_bytes_on_the_socket_end_the_connection(victim: Victim) -> None:
    chance = random.Random(1)
    openings = [b"", multistream.request(tcp.NOISE), multistream.HEADER]
    async with attack(victim):
        for index in range(60):
            socket = await open_socket(victim.address, source(index))
            data = openings[index % len(openings)] + chance.randbytes(chance.randrange(1, 5_000))
            with trio.fail_after(ANSWER_S):
                try:
                    await socket.send_all(data)
                    await socket.send_eof()
                except (trio.BrokenResourceError, OSError):
                    pass
                await wait_hang_up(socket)
            await socket.aclose()


async def test_random_bytes_inside_the_encryption_end_the_connection(victim: Victim) -> None:
    chance = random.Random(2)
    async with attack(victim):
        for index in range(20):
            raw = await handshake(victim.address, 1_000 + index)
            with trio.fail_after(ANSWER_S):
                await raw.socket.send_all(bytes(raw.session.seal(b"\x09" + chance.randbytes(2_000))))
                await wait_hang_up(raw.socket)
            await raw.socket.aclose()


async def test_slow_handshakes_and_streams_without_a_name_are_ended_and_disturb_nobody(victim: Victim) -> None:
    proposal = multistream.request(tcp.NOISE) + noise.frame(bytes(32))

    async def dribble(index: int) -> None:
        socket = await open_socket(victim.address, source(index))
        async with socket:
            try:
                for at in range(len(proposal)):
                    await socket.send_all(proposal[at : at + 1])
                    await trio.sleep(DRIBBLE_S)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
        raise AssertionError("the node waited for all of a handshake of a byte at a time")

    async def leave_open(peer: Libp2pTransport) -> None:
        stream = await open_raw(peer, victim.key)
        await stream.send_all(multistream.HEADER[:5])
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()

    async with attack(victim), attacker(victim, 4_001) as (peer, _):
        with trio.fail_after(tcp.HANDSHAKE_S + ANSWER_S):
            async with trio.open_nursery() as nursery:
                for index in range(LORIS_COUNT):
                    nursery.start_soon(dribble, index)
                    nursery.start_soon(leave_open, peer)
                await trio.sleep(DRIBBLE_S)
                await victim.serves()
        assert await peer.request(victim.key, RPC_CHANNEL, compare_frame(), timeout_s=ANSWER_S)


async def test_more_silent_sockets_than_there_is_room_for_handshakes_disturb_nobody(victim: Victim) -> None:
    async with attack(victim):
        sockets = [await open_socket(victim.address, source(index)) for index in range(IDLE_COUNT)]
        await victim.serves()
        assert (await victim.footprint()).handshakes <= PENDING_MAX
        for socket in sockets:
            await socket.aclose()


async def test_a_thousand_idle_peers_leave_room_for_an_honest_one(victim: Victim) -> None:
    async with attack(victim) as before:
        idle: list[tcp.Secured] = []

        async def join(start: int) -> None:
            for index in range(start, IDLE_COUNT, 8):
                with trio.fail_after(ANSWER_S):
                    idle.append(await handshake(victim.address, 2_000 + index, source(index)))

        async with trio.open_nursery() as nursery:
            for start in range(8):
                nursery.start_soon(join, start)
        full = await victim.footprint()
        assert full.inbound == INBOUND_MAX
        assert full.memory_bytes - before.memory_bytes < 128 * 2**20
        await victim.serves()
        for raw in idle:
            await raw.socket.aclose()


async def test_a_flood_of_streams_is_bounded_and_disturbs_nobody(victim: Victim) -> None:
    async with attack(victim) as before:
        raw = await handshake(victim.address, 3_000)
        opening = multistream.request(RPC_CHANNEL)
        frames = b"".join(
            yamux.HEADER.pack(0, yamux.Kind.DATA, yamux.Flag.SYN, number, len(opening)) + opening
            for number in range(1, 40_001, 2)
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pour, raw, frames)
            await trio.sleep(0.5)
            await victim.serves()
            assert (await victim.footprint()).tasks - before.tasks < 2 * yamux.Limits().streams_max
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(raw.socket)


async def test_streams_opened_and_reset_at_once_disturb_nobody(victim: Victim) -> None:
    async with attack(victim):
        raw = await handshake(victim.address, 3_001)
        window = yamux.Kind.WINDOW
        frames = b"".join(
            yamux.HEADER.pack(0, window, yamux.Flag.SYN, number, 0)
            + yamux.HEADER.pack(0, window, yamux.Flag.RST, number, 0)
            for number in range(1, 400_001, 2)
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pour, raw, frames)
            await trio.sleep(0.5)
            await victim.serves()
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(raw.socket)


async def test_a_flood_of_pings_disturbs_nobody(victim: Victim) -> None:
    async with attack(victim):
        raw = await handshake(victim.address, 3_002)
        frames = yamux.HEADER.pack(0, yamux.Kind.PING, yamux.Flag.SYN, 0, 1) * 1_000_000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pour, raw, frames)
            await trio.sleep(0.5)
            await victim.serves()
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(raw.socket)


async def _pour(raw: tcp.Secured, plain: bytes) -> None:
    """Send it all as fast as the node reads; the answers stay unread."""
    try:
        for at in range(0, len(plain), 60_000):
            await raw.socket.send_all(bytes(raw.session.seal(plain[at : at + 60_000])))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass


@pytest.mark.parametrize(
    "frame",
    [b"\x81\x80\x10" + bytes(1_000), b"\xff" * 9, b"\x90\x4e" + bytes(100), b"\x0a\x02\x0cshort", b"\x05garba"],
    ids=["oversized", "endless length", "truncated", "comparison cut short", "no document"],
)
async def test_a_bad_request_costs_its_stream_only(victim: Victim, frame: bytes) -> None:
    async with attack(victim), attacker(victim, 4_000) as (peer, events):
        for _ in range(20):
            stream = await peer.open_stream(victim.key, RPC_CHANNEL)
            with trio.fail_after(ANSWER_S):
                try:
                    await stream.send_all(frame)
                    await stream.send_eof()
                    assert await stream.receive_some() in (b"", None)
                except trio.BrokenResourceError:
                    pass
            stream.reset()
        assert await peer.request(victim.key, RPC_CHANNEL, compare_frame(), timeout_s=ANSWER_S)
        assert events.up() == {victim.key}


async def test_random_streams_cost_nothing_else(victim: Victim) -> None:
    chance = random.Random(5)
    async with attack(victim), attacker(victim, 4_002) as (peer, _):
        for index in range(300):
            stream = await open_raw(peer, victim.key)
            names = (RPC_CHANNEL, "/p2pcompute/blob/1", "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0")
            lead = multistream.request(chance.choice(names)) if chance.random() < 0.7 else b""
            await stream.send_all(lead + chance.randbytes(chance.randrange(1, 400)))
            chance.choice([stream.finish, stream.reset])()
            if index % 10 == 0:
                await peer.request(victim.key, RPC_CHANNEL, compare_frame(), timeout_s=ANSWER_S)
        assert await peer.request(victim.key, RPC_CHANNEL, compare_frame(), timeout_s=ANSWER_S)


async def test_requests_beyond_a_peers_budget_are_refused_and_disturb_nobody(victim: Victim) -> None:
    refused = 0

    async def ask() -> None:
        nonlocal refused
        for _ in range(50):
            try:
                await peer.request(victim.key, RPC_CHANNEL, compare_frame(), timeout_s=2 * ANSWER_S)
            except RemoteError:
                refused += 1

    async with attack(victim), attacker(victim, 4_003) as (peer, _):
        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(ask)
            await trio.sleep(0.3)
            await victim.serves()
    assert refused > 0


async def test_a_rude_end_of_many_connections_leaves_nothing(victim: Victim) -> None:
    async with attack(victim):
        for index in range(100):
            raw = await handshake(victim.address, 5_000 + index, source(index))
            await raw.socket.send_all(bytes(raw.session.seal(bytes(500)))[:100])
            raw.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
            await trio.aclose_forcefully(raw.socket)
