"""Being reached, and reaching others, through a relay.

A relayed stream is bridged to a pair of local sockets, so that the connection over it is for everything above what
every other connection is: Noise and yamux between the two ends, admission, deadlines. Its limits are the relay's, and
those of the one stream that carries it.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

import trio

from p2pcompute.errors import DecodeError, P2PComputeError, RemoteError, UsageError
from p2pcompute.identity.names import peer_id
from p2pcompute.transport.address import Address, parse_address
from p2pcompute.transport.channels import FrameReader, pack_frame
from p2pcompute.transport.circuit import (
    HOP,
    MESSAGE_BYTES_MAX,
    Hop,
    HopKind,
    Reservation,
    Status,
    Stop,
    StopKind,
    decode_hop,
    decode_stop,
    encode_hop,
    encode_stop,
    voucher_expires_s,
)
from p2pcompute.transport.mux import Connection, Stream
from p2pcompute.transport.relay import copy
from p2pcompute.wire.multiaddr import reach_of

log = logging.getLogger(__name__)

ASK_S: Final = 10.0
RESERVATION_S_MIN: Final = 30
RESERVATION_S_MAX: Final = 24 * 3_600
OTHER_ADDRESSES_MAX: Final = 2
CARRIED_BYTES_MAX: Final = 1 << 50
"""Our own end puts no limit on a circuit: the relay does."""
_REASONS: Final = {
    Status.RESERVATION_REFUSED: "it has no place free",
    Status.RESOURCE_LIMIT_EXCEEDED: "it carries as much as it can",
    Status.PERMISSION_DENIED: "it does not allow it",
    Status.CONNECTION_FAILED: "the peer does not answer it",
    Status.NO_RESERVATION: "the peer has no place at it",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A reservation that we hold. `expires_s` is on trio's clock."""

    relay: bytes
    address: Address
    """Of the relay, as we reach it."""
    expires_s: float
    others: tuple[Address, ...] = ()
    """Where else the relay says it is reached, as far as that is not nearer to it than where we reach it."""


async def reserve(connection: Connection, address: Address, me: bytes) -> Place:
    """Ask a relay for a place for `me`. Raises RemoteError with one sentence."""
    answer = await _wish(connection, Hop(HopKind.RESERVE), f"Relay {peer_id(connection.peer)} gives no place")
    reservation, stream = answer
    stream.reset()
    held = reservation.reservation
    if held is None:
        raise RemoteError("The relay gave a place without saying for how long.")
    lifetime_s = min(max(_vouched_until(held, connection.peer, me), RESERVATION_S_MIN), RESERVATION_S_MAX)
    others = tuple(_elsewhere(held.addresses, address, connection.peer))[:OTHER_ADDRESSES_MAX]
    return Place(connection.peer, address, trio.current_time() + lifetime_s, others)


def _vouched_until(held: Reservation, relay: bytes, me: bytes) -> float:
    """For how many seconds the relay holds a place, by its word and its voucher, of which there may be none."""
    now_s = time.time()
    if not held.voucher:
        return held.expires_s - now_s
    try:
        expires_s = voucher_expires_s(held.voucher, relay, me)
    except DecodeError as error:
        raise RemoteError(f"Relay {peer_id(relay)} gives no place: {error}.") from error
    if expires_s <= now_s:
        raise RemoteError(f"Relay {peer_id(relay)} gives no place: its voucher has run out.")
    return min(held.expires_s, expires_s) - now_s


def _elsewhere(told: Sequence[str], known: Address, relay: bytes) -> Iterator[Address]:
    least = reach_of(str(known))
    for text in dict.fromkeys(told):
        try:
            address = parse_address(text)
        except UsageError:
            continue
        same = (address.host, address.port) == (known.host, known.port)
        direct = address.relay is None and address.peer in (None, relay) and address.port > 0
        if direct and not same and reach_of(text) >= least:
            yield address


async def reach(connection: Connection, target: bytes) -> Stream:
    """A stream through a relay to a peer that holds a place there. Raises RemoteError with one sentence."""
    what = f"Relay {peer_id(connection.peer)} does not reach {peer_id(target)}"
    _, stream = await _wish(connection, Hop(HopKind.CONNECT, target), what)
    return stream


async def _wish(connection: Connection, wish: Hop, what: str) -> tuple[Hop, Stream]:
    try:
        stream = connection.open_protocol(HOP)
        try:
            with trio.fail_after(ASK_S):
                await stream.send_all(pack_frame(encode_hop(wish)))
                reader = FrameReader(stream)
                answer = decode_hop(await reader.next(MESSAGE_BYTES_MAX))
        except BaseException:
            stream.reset()
            raise
    except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, P2PComputeError) as error:
        raise RemoteError(f"{what}: {error or 'no answer'}.") from error
    if answer.kind is not HopKind.STATUS or answer.status is not Status.OK:
        stream.reset()
        reason = _REASONS.get(answer.status, "it does not say why") if answer.status is not None else "no answer"
        raise RemoteError(f"{what}: {reason}.")
    stream.put_back(reader.rest())
    return answer, stream


async def agree(stream: Stream, *, expected: bool) -> bytes:
    """On a stream of /stop: whom the relay brings. `expected`: whether we hold a place there; else it is refused.

    Raises RemoteError where the stream must be reset.
    """
    reader = FrameReader(stream)
    with trio.fail_after(ASK_S):
        wish = decode_stop(await reader.next(MESSAGE_BYTES_MAX))
    if wish.kind is not StopKind.CONNECT or not wish.peer:
        raise DecodeError("a relay brings nobody")
    status = Status.OK if expected else Status.PERMISSION_DENIED
    await stream.send_all(pack_frame(encode_stop(Stop(StopKind.STATUS, status=status))))
    if not expected:
        await stream.send_eof()
        raise RemoteError("a relay that we did not ask brings somebody")
    stream.put_back(reader.rest())
    return wish.peer


def bridge(stream: Stream, start: Callable[[Callable[[], Awaitable[None]]], None]) -> trio.SocketStream:
    """A socket whose other end is the relayed stream; `start` runs the task that copies between them."""
    ours, theirs = trio.socket.socketpair()
    end = trio.SocketStream(theirs)

    async def carry() -> None:
        try:
            async with end, trio.open_nursery() as nursery:

                async def one_way(source: trio.abc.ReceiveStream, sink: trio.abc.SendStream) -> None:
                    try:
                        await copy(source, sink, CARRIED_BYTES_MAX)
                    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                        log.debug("a relayed connection ends: %r", error)
                    nursery.cancel_scope.cancel()

                nursery.start_soon(one_way, stream, end)
                nursery.start_soon(one_way, end, stream)
        finally:
            stream.reset()

    start(carry)
    return trio.SocketStream(ours)
