"""yamux: frames in pieces, to either side, between our own opening, sending, reading and ending of streams."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from p2pcompute.transport import yamux
from p2pcompute.transport.yamux import Flag, Kind
from tests.fuzz.target import Reader, Target

LIMITS = yamux.Limits(
    streams_max=8,
    backlog_max=4,
    frame_bytes_max=1 << 20,
    window_bytes_max=1 << 19,
    window_bytes_total=1 << 19,
    unread_bytes_max=1 << 18,
    out_bytes_max=1 << 16,
    control_per_read_max=64,
)
SENT = bytes(300)


def feed(data: bytes) -> None:
    """Each piece has a length and an action of ours in front. What we hold stays within the limits."""
    reader = Reader(data)
    mux = yamux.Yamux(client=bool(reader.number() & 1), limits=LIMITS)
    ours = mux.open()
    accepted, known = list[yamux.Stream](), {id(ours): ours}
    while reader:
        _ACTIONS[reader.number() % len(_ACTIONS)](mux, accepted)
        mux.receive(reader.piece(1 + reader.number()))
        known.update((id(stream), stream) for stream in (*mux.streams.values(), *mux.backlog))
        check(mux, known.values())
    for stream in known.values():  # as whoever uses it will, in the end
        stream.end()
        stream.discard()
    mux.lost()
    assert not mux.streams
    assert mux.unread_bytes == mux.grown_bytes == mux._inbound == 0


def check(mux: yamux.Yamux, known: Collection[yamux.Stream]) -> None:
    """The accounts are right, and within the limits. What an ended stream brought may still be read."""
    inbound = [stream for stream in mux.streams.values() if stream.inbound]
    assert len(inbound) == mux._inbound <= LIMITS.streams_max
    assert len(mux.backlog) <= LIMITS.backlog_max
    unread = sum(stream.received_bytes for stream in known)
    assert unread == mux.unread_bytes <= LIMITS.unread_bytes_max
    assert unread == sum(len(part) for stream in known for part in stream.received)
    assert mux.grown_bytes == sum(s.give_back_window() for s in mux.streams.values()) <= LIMITS.window_bytes_total
    assert all(0 <= stream.send_window <= yamux.WINDOW_BYTES_END for stream in mux.streams.values())


def _accept(mux: yamux.Yamux, accepted: list[yamux.Stream]) -> None:
    while mux.backlog:
        accepted.append(mux.backlog.popleft())


def _read(mux: yamux.Yamux, accepted: list[yamux.Stream]) -> None:
    for stream in list(mux.streams.values()):
        stream.take()


def _read_little(mux: yamux.Yamux, accepted: list[yamux.Stream]) -> None:
    for stream in list(mux.streams.values()):
        stream.put_back(stream.take(2)[1:])


def _send(mux: yamux.Yamux, accepted: list[yamux.Stream]) -> None:
    for stream in list(mux.streams.values()):
        if stream.is_writable:
            stream.send(SENT)


def _end(mux: yamux.Yamux, accepted: list[yamux.Stream]) -> None:
    for stream in accepted:
        stream.end()


def _abort(mux: yamux.Yamux, accepted: list[yamux.Stream]) -> None:
    if accepted:
        accepted.pop().abort()


def _sink(mux: yamux.Yamux, accepted: list[yamux.Stream]) -> None:
    def refuse_odd(data: bytes) -> None:
        if data[0] & 1:
            raise yamux.RemoteError("odd")

    for stream in accepted:
        stream.take()
        stream.sink = refuse_odd


def _open(mux: yamux.Yamux, accepted: list[yamux.Stream]) -> None:
    if not (mux.remote_going or mux.local_going) and len(mux.streams) < 20:
        mux.open()


_ACTIONS: tuple[Callable[[yamux.Yamux, list[yamux.Stream]], object], ...] = (
    lambda mux, accepted: None,
    _accept,
    _read,
    _read_little,
    _send,
    _end,
    _abort,
    _sink,
    _open,
    lambda mux, accepted: mux.ping(),
    lambda mux, accepted: mux.go_away(),
    lambda mux, accepted: mux.out.clear(),
)


def _input(*frames: bytes, actions: bytes = b"\1\2\4\5") -> bytes:
    """To the side that was dialled, one piece for each frame."""
    pieces = (bytes((actions[i % len(actions)], len(frame) - 1)) + frame for i, frame in enumerate(frames))
    return b"\0" + b"".join(pieces)


def seeds() -> Mapping[str, bytes]:
    """What peers send, and what they must not."""

    def frame(kind: Kind, flags: int, stream: int, length: int, data: bytes = b"") -> bytes:
        return yamux.HEADER.pack(0, kind, flags, stream, length) + data

    hello = frame(Kind.DATA, Flag.SYN, 1, 5, b"hello")
    return {
        "stream": _input(hello, frame(Kind.DATA, 0, 1, 3, b"abc"), frame(Kind.WINDOW, Flag.FIN, 1, 0)),
        "answer": _input(frame(Kind.WINDOW, Flag.ACK, 2, 0), frame(Kind.DATA, Flag.FIN, 2, 2, b"ok")),
        "reset": _input(hello, frame(Kind.WINDOW, Flag.RST, 1, 0), hello.replace(b"\1\0\0\0\5", b"\3\0\0\0\5")),
        "credit": _input(hello, frame(Kind.WINDOW, 0, 1, 65_536), actions=b"\1\4"),
        "pings": _input(frame(Kind.PING, Flag.SYN, 0, 7), frame(Kind.PING, Flag.ACK, 0, 1), actions=b"\x09"),
        "sink": _input(hello, frame(Kind.DATA, 0, 1, 3, b"abc"), actions=b"\1\7"),
        "split": b"\0" + b"".join(bytes((index % 3, 0, byte)) for index, byte in enumerate(hello)),
        "going": _input(hello, frame(Kind.GO_AWAY, 0, 0, 0), actions=b"\1\x08"),
        "bad_going": _input(frame(Kind.GO_AWAY, 0, 0, 1)),
        "bad_version": _input(b"\1" + bytes(11)),
        "bad_kind": _input(b"\0\x09" + bytes(10)),
        "bad_window": _input(hello, frame(Kind.WINDOW, 0, 1, 0xFFFF_FFFF)),
        "bad_credit": _input(frame(Kind.DATA, Flag.SYN, 1, 1 << 19)),
        "bad_length": _input(frame(Kind.DATA, Flag.SYN, 1, 0xFFFF_FFFF)),
        "bad_twice": _input(hello, hello),
    }


TARGET = Target(feed, (yamux.YamuxError,), seeds, held_bytes_per_byte=512)
