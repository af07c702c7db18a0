"""Identify push (/ipfs/id/push/1.0.0): connected peers tell each other at once when their addresses change.

Source: libp2p specification `identify/README.md`, "identify/push". Ours in both directions (docs/adr/0008). Rules
P1 to P4 of docs/spec/discovery.md.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import trio

from p2pcompute.errors import DecodeError, P2PComputeError, RemoteError
from p2pcompute.identity import keys
from p2pcompute.protocol.gossip.exchange import ADDRESSES_MAX, PeerRecord, decode_record, encode_record
from p2pcompute.protocol.kademlia import Contact
from p2pcompute.protocol.kademlia.node import believable, tellable
from p2pcompute.transport import identify
from p2pcompute.transport.channels import FrameReader, pack_frame
from p2pcompute.transport.mux import Connection, Stream
from p2pcompute.transport.tcp import Identity
from p2pcompute.wire import multiaddr

log = logging.getLogger(__name__)

PROTOCOL: Final = "/ipfs/id/push/1.0.0"
READ_S: Final = 10.0
SEND_S: Final = 10.0
SENT_AT_ONCE: Final = 16
SETTLE_S: Final = 1.0
"""Changes come in groups, like two places won one after the other: they are told together."""
TOLD_PAUSE_S: Final = 10.0
"""Between two rounds of ours; the last state is always told."""
PUSHES_BURST: Final = 8
PUSHES_PER_S: Final = 0.5
"""Of one peer in the long run: js-libp2p sends one for each protocol it starts to speak, a second apart."""
EXCESS_MAX: Final = 128
"""Pushes beyond that, after which the peer is disconnected."""
SENDERS_MAX: Final = 4_096


@dataclasses.dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a peer says it is reached: multiaddrs with /p2p/ID, best first, and the checked record that says so; the
    record is empty where the peer did not sign."""

    peer: bytes
    addresses: tuple[str, ...]
    record: bytes = b""
    sequence: int = -1


Told = Callable[[Whereabouts], None]


def no_interest(where: Whereabouts) -> None:
    """For those who need not know where peers are reached."""


def read(message: bytes, peer: bytes, told_from: str) -> Whereabouts:
    """What `peer`, connected from `told_from`, says of itself. Raises DecodeError, also for what it says of others."""
    if identify.public_key(message) not in (None, peer):
        raise DecodeError("a pushed identify message names another peer")
    envelope, sequence = identify.signed_record(message), -1
    told = identify.listen_addresses(message)
    if envelope:
        record = decode_record(envelope, keys.verify)
        if record.peer != peer:
            raise DecodeError("a pushed peer record is another peer's")
        told, sequence = record.addresses, record.sequence
    full = tuple(text for one in dict.fromkeys(told) if (text := multiaddr.of_peer(one, peer)))
    return Whereabouts(peer, believable(Contact(peer, full), told_from).addresses[:ADDRESSES_MAX], envelope, sequence)


@dataclasses.dataclass(slots=True)
class _Account:
    """What one peer has left to push, and the newest record that it pushed."""

    left: float
    at_s: float
    sequence: int = -1

    def spend(self, now_s: float) -> bool:
        self.left = min(PUSHES_BURST, self.left + (now_s - self.at_s) * PUSHES_PER_S)
        self.at_s = now_s
        self.left = max(self.left - 1, -1 - EXCESS_MAX)
        return self.left >= 0

    @property
    def is_overdrawn(self) -> bool:
        return self.left < -EXCESS_MAX


class Inbox:
    """What peers push. Their accounts outlive their connections; the least recently used one is forgotten first."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._accounts: dict[bytes, _Account] = {}

    async def serve(self, connection: Connection, stream: Stream) -> None:
        """One push. Raises RemoteError, DecodeError or what trio raises, where the stream must be reset."""
        account = self._account(connection.peer)
        if not account.spend(trio.current_time()):
            if account.is_overdrawn:
                connection.close()
            raise RemoteError("the peer pushes its addresses too often")
        with trio.fail_after(READ_S):
            message = await FrameReader(stream).next(identify.MESSAGE_BYTES_MAX)
        where = read(message, connection.peer, connection.address)
        if where.record and where.sequence <= account.sequence:
            return  # overtaken by a newer one
        account.sequence = max(account.sequence, where.sequence)
        self._told(where)

    def _account(self, peer: bytes) -> _Account:
        account = self._accounts.pop(peer, None) or _Account(PUSHES_BURST, trio.current_time())
        self._accounts[peer] = account
        while len(self._accounts) > SENDERS_MAX:
            del self._accounts[next(iter(self._accounts))]
        return account


class Located(Protocol):
    """The part of the transport used here."""

    def addresses(self) -> tuple[str, ...]: ...
    def connections(self) -> Iterable[Connection]: ...


class Announcer:
    """Tells every connected peer when our addresses change."""

    def __init__(self, transport: Located, identity: Identity, protocols: Sequence[str]) -> None:
        self._transport, self._identity, self._protocols = transport, identity, tuple(protocols)
        self._moved = trio.Event()
        self._sequence = 0

    def moved(self) -> None:
        """Our addresses may have changed."""
        self._moved.set()

    async def run(self) -> None:
        """Until cancelled; raises nothing else."""
        known = self._transport.addresses()
        while True:
            await self._moved.wait()
            await trio.sleep(SETTLE_S)
            self._moved = trio.Event()
            if self._transport.addresses() != known:
                known = self._transport.addresses()
                await self._tell_all(known)
                await trio.sleep(TOLD_PAUSE_S)

    async def _tell_all(self, addresses: Sequence[str]) -> None:
        limit, messages = trio.CapacityLimiter(SENT_AT_ONCE), dict[multiaddr.Reach, bytes]()

        async def tell(connection: Connection) -> None:
            reach = multiaddr.reach_of(connection.address)
            if reach not in messages:
                messages[reach] = self._message(addresses, connection.address)
            async with limit:
                await _send(connection, messages[reach])

        async with trio.open_nursery() as nursery:
            for connection in self._transport.connections():
                nursery.start_soon(tell, connection)

    def _message(self, addresses: Sequence[str], told_to: str) -> bytes:
        """Of our addresses, those that somebody connected from `told_to` can use."""
        me = self._identity.public
        told = tellable(Contact(me, tuple(addresses)), told_to).addresses[:ADDRESSES_MAX]
        plain = [one if multiaddr.is_relayed(one) else one.partition("/p2p/")[0] for one in told]
        self._sequence = max(self._sequence + 1, time.time_ns())  # py-libp2p counts by the clock, too
        record = encode_record(PeerRecord(me, self._sequence, tuple(plain)), self._identity.sign)
        return identify.encode(me, plain, self._protocols, record)


async def _send(connection: Connection, message: bytes) -> None:
    try:
        with trio.fail_after(SEND_S):
            stream = connection.open_protocol(PROTOCOL)
            try:
                await stream.send_all(pack_frame(message))
                await stream.aclose()
            except BaseException:
                stream.reset()
                raise
    except (P2PComputeError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as error:
        log.debug("%s takes no push: %r", connection.address, error)
