"""Signed peer records: what one peer may tell another about a third, since the third has signed it.

Source: libp2p RFC 0002 "signed envelopes" and RFC 0003 "routing records". Of the addresses only those are read that our
transport can dial (wire/multiaddr.py). py-libp2p puts /p2p/ID behind each, others do not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final

from p2pcompute.errors import DecodeError
from p2pcompute.identity.names import PEER_ID_PREFIX, peer_id
from p2pcompute.protocol.gossip.params import RECORD_BYTES_MAX, RECORDS_MAX
from p2pcompute.wire import multiaddr
from p2pcompute.wire.envelope import open_sealed, seal, singular
from p2pcompute.wire.protobuf import read_fields, varint, write_field

ADDRESSES_MAX: Final = 8
"""Of a record; further ones are not read."""
_DOMAIN: Final = b"libp2p-peer-record"
_PAYLOAD_TYPE: Final = b"\x03\x01"
_FIELDS_MAX: Final = 64


@dataclasses.dataclass(frozen=True, slots=True)
class PeerRecord:
    """Where a peer says it is reached. Of two records the one with the higher `sequence` holds."""

    peer: bytes
    sequence: int
    addresses: tuple[str, ...]


def encode_record(record: PeerRecord, sign: Callable[[bytes], bytes]) -> bytes:
    """The envelope with `sign`, the signature of `record.peer`. Raises UsageError for an address of another kind."""
    addresses = b"".join(write_field(3, write_field(1, multiaddr.encode(text))) for text in record.addresses)
    payload = write_field(1, PEER_ID_PREFIX + record.peer) + b"\x10" + varint(record.sequence) + addresses
    return seal(_DOMAIN, _PAYLOAD_TYPE, payload, record.peer, sign)


def decode_record(envelope: bytes, verify: Callable[[bytes, bytes, bytes], bool]) -> PeerRecord:
    """The record, its signature checked. Raises DecodeError."""
    if len(envelope) > RECORD_BYTES_MAX:
        raise DecodeError("A peer record is too long.")
    peer, payload = open_sealed(envelope, _DOMAIN, _PAYLOAD_TYPE, verify)
    named, sequence, addresses = b"", 0, list[str]()
    for number, start, end in read_fields(payload, 0, len(payload), _FIELDS_MAX):
        if number == 1 and end >= 0:
            named = payload[start:end]
        elif number == 2 and end < 0:
            sequence = start
        elif number == 3 and end >= 0 and len(addresses) < ADDRESSES_MAX:
            text = multiaddr.of_peer(multiaddr.decode(singular(payload[start:end]).get(1, b"")), peer)
            addresses += [_without_peer(text, peer)] if text else []
    if named != PEER_ID_PREFIX + peer:
        raise DecodeError("A peer record names another peer than the one that signed it.")
    return PeerRecord(peer, sequence, tuple(addresses))


def is_public(address: str) -> bool:
    """Whether an address leads into the internet rather than into somebody's own network."""
    return multiaddr.reach_of(address) is multiaddr.Reach.INTERNET


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


def _without_peer(text: str, peer: bytes) -> str:
    """A socket's address without the peer, whom the record names anyway; a relayed one is of no use without."""
    return text if multiaddr.is_relayed(text) else text.removesuffix(f"/p2p/{peer_id(peer)}")
