"""256 MiB between two processes over our transport, against trio TCP with ChaCha20-Poly1305 at equal frame size; and
the round trip of a request on an open connection, against stock py-libp2p."""

from __future__ import annotations

import functools
import multiprocessing
import random
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import trio
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from p2pcompute.node import exchange
from p2pcompute.node.sources import PROTOCOL, Source
from p2pcompute.protocol.machine import PeerInfo
from p2pcompute.storage.blobs import BlobStore
from p2pcompute.transport.libp2p import Libp2pTransport
from p2pcompute.transport.mux import Stream
from p2pcompute.wire import merkle

GOALS: Final = {"ratio": (">=", 0.75), "stream_rtt_over_stock": ("<=", 0.3)}
STREAM: Final = "/bench/bulk/1"
ECHO: Final = "/bench/echo/1"
LOOPBACK: Final = "/ip4/127.0.0.1/tcp/0"
FRAME: Final = 65_519 - 12
"""Plaintext of one Noise message less a yamux header: what our stack puts into a frame."""
WRITE: Final = 1 << 20


def measure(*, quick: bool) -> dict[str, object]:
    """`ratio`: our bytes per second over the floor's. `fetch_ratio`: the same for a blob from one node's store into
    another's, every chunk checked against its root and all of it synchronised to the disk; the floor throws away what
    it gets. There is no bound on the rate at which the one serves the other. `stream_rtt_over_stock`: our request's
    median round trip over stock py-libp2p's (a new stream each, as both do it)."""
    size = (4 if quick else 256) << 20
    rounds = 1 if quick else 5
    ours: list[float] = []
    floor: list[float] = []
    fetched: list[float] = []
    for _ in range(rounds):
        ours.append(size / _with_child(_serve_ours, _receive_ours, size))
        floor.append(size / _with_child(_serve_floor, _receive_floor, size))
        fetched.append(size / _with_child(_serve_blob, _fetch_blob, size))
    count = 5 if quick else 200
    rtt = _with_child(_serve_ours, _echo_ours, count)
    stock = _with_child(_serve_stock, _echo_stock, count)
    return {
        "ratio": statistics.median(ours) / statistics.median(floor),
        "fetch_ratio": statistics.median(fetched) / statistics.median(floor),
        "stream_rtt_over_stock": rtt / stock,
        "ours_mb_s": statistics.median(ours) / 1e6,
        "fetch_mb_s": statistics.median(fetched) / 1e6,
        "floor_mb_s": statistics.median(floor) / 1e6,
        "rtt_ms": 1000 * rtt,
        "stock_rtt_ms": 1000 * stock,
    }


