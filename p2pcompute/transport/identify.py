"""Messages of libp2p's identify (/ipfs/id/1.0.0) and of its push: under which address the other side sees us, and its
own addresses, as it says them and as it has signed them.

Source: the libp2p specification `identify/README.md` (message Identify: 1 publicKey, 2 listenAddrs, 3 protocols,
4 observedAddr, 8 signedPeerRecord).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

from p2pcompute.identity.names import PEER_ID_PREFIX
from p2pcompute.wire import multiaddr
from p2pcompute.wire.protobuf import read_fields, write_field

PROTOCOL: Final = "/ipfs/id/1.0.0"
MESSAGE_BYTES_MAX: Final = 8 * 1024
ASK_S: Final = 5.0
RECORD_S: Final = 30.0
"""For the signed record, which nobody waits for: a peer whose py-libp2p is still being imported answers late."""
LISTEN_ADDRESSES_MAX: Final = 16
"""Of a message; further ones are not read."""
_FIELDS_MAX: Final = 1_024
_KEY, _LISTEN, _PROTOCOLS, _OBSERVED, _SIGNED_RECORD = 1, 2, 3, 4, 8
_KEY_PREFIX: Final = PEER_ID_PREFIX[2:]
_IP_BYTES: Final = {4: 4, 41: 16}
"""By the code of the multiaddr protocol table: ip4 and ip6."""


def encode(public: bytes, addresses: Iterable[str], protocols: Sequence[str], record: bytes) -> bytes:
    """A message without an observed address. `addresses` are multiaddrs, `record` is the signed one."""
    parts = [(_KEY, _KEY_PREFIX + public)]
    parts += [(_LISTEN, multiaddr.encode(text)) for text in addresses]
    parts += [(_PROTOCOLS, name.encode()) for name in protocols]
    return b"".join(write_field(number, data) for number, data in (*parts, (_SIGNED_RECORD, record)))


def observed_host(message: bytes) -> str | None:
    """The IP address in an Identify message's observedAddr; None when it names none. Raises DecodeError."""
    return _host(b"".join(_fields(message, _OBSERVED)[-1:]))


def signed_record(message: bytes) -> bytes:
    """The signed peer record in an Identify message, unchecked; nothing when there is none. Raises DecodeError."""
    return b"".join(_fields(message, _SIGNED_RECORD)[-1:])


def public_key(message: bytes) -> bytes | None:
    """The ed25519 key in an Identify message; None when it names none, nothing for another kind. Raises DecodeError."""
    found = _fields(message, _KEY)[-1:]
    return found[0].removeprefix(_KEY_PREFIX) if found and found[0].startswith(_KEY_PREFIX) else b"" if found else None


def listen_addresses(message: bytes) -> tuple[str, ...]:
    """Where the sender says it listens, as far as we could dial that. Raises DecodeError."""
    told = (multiaddr.decode(data) for data in _fields(message, _LISTEN)[:LISTEN_ADDRESSES_MAX])
    return tuple(text for text in told if text)


def _fields(message: bytes, wanted: int) -> list[bytes]:
    fields = read_fields(message, 0, len(message), _FIELDS_MAX)
    return [message[start:end] for number, start, end in fields if number == wanted and end >= 0]


def _host(address: bytes) -> str | None:
    size = _IP_BYTES.get(address[0], 0) if address else 0
    if not size or len(address) < 1 + size:
        return None
    return str(ipaddress.ip_address(address[1 : 1 + size]))
