"""A real node as a process of its own, and what can be seen of it from outside."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from p2pcompute.node.control import RemoteNode
from p2pcompute.protocol.core import RPC_CHANNEL
from p2pcompute.protocol.gossip import CHANNEL
from p2pcompute.storage.home import Layout
from p2pcompute.transport import noise, tcp
from p2pcompute.transport.address import Address, parse_address
from p2pcompute.transport.libp2p import Libp2pTransport
from p2pcompute.transport.mux import Stream
from p2pcompute.wire import limits
from tests.cli.command import Provider
from tests.transport.harness import Recorder

ANSWER_S: Final = 5.0
"""What an honest peer waits for its answer at most, whatever goes on."""
SETTLE_S: Final = 20.0
"""When the attack is over, tasks and sockets are back to where they were within this time."""
GROWTH_BYTES_MAX: Final = 64 * 2**20
"""What an attack may leave in the node's memory."""
TASKS_SLACK: Final = 3


@dataclasses.dataclass(frozen=True)
class Footprint:
    """What the node holds."""

    memory_bytes: int
    sockets: int
    tasks: int
    inbound: int
    handshakes: int

    def exceeds(self, before: Footprint) -> bool:
        """Whether connections, sockets or tasks are left that were not there before."""
        return bool(
            self.handshakes
            or self.inbound > before.inbound
            or self.sockets > before.sockets
            or self.tasks > before.tasks + TASKS_SLACK
        )


class Victim:
    """A provider process under attack."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.address = parse_address(provider.address)
        self.control = RemoteNode(Layout(provider.home).control_socket)

    @property
    def key(self) -> bytes:
        assert self.address.peer is not None
        return self.address.peer

    async def footprint(self) -> Footprint:
        status = await self.control.status()
        counts = [status[name] for name in ("tasks", "inbound", "handshakes")]
        tasks, inbound, handshakes = (int(str(count)) for count in counts)
        return Footprint(
            memory_bytes=memory_bytes(self.provider.process.pid),
            sockets=sockets(self.provider.process.pid),
            tasks=tasks,
            inbound=inbound,
            handshakes=handshakes,
        )

    async def settled(self, before: Footprint) -> Footprint:
        """Wait until nothing of the attack is left."""
        now = await self.footprint()
        with trio.move_on_after(SETTLE_S):
            while now.exceeds(before):
                await trio.sleep(0.1)
                now = await self.footprint()
        assert not now.exceeds(before), f"the attack left something: {before} before, {now} after"
        return now

    async def is_up(self) -> None:
        """Wait until py-libp2p's host, which starts in the background, answers a ping."""
        async with attacker(self, 199) as (peer, _):
            with trio.fail_after(60):
                stream = await peer.open_stream(self.key, "/ipfs/ping/1.0.0")
                await stream.send_all(bytes(32))
                assert await stream.receive_some()
        await self.settled(dataclasses.replace(await self.footprint(), inbound=0))

    async def serves(self, index: int = 200) -> None:
        """An honest newcomer connects, compares books, and is answered. Raises when that fails or takes too long."""
        friend = make_peer(index)
        async with trio.open_nursery() as nursery:
            await nursery.start(friend.run)
            with trio.fail_after(ANSWER_S):
                peer = await friend.connect(str(self.address), timeout_s=ANSWER_S)
                answer = await friend.request(peer, RPC_CHANNEL, compare_frame(), timeout_s=ANSWER_S)
                assert answer, "the node did not compare books"
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def attack(victim: Victim) -> AsyncIterator[Footprint]:
    """What the block does must leave the node up, serving, and no larger than it was."""
    assert victim.provider.process.poll() is None, "the node was down before"
    before = await victim.footprint()
    yield before
    await victim.serves()
    after = await victim.settled(before)
    assert victim.provider.process.poll() is None
    assert after.memory_bytes - before.memory_bytes < GROWTH_BYTES_MAX


def compare_frame() -> bytes:
    """A comparison of books by somebody whose book is empty."""
    return b"\x02" + bytes(6) + bytes(8)


def memory_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return 1024 * int(line.split()[1])
    raise AssertionError("the process has no memory")


def sockets(pid: int) -> int:
    count = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            count += os.readlink(entry).startswith("socket:")
        except FileNotFoundError:
            continue
    return count


def make_peer(index: int, events: Recorder | None = None) -> Libp2pTransport:
    """A peer in this process that speaks the node's protocols."""
    return Libp2pTransport(
        index.to_bytes(2, "big") * 16,
        listen=["/ip4/127.0.0.1/tcp/0"],
        events=events or Recorder(),
        channels={CHANNEL: limits.GOSSIP_RPC_BYTES_MAX},
        requests={RPC_CHANNEL: limits.RPC_FRAME_BYTES_MAX},
        libp2p_host=False,
    )


@asynccontextmanager
async def attacker(victim: Victim, index: int) -> AsyncIterator[tuple[Libp2pTransport, Recorder]]:
    """A connected peer with bad intentions."""
    events = Recorder()
    peer = make_peer(index, events)
    async with trio.open_nursery() as nursery:
        await nursery.start(peer.run)
        await peer.connect(str(victim.address), timeout_s=ANSWER_S)
        yield peer, events
        nursery.cancel_scope.cancel()


async def open_raw(attacker: Libp2pTransport, peer: bytes) -> Stream:
    """A stream without a protocol yet."""
    record = attacker._peers.get(peer)
    connection = record.current() if record is not None else None
    assert connection is not None, "not connected"
    return connection.open_stream()


async def open_socket(to: Address, source: str = "127.0.0.1") -> trio.SocketStream:
    """A bare connection from one of loopback's many addresses."""
    socket = trio.socket.socket()
    try:
        await socket.bind((source, 0))
        await socket.connect((to.host, to.port))
    except BaseException:
        socket.close()
        raise
    return trio.SocketStream(socket)


async def handshake(to: Address, index: int, source: str = "127.0.0.1") -> tcp.Secured:
    """A finished handshake whose every further byte the test decides."""
    public, sign = noise.signer(index.to_bytes(4, "big") * 8)
    socket = await open_socket(to, source)
    return await tcp.secure(socket, tcp.Identity(public, sign), initiator=True, expect=to.peer)


async def wait_hang_up(socket: trio.SocketStream) -> None:
    """Until the node closes the connection, however rudely."""
    try:
        while await socket.receive_some(65_536):
            pass
    except trio.BrokenResourceError:
        pass
