"""Peers for the tests of the transport: real sockets on loopback, and a listener that remembers what it was told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from p2pcompute.protocol.machine import PeerInfo
from p2pcompute.transport import noise, tcp
from p2pcompute.transport.libp2p import Libp2pTransport
from p2pcompute.transport.mux import Stream

CHANNEL, REQUEST, STREAM = "/p2pcompute/test-channel/1", "/p2pcompute/test-request/1", "/p2pcompute/test-stream/1"
FRAME_BYTES_MAX = 64 * 1024
LOOPBACK = "/ip4/127.0.0.1/tcp/0"
PATIENCE_S = 20.0
"""No test waits that long unless it fails."""


async def _echo(peer: bytes, channel: str, frame: bytes) -> bytes | None:
    return frame


async def _count(peer: bytes, protocol: str, stream: Stream) -> None:
    size = 0
    while data := await stream.receive_some():
        size += len(data)
    await stream.send_all(str(size).encode())


class Recorder:
    """TransportEvents that remember. `answer` and `handle` may be replaced."""

    def __init__(self) -> None:
        self.changes: list[PeerInfo] = []
        self.frames: list[tuple[bytes, bytes]] = []
        self.answer: Callable[[bytes, str, bytes], Awaitable[bytes | None]] = _echo
        self.handle: Callable[[bytes, str, Stream], Awaitable[None]] = _count
        self.on_frame_hook: Callable[[bytes], None] | None = None
        self._changed = trio.Event()

    def on_peer(self, info: PeerInfo) -> None:
        self.changes.append(info)
        self._wake()

    def on_frame(self, peer: bytes, channel: str, frame: bytes) -> None:
        if self.on_frame_hook is not None:
            self.on_frame_hook(frame)
        self.frames.append((peer, frame))
        self._wake()

    async def on_request(self, peer: bytes, channel: str, frame: bytes) -> bytes | None:
        return await self.answer(peer, channel, frame)

    async def on_stream(self, peer: bytes, protocol: str, stream: Stream) -> None:
        await self.handle(peer, protocol, stream)

    def up(self) -> set[bytes]:
        up: set[bytes] = set()
        for info in self.changes:
            (up.add if info.up else up.discard)(info.peer)
        return up

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def make(index: int, events: Recorder, *, listen: str = LOOPBACK, libp2p_host: bool = False) -> Libp2pTransport:
    return Libp2pTransport(
        bytes([index]) * 32,
        listen=[listen],
        events=events,
        channels={CHANNEL: FRAME_BYTES_MAX},
        requests={REQUEST: FRAME_BYTES_MAX},
        streams=[STREAM],
        libp2p_host=libp2p_host,
    )


@asynccontextmanager
async def running(*transports: Libp2pTransport, patience_s: float = PATIENCE_S) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for transport in transports:
            await nursery.start(transport.run)
        with trio.fail_after(patience_s):
            yield
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def pair(
    *, libp2p_host: bool = False
) -> AsyncIterator[tuple[Libp2pTransport, Recorder, Libp2pTransport, Recorder]]:
    """Two transports, the first of which has dialled the second."""
    left, right = Recorder(), Recorder()
    a, b = make(1, left, libp2p_host=libp2p_host), make(2, right, libp2p_host=libp2p_host)
    async with running(a, b):
        await a.connect(b.addresses()[0])
        await right.until(lambda: bool(right.up()))
        yield a, left, b, right


async def raw_peer(transport: Libp2pTransport, index: int = 99) -> tcp.Secured:
    """A peer that has done the handshake and whose every byte the test decides."""
    host, port = transport.addresses()[0].split("/")[2::2][:2]
    public, sign = noise.signer(bytes([index]) * 32)
    socket = await trio.open_tcp_stream(host, int(port))
    return await tcp.secure(socket, tcp.Identity(public, sign), initiator=True, expect=transport.peer)


async def stay(address: str) -> None:
    """A whole process that dials and then does nothing, to be killed."""
    transport = make(98, Recorder())
    async with trio.open_nursery() as nursery:
        await nursery.start(transport.run)
        await transport.connect(address)
