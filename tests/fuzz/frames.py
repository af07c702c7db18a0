"""Varint frames on a stream: cut the same, however the bytes arrive."""

from __future__ import annotations

from collections.abc import Mapping

from p2pcompute.transport.channels import FrameError, Framer, pack_frame
from tests.fuzz.target import Reader, Target

FRAME_BYTES_MAX = 1_000


def feed(data: bytes) -> None:
    """The first byte is the length of the pieces."""
    reader = Reader(data)
    size, stream = 1 + reader.number(), reader.rest()
    pieces, whole = list[bytes](), list[bytes]()
    framer = Framer(FRAME_BYTES_MAX, pieces.append)
    for at in range(0, len(stream), size):
        framer(stream[at : at + size])
    Framer(FRAME_BYTES_MAX, whole.append)(stream)
    assert pieces == whole
    assert all(len(one) <= FRAME_BYTES_MAX for one in whole)
    assert len(framer._rest) <= FRAME_BYTES_MAX + 4


def seeds() -> Mapping[str, bytes]:
    """Short, long, empty and broken frames."""
    return {
        "three": b"\x07" + pack_frame(b"abc") + pack_frame(b"") + pack_frame(bytes(300)),
        "part": b"\0" + pack_frame(bytes(200))[:100],
        "bad_long": b"\xff" + pack_frame(bytes(1_001)),
        "bad_length": b"\xff\xff\xff\xff\xff\x01",
    }


TARGET = Target(feed, (FrameError,), seeds, held_bytes_per_byte=1_024)
