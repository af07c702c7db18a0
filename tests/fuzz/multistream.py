"""multistream-select: what a dialler may send to the side that listens, in pieces."""

from __future__ import annotations

from collections.abc import Mapping

from p2pcompute.transport import multistream
from tests.fuzz.target import Reader, Target

SPOKEN = "/p2pcompute/rpc/1"


def feed(data: bytes) -> None:
    """The first byte is the length of the pieces. Nothing that came is lost behind an agreement."""
    reader = Reader(data)
    size, responder, answers, taken = 1 + reader.number(), multistream.Responder(SPOKEN.__eq__), 0, 0
    stream = reader.rest()
    for at in range(0, len(stream), size):
        answers += len(responder.receive(stream[at : at + size]))
        taken = min(at + size, len(stream))
        if responder.protocol is not None:
            break
    assert answers <= 4 * len(stream) + len(multistream.HEADER)
    assert stream[:taken].endswith(responder.rest)
    if responder.protocol is None:
        assert len(responder.rest) <= multistream.LINE_BYTES_MAX + 2
        raise multistream.NegotiationError("the input ended before it named a protocol")
    assert responder.protocol == SPOKEN


def seeds() -> Mapping[str, bytes]:
    """Agreement at once, after a refusal, with data behind it."""
    asked, header, line = multistream.request(SPOKEN), multistream.HEADER, multistream.line
    return {
        "agreed": b"\xff" + asked,
        "by_bytes": b"\0" + asked + b"data",
        "second_choice": b"\x20" + header + line(b"/other/1") + line(SPOKEN.encode()) + b"data",
        "bad_name": b"\xff" + header + line(b"\xff\xfe"),
        "bad_header": b"\xff" + line(b"/multistream/2.0.0"),
        "bad_length": b"\xff\xff\xff\x01" + bytes(40),
        "bad_end": b"\xff" + header + b"\4abcd",
        "bad_choosy": b"\xff" + header + line(b"/x") * (multistream.ATTEMPTS_MAX + 1),
    }


TARGET = Target(feed, (multistream.NegotiationError,), seeds, held_bytes_per_byte=64)
