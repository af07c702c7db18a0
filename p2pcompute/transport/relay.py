"""Serving as a relay: reservations, and circuits between two peers that both are connected here.

Source: libp2p specification `relay/circuit-v2.md`. What is relayed is encrypted from end to end: a relay sees who talks
to whom, and how much. Rules C1 to C5 of docs/spec/discovery.md.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence
from typing import Final, Protocol

import trio

from p2pcompute.errors import P2PComputeError
from p2pcompute.transport.address import parse_address
from p2pcompute.transport.admission import Counter, place_of
from p2pcompute.transport.channels import FrameReader, pack_frame
from p2pcompute.transport.circuit import (
    MESSAGE_BYTES_MAX,
    STOP,
    Hop,
    HopKind,
    Limit,
    Reservation,
    Status,
    Stop,
    StopKind,
    decode_hop,
    decode_stop,
    encode_hop,
    encode_stop,
    signed_voucher,
)
from p2pcompute.transport.mux import Connection, Stream
from p2pcompute.transport.tcp import Identity
from p2pcompute.wire.multiaddr import is_relayed

log = logging.getLogger(__name__)

ASK_S: Final = 10.0
"""For a wish to come in, and for the other end to agree."""
COPY_BYTES: Final = 64 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class RelayLimits:
    """What a relay gives to all, and to each."""

    reservations_max: int = 128
    reservations_per_ip_max: int = 8
    reservation_s: int = 3_600
    circuits_max: int = 64
    circuits_per_peer_max: int = 16
    """At either end."""
    circuit_s: int = 3_600
    circuit_bytes: int = 1 << 30
    """In each direction; tasks and their data go through a relay, unlike in the specification's example."""


class RelayHost(Protocol):
    """The part of the transport used here."""

    def addresses(self) -> tuple[str, ...]: ...
    def connection_to(self, peer: bytes) -> Connection | None: ...


@dataclasses.dataclass(frozen=True, slots=True)
class _Held:
    expires_s: float
    host: str


