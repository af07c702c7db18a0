"""Circuit relay v2 between our own peers: reserved, reached, verified from end to end, and bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from p2pcompute.errors import RemoteError
from p2pcompute.identity.names import peer_id
from p2pcompute.transport import noise, relay, relayed, tcp
from p2pcompute.transport.address import Address, parse_address
from p2pcompute.transport.channels import FrameReader, pack_frame
from p2pcompute.transport.circuit import (
    HOP,
    STOP,
    Hop,
    HopKind,
    Status,
    Stop,
    StopKind,
    decode_hop,
    encode_hop,
    encode_stop,
    signed_voucher,
)
from p2pcompute.transport.libp2p import Libp2pTransport
from p2pcompute.transport.mux import Stream
from p2pcompute.transport.relay import RelayLimits
from tests.transport.harness import FRAME_BYTES_MAX, LOOPBACK, REQUEST, STREAM, Recorder, running


def make(index: int, events: Recorder, *, listen: bool = True, relay: RelayLimits | None = None) -> Libp2pTransport:
    return Libp2pTransport(
        bytes([index]) * 32,
        listen=[LOOPBACK] if listen else [],
        events=events,
        requests={REQUEST: FRAME_BYTES_MAX},
        streams=[STREAM],
        libp2p_host=False,
        relay=relay,
    )


class Triangle:
    """A relay, a peer that listens nowhere, and one that wants to reach it."""

    def __init__(self, limits: RelayLimits) -> None:
        self.events = Recorder(), Recorder(), Recorder()
        self.relay = make(1, self.events[0], relay=limits)
        self.hidden = make(2, self.events[1], listen=False)
        self.seeker = make(3, self.events[2])

    @property
    def address(self) -> str:
        """Of the hidden peer."""
        return self.hidden.addresses()[0]

    async def ask(self, peer: Libp2pTransport, wish: Hop) -> Hop:
        """A wish on a stream of its own."""
        await peer.connect(self.relay.addresses()[0])
        stream = await peer.open_stream(self.relay.peer, HOP)
        await stream.send_all(pack_frame(encode_hop(wish)))
        return decode_hop(await FrameReader(stream).next(4096))


@asynccontextmanager
async def triangle(limits: RelayLimits | None = None, *, reserve: bool = True) -> AsyncIterator[Triangle]:
    found = Triangle(limits or RelayLimits())
    async with running(found.relay, found.hidden, found.seeker):
        if reserve:
            assert await found.hidden.reserve(found.relay.addresses()[0]) > 0
        yield found


async def test_a_peer_that_listens_nowhere_is_reached_through_a_relay() -> None:
    async with triangle() as t:
        assert parse_address(t.address).relay == t.relay.peer
        assert await t.seeker.connect(t.address) == t.hidden.peer
        assert await t.seeker.request(t.hidden.peer, REQUEST, b"hello", timeout_s=5) == b"hello"
        assert await t.hidden.request(t.seeker.peer, REQUEST, b"back", timeout_s=5) == b"back"
        assert t.relay.load()["circuits"] == 1
        info = next(one for one in t.events[1].changes if one.peer == t.seeker.peer)
        assert parse_address(info.address).relay == t.relay.peer


async def test_a_megabyte_goes_through_whole() -> None:
    async with triangle() as t:
        await t.seeker.connect(t.address)
        stream = await t.seeker.open_stream(t.hidden.peer, STREAM)
        await stream.send_all(bytes(1_000_000))
        await stream.send_eof()
        assert await stream.receive_some() == b"1000000"


async def test_the_circuit_ends_with_either_end() -> None:
    async with triangle() as t:
        await t.seeker.connect(t.address)
        await t.events[1].until(lambda: t.seeker.peer in t.events[1].up())
        await t.seeker.disconnect(t.hidden.peer)
        await t.events[1].until(lambda: t.seeker.peer not in t.events[1].up())
        while t.relay.load()["circuits"]:
            await trio.sleep(0)


async def test_without_a_reservation_nobody_is_reached() -> None:
    async with triangle(reserve=False) as t:
        await t.hidden.connect(t.relay.addresses()[0])
        with pytest.raises(RemoteError, match="no place"):
            await t.seeker.connect(f"{t.relay.addresses()[0]}/p2p-circuit{_suffix(t.hidden)}")


async def test_a_place_ends_with_the_connection_to_the_relay() -> None:
    async with triangle() as t:
        address = t.address
        await t.hidden.disconnect(t.relay.peer)
        await t.events[0].until(lambda: t.hidden.peer not in t.events[0].up())
        assert t.hidden.addresses() == ()
        assert t.relay.load()["reservations"] == 0
        with pytest.raises(RemoteError, match="no place"):
            await t.seeker.connect(address)


async def test_a_place_runs_out_and_is_renewed() -> None:
    async with triangle(RelayLimits(reservation_s=40)) as t:
        assert await t.hidden.reserve(t.relay.addresses()[0]) <= 41
        assert t.relay.load()["reservations"] == 1


@pytest.mark.parametrize(
    ("signer", "expires_in_s", "reason"), [(9, 3_600, "not the relay's"), (1, -1, "run out")], ids=["another", "old"]
)
async def test_a_place_whose_voucher_does_not_hold_is_refused(
    monkeypatch: pytest.MonkeyPatch, signer: int, expires_in_s: int, reason: str
) -> None:
    public, sign = noise.signer(bytes([signer]) * 32)

    def vouch(_public: bytes, _sign: noise.Sign, peer: bytes, expires_s: int) -> bytes:
        return signed_voucher(public, sign, peer, expires_s - 3_600 + expires_in_s)

    monkeypatch.setattr(relay, "signed_voucher", vouch)
    async with triangle(reserve=False) as t:
        with pytest.raises(RemoteError, match=reason):
            await t.hidden.reserve(t.relay.addresses()[0])
        assert not t.hidden.places()


async def test_a_place_lasts_no_longer_than_its_voucher(monkeypatch: pytest.MonkeyPatch) -> None:
    def vouch(public: bytes, sign: noise.Sign, peer: bytes, expires_s: int) -> bytes:
        return signed_voucher(public, sign, peer, expires_s - 3_500)

    monkeypatch.setattr(relay, "signed_voucher", vouch)
    async with triangle(reserve=False) as t:
        assert await t.hidden.reserve(t.relay.addresses()[0]) <= 101


async def test_reservations_are_bounded() -> None:
    async with triangle(RelayLimits(reservations_max=1)) as t:
        with pytest.raises(RemoteError, match="no place free"):
            await t.seeker.reserve(t.relay.addresses()[0])


async def test_circuits_are_bounded_in_number() -> None:
    async with triangle(RelayLimits(circuits_max=0)) as t:
        with pytest.raises(RemoteError, match="as much as it can"):
            await t.seeker.connect(t.address)


async def test_circuits_are_bounded_per_peer() -> None:
    async with triangle(RelayLimits(circuits_per_peer_max=0)) as t:
        assert (await t.ask(t.seeker, Hop(HopKind.CONNECT, t.hidden.peer))).status is Status.RESOURCE_LIMIT_EXCEEDED


async def test_a_circuit_ends_when_it_has_carried_its_share() -> None:
    async with triangle(RelayLimits(circuit_bytes=200_000)) as t:
        await t.seeker.connect(t.address)
        stream = await t.seeker.open_stream(t.hidden.peer, STREAM)
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(bytes(4_000_000))
        await t.events[2].until(lambda: t.hidden.peer not in t.events[2].up())
        await t.seeker.connect(t.address)  # and another one may begin


async def test_a_circuit_ends_after_its_time() -> None:
    async with triangle(RelayLimits(circuit_s=1)) as t:
        await t.seeker.connect(t.address)
        await t.events[2].until(lambda: t.hidden.peer not in t.events[2].up())


async def test_who_comes_through_a_relay_is_who_the_relay_says() -> None:
    """A relay that lies about the source gains nothing: the handshake names another key."""
    async with triangle(reserve=True) as t:
        stream = await t.relay.open_stream(t.hidden.peer, STOP)
        await stream.send_all(pack_frame(encode_stop(Stop(StopKind.CONNECT, bytes(31) + b"\1"))))
        await FrameReader(stream).next(4096)
        public, sign = noise.signer(bytes([3]) * 32)
        socket = relayed.bridge(stream, t.relay._start)
        with pytest.raises((RemoteError, trio.BrokenResourceError)):
            await tcp.secure(socket, tcp.Identity(public, sign), initiator=True, expect=t.hidden.peer)
        assert t.events[1].up() == {t.relay.peer}


async def until_reset(stream: Stream) -> None:
    async def read() -> None:
        while await stream.receive_some():
            pass

    with pytest.raises(trio.BrokenResourceError):
        await read()


async def test_a_stranger_cannot_play_the_relay() -> None:
    async with triangle(reserve=False) as t:
        await t.hidden.connect(t.seeker.addresses()[0])
        await t.events[2].until(lambda: t.hidden.peer in t.events[2].up())
        stream = await t.seeker.open_stream(t.hidden.peer, STOP)
        await stream.send_all(pack_frame(encode_stop(Stop(StopKind.CONNECT, t.seeker.peer))))
        await until_reset(stream)
        assert len(t.events[1].changes) == 1


@pytest.mark.parametrize("wish", [b"", b"\xff" * 8, b"\x08\x09", b"\x08\x01", b"\x08\x02"])
async def test_a_wish_that_is_none_costs_its_stream(wish: bytes) -> None:
    async with triangle() as t:
        await t.seeker.connect(t.relay.addresses()[0])
        stream = await t.seeker.open_stream(t.relay.peer, HOP)
        await stream.send_all(pack_frame(wish))
        try:
            answer = decode_hop(await FrameReader(stream).next(4096))
            assert answer.status is Status.UNEXPECTED
        except (trio.BrokenResourceError, RemoteError):
            pass
        assert await t.seeker.connect(t.address) == t.hidden.peer


async def test_a_peer_without_the_service_refuses() -> None:
    async with triangle(reserve=False) as t:
        with pytest.raises(RemoteError, match="gives no place"):
            await t.hidden.reserve(t.seeker.addresses()[0])


async def test_a_direct_connection_takes_over_from_a_relayed_one() -> None:
    async with triangle() as t:
        place = t.seeker.addresses()[0]
        await t.seeker.connect(t.address)
        await t.events[1].until(lambda: t.seeker.peer in t.events[1].up())
        connection = t.hidden.connection_to(t.seeker.peer)
        assert connection is not None
        assert connection.is_relayed
        await t.hidden._dial(parse_address(place))
        direct = t.hidden.connection_to(t.seeker.peer)
        assert direct is not None
        assert not direct.is_relayed
        assert await t.hidden.request(t.seeker.peer, REQUEST, b"x", timeout_s=5) == b"x"


def _suffix(transport: Libp2pTransport) -> str:
    return f"/p2p/{peer_id(transport.peer)}"


async def test_where_else_a_relay_is_reached_is_told_too() -> None:
    async with triangle(reserve=False) as t:
        far = Address("203.0.113.7", 4001, t.relay.peer)
        t.relay._location.announce = (far, *t.relay._location.bound)
        await t.hidden.reserve(str(t.relay._location.bound[0]))
        told = [parse_address(text) for text in t.hidden.addresses()]
        assert [(one.host, one.relay) for one in told] == [
            (host, t.relay.peer) for host in ("127.0.0.1", "203.0.113.7")
        ]
