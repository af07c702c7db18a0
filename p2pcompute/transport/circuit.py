"""Messages of circuit relay v2, and what a relay grants.

Source: libp2p specification `relay/circuit-v2.md` (HopMessage, StopMessage, Reservation, Limit, Status). After a status
OK the stream carries whatever the two ends say, without the relay's having a part in it.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Final

from p2pcompute.errors import DecodeError
from p2pcompute.identity.keys import verify
from p2pcompute.identity.names import PEER_ID_PREFIX, peer_id_bytes
from p2pcompute.transport.noise import Sign
from p2pcompute.wire import multiaddr
from p2pcompute.wire.envelope import open_sealed, seal
from p2pcompute.wire.protobuf import read_fields, write_field, write_number

HOP: Final = "/libp2p/circuit/relay/0.2.0/hop"
STOP: Final = "/libp2p/circuit/relay/0.2.0/stop"
MESSAGE_BYTES_MAX: Final = 4_096
ADDRESSES_MAX: Final = 8
_FIELDS_MAX: Final = 64
_VOUCHER_DOMAIN: Final = b"libp2p-relay-rsvp"
_VOUCHER_TYPE: Final = b"\x03\x02"


class HopKind(enum.IntEnum):
    RESERVE = 0
    CONNECT = 1
    STATUS = 2


class StopKind(enum.IntEnum):
    CONNECT = 0
    STATUS = 1


class Status(enum.IntEnum):
    """What became of a wish; `MALFORMED` also stands for numbers that the specification does not name."""

    OK = 100
    RESERVATION_REFUSED = 200
    RESOURCE_LIMIT_EXCEEDED = 201
    PERMISSION_DENIED = 202
    CONNECTION_FAILED = 203
    NO_RESERVATION = 204
    MALFORMED = 400
    UNEXPECTED = 401


@dataclasses.dataclass(frozen=True, slots=True)
class Limit:
    """Of one circuit; 0 is without limit. `data_bytes` in each direction."""

    duration_s: int = 0
    data_bytes: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Reservation:
    """`expires_s` is Unix time; `addresses` are the relay's, under which the peer is reached through it."""

    expires_s: int
    addresses: tuple[str, ...] = ()
    voucher: bytes = b""


@dataclasses.dataclass(frozen=True, slots=True)
class Hop:
    """Between a peer and its relay. `peer`: whom to connect to, a public key."""

    kind: HopKind
    peer: bytes = b""
    reservation: Reservation | None = None
    limit: Limit | None = None
    status: Status | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Stop:
    """Between a relay and the peer that is to be reached. `peer`: who wants to reach it."""

    kind: StopKind
    peer: bytes = b""
    limit: Limit | None = None
    status: Status | None = None


def encode_hop(message: Hop) -> bytes:
    out = write_number(1, message.kind) + _encode_peer(message.peer)
    if message.reservation is not None:
        held = message.reservation
        addresses = b"".join(write_field(2, multiaddr.encode(text)) for text in held.addresses)
        voucher = write_field(3, held.voucher) if held.voucher else b""
        out += write_field(3, write_number(1, held.expires_s) + addresses + voucher)
    return out + _encode_end(message.limit, message.status, 4)


def encode_stop(message: Stop) -> bytes:
    return write_number(1, message.kind) + _encode_peer(message.peer) + _encode_end(message.limit, message.status, 3)


def _encode_peer(peer: bytes) -> bytes:
    return write_field(2, write_field(1, peer_id_bytes(peer))) if peer else b""


def _encode_end(limit: Limit | None, status: Status | None, number: int) -> bytes:
    out = b""
    if limit is not None:
        out += write_field(number, write_number(1, limit.duration_s) + write_number(2, limit.data_bytes))
    return out + (write_number(number + 1, status) if status is not None else b"")


def decode_hop(data: bytes) -> Hop:
    """Raises DecodeError."""
    numbers, parts = _read(data)
    try:
        kind = HopKind(numbers.get(1, -1))
    except ValueError:
        raise DecodeError("a relay message is of an unknown kind") from None
    reservation = _decode_reservation(parts[3]) if 3 in parts else None
    return Hop(kind, _decode_peer(parts), reservation, _decode_limit(parts, 4), _decode_status(numbers, 5))


def decode_stop(data: bytes) -> Stop:
    """Raises DecodeError."""
    numbers, parts = _read(data)
    try:
        kind = StopKind(numbers.get(1, -1))
    except ValueError:
        raise DecodeError("a relay message is of an unknown kind") from None
    return Stop(kind, _decode_peer(parts), _decode_limit(parts, 3), _decode_status(numbers, 4))


def _read(data: bytes) -> tuple[dict[int, int], dict[int, bytes]]:
    """Numbers and parts by field; the last one counts."""
    if len(data) > MESSAGE_BYTES_MAX:
        raise DecodeError("a relay message is too long")
    fields = read_fields(data, 0, len(data), _FIELDS_MAX)
    numbers = {number: value for number, value, end in fields if end < 0}
    return numbers, {number: data[start:end] for number, start, end in fields if end >= 0}


def _decode_peer(parts: dict[int, bytes]) -> bytes:
    raw = _read(parts.get(2, b""))[1].get(1, b"")
    if raw and (not raw.startswith(PEER_ID_PREFIX) or len(raw) != len(PEER_ID_PREFIX) + 32):
        raise DecodeError("a relay message names a peer that is no ed25519 key")
    return raw[len(PEER_ID_PREFIX) :]


def _decode_reservation(data: bytes) -> Reservation:
    fields = read_fields(data, 0, len(data), _FIELDS_MAX)
    expires_s = next((value for number, value, end in fields if number == 1 and end < 0), 0)
    addresses = [multiaddr.decode(data[start:end]) for number, start, end in fields if number == 2 and end >= 0]
    voucher = next((data[start:end] for number, start, end in fields if number == 3 and end >= 0), b"")
    return Reservation(expires_s, tuple(text for text in addresses if text)[:ADDRESSES_MAX], voucher)


def _decode_limit(parts: dict[int, bytes], number: int) -> Limit | None:
    if number not in parts:
        return None
    numbers, _ = _read(parts[number])
    return Limit(numbers.get(1, 0), numbers.get(2, 0))


def _decode_status(numbers: dict[int, int], number: int) -> Status | None:
    if number not in numbers:
        return None
    try:
        return Status(numbers[number])
    except ValueError:
        return Status.MALFORMED


def signed_voucher(public: bytes, sign: Sign, peer: bytes, expires_s: int) -> bytes:
    """The relay's word that `peer` holds a reservation: a signed envelope that others may ask for."""
    payload = write_field(1, peer_id_bytes(public)) + write_field(2, peer_id_bytes(peer)) + write_number(3, expires_s)
    return seal(_VOUCHER_DOMAIN, _VOUCHER_TYPE, payload, public, sign)


def voucher_expires_s(voucher: bytes, relay: bytes, peer: bytes) -> int:
    """Until when, in Unix time, `relay` vouches for the place of `peer`. Raises DecodeError where it does not."""
    signer, payload = open_sealed(voucher, _VOUCHER_DOMAIN, _VOUCHER_TYPE, verify)
    if signer != relay:
        raise DecodeError("a voucher is not the relay's")
    numbers, named = _read(payload)
    if named.get(1) != peer_id_bytes(relay) or named.get(2) != peer_id_bytes(peer):
        raise DecodeError("a voucher is for another place than ours")
    return numbers.get(3, 0)
