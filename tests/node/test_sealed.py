"""What a relay sees of a task that travels through it: nothing in clear."""

from __future__ import annotations

import functools
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from p2pcompute.node import exchange
from p2pcompute.node.config import BLOB_BYTES_PER_S
from p2pcompute.node.engines import Engines
from p2pcompute.node.ports import SystemClock
from p2pcompute.node.sources import PROTOCOL, Source
from p2pcompute.node.workshop import Workshop
from p2pcompute.protocol.machine import Grant
from p2pcompute.storage.blobs import BlobStore
from p2pcompute.transport import relay
from p2pcompute.transport.libp2p import Libp2pTransport
from p2pcompute.transport.mux import Stream
from p2pcompute.transport.relay import RelayLimits
from p2pcompute.wire import merkle
from tests.transport.harness import LOOPBACK, Recorder, running

RUN_BYTES = 16
"""So many bytes of a blob, anywhere, would be found: by chance they are not there."""
STEP_BYTES = 1_024


class Side:
    """One end of the trade: its blobs, and all that it sent in clear before it was encrypted."""

    def __init__(self, index: int, path: Path, *, listen: bool) -> None:
        path.mkdir()
        self.store = BlobStore(path, merkle.blob_root)
        self.shop = Workshop(self.store, Engines([]), BLOB_BYTES_PER_S)
        self.clear = bytearray()
        events = Recorder()
        events.handle = self.serve
        self.transport = Libp2pTransport(
            bytes([index]) * 32,
            listen=[LOOPBACK] if listen else [],
            events=events,
            streams=[PROTOCOL],
            libp2p_host=False,
        )

    async def serve(self, peer: bytes, protocol: str, stream: Stream) -> None:
        await self.shop.serve(peer, Overheard(stream, self.clear))  # type: ignore[arg-type]

    def grant(self, other: Side, *roots: bytes) -> None:
        self.shop.grant(Grant("token", other.transport.peer, roots, SystemClock().now().wall_ms + 60_000))

    async def fetch(self, other: Side, root: bytes, size: int) -> None:
        peer = other.transport.peer
        source = Source(peer, functools.partial(self.transport.open_stream, peer, PROTOCOL))
        await exchange.fetch_blob(self.store, [source], root, size, exchange.Bans())


class Overheard:
    """A stream whose plain text somebody notes."""

    def __init__(self, stream: Stream, clear: bytearray) -> None:
        self._stream, self._clear = stream, clear

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    async def send_all(self, data: bytes) -> None:
        self._clear += data
        await self._stream.send_all(data)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> bytearray:
    """Every byte that a relay carries, both ways."""
    carried = bytearray()

    async def copy(source: trio.abc.ReceiveStream, sink: trio.abc.SendStream, bytes_max: int) -> None:
        while data := await source.receive_some(65_536):
            carried.extend(data)
            await sink.send_all(data)

    monkeypatch.setattr(relay, "copy", copy)
    return carried


@asynccontextmanager
async def trade(tmp_path: Path) -> AsyncIterator[tuple[Side, Side]]:
    """A requester and a provider that listens nowhere, joined through a relay."""
    middle = Libp2pTransport(
        bytes([1]) * 32, listen=[LOOPBACK], events=Recorder(), libp2p_host=False, relay=RelayLimits()
    )
    provider, requester = Side(2, tmp_path / "provider", listen=False), Side(3, tmp_path / "requester", listen=True)
    async with running(middle, provider.transport, requester.transport):
        assert await provider.transport.reserve(middle.addresses()[0]) > 0
        (address,) = provider.transport.addresses()
        assert await requester.transport.connect(address) == provider.transport.peer
        yield requester, provider


def runs_found(data: bytes, where: bytes) -> int:
    """How many of the byte runs that a blob was cut into are there."""
    return sum(data[at : at + RUN_BYTES] in where for at in range(0, len(data) - RUN_BYTES, STEP_BYTES))


async def test_a_relay_sees_neither_manifest_nor_ptx_nor_inputs_nor_outputs(tmp_path: Path, seen: bytearray) -> None:
    rng = random.Random(1)
    task = {name: rng.randbytes(size) for name, size in (("manifest", 2_000), ("ptx", 40_000), ("input", 600_000))}
    output = rng.randbytes(500_000)
    async with trade(tmp_path) as (requester, provider):
        for data in task.values():
            root, size = requester.store.put(data)
            requester.grant(provider, root)
            await provider.fetch(requester, root, size)
            assert provider.store.read(root) == data
        root, size = provider.store.put(output)
        provider.grant(requester, root)
        await requester.fetch(provider, root, size)
        assert requester.store.read(root) == output
    assert len(seen) > sum(map(len, task.values())) + len(output)
    for name, data in (task | {"output": output}).items():
        cut = len(range(0, len(data) - RUN_BYTES, STEP_BYTES))
        clear = bytes(provider.clear if name == "output" else requester.clear)
        assert runs_found(data, clear) == cut, "the search finds what is there"
        assert runs_found(data, bytes(seen)) == 0, name
