"""What we ask of libp2p's identify (/ipfs/id/1.0.0): under which address the other side sees us, and its own addresses
as it has signed them.

Source: the libp2p specification `identify/README.md` (message Identify, fields 4 observedAddr and 8 signedPeerRecord)
and the multiaddr protocol table (ip4 = 4, ip6 = 41).
"""

from __future__ import annotations

import ipaddress
from typing import Final

from p2pcompute.errors import DecodeError

PROTOCOL: Final = "/ipfs/id/1.0.0"
MESSAGE_BYTES_MAX: Final = 8 * 1024
ASK_S: Final = 5.0
RECORD_S: Final = 30.0
"""For the signed record, which nobody waits for: a peer whose py-libp2p is still being imported answers late."""
_OBSERVED: Final = 4
_SIGNED_RECORD: Final = 8
_IP_BYTES: Final = {4: 4, 41: 16}


def observed_host(message: bytes) -> str | None:
    """The IP address in an Identify message's observedAddr; None when it names none. Raises DecodeError."""
    return _host(_field(message, _OBSERVED))


def signed_record(message: bytes) -> bytes:
    """The signed peer record in an Identify message, unchecked; nothing when there is none. Raises DecodeError."""
    return _field(message, _SIGNED_RECORD)


def _field(message: bytes, wanted: int) -> bytes:
    at, found = 0, b""
    while at < len(message):
        key, at = _varint(message, at)
        if key & 7 == 0:
            _, at = _varint(message, at)
        elif key & 7 == 2:
            size, at = _varint(message, at)
            if at + size > len(message):
                raise DecodeError("an identify message that is cut short")
            if key >> 3 == wanted:
                found = message[at : at + size]
            at += size
        else:
            raise DecodeError("an identify message with a field of unknown kind")
    return found


def _host(address: bytes) -> str | None:
    size = _IP_BYTES.get(address[0], 0) if address else 0
    if not size or len(address) < 1 + size:
        return None
    return str(ipaddress.ip_address(address[1 : 1 + size]))


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 63, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
    raise DecodeError("an identify message with a bad number")
