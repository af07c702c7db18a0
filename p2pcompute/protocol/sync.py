"""Filling a newcomer's book: pull a neighbour's offers page by page, in the order of their ids.

pull  = 0x01 || id of the last offer received (32 bytes; zeros to begin)
page  = MessagePack array of whole offers, in the order of their ids, at most PAGE_BYTES_MAX; empty at the end
"""

from __future__ import annotations

from typing import Final

import msgspec

from p2pcompute.errors import DecodeError
from p2pcompute.wire import limits

PULL: Final = b"\x01"
PAGE_BYTES_MAX: Final = 128 * limits.KIB
PAGES_MAX: Final = 2_000
"""Pages pulled from one peer in one go: more than a full book has."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[bytes])


def encode_pull(after: bytes) -> bytes:
    """A request for the page after this id."""
    return PULL + after


def decode_pull(frame: bytes) -> bytes | None:
    """The id in a pull; None when the frame is something else."""
    return frame[1:] if len(frame) == 33 and frame[:1] == PULL else None


def encode_page(offers: list[bytes]) -> bytes:
    """The answer to a pull."""
    return _encoder.encode(offers)


def decode_page(frame: bytes) -> list[bytes]:
    """Raises DecodeError for anything but a bounded list of documents."""
    if len(frame) > PAGE_BYTES_MAX + 8:
        raise DecodeError("a page of the book is too long")
    try:
        return _decoder.decode(frame)
    except msgspec.MsgspecError as error:
        raise DecodeError(f"not a page of the book: {error}") from error
