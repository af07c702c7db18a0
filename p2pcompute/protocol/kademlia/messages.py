"""Messages of /ipfs/kad/1.0.0, and the distance between keys.

Source: libp2p specification `kad-dht/README.md` (Message, RPC messages, "Distance"). Values (PUT_VALUE, GET_VALUE) are
not spoken: nothing of ours is kept by strangers. Peers that are no ed25519 keys, and addresses that cannot be dialled,
are skipped when read.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
from collections.abc import Sequence
from typing import Final

from p2pcompute.errors import DecodeError
from p2pcompute.identity.names import PEER_ID_PREFIX, peer_id_bytes
from p2pcompute.wire import multiaddr
from p2pcompute.wire.protobuf import read_fields, write_field, write_number

PROTOCOL: Final = "/ipfs/kad/1.0.0"
MESSAGE_BYTES_MAX: Final = 64 * 1024
"""Twenty closer peers and twenty providers with their addresses have about 20 KiB."""
KEY_BYTES_MAX: Final = 128
"""go-libp2p's bound; a multihash of sha2-256 has 34."""
CLOSER_MAX: Final = 20
"""Peers read from one answer, and told in one (k of the specification)."""
PROVIDERS_MAX: Final = 20
"""Providers read from one answer, and told in one."""
ADDRESSES_MAX: Final = 4
"""Addresses kept of one peer; further ones are not read."""
_SHA2_256: Final = b"\x12\x20"
_FIELDS_MAX: Final = 512
_PEER_FIELDS_MAX: Final = 64
_CONNECTED: Final = 1


class Kind(enum.IntEnum):
    """Message.MessageType, as far as it is spoken."""

    ADD_PROVIDER = 2
    GET_PROVIDERS = 3
    FIND_NODE = 4
    PING = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Contact:
    """A peer and where it is said to be reached. Each address ends in /p2p/ID of the peer."""

    peer: bytes
    """32-byte ed25519 public key."""
    addresses: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    kind: Kind
    key: bytes = b""
    closer: tuple[Contact, ...] = ()
    providers: tuple[Contact, ...] = ()


def provider_key(name: str) -> bytes:
    """The multihash under which those who serve `name` (a gossip topic) are found."""
    return _SHA2_256 + hashlib.sha256(name.encode()).digest()


def position(key: bytes) -> int:
    """Where a key (a peer id's 38 bytes, or a multihash) lies in the space of 256 bits."""
    return int.from_bytes(hashlib.sha256(key).digest(), "big")


def peer_position(peer: bytes) -> int:
    return position(peer_id_bytes(peer))


def encode(message: Message) -> bytes:
    """Raises UsageError for an address that has no binary form."""
    out = write_number(1, message.kind) + (write_field(2, message.key) if message.key else b"")
    out += b"".join(write_field(8, _encode_contact(one)) for one in message.closer)
    return out + b"".join(write_field(9, _encode_contact(one)) for one in message.providers)


def _encode_contact(contact: Contact) -> bytes:
    addresses = b"".join(write_field(2, multiaddr.encode(text)) for text in contact.addresses)
    return write_field(1, peer_id_bytes(contact.peer)) + addresses + write_number(3, _CONNECTED)


def decode(data: bytes) -> Message:
    """Raises DecodeError for what is no message, or of a kind that is not spoken here."""
    if len(data) > MESSAGE_BYTES_MAX:
        raise DecodeError("a DHT message is too long")
    number, key = -1, b""
    closer: list[Contact] = []
    providers: list[Contact] = []
    for field, start, end in read_fields(data, 0, len(data), _FIELDS_MAX):
        if field == 1 and end < 0:
            number = start
        elif field == 2 and end >= 0:
            key = data[start:end]
        elif field == 8 and end >= 0 and len(closer) < CLOSER_MAX:
            closer += _decode_contact(data, start, end)
        elif field == 9 and end >= 0 and len(providers) < PROVIDERS_MAX:
            providers += _decode_contact(data, start, end)
    try:
        kind = Kind(number)
    except ValueError:
        raise DecodeError("a DHT message is of a kind that is not spoken here") from None
    if len(key) > KEY_BYTES_MAX:
        raise DecodeError("a DHT message has a key that is too long")
    return Message(kind, key, tuple(closer), tuple(providers))


def _decode_contact(data: bytes, at: int, stop: int) -> Sequence[Contact]:
    peer, addresses = b"", list[bytes]()
    for field, start, end in read_fields(data, at, stop, _PEER_FIELDS_MAX):
        if field == 1 and end >= 0:
            peer = data[start:end]
        elif field == 2 and end >= 0:
            addresses.append(data[start:end])
    if not peer.startswith(PEER_ID_PREFIX) or len(peer) != len(PEER_ID_PREFIX) + 32:
        return ()
    key = peer[len(PEER_ID_PREFIX) :]
    texts = [text for raw in addresses if (text := multiaddr.of_peer(multiaddr.decode(raw), key))]
    return (Contact(key, tuple(dict.fromkeys(texts))[:ADDRESSES_MAX]),)
