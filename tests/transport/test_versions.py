"""A channel with several protocol ids: two peers use the best one that both know, and no frame is lost over it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio

from p2pcompute.protocol.machine import Priority
from p2pcompute.transport.libp2p import Libp2pTransport
from tests.transport.harness import FRAME_BYTES_MAX, LOOPBACK, Recorder, running

NEW, OLD, OLDEST = "/p2pcompute/test/3", "/p2pcompute/test/2", "/p2pcompute/test/1"


class Listener(Recorder):
    """Also remembers on which id a frame came."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []

    def on_frame(self, peer: bytes, channel: str, frame: bytes) -> None:
        self.ids.append(channel)
        super().on_frame(peer, channel, frame)


def make(index: int, events: Recorder, name: str, older: Sequence[str] = ()) -> Libp2pTransport:
    return Libp2pTransport(
        bytes([index]) * 32,
        listen=[LOOPBACK],
        events=events,
        channels={name: FRAME_BYTES_MAX},
        older={name: older},
        libp2p_host=False,
    )


@pytest.mark.parametrize(
    ("name", "older", "spoken"),
    [(NEW, (OLD, OLDEST), NEW), (OLD, (OLDEST,), OLD), (OLDEST, (), OLDEST)],
    ids=["newest", "older", "oldest"],
)
async def test_the_best_common_version_is_spoken_both_ways(name: str, older: Sequence[str], spoken: str) -> None:
    left, right = Listener(), Listener()
    a, b = make(1, left, NEW, (OLD, OLDEST)), make(2, right, name, older)
    async with running(a, b):
        await a.connect(b.addresses()[0])
        await right.until(lambda: bool(right.up()))
        assert a.send(b.peer, NEW, b"to b")
        assert b.send(a.peer, name, b"to a")
        await right.until(lambda: bool(right.frames))
        await left.until(lambda: bool(left.frames))
    assert (right.ids, left.ids) == ([spoken], [spoken])


@pytest.mark.parametrize("size", [10, 20_000], ids=["small", "more than a window"])
async def test_what_was_sent_on_a_refused_version_arrives_on_the_next_in_order(size: int) -> None:
    left, right = Listener(), Listener()
    a, b = make(1, left, NEW, (OLD,)), make(2, right, OLD)
    frames = [b"%03d" % index + bytes(size) for index in range(40)]
    async with running(a, b):
        await a.connect(b.addresses()[0])
        for frame in frames:
            assert a.send(b.peer, NEW, frame, Priority.HIGH)
        await right.until(lambda: len(right.frames) == len(frames))
        assert a.send(b.peer, NEW, b"later")
        await right.until(lambda: len(right.frames) == len(frames) + 1)
    assert [frame for _, frame in right.frames] == [*frames, b"later"]
    assert set(right.ids) == {OLD}


async def test_a_peer_that_speaks_no_version_is_sent_nothing_more() -> None:
    left, right = Listener(), Listener()
    a, b = make(1, left, NEW, (OLD,)), make(2, right, OLDEST)
    async with running(a, b):
        await a.connect(b.addresses()[0])
        a.send(b.peer, NEW, b"x")
        await right.until(lambda: bool(right.up()))
        while a.send(b.peer, NEW, b"x"):
            await trio.sleep(0.001)  # until the refusal is here
        assert a.send(b.peer, NEW, b"x") is False
    assert right.frames == []
