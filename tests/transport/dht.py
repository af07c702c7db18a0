"""Nodes with a DHT on real sockets, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio

from p2pcompute.protocol.kademlia import PROTOCOL
from p2pcompute.transport.libp2p import Libp2pTransport
from p2pcompute.transport.mux import Stream
from p2pcompute.transport.routing import Routing
from tests.transport.harness import LOOPBACK, PATIENCE_S, Recorder


class Node(Recorder):
    """A transport with a DHT, and nothing else."""

    def __init__(self, index: int, topics: Sequence[str] = (), *, libp2p_host: bool = False) -> None:
        super().__init__()
        self.transport = Libp2pTransport(
            index.to_bytes(2, "big") * 16, listen=[LOOPBACK], events=self, streams=[PROTOCOL], libp2p_host=libp2p_host
        )
        self.routing = Routing(self.transport, topics)
        self.handle = self._answer

    @property
    def peer(self) -> bytes:
        return self.transport.peer

    @property
    def address(self) -> str:
        return self.transport.addresses()[0]

    async def _answer(self, peer: bytes, protocol: str, stream: Stream) -> None:
        await self.routing.serve(peer, stream)


async def join(node: Node, other: Node) -> None:
    """Two neighbours that know where the other one listens, as identify tells them."""
    await node.transport.connect(other.address)
    assert await node.routing.met(other.peer, other.transport.addresses())
    await other.until(lambda: node.peer in other.up())
    assert await other.routing.met(node.peer, node.transport.addresses())


@asynccontextmanager
async def running(*nodes: Node) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for node in nodes:
            await nursery.start(node.transport.run)
        with trio.fail_after(PATIENCE_S):
            yield
        nursery.cancel_scope.cancel()
