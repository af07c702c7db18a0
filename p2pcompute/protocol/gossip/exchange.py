"""Signed peer records: what one peer may tell another about a third, since the third has signed it.

Source: libp2p RFC 0002 "signed envelopes" and RFC 0003 "routing records"; multiaddr's binary form, of which only
ip4 and ip6 with tcp are read: what our transport can dial. py-libp2p puts /p2p/ID behind each, others do not.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable, Sequence
from typing import Final

from p2pcompute.errors import DecodeError, UsageError
from p2pcompute.identity.names import PEER_ID_PREFIX
from p2pcompute.protocol.gossip.codec import read_fields, varint, write_field
from p2pcompute.protocol.gossip.params import RECORD_BYTES_MAX, RECORDS_MAX

ADDRESSES_MAX: Final = 8
"""Of a record; further ones are not read."""
_DOMAIN: Final = b"libp2p-peer-record"
_PAYLOAD_TYPE: Final = b"\x03\x01"
_KEY_PREFIX: Final = PEER_ID_PREFIX[2:]
_IP4, _IP6, _TCP = b"\x04", b"\x29", b"\x06"
_P2P: Final = b"\xa5\x03\x26"
"""The code 421, and the 38 bytes of an ed25519 peer id."""
_FIELDS_MAX: Final = 64


@dataclasses.dataclass(frozen=True, slots=True)
class PeerRecord:
    """Where a peer says it is reached. Of two records the one with the higher `sequence` holds."""

    peer: bytes
    sequence: int
    addresses: tuple[str, ...]


def encode_record(record: PeerRecord, sign: Callable[[bytes], bytes]) -> bytes:
    """The envelope with `sign`, the signature of `record.peer`. Raises UsageError for an address of another kind."""
    addresses = b"".join(write_field(3, write_field(1, _encode_address(text))) for text in record.addresses)
    payload = write_field(1, PEER_ID_PREFIX + record.peer) + b"\x10" + varint(record.sequence) + addresses
    signature = sign(_signed(payload))
    parts = ((1, _KEY_PREFIX + record.peer), (2, _PAYLOAD_TYPE), (3, payload), (5, signature))
    return b"".join(write_field(number, data) for number, data in parts)


def decode_record(envelope: bytes, verify: Callable[[bytes, bytes, bytes], bool]) -> PeerRecord:
    """The record, its signature checked. Raises DecodeError."""
    if len(envelope) > RECORD_BYTES_MAX:
        raise DecodeError("A peer record is too long.")
    parts = _singular(envelope)
    key, payload, signature = parts.get(1, b""), parts.get(3, b""), parts.get(5, b"")
    if not key.startswith(_KEY_PREFIX) or len(key) != len(_KEY_PREFIX) + 32 or parts.get(2) != _PAYLOAD_TYPE:
        raise DecodeError("A peer record is not one of an ed25519 peer.")
    peer = key[len(_KEY_PREFIX) :]
    if len(signature) != 64 or not verify(peer, _signed(payload), signature):
        raise DecodeError("The signature of a peer record does not hold.")
    named, sequence, addresses = b"", 0, list[str]()
    for number, start, end in read_fields(payload, 0, len(payload), _FIELDS_MAX):
        if number == 1 and end >= 0:
            named = payload[start:end]
        elif number == 2 and end < 0:
            sequence = start
        elif number == 3 and end >= 0 and len(addresses) < ADDRESSES_MAX:
            text = _decode_address(_singular(payload[start:end]).get(1, b""), peer)
            addresses += [text] if text else []
    if named != PEER_ID_PREFIX + peer:
        raise DecodeError("A peer record names another peer than the one that signed it.")
    return PeerRecord(peer, sequence, tuple(addresses))


def is_public(address: str) -> bool:
    """Whether an address leads into the internet rather than into somebody's own network."""
    try:
        return ipaddress.ip_address(address.split("/")[2]).is_global
    except (IndexError, ValueError):
        return False


class Records:
    """The newest signed record of peers, to be handed on in PRUNE. The oldest one goes when there are too many."""

    def __init__(self) -> None:
        self._records: dict[bytes, tuple[int, bytes]] = {}

    def __len__(self) -> int:
        return len(self._records)

    def get(self, peer: bytes) -> bytes:
        """The envelope, or nothing."""
        return self._records.get(peer, (0, b""))[1]

    def learn(self, record: PeerRecord, envelope: bytes) -> None:
        """Keep a record that was checked."""
        known = self._records.get(record.peer)
        if known is not None and known[0] >= record.sequence:
            return
        self._records.pop(record.peer, None)
        self._records[record.peer] = record.sequence, envelope
        if len(self._records) > RECORDS_MAX:
            del self._records[next(iter(self._records))]


def _signed(payload: bytes) -> bytes:
    return b"".join(varint(len(part)) + part for part in (_DOMAIN, _PAYLOAD_TYPE, payload))


def _singular(data: bytes) -> dict[int, bytes]:
    """Length-delimited fields by number; the last one counts."""
    return {number: data[start:end] for number, start, end in read_fields(data, 0, len(data), _FIELDS_MAX) if end >= 0}


def _encode_address(text: str) -> bytes:
    parts: Sequence[str] = text.split("/")
    if len(parts) < 5 or parts[1] not in ("ip4", "ip6") or parts[3] != "tcp":
        raise UsageError(f"{text!r} is not an address like /ip4/203.0.113.5/tcp/9000.")
    host = ipaddress.ip_address(parts[2])
    return (_IP4 if host.version == 4 else _IP6) + host.packed + _TCP + int(parts[4]).to_bytes(2, "big")


def _decode_address(data: bytes, peer: bytes) -> str:
    """ip4|ip6/HOST/tcp/PORT, whether or not /p2p/ID of `peer` follows; "" for an address of another kind."""
    data = data.removesuffix(_P2P + PEER_ID_PREFIX + peer)
    size = {_IP4: 4, _IP6: 16}.get(data[:1], 0)
    if not size or len(data) != size + 4 or data[1 + size : 2 + size] != _TCP:
        return ""
    host = ipaddress.ip_address(data[1 : 1 + size])
    return f"/ip{host.version}/{host}/tcp/{int.from_bytes(data[-2:], 'big')}"
