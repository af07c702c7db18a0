"""What a peer says of itself: the answer of libp2p's identify protocol, of which we need the signed peer record only.

Source: libp2p specification `identify/README.md`, message Identify.
"""

from __future__ import annotations

from typing import Final

from p2pcompute.errors import DecodeError

PROTOCOL: Final = "/ipfs/id/1.0.0"
ANSWER_BYTES_MAX: Final = 16 * 1024
"""js-libp2p's answers have 1 to 2 KiB."""
TIMEOUT_S: Final = 30.0
"""A peer whose py-libp2p is still being imported answers late."""
_SIGNED_RECORD: Final = 8


def signed_record(answer: bytes) -> bytes:
    """The signed envelope in an Identify message, unchecked; nothing when there is none. Raises DecodeError."""
    at, found = 0, b""
    while at < len(answer):
        tag, at = _varint(answer, at)
        value, at = _varint(answer, at)
        if tag & 7 == 2:
            if at + value > len(answer):
                raise DecodeError("An identify message ends inside a field.")
            if tag >> 3 == _SIGNED_RECORD:
                found = answer[at : at + value]
            at += value
        elif tag & 7:
            raise DecodeError("An identify message holds a field of unknown kind.")
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift <= 63:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise DecodeError("An identify message holds a bad number.")
