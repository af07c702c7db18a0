"""The py-libp2p host that lives on our connections. Only `guest.py` imports this module, in the background.

What is left out, because a peer can end the process through it (docs/adr/0001): its listeners, its negotiation of
inbound streams, its pubsub, and its outbound identify, which runs in trio system tasks.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import trio
from libp2p.abc import IMuxedConn, IMuxedStream, ITransport
from libp2p.connection_types import ConnectionType
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.network.config import ConnectionConfig
from libp2p.network.stream.net_stream import NetStream, StreamState
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.stream_muxer.exceptions import (
    MuxedConnUnavailable,
    MuxedStreamClosed,
    MuxedStreamEOF,
    MuxedStreamReset,
)
from libp2p.transport.exceptions import OpenConnectionError
from libp2p.transport.upgrader import TransportUpgrader
from multiaddr import Multiaddr

from p2pcompute.errors import P2PComputeError, RemoteError
from p2pcompute.identity.names import peer_id_bytes
from p2pcompute.transport import tcp
from p2pcompute.transport.address import parse_address
from p2pcompute.transport.admission import CONNECTIONS_MAX
from p2pcompute.transport.mux import Connection, Stream

log = logging.getLogger(__name__)
logging.getLogger("libp2p").setLevel(logging.CRITICAL)
"""It prints a traceback for every connection that ends while it begins, its own cancellation included. What matters of
that is said here.
"""

DIALS_AT_ONCE: Final = 4
"""Of py-libp2p's own wishes; more wait."""
Dial = Callable[[str], Awaitable[Connection]]
"""An address with /p2p/ID -> a connection to that peer, new or not. Raises P2PComputeError."""
SERVE_S: Final = 3_600.0
"""What one stream of the guest may last; pings of other implementations keep one open."""


class GuestConnection(IMuxedConn):
    """One of our connections as the swarm wants to see it. Closing it detaches the swarm and nothing else."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.peer_id = ID(peer_id_bytes(connection.peer))
        self.event_started = trio.Event()
        self.on_close: Any = None  # set by the swarm
        self.negotiated_security_protocol, self.negotiated_muxer_protocol = tcp.NOISE, tcp.YAMUX
        self._detached = trio.Event()

    @property
    def is_initiator(self) -> bool:
        return self.connection.outbound

    @property
    def is_established(self) -> bool:
        return not self.is_closed

    @property
    def is_closed(self) -> bool:
        return self._detached.is_set() or self.connection.is_closed

    async def start(self) -> None:
        """The swarm's task for us: it only waits for the end, since the connection runs in our own nursery."""
        self.event_started.set()
        await self.wait_closed()
        if self.on_close is not None:
            try:
                await self.on_close()
            except Exception as error:
                log.debug("the swarm's on_close: %r", error)

    async def wait_closed(self) -> None:
        async with trio.open_nursery() as nursery:

            async def until(event: trio.Event) -> None:
                await event.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(until, self._detached)
            nursery.start_soon(until, self.connection.closed)

    async def close(self) -> None:
        self._detached.set()

    async def open_stream(self) -> GuestStream:
        try:
            return GuestStream(self, self.connection.open_stream())
        except RemoteError as error:
            raise MuxedConnUnavailable(str(error)) from error

    async def accept_stream(self) -> GuestStream:
        """Inbound streams come through `Host.serve`; the swarm only learns of the end here."""
        await self.wait_closed()
        raise MuxedConnUnavailable("the connection is closed")

    def get_transport_addresses(self) -> list[Any]:
        return [Multiaddr(self.connection.address)]

    def get_connection_type(self) -> Any:
        return ConnectionType.DIRECT

    def get_remote_address(self) -> tuple[str, int]:
        address = parse_address(self.connection.address)
        return address.host, address.port


class GuestStream(IMuxedStream):
    """One of our streams in py-libp2p's terms."""

    def __init__(self, connection: GuestConnection, stream: Stream) -> None:
        self.muxed_conn = self._connection = connection
        self._stream = stream
        self._deadline_s = float("inf")

    async def read(self, n: int | None = None) -> bytes:
        if n == 0:
            return b""
        with trio.move_on_after(self._deadline_s):
            try:
                data = await self._stream.receive_some(None if n is None or n < 0 else n)
            except trio.BrokenResourceError as error:
                raise MuxedStreamReset(str(error)) from error
            if not data:
                raise MuxedStreamEOF
            return data
        raise MuxedStreamReset("the deadline has passed")

    async def write(self, data: bytes) -> None:
        with trio.move_on_after(self._deadline_s):
            try:
                return await self._stream.send_all(data)
            except trio.BrokenResourceError as error:
                raise MuxedStreamReset(str(error)) from error
            except trio.ClosedResourceError as error:
                raise MuxedStreamClosed(str(error)) from error
        raise MuxedStreamReset("the deadline has passed")

    async def close(self) -> None:
        await self._stream.send_eof()

    async def close_write(self) -> None:
        await self._stream.send_eof()

    async def reset(self) -> None:
        self._stream.reset()

    def set_deadline(self, ttl: int) -> None:
        if ttl < 0:
            raise ValueError("a deadline is not negative")
        self._deadline_s = float(ttl) if ttl else float("inf")

    def get_remote_address(self) -> tuple[str, int]:
        return self._connection.get_remote_address()

    async def __aenter__(self) -> GuestStream:
        return self