class Relay:
    """One node's service to nodes that cannot be dialled."""

    def __init__(self, host: RelayHost, identity: Identity, limits: RelayLimits) -> None:
        self._host, self._identity, self._limits = host, identity, limits
        self._held: dict[bytes, _Held] = {}
        self._hosts = Counter()
        self._circuits = 0
        self._ends: dict[bytes, int] = {}

    def load(self) -> tuple[int, int]:
        """(reservations, circuits) at the moment."""
        self._expire()
        return len(self._held), self._circuits

    async def serve(self, connection: Connection, stream: Stream) -> None:
        """One wish on a stream of /hop. Raises RemoteError, or what trio raises, where the stream must be reset."""
        reader = FrameReader(stream)
        with trio.fail_after(ASK_S):
            wish = decode_hop(await reader.next(MESSAGE_BYTES_MAX))
        if is_relayed(connection.address):
            await _say(stream, Status.PERMISSION_DENIED)
        elif wish.kind is HopKind.RESERVE:
            await stream.send_all(pack_frame(encode_hop(self._reserve(connection))))
        elif wish.kind is HopKind.CONNECT and wish.peer:
            stream.put_back(reader.rest())
            await self._connect(connection.peer, wish.peer, stream)
        else:
            await _say(stream, Status.UNEXPECTED)

    # Reservations -------------------------------------------------------------------------------------------------

    def _reserve(self, connection: Connection) -> Hop:
        self._expire()
        place = place_of(parse_address(connection.address).host)
        known = connection.peer in self._held
        if not known and (
            len(self._held) >= self._limits.reservations_max
            or (place.counts_host and self._hosts[place.host] >= self._limits.reservations_per_ip_max)
        ):
            return Hop(HopKind.STATUS, status=Status.RESERVATION_REFUSED)
        if known:
            self._release(connection.peer)
        expires_s = int(time.time()) + self._limits.reservation_s
        self._held[connection.peer] = _Held(trio.current_time() + self._limits.reservation_s, place.host)
        self._hosts.take(place.host)
        voucher = signed_voucher(self._identity.public, self._identity.sign, connection.peer, expires_s)
        reservation = Reservation(expires_s, self._own_addresses(), voucher)
        return Hop(HopKind.STATUS, reservation=reservation, limit=self._limit(), status=Status.OK)

    def _own_addresses(self) -> tuple[str, ...]:
        return tuple(text for text in self._host.addresses() if not is_relayed(text))

    def _limit(self) -> Limit:
        return Limit(self._limits.circuit_s, self._limits.circuit_bytes)

    def _expire(self) -> None:
        now = trio.current_time()
        gone = [p for p, one in self._held.items() if one.expires_s <= now or self._host.connection_to(p) is None]
        for peer in gone:
            self._release(peer)

    def _release(self, peer: bytes) -> None:
        self._hosts.give(self._held.pop(peer).host)

    # Circuits -----------------------------------------------------------------------------------------------------

    async def _connect(self, source: bytes, target: bytes, stream: Stream) -> None:
        self._expire()
        connection = self._host.connection_to(target)
        if target not in self._held or connection is None:
            await _say(stream, Status.NO_RESERVATION)
            return
        most = self._limits.circuits_per_peer_max
        if self._circuits >= self._limits.circuits_max or max(self._of(source), self._of(target)) >= most:
            await _say(stream, Status.RESOURCE_LIMIT_EXCEEDED)
            return
        self._count((source, target), 1)
        try:
            onward = await self._ask(connection, source)
            if onward is None:
                await _say(stream, Status.CONNECTION_FAILED)
                return
            try:
                await _say(stream, Status.OK, self._limit())
                await self._carry(stream, onward)
            finally:
                onward.reset()
        finally:
            self._count((source, target), -1)

    def _of(self, peer: bytes) -> int:
        return self._ends.get(peer, 0)

    def _count(self, peers: Sequence[bytes], change: int) -> None:
        self._circuits += change
        for peer in peers:
            self._ends[peer] = self._of(peer) + change
            if not self._ends[peer]:
                del self._ends[peer]

    async def _ask(self, connection: Connection, source: bytes) -> Stream | None:
        """A stream on which the target has agreed to hear from `source`; None when it has not."""
        stream: Stream | None = None
        try:
            with trio.fail_after(ASK_S):
                stream = connection.open_protocol(STOP)
                reader = FrameReader(stream)
                wish = Stop(StopKind.CONNECT, source, self._limit())
                await stream.send_all(pack_frame(encode_stop(wish)))
                answer = decode_stop(await reader.next(MESSAGE_BYTES_MAX))
                if answer.status is Status.OK:
                    stream.put_back(reader.rest())
                    return stream
        except (P2PComputeError, trio.BrokenResourceError, trio.TooSlowError) as error:
            log.debug("the target of a circuit does not agree: %r", error)
        if stream is not None:
            stream.reset()
        return None

    async def _carry(self, left: Stream, right: Stream) -> None:
        """Copy both ways, until either end has enough or the circuit has had its share."""
        with trio.move_on_after(self._limits.circuit_s):
            async with trio.open_nursery() as nursery:

                async def one_way(source: Stream, sink: Stream) -> None:
                    try:
                        await copy(source, sink, self._limits.circuit_bytes)
                    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                        log.debug("a circuit ends: %r", error)
                    nursery.cancel_scope.cancel()

                nursery.start_soon(one_way, left, right)
                nursery.start_soon(one_way, right, left)
        left.reset()


async def copy(source: trio.abc.ReceiveStream, sink: trio.abc.SendStream, bytes_max: int) -> None:
    """Until the source ends, or `bytes_max` bytes have passed."""
    left = bytes_max
    while left > 0:
        data = await source.receive_some(min(COPY_BYTES, left))
        if not data:
            return
        left -= len(data)
        await sink.send_all(data)


async def _say(stream: Stream, status: Status, limit: Limit | None = None) -> None:
    await stream.send_all(pack_frame(encode_hop(Hop(HopKind.STATUS, limit=limit, status=status))))
