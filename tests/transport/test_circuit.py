"""Messages of the circuit relay against another implementation of them, and a relay's bounds per address."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.relay.circuit_v2.pb import circuit_pb2 as stock
from multiaddr import Multiaddr

from p2pcompute.errors import DecodeError
from p2pcompute.identity import keys
from p2pcompute.identity.names import PEER_ID_PREFIX, peer_id, peer_id_bytes
from p2pcompute.transport import noise, tcp
from p2pcompute.transport.circuit import (
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
    voucher_expires_s,
)
from p2pcompute.transport.relay import Relay, RelayLimits
from p2pcompute.wire.envelope import singular
from p2pcompute.wire.protobuf import varint

PEER = bytes(range(32))
ADDRESS = f"/ip4/203.0.113.5/tcp/4001/p2p/{peer_id(PEER)}"


def test_another_implementation_reads_our_answer() -> None:
    found = stock.HopMessage()
    found.ParseFromString(
        encode_hop(
            Hop(HopKind.STATUS, b"", Reservation(2_000_000_000, (ADDRESS,), b"v"), Limit(120, 1 << 17), Status.OK)
        )
    )
    assert (found.type, found.status) == (stock.HopMessage.STATUS, stock.OK)
    assert (found.reservation.expire, found.reservation.voucher) == (2_000_000_000, b"v")
    assert [str(Multiaddr(raw)) for raw in found.reservation.addrs] == [ADDRESS]
    assert (found.limit.duration, found.limit.data) == (120, 1 << 17)


def test_another_implementation_reads_whom_a_relay_brings() -> None:
    found = stock.StopMessage()
    found.ParseFromString(encode_stop(Stop(StopKind.CONNECT, PEER, Limit(1, 2))))
    assert (found.type, found.peer.id) == (stock.StopMessage.CONNECT, peer_id_bytes(PEER))
    assert (found.limit.duration, found.limit.data) == (1, 2)


def test_we_read_what_another_implementation_writes() -> None:
    wish = stock.HopMessage(type=stock.HopMessage.CONNECT, peer=stock.PeerId(id=peer_id_bytes(PEER)))
    assert decode_hop(wish.SerializeToString()) == Hop(HopKind.CONNECT, PEER)
    told = stock.StopMessage(type=stock.StopMessage.STATUS, status=stock.PERMISSION_DENIED)
    assert decode_stop(told.SerializeToString()) == Stop(StopKind.STATUS, status=Status.PERMISSION_DENIED)


@pytest.mark.parametrize("peer", [b"\x12\x20" + bytes(32), PEER_ID_PREFIX, b"x"])
def test_a_peer_that_is_no_ed25519_key_is_refused(peer: bytes) -> None:
    wish = stock.HopMessage(type=stock.HopMessage.CONNECT, peer=stock.PeerId(id=peer))
    with pytest.raises(DecodeError):
        decode_hop(wish.SerializeToString())


@given(st.binary(max_size=200))
def test_garbage_is_a_decode_error_or_a_message(data: bytes) -> None:
    for decode in (decode_hop, decode_stop):
        try:
            decode(data)
        except DecodeError:
            pass


def test_a_voucher_is_signed_by_the_relay() -> None:
    public, sign = noise.signer(bytes(32))
    parts = singular(signed_voucher(public, sign, PEER, 77))
    domain, kind = b"libp2p-relay-rsvp", b"\x03\x02"
    signed = b"".join(varint(len(one)) + one for one in (domain, kind, parts[3]))
    assert parts[2] == kind
    assert keys.verify(public, signed, parts[5])
    voucher = stock.Voucher()
    voucher.ParseFromString(parts[3])
    assert (voucher.relay, voucher.peer, voucher.expiration) == (peer_id_bytes(public), peer_id_bytes(PEER), 77)


RELAY, SIGN = noise.signer(bytes(32))
OTHER, OTHERS_SIGN = noise.signer(bytes([1]) * 32)


def test_a_relay_vouches_for_a_peer_and_a_time() -> None:
    assert voucher_expires_s(signed_voucher(RELAY, SIGN, PEER, 77), RELAY, PEER) == 77


@pytest.mark.parametrize(
    "voucher",
    [
        signed_voucher(OTHER, OTHERS_SIGN, PEER, 77),
        signed_voucher(RELAY, SIGN, OTHER, 77),
        signed_voucher(RELAY, OTHERS_SIGN, PEER, 77),
        signed_voucher(RELAY, SIGN, PEER, 77)[:-1],
        b"v",
    ],
    ids=["of another relay", "for another peer", "signed by another", "cut short", "garbage"],
)
def test_a_voucher_that_does_not_hold_is_refused(voucher: bytes) -> None:
    with pytest.raises(DecodeError):
        voucher_expires_s(voucher, RELAY, PEER)


def test_the_voucher_is_read_from_the_answer() -> None:
    answer = Hop(HopKind.STATUS, b"", Reservation(77, (), b"voucher"), None, Status.OK)
    assert decode_hop(encode_hop(answer)) == answer


class Connected:
    """A connection as far as a relay looks at it."""

    def __init__(self, index: int, host: str) -> None:
        self.peer = bytes([index]) * 32
        self.address = f"/ip4/{host}/tcp/1/p2p/{peer_id(self.peer)}"


class Everybody:
    """A host to which everybody is connected who has not left."""

    def __init__(self) -> None:
        self.left: set[bytes] = set()

    def addresses(self) -> tuple[str, ...]:
        return (ADDRESS,)

    def connection_to(self, peer: bytes) -> Any:
        return None if peer in self.left else self


async def test_one_address_takes_a_few_places_only_and_gives_them_back() -> None:
    public, sign = noise.signer(bytes(32))
    host = Everybody()
    relay = Relay(host, tcp.Identity(public, sign), RelayLimits(reservations_per_ip_max=2))

    def reserve(index: int, at: str) -> Status | None:
        connection: Any = Connected(index, at)
        return relay._reserve(connection).status

    assert [reserve(index, "9.9.9.9") for index in (1, 2, 3)] == [Status.OK, Status.OK, Status.RESERVATION_REFUSED]
    assert reserve(4, "9.9.9.8") is Status.OK
    assert reserve(1, "9.9.9.9") is Status.OK  # renewed
    host.left.add(bytes([2]) * 32)
    assert reserve(3, "9.9.9.9") is Status.OK
    assert relay.load() == (3, 0)
