from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from p2pcompute.compute.channel import LENGTH, ChannelClosedError, ChildChannel
from p2pcompute.compute.parent_channel import ParentChannel

LIMIT_BYTES = 1000


Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def child(pair: Pair) -> Iterator[ChildChannel]:
    channel = ChildChannel(pair[1].detach(), LIMIT_BYTES)
    yield channel
    channel.close()


async def test_frames_arrive_whole_and_in_order(pair: Pair, child: ChildChannel) -> None:
    parent = ParentChannel(pair[0], LIMIT_BYTES)
    for frame in (b"one", b"", b"x" * LIMIT_BYTES):
        child.send(frame)
        await parent.send(frame)
    assert [await parent.receive() for _ in range(3)] == [b"one", b"", b"x" * LIMIT_BYTES]
    assert [child.receive()[0] for _ in range(3)] == [b"one", b"", b"x" * LIMIT_BYTES]


async def test_a_frame_over_the_limit_is_not_read(pair: Pair) -> None:
    parent = ParentChannel(pair[0], LIMIT_BYTES)
    pair[1].sendall(LENGTH.pack(LIMIT_BYTES + 1))
    with pytest.raises(ChannelClosedError, match="announced 1001 bytes"):
        await parent.receive()


async def test_the_end_of_the_stream_inside_a_frame_is_an_error(pair: Pair) -> None:
    parent = ParentChannel(pair[0], LIMIT_BYTES)
    pair[1].sendall(LENGTH.pack(5) + b"abc")
    pair[1].close()
    with pytest.raises(ChannelClosedError, match="closed the channel"):
        await parent.receive()


async def test_a_cancelled_receive_loses_nothing(pair: Pair) -> None:
    parent = ParentChannel(pair[0], LIMIT_BYTES)
    pair[1].sendall(LENGTH.pack(5) + b"ab")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(parent.receive)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    pair[1].sendall(b"cde")
    assert await parent.receive() == b"abcde"


async def test_a_descriptor_travels_with_its_frame(pair: Pair, child: ChildChannel) -> None:
    parent = ParentChannel(pair[0], LIMIT_BYTES)
    reading, writing = os.pipe()
    await parent.send(b"plain")
    await parent.send(b"with a pipe", [writing])
    assert child.receive() == (b"plain", [])
    frame, (copy,) = child.receive()
    os.write(copy, b"through")
    assert (frame, os.read(reading, 16)) == (b"with a pipe", b"through")
    for descriptor in (reading, writing, copy):
        os.close(descriptor)


def test_a_child_whose_parent_is_gone_hears_so(pair: Pair, child: ChildChannel) -> None:
    pair[0].close()
    with pytest.raises(ChannelClosedError):
        child.receive()