class Dialler(ITransport):
    """What the swarm dials with: our own connections, admitted and bounded like all others, and finished."""

    provides_native_muxing = True

    def __init__(self, dial: Dial, show: Callable[[Connection], GuestConnection]) -> None:
        self._dial, self._show = dial, show
        self._at_once = trio.CapacityLimiter(DIALS_AT_ONCE)

    async def dial(self, maddr: Multiaddr) -> Any:
        """Raises OpenConnectionError."""
        try:
            async with self._at_once:
                return self._show(await self._dial(str(maddr)))
        except P2PComputeError as error:
            raise OpenConnectionError(str(error)) from error

    def can_dial(self, maddr: Multiaddr) -> bool:
        try:
            return parse_address(str(maddr)).port > 0
        except P2PComputeError:
            return False

    def can_listen(self, maddr: Multiaddr) -> bool:
        return False

    def protocols(self) -> list[str]:
        return ["ip4", "ip6", "tcp"]

    def create_listener(self, handler_function: Any) -> Any:
        """Raises OpenConnectionError: what listens is ours."""
        raise OpenConnectionError("py-libp2p has no listeners here")


class Host:
    """A BasicHost without sockets: our connections are added to its swarm, which dials through us; its handlers serve
    our streams."""

    def __init__(self, seed: bytes, addresses: Callable[[], Sequence[str]], own: Sequence[str], dial: Dial) -> None:
        self._shown: dict[Connection, GuestConnection] = {}
        keys = create_new_key_pair(seed)
        me, peerstore = ID.from_pubkey(keys.public_key), PeerStore()
        peerstore.add_key_pair(me, keys)
        config = ConnectionConfig(
            max_connections=2 * CONNECTIONS_MAX,
            min_connections=0,
            low_watermark=0,
            high_watermark=2 * CONNECTIONS_MAX,
        )
        self._swarm = Swarm(
            me, peerstore, TransportUpgrader({}, {}), [Dialler(dial, self._show)], connection_config=config
        )
        self.host = BasicHost(
            self._swarm,
            addrs_factory=lambda _: [_parsed(address) for address in addresses()],
            disable_identify_address_discovery=True,
        )
        self._swarm.notifees.clear()  # outbound identify runs in system tasks, where a peer could end the process
        for protocol in own:
            self.host.set_stream_handler(TProtocol(protocol), _answered_elsewhere)  # so that identify names it
        self._nursery: trio.Nursery | None = None

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        async with self.host.run(listen_addrs=[]), trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                yield
            finally:
                self._nursery = None
                nursery.cancel_scope.cancel()

    def add(self, connection: Connection) -> None:
        """Let the swarm open streams on a connection of ours."""
        if self._nursery is not None:
            self._nursery.start_soon(self._add, connection)

    def forget(self, connection: Connection) -> None:
        """A connection has ended."""
        self._shown.pop(connection, None)

    def _show(self, connection: Connection) -> GuestConnection:
        """The one face that a connection has here: the swarm tells by it that it knows a connection already."""
        found = self._shown.get(connection)
        if found is None or found.is_closed:
            found = GuestConnection(connection)
            if not connection.is_closed:
                self._shown[connection] = found
        return found

    async def _add(self, connection: Connection) -> None:
        try:
            await self._swarm.add_conn(self._show(connection), "outbound" if connection.outbound else "inbound")
        except Exception as error:
            log.debug("the swarm does not take %s: %r", connection.address, error)

    async def serve(self, connection: Connection, stream: Stream, protocol: str) -> None:
        """Run the host's handler of `protocol` in the caller's task, to the end of the stream."""
        name = TProtocol(protocol)
        handler = self.host.get_mux().handlers[name]
        assert handler is not None
        net_stream = NetStream(GuestStream(GuestConnection(connection), stream), None, None)
        net_stream.set_protocol(name)
        await net_stream.set_state(StreamState.OPEN)
        with trio.fail_after(SERVE_S):
            await handler(net_stream)


@functools.lru_cache(64)
def _parsed(address: str) -> Multiaddr:
    """Identify asks for our addresses over and over, and parsing one costs as much as the rest of its answer."""
    return Multiaddr(address)


async def _answered_elsewhere(stream: Any) -> None:
    """Never called: our own protocols are served before the host sees their streams."""
    await stream.reset()
