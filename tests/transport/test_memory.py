"""All connections together hold so much and no more."""

from __future__ import annotations

import trio

from p2pcompute.protocol.machine import Priority
from p2pcompute.transport.libp2p import Libp2pTransport
from p2pcompute.transport.memory import Memory
from p2pcompute.transport.mux import Stream
from tests.transport.harness import (
    CHANNEL,
    FRAME_BYTES_MAX,
    LOOPBACK,
    REQUEST,
    STREAM,
    Recorder,
    make,
    raw_peer,
    running,
)

MIB = 1 << 20


class Hoard:
    def __init__(self) -> None:
        self.shed_times = 0

    def shed(self) -> None:
        self.shed_times += 1


def test_who_holds_the_most_is_let_go() -> None:
    memory, small, large = Memory(100), Hoard(), Hoard()
    memory.holds(small, 30)
    memory.holds(large, 70)
    assert memory.bytes == 100
    memory.holds(small, 31)
    assert (small.shed_times, large.shed_times, memory.bytes) == (0, 1, 31)
    memory.holds(large, 0)
    memory.holds(small, 0)
    assert memory.bytes == 0
    assert not memory._held


def bounded(events: Recorder, bytes_max: int) -> Libp2pTransport:
    return Libp2pTransport(
        bytes([1]) * 32,
        listen=[LOOPBACK],
        events=events,
        channels={CHANNEL: FRAME_BYTES_MAX},
        requests={REQUEST: FRAME_BYTES_MAX},
        streams=[STREAM],
        libp2p_host=False,
        buffered_bytes_max=bytes_max,
    )


async def test_peers_that_send_what_nobody_reads_are_held_to_the_bound() -> None:
    """Each of them stays within its own bounds: only together they are too many."""
    events, friends = Recorder(), [Recorder() for _ in range(8)]
    node = bounded(events, MIB)
    peers = [make(10 + index, friend) for index, friend in enumerate(friends)]
    gone = trio.Event()

    async def never_read(peer: bytes, protocol: str, stream: Stream) -> None:
        await stream.wait_closed()

    events.handle = never_read
    async with running(node, *peers), trio.open_nursery() as nursery:

        async def send(peer: Libp2pTransport, friend: Recorder) -> None:
            await peer.connect(node.addresses()[0])
            stream = await peer.open_stream(node.peer, STREAM)
            await stream.send_all(bytes(200_000))
            await friend.until(lambda: node.peer not in friend.up())
            gone.set()

        for peer, friend in zip(peers, friends, strict=True):
            nursery.start_soon(send, peer, friend)
        await gone.wait()
        assert node.load()["buffered_bytes"] <= MIB
        friend = make(30, Recorder())
        async with running(friend):
            key = await friend.connect(node.addresses()[0])
            assert await friend.request(key, REQUEST, b"x", timeout_s=5) == b"x"
        nursery.cancel_scope.cancel()


async def test_frames_that_peers_do_not_take_are_held_to_the_bound() -> None:
    events = Recorder()
    node = bounded(events, 3 * MIB)
    async with running(node):
        lazy = [await raw_peer(node, 40 + index) for index in range(3)]
        await events.until(lambda: len(events.up()) == 3)
        frame = bytes(FRAME_BYTES_MAX)
        while len(events.up()) == 3:
            for peer in events.up():
                node.send(peer, CHANNEL, frame, Priority.HIGH)
            assert node.load()["buffered_bytes"] <= 3 * MIB
            await trio.lowlevel.checkpoint()
        for one in lazy:
            await trio.aclose_forcefully(one.socket)


async def test_nothing_stays_on_the_account() -> None:
    node, events = make(1, Recorder()), Recorder()
    peer = make(2, events)
    async with running(node, peer):
        await peer.connect(node.addresses()[0])
        stream = await peer.open_stream(node.peer, STREAM)
        await stream.send_all(bytes(2_000_000))
        await stream.send_eof()
        assert await stream.receive_some() == b"2000000"
        await peer.disconnect(node.peer)
        await events.until(lambda: not events.up())
        assert peer.load()["buffered_bytes"] == 0