def _with_child(serve: Any, use: Any, amount: int) -> float:
    """Start `serve(pipe, amount)` in a process of its own; the seconds `use(address, amount)` says."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    child = context.Process(target=trio.run, args=(serve, theirs, amount), daemon=True)
    child.start()
    try:
        return float(trio.run(use, mine.recv(), amount))
    finally:
        mine.close()
        child.join(2 if serve is _serve_blob else 0)  # it removes its files
        child.kill()
        child.join()


class _Events:
    """A peer that sends zeros on bulk streams and echoes requests."""

    def __init__(self, size: int) -> None:
        self._size = size

    def on_peer(self, info: PeerInfo) -> None: ...
    def on_frame(self, peer: bytes, channel: str, frame: bytes) -> None: ...

    async def on_request(self, peer: bytes, channel: str, frame: bytes) -> bytes | None:
        return frame

    async def on_stream(self, peer: bytes, protocol: str, stream: Stream) -> None:
        data = bytes(WRITE)
        for _ in range(self._size // WRITE):
            await stream.send_all(data)


def _transport(seed: int, size: int) -> Libp2pTransport:
    return Libp2pTransport(
        bytes([seed]) * 32,
        listen=(LOOPBACK,),
        events=_Events(size),
        requests={ECHO: 1024},
        streams=(STREAM,),
        libp2p_host=False,
    )


async def _serve_ours(pipe: Connection, amount: int) -> None:
    async with trio.open_nursery() as nursery:
        transport = _transport(1, amount)
        await nursery.start(transport.run)
        pipe.send(transport.addresses()[0])


async def _receive_ours(address: str, size: int) -> float:
    async with trio.open_nursery() as nursery:
        transport = _transport(2, 0)
        await nursery.start(transport.run)
        peer = await transport.connect(address)
        stream = await transport.open_stream(peer, STREAM)
        begin = time.perf_counter()
        await stream.send_eof()
        got = 0
        while got < size:
            got += len(await stream.receive_some())
        seconds = time.perf_counter() - begin
        nursery.cancel_scope.cancel()
    return seconds


async def _echo_ours(address: str, count: int) -> float:
    async with trio.open_nursery() as nursery:
        transport = _transport(2, 0)
        await nursery.start(transport.run)
        peer = await transport.connect(address)
        times = []
        for _ in range(count):
            begin = time.perf_counter()
            await transport.request(peer, ECHO, b"x" * 100, timeout_s=10)
            times.append(time.perf_counter() - begin)
        nursery.cancel_scope.cancel()
    return statistics.median(times)


# Blobs between two stores ---------------------------------------------------------------------------------------------


class _Store(_Events):
    """A peer that holds one blob of pseudo-random content, and gives it to everybody."""

    def __init__(self, directory: Path, size: int) -> None:
        super().__init__(size)
        store = BlobStore(directory, merkle.blob_root)
        if size:
            store.put(_content(size))
        self.server = exchange.BlobServer(store, lambda peer, root: exchange.ALL_CHUNKS, bytes_per_s=1 << 40)

    async def on_stream(self, peer: bytes, protocol: str, stream: Stream) -> None:
        await self.server.serve(peer, stream)


def _content(size: int) -> bytes:
    return random.Random(1).randbytes(1 << 20) * (size >> 20)


def _blob_transport(seed: int, events: _Store) -> Libp2pTransport:
    streams = (PROTOCOL,)
    return Libp2pTransport(bytes([seed]) * 32, listen=(LOOPBACK,), events=events, streams=streams, libp2p_host=False)


async def _serve_blob(pipe: Connection, size: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with trio.open_nursery() as nursery:
            transport = _blob_transport(1, _Store(Path(directory), size))
            await nursery.start(transport.run)
            pipe.send(transport.addresses()[0])
            await trio.to_thread.run_sync(pipe.poll, None, abandon_on_cancel=True)
            nursery.cancel_scope.cancel()


async def _fetch_blob(address: str, size: int) -> float:
    root = merkle.blob_root(_content(size))
    with tempfile.TemporaryDirectory() as directory:
        async with trio.open_nursery() as nursery:
            transport = _blob_transport(2, _Store(Path(directory) / "none", 0))
            await nursery.start(transport.run)
            peer = await transport.connect(address)
            source = Source(peer, functools.partial(transport.open_stream, peer, PROTOCOL))
            store = BlobStore(Path(directory) / "here", merkle.blob_root)
            begin = time.perf_counter()
            await exchange.fetch_blob(store, [source], root, size, exchange.Bans())
            seconds = time.perf_counter() - begin
            nursery.cancel_scope.cancel()
    return seconds


# The floor: one connection, sealed frames, no multiplexing -----------------------------------------------------------


async def _serve_floor(pipe: Connection, size: int) -> None:
    async def send(stream: trio.SocketStream) -> None:
        key, data = ChaCha20Poly1305(bytes(32)), bytes(FRAME)
        for number in range(-(-size // FRAME)):
            sealed = key.encrypt(number.to_bytes(12, "little"), data, None)
            await stream.send_all(len(sealed).to_bytes(4, "big") + sealed)

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    pipe.send(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(send, listeners)


async def _receive_floor(port: int, size: int) -> float:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    key, data = ChaCha20Poly1305(bytes(32)), bytearray()
    begin = time.perf_counter()
    got = number = 0
    while got < size:
        more = await stream.receive_some(WRITE)
        if not more:
            break
        data += more
        at = 0
        while len(data) - at >= 4:
            end = at + 4 + int.from_bytes(data[at : at + 4], "big")
            if end > len(data):
                break
            got += len(key.decrypt(number.to_bytes(12, "little"), bytes(data[at + 4 : end]), None))
            number, at = number + 1, end
        del data[:at]
    seconds = time.perf_counter() - begin
    await stream.aclose()
    return seconds


# Stock py-libp2p ------------------------------------------------------------------------------------------------------


def _stock_host(seed: int) -> Any:
    from libp2p import new_host
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.crypto.x25519 import create_new_key_pair as noise_key
    from libp2p.security.noise.transport import PROTOCOL_ID, Transport

    key = create_new_key_pair(bytes([seed]) * 32)
    return new_host(key_pair=key, sec_opt={PROTOCOL_ID: Transport(key, noise_privkey=noise_key().private_key)})


async def _serve_stock(pipe: Connection, amount: int) -> None:
    from multiaddr import Multiaddr

    host = _stock_host(1)

    async def echo(stream: Any) -> None:
        await stream.write(await stream.read(1024))
        await stream.close()

    host.set_stream_handler(ECHO, echo)
    async with host.run(listen_addrs=[Multiaddr(LOOPBACK)]):
        pipe.send(str(host.get_addrs()[0]))
        await trio.sleep_forever()


async def _echo_stock(address: str, count: int) -> float:
    from libp2p.peer.peerinfo import info_from_p2p_addr
    from multiaddr import Multiaddr

    host, times = _stock_host(2), []
    async with host.run(listen_addrs=[Multiaddr(LOOPBACK)]):
        info = info_from_p2p_addr(Multiaddr(address))
        await host.connect(info)
        for _ in range(count):
            begin = time.perf_counter()
            stream = await host.new_stream(info.peer_id, [ECHO])
            await stream.write(b"x" * 100)
            await stream.read(1024)
            times.append(time.perf_counter() - begin)
            await stream.close()
    return statistics.median(times)
