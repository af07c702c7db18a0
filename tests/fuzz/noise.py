"""Noise: each handshake message as a stranger may send it, the payload as an authenticated peer may, and records."""

from __future__ import annotations

from collections.abc import Mapping

from p2pcompute.transport import noise
from tests.fuzz.target import Reader, Target

OURS, THEIRS = noise.signer(bytes(32)), noise.signer(b"\1" * 32)
SESSION_KEYS = b"\2" * 32, b"\3" * 32


class Liar(noise.Handshake):
    """Does all the mathematics right and puts what it likes into the payload."""

    said = b""

    def _payload(self) -> bytes:
        return self.said


def _honest(*, initiator: bool) -> noise.Handshake:
    return noise.Handshake(initiator=initiator, public=OURS[0], sign=OURS[1])


def _payload(data: bytes) -> None:
    """An authenticated payload to the one who dialled."""
    mine, liar = _honest(initiator=True), Liar(initiator=False, public=THEIRS[0], sign=THEIRS[1])
    liar.said = data
    mine.receive(liar.receive(mine.start()[2:])[2:])
    assert mine.peer == THEIRS[0], "a payload proved a key that is not the peer's"


def _first(data: bytes) -> None:
    _honest(initiator=False).receive(data)


def _second(data: bytes) -> None:
    mine = _honest(initiator=True)
    mine.start()
    mine.receive(data)
    raise AssertionError("bytes that nobody encrypted were taken for a handshake message")


def _third(data: bytes) -> None:
    mine, other = _honest(initiator=False), _honest(initiator=True)
    mine.receive(other.start()[2:])
    mine.receive(data)
    raise AssertionError("bytes that nobody encrypted were taken for a handshake message")


def _records(data: bytes) -> None:
    """Records in pieces of one length: the first is ours, what follows in its stream is the input."""
    reader = Reader(data)
    session = noise.Session(*SESSION_KEYS)
    size = 1 + reader.number()
    good = bytes(noise.Session(*reversed(SESSION_KEYS)).seal(b"real"))
    stream, plain = good + reader.rest(), list[bytes]()
    for at in range(0, len(stream), size):
        plain += session.open(stream[at : at + size])
    assert plain[:1] == [b"real"]


_STEPS = (_first, _second, _third, _payload, _records)


def feed(data: bytes) -> None:
    """The first byte chooses what the rest is."""
    reader = Reader(data)
    _STEPS[reader.number() % len(_STEPS)](reader.rest())


def seeds() -> Mapping[str, bytes]:
    """Payloads, and parts of a handshake: what is random in a handshake cannot be a seed."""
    static = b"\7" * 32
    payload = noise._field(1, noise.IDENTITY_PREFIX + THEIRS[0]) + noise._field(2, bytes(64))
    sealed = bytes(noise.Session(*reversed(SESSION_KEYS)).seal(b"real"))
    assert sealed[:2] == b"\0\x14"
    return {
        "first": b"\0" + static,
        "bad_second": b"\1" + static + bytes(48) + bytes(100),
        "bad_third": b"\2" + bytes(48) + bytes(100),
        "bad_payload": b"\3" + payload,
        "bad_payload_extensions": b"\3" + payload + noise._field(4, b"\x0a\x03abc"),
        "bad_payload_length": b"\3\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        "records": b"\4\x10",
        "records_more": b"\4\x02\0",
        "bad_record": b"\4\xff" + sealed,
        "bad_record_empty": b"\4\xff\0\0",
    }


TARGET = Target(feed, (noise.NoiseError,), seeds, held_bytes_per_byte=64)
